"""Many to one: what a piece of DNA is."""
