"""Many to many, unaligned: spoken digits to what was said."""
