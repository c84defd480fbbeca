"""Pixels to probabilities: WD14 taggers under onnxruntime. Imports schemas only."""
