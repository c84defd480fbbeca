"""`train convert`: what people typed for sd-scripts, as a recipe of ours. Imports no torch."""

from train.convert.convert import Converted, convert

__all__ = ["Converted", "convert"]
