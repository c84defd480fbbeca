"""HTML from small pure functions: whatever is not `Html` already is escaped."""

from collections.abc import Iterable
from html import escape

VOID = ("img", "input", "meta")  # elements that hold nothing; those of SVG are closed

Child = str | int | None


class Html(str):
    """Text that is HTML as it stands."""

    __slots__ = ()


def element(name: str, /, *children: Child | Iterable[Child], **attributes: Child) -> Html:
    """Return an element; `class_` is class, `data_x` is data-x, an attribute of None is left out.

    An attribute that is "" stands alone, as `checked` does.
    """
    written = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + (f'="{_escaped(value)}"' if value != "" else "")
        for key, value in attributes.items()
        if value is not None
    )
    if name in VOID:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{together(*children)}</{name}>")


def together(*children: Child | Iterable[Child]) -> Html:
    """Return children one after the other; lists are laid open and None is nothing."""
    parts: list[str] = []
    for child in children:
        if isinstance(child, Html):
            parts.append(child)
        elif isinstance(child, str | int):
            parts.append(_escaped(child))
        elif child is not None:
            parts.append(together(*child))
    return Html("".join(parts))


def _escaped(value: Child) -> str:
    # a folder's name may hold bytes that are no UTF-8; the page is
    return escape(str(value).encode("utf-8", "replace").decode())


def missing(sentence: str) -> Html:
    """Return the note that stands where a section has nothing to show yet."""
    return element("p", marked(sentence), class_="missing")


def marked(sentence: str) -> Html:
    """Return a sentence whose `commands` in backticks are set as code."""
    return together(
        element("code", part) if place % 2 else part
        for place, part in enumerate(sentence.split("`"))
    )


def legend(*entries: tuple[str, str]) -> Html:
    """Return the key of a chart: each entry a mark's class and what it stands for."""
    keys = (element("span", element("i", class_=kind), text) for kind, text in entries)
    return element("p", keys, class_="legend")


def section(name: str, title: str, lead: str, *children: Child | Iterable[Child]) -> Html:
    """Return a section of the page: its heading, a sentence or two, and what it shows."""
    head = element("header", element("h2", title), element("p", marked(lead)) if lead else None)
    return element("section", head, *children, id=name)


def count(number: int, one: str, many: str = "") -> str:
    """Return "1 image" or "1,200 images"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
