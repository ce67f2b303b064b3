"""Which cell and which gradient learns how long a memory; see README.md."""
