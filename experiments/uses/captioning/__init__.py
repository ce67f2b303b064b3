"""One to many: an image to words."""
