"""A character language model; see README.md."""
