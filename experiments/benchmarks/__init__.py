"""recurrax beside its peers; see README.md."""
