"""Recipes as TOML, each key with its comment from the field's docstring."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic.fields import FieldInfo

from schemas.recipes.section import Section

COLUMN = 40  # where comments start, if the line leaves room


def to_toml(recipe: Section, *, hidden: Iterable[str] = (), comments: bool = True) -> str:
    """Return the recipe as TOML that reads back equal.

    `hidden`: dotted keys that are left out where they have their default.
    """
    lines = _table(recipe, (), frozenset(hidden), comments)
    return "\n".join(lines).strip("\n") + "\n"


def _table(
    section: Section, where: tuple[str, ...], hidden: frozenset[str], comments: bool
) -> list[str]:
    """A section's own keys, then its inner sections, each under its header."""
    lines: list[str] = []
    inner: list[str] = []
    for name, field in type(section).model_fields.items():
        key, value = field.alias or name, getattr(section, name)
        path = (*where, key)
        usual = field.get_default(call_default_factory=True)
        if value is None or (".".join(path) in hidden and value == usual):
            continue
        if isinstance(value, Section):
            body = _table(value, path, hidden, comments)
            if body:
                inner += ["", *_header(path, value, comments), *body]
        elif _sections(value):
            inner += ["", *([f"# {field.description}"] if comments and field.description else [])]
            inner += [f"[{'.'.join(path)}]"]
            inner += [f"{inline_key(k)} = {inline(part)}" for k, part in value.items()]
        else:
            lines += _line(key, value, field, comments)
    lines += [
        f"{inline_key(key)} = {inline_value(value)}"
        for key, value in (section.model_extra or {}).items()
    ]
    return lines + inner


def _header(path: tuple[str, ...], section: Section, comments: bool) -> list[str]:
    line = f"[{'.'.join(path)}]"
    doc = (type(section).__doc__ or "").strip().rstrip(".")
    return [f"# {doc}", line] if comments and doc else [line]


def _line(key: str, value: Any, field: FieldInfo, comments: bool) -> list[str]:
    """The key with its comment behind it, or above it where there is no room behind."""
    line = f"{inline_key(key)} = {inline_value(value)}"
    if not (comments and field.description):
        return [line]
    comment = f"# {' '.join(field.description.split())}"
    if len(line) > COLUMN or len(comment) > 100 - COLUMN:
        return [comment, line]
    return [f"{line.ljust(COLUMN)} {comment}"]


def _sections(value: Any) -> bool:
    return isinstance(value, Mapping) and any(isinstance(v, Section) for v in value.values())


def inline(section: Section) -> str:
    """Return a section in one line, with the keys that differ from their defaults."""
    values = section.model_dump(by_alias=True, exclude_defaults=True)
    return inline_value(values)


def inline_value(value: Any) -> str:
    """Return a value as TOML writes it in one line."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return _string(value)
        case int() | float():
            return repr(value)
        case Mapping():
            inside = ", ".join(
                f"{inline_key(str(k))} = {inline_value(v)}" for k, v in value.items()
            )
            return f"{{ {inside} }}" if inside else "{}"
        case _:
            return f"[{', '.join(map(inline_value, value))}]"


def _string(text: str) -> str:
    """A JSON string is a TOML basic string, but for DEL, which JSON leaves alone."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def inline_key(key: str) -> str:
    """Return a key as TOML writes it: bare where that is possible, else in quotes."""
    bare = key and all(c.isascii() and (c.isalnum() or c in "-_") for c in key)
    return key if bare else _string(key)
