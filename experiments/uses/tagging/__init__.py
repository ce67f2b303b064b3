"""Many to many, aligned: parts of speech."""
