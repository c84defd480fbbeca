"""Reading the two recipes: every fault is one sentence with file, line, key and remedy."""

import difflib
import json
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from schemas.errors import RecipeError
from schemas.recipes.blank import blanks
from schemas.recipes.prep import PrepRecipe
from schemas.recipes.section import Section
from schemas.recipes.train import TrainRecipe

Recipe = TypeVar("Recipe", bound=Section)
Source = Callable[[tuple[str, ...]], str]  # where a key was written, for a person

SET_KEY = r"""(?:\s*"[^"]+"\s*|\s*'[^']+'\s*|[^.="']*[^.="'\s][^.="']*)"""  # of --set

PREP_FILE = "prep.toml"
TRAIN_FILE = "train.toml"

TYPES = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text in quotes",
    "tuple_type": "a list in [ ]",
    "dict_type": "a table in { }",
    "model_type": "a table",
}

BOUNDS = {
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "{ge:g} or more",
    "less_than": "less than {lt:g}",
    "less_than_equal": "{le:g} or less",
    "multiple_of": "a multiple of {multiple_of}",
    "too_short": "at least {min_length} long",
}


def load_prep(path: Path, changes: Sequence[str] = ()) -> PrepRecipe:
    """Read prep.toml. `changes` are `key.key=value` over it. Raises RecipeError."""
    return _load(path, PrepRecipe, changes)


def read_prep(path: Path, text: str) -> PrepRecipe:
    """Read what is to become the text of prep.toml at `path`. Raises RecipeError."""
    return _read(path, text, PrepRecipe, ())


def load_train(path: Path, changes: Sequence[str] = ()) -> TrainRecipe:
    """Read train.toml. `changes` are `key.key=value` over it. Raises RecipeError."""
    return _load(path, TrainRecipe, changes)


def _load(path: Path, kind: type[Recipe], changes: Sequence[str]) -> Recipe:
    return _read(path, _text(path), kind, changes)


def _read(path: Path, text: str, kind: type[Recipe], changes: Sequence[str]) -> Recipe:
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path}: not TOML: {error}") from None
    changed: dict[tuple[str, ...], str] = {}
    for change in changes:
        changed[_apply(values, change)] = change
    return checked(kind, values, lambda where: _source(path, text, where, changed))


def checked(kind: type[Recipe], values: Mapping[str, Any], source: Source) -> Recipe:
    """Return values as a recipe. Raises RecipeError: where from by `source`, key, what is wrong."""
    for where, what in blanks(values):
        raise RecipeError(f'{source(where)}: fill in "{".".join(where)}": {what}')
    try:
        # JSON's strict mode: "16" is no number, true is no 1, but a list may fill a tuple
        return kind.model_validate_json(json.dumps(values, default=str), strict=True)
    except ValidationError as error:
        raise RecipeError(_sentence(kind, error.errors()[0], source)) from None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise RecipeError(f"{path} is missing: `prep init` writes one") from None
    except IsADirectoryError:
        raise RecipeError(f"{path} is a folder, not a recipe file") from None
    except (UnicodeDecodeError, PermissionError) as error:
        raise RecipeError(f"{path} cannot be read as UTF-8 text: {error}") from None


def _apply(values: dict[str, Any], change: str) -> tuple[str, ...]:
    """Set one `key.key=value` in place; the value is TOML, or bare text. Return the key."""
    written = re.fullmatch(rf"\s*({SET_KEY}(?:\.{SET_KEY})*)\s*=(.*)", change, re.DOTALL)
    if not written:
        raise RecipeError(f'--set {change}: write it as key=value, such as "adapter.dim=32"')
    keys = tuple(key.strip().strip("\"'") for key in re.findall(SET_KEY, written[1]))
    text = written[2]
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    table = values
    for key in keys[:-1]:
        inner = table.setdefault(key, {})
        if not isinstance(inner, dict):
            raise RecipeError(f'--set {change}: "{key}" is no table')
        table = inner
    table[keys[-1]] = value
    return keys


def _sentence(kind: type[Section], error: ErrorDetails, source_of: Source) -> str:
    # pydantic names the arm of a union in the location; a recipe has no such key
    where = [str(part) for part in error["loc"] if not _is_union_arm(part)]
    source = source_of(tuple(where))
    key = ".".join(where)
    match error["type"]:
        case "extra_forbidden":
            return f'{source}: unknown key "{key}"{_did_you_mean(kind, where)}'
        case "missing":
            return f'{source}: "{key}" must be given'
        case "literal_error":
            expected = str(error["ctx"]["expected"]).replace("'", '"')
            return f'{source}: "{key}" is {_shown(error["input"])}; it can be {expected}'
        case "value_error":
            reason = error["ctx"]["error"]
            return f"{source}: {f'{key}: ' if key else ''}{reason}"
        case kind_ if kind_ in TYPES:
            return f'{source}: "{key}" is {_shown(error["input"])}; it must be {TYPES[kind_]}'
        case kind_ if kind_ in BOUNDS:
            bound = BOUNDS[kind_].format(**error["ctx"])
            return f'{source}: "{key}" is {_shown(error["input"])}; it must be {bound}'
        case _:
            rule = error["msg"][:1].lower() + error["msg"][1:]
            return f'{source}: "{key}" is {_shown(error["input"])}; {rule}'


def _is_union_arm(part: int | str) -> bool:
    arms = ("literal[", "tuple[", "constrained-")
    return isinstance(part, str) and (part.startswith(arms) or part == "[key]")


def _source(
    path: Path, text: str, where: tuple[str, ...], changed: Mapping[tuple[str, ...], str]
) -> str:
    for keys, change in changed.items():
        if where[: len(keys)] == keys:
            return f"--set {change}"
    return place_of(path, text, where)


def place_of(path: Path, text: str, where: tuple[str, ...]) -> str:
    """Return the file and, where one is found, the line in which a key is written."""
    line = _line(text, where)
    return f"{path} line {line}" if line else f"{path}"


def _line(text: str, where: tuple[str, ...]) -> int | None:
    """The line, from 1, where the deepest part of the key that the file holds is written."""
    found: tuple[int, int] | None = None
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[+([^\]]+)\]+", line):
            table = _keys(header[1])
            keys = table
        elif assignment := re.match(r"""\s*((?:"[^"]*"|'[^']*'|[\w-]+|\s*\.\s*)+)\s*=""", line):
            keys = table + _keys(assignment[1])
        else:
            continue
        if where[: len(keys)] == keys and (found is None or len(keys) > found[0]):
            found = len(keys), number
    return found[1] if found else None


def _keys(dotted: str) -> tuple[str, ...]:
    parts = re.findall(r'"([^"]*)"|\'([^\']*)\'|([\w-]+)', dotted)
    return tuple(next(filter(None, part), "") for part in parts)


def _did_you_mean(kind: type[Section], where: Sequence[str]) -> str:
    """The nearest known key of the same table, or the list of all."""
    section: Any = kind
    for key in where[:-1]:
        section = _under(section, key)
    known = [field.alias or name for name, field in section.model_fields.items()]
    near = difflib.get_close_matches(where[-1], known, n=1, cutoff=0.6)
    return f'; did you mean "{near[0]}"?' if near else f"; known here: {', '.join(known)}"


def _under(kind: Any, key: str) -> Any:
    """The type of what lies under a key: a section's field, or a free table's values (a set)."""
    if get_origin(kind) is dict:
        return get_args(kind)[1]
    fields: dict[str, FieldInfo] = kind.model_fields
    return next(field.annotation for name, field in fields.items() if key in (name, field.alias))


def _shown(value: Any) -> str:
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
