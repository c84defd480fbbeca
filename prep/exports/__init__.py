"""A dataset written out for other programs: images and captions as each of them reads these."""
