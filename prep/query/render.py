"""A query as text again, in a form that the site and our own parser both read the same way."""

import re

from prep.query.ast import And, Metatag, Node, Not, Or, Query, Tag, Wildcard

_PLAIN = re.compile(r"[^\s()\"'\\]+")  # a value that needs no quotes


def render(query: Query) -> str:
    """Return the query as text: `parse(render(query)) == query`."""
    parts = [text(query.where)]
    if query.order:
        parts.append(f"order:{_value(query.order, False)}")
    if query.limit:
        parts.append(f"limit:{query.limit}")
    return " ".join(filter(None, parts))


def text(node: Node) -> str:
    """Return one node as text; an "or" inside an "and" gets its parentheses."""
    match node:
        case Tag(name):
            return name
        case Wildcard(pattern):
            return pattern
        case Metatag(name, value, quoted):
            return f"{name}:{_value(value, quoted)}"
        case Not(child):
            return f"-{_within(child)}"
        case And(children):
            return " ".join(_within(c) if isinstance(c, Or) else text(c) for c in children)
        case Or(children):
            return " or ".join(_within(c) if isinstance(c, And) else text(c) for c in children)


def _within(node: Node) -> str:
    inside = text(node)
    if not isinstance(node, And | Or):
        return inside
    # apart from a last word such as ":(", which would take the ")" for its own
    last = inside.rsplit(" ", 1)[-1].lstrip("-(")
    return f"({inside} )" if last.count("(") > last.count(")") else f"({inside})"


def _value(value: str, quoted: bool) -> str:
    if not quoted and _PLAIN.fullmatch(value):
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
