"""The data of each use: how real ones are read, and how some are generated."""
