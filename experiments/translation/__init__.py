"""Neural machine translation; see README.md."""
