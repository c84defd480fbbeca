"""What is said of many images in one file: sd-scripts' meta_*.json, imagefolder's metadata.jsonl,
and what `prep export` writes: dataset.jsonl, and the categories of a folder's tags.
"""

import csv
import io
import json
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from prep.imports.texts import decoded
from schemas.tables import read_parquet
from schemas.tags import CATEGORIES as KNOWN
from schemas.tags import MADE, canonical

# sd-scripts' files in the order in which its tools write them: a later one knows more
KOHYA = ("meta_cap.json", "meta_dd.json", "meta_cap_dd.json", "meta_clean.json", "meta_lat.json")
DATASET = "dataset.jsonl"  # of `prep export --to jsonl`
IMAGEFOLDER = ("metadata.jsonl", "metadata.csv", "metadata.parquet", DATASET)
CATEGORIES = "tag_categories.json"  # a tag's category, for the texts of a folder
FILE_NAMES = ("file_name", "file", "image")

Entry = Mapping[str, Any]
Entries = dict[str, dict[str, Any]]


class NoList(Exception):
    """The file is not what its name says; the text tells why."""


def is_list(path: Path) -> bool:
    """Whether the file's name is that of a list."""
    return path.name.lower() in (*KOHYA, *IMAGEFOLDER)


def read_categories(path: Path) -> dict[str, str]:
    """Return the category of each canonical tag; what is no known category is left out.

    Raises NoList.
    """
    try:
        said = json.loads(_text(path)).items()
        return {canonical(str(tag)): kind for tag, kind in said if kind in (*KNOWN, *MADE)}
    except (ValueError, AttributeError, TypeError) as error:
        raise NoList(f"{type(error).__name__}: {error}") from None


def in_order(paths: Iterable[Path]) -> list[Path]:
    """Return the lists in the order in which they are to be read: what comes later counts."""
    order = {name: place for place, name in enumerate((*KOHYA, *IMAGEFOLDER))}
    return sorted(paths, key=lambda path: (len(path.parts), order[path.name.lower()], path))


def read(path: Path, folder: Path) -> Entries:
    """Return each entry by the name of its image: from `folder`, folded, as `key` makes it.

    An entry of sd-scripts may name its image by a path of another machine, or without its ending:
    the path's last part then is the name. Raises NoList.
    """
    try:
        rows = _kohya(path) if path.name.lower() in KOHYA else _imagefolder(path)
        beside = path.parent.relative_to(folder)
        return {key(beside / _name(name)): entry for name, entry in rows}
    except (ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise NoList(f"{type(error).__name__}: {error}") from None


def key(name: PurePath) -> str:
    """The form in which names of files are compared: systems differ in case and in accents."""
    return unicodedata.normalize("NFC", name.as_posix()).casefold()


def _name(name: str) -> str:
    """A path from the list's own folder; of an absolute one, of any system, the last part."""
    plain = name.replace("\\", "/")
    absolute = plain.startswith("/") or plain[1:2] == ":" or ".." in plain.split("/")
    return plain.rpartition("/")[2] if absolute else plain


def _kohya(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, entry in json.loads(_text(path)).items():
        yield name, dict(entry)


def _imagefolder(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for row in _rows(path):
        name = next((str(row[key]) for key in FILE_NAMES if row.get(key)), None)
        if name is None:
            raise ValueError(f"a row without {FILE_NAMES[0]}")
        yield name, {k: v for k, v in row.items() if k not in FILE_NAMES and v is not None}


def _rows(path: Path) -> Sequence[Entry]:
    if path.suffix.lower() == ".parquet":
        return list(read_parquet(path).to_pylist())
    text = _text(path)
    if path.suffix.lower() == ".csv":
        return list(csv.DictReader(io.StringIO(text)))
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def _text(path: Path) -> str:
    return decoded(path.read_bytes())[0]
