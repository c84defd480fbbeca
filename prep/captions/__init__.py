"""Captions from tags, by columnar rules in the recipe's order."""
