r"""Prompts as user interfaces write them: `(tag:1.2)` counts more, `\(` is a parenthesis of a tag.

Only what ends in a number is a weight: `azusa (blue archive)` is a tag like any other.
"""

import re
from collections.abc import Iterator

_NUMBER = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*")


def weighted_tags(prompt: str) -> list[list[tuple[str, float]]]:
    """Return the tags between the commas of a prompt, each as pieces of text with their weights.

    Weights within weights multiply. Pieces without text are left out, and so are tags without any.
    """
    tags: list[list[tuple[str, float]]] = [[]]
    for text, weight in _pieces(prompt, 1.0):
        first, *others = text.split(",")
        tags[-1].append((first, weight))
        tags += [[(other, weight)] for other in others]
    stripped = [[(text.strip(), weight) for text, weight in tag] for tag in tags]
    return [found for tag in stripped if (found := [piece for piece in tag if piece[0]])]


def _pieces(text: str, weight: float) -> Iterator[tuple[str, float]]:
    start = place = 0
    while place < len(text):
        if text[place] == "\\":
            place += 2
            continue
        if text[place] == "(" and (found := _weighted(text, place)):
            inner, factor, end = found
            yield text[start:place], weight
            yield from _pieces(inner, weight * factor)
            start = place = end
            continue
        place += 1
    yield text[start:], weight


def _weighted(text: str, opening: int) -> tuple[str, float, int] | None:
    """What stands in the parentheses that open here, its factor, and where they end; None: none."""
    depth, colon, place = 0, -1, opening
    while place < len(text):
        match text[place]:
            case "\\":
                place += 1
            case "(":
                depth += 1
            case ":" if depth == 1:
                colon = place
            case ")":
                depth -= 1
        if not depth:
            number = _NUMBER.fullmatch(text[colon + 1 : place]) if colon > 0 else None
            return (text[opening + 1 : colon], float(number[1]), place + 1) if number else None
        place += 1
    return None
