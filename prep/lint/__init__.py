"""What is amiss in captions and regularization images: one small file for each kind of finding."""
