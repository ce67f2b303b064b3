"""Many to many: the next values of a series, with an interval."""
