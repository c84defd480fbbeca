"""What a person changed in captions: a journal that only grows, and how it becomes tags again."""
