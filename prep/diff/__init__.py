"""What `prep caption` would change, against the captions as they stand, and which rule does it."""
