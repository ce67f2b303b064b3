"""Many to many: where a series stops being itself."""
