"""What a tagger's outputs mean: selected_tags.csv."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import ModelError

CATEGORIES = {
    9: "rating",
    0: "general",
    1: "artist",
    3: "copyright",
    4: "character",
    5: "meta",
}
COLUMNS = ("tag_id", "name", "category")  # `count` is there too, and not read


@dataclass(frozen=True)
class Label:
    """One output of a tagger: the tag as the csv spells it, and a word of CATEGORIES.

    Both are empty where the csv has an empty row: an output that means nothing.
    """

    name: str
    category: str


def read_labels(path: Path) -> tuple[Label, ...]:
    """The labels of a selected_tags.csv, in the order of the model's outputs.

    Categories go by their number, never by the row's place; some published files write ids and
    categories as floats, or have a row of commas alone, which keeps its place. Raises ModelError
    naming file, line and value.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ModelError(
            f"{path} is no list of tags: it is not UTF-8 text, "
            "but a csv with the columns tag_id, name, category and count is wanted"
        ) from error
    reader = csv.DictReader(text.splitlines())
    missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
    if missing:
        raise ModelError(
            f"{path} is no list of tags: its first line lacks {' and '.join(missing)}, "
            "but a csv with the columns tag_id, name, category and count is wanted"
        )
    labels = tuple(_label(row, f"{path}, line {reader.line_num}") for row in reader)
    if not labels:
        raise ModelError(f"{path} lists no tags: download it again from the model's repository")
    return labels


def _label(row: Mapping[str, str | None], where: str) -> Label:
    if not any(row.values()):
        return Label("", "")
    name, number = row["name"], row["category"]
    if not name:
        raise ModelError(f"{where}: the tag has no name")
    try:
        int(float(row["tag_id"] or ""))
    except (ValueError, OverflowError) as error:
        raise ModelError(f"{where}: tag_id {row['tag_id']!r} is not a number") from error
    try:
        return Label(name, CATEGORIES[int(float(number or ""))])
    except (ValueError, KeyError, OverflowError) as error:
        known = ", ".join(f"{key} {word}" for key, word in CATEGORIES.items())
        raise ModelError(f"{where}: category {number!r} is none of {known}") from error
