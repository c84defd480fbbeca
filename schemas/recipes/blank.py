"""Blanks: values of a recipe that only a person knows, refused until they are filled in."""

from collections.abc import Iterator, Mapping
from typing import Any

BLANK = "FILL IN: "


def blanks(values: Any, where: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Return each blank's key and what is wanted there, in the order of the file."""
    if isinstance(values, str) and values.startswith(BLANK):
        yield where, values.removeprefix(BLANK)
    elif isinstance(values, Mapping):
        for key, value in values.items():
            yield from blanks(value, (*where, str(key)))
    elif isinstance(values, list):
        for value in values:
            yield from blanks(value, where)
