"""What each kind of export writes, as names and bytes: pure functions of the manifest's rows."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal, get_args

from prep.imports.lists import CATEGORIES, DATASET
from schemas.tags import SENTENCE, canonical

Kind = Literal["kohya", "imagefolder", "jsonl", "txt"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Row = Mapping[str, Any]  # of the manifest; for jsonl with the facts of its post and tags


@dataclass(frozen=True)
class File:
    """A file of an export: an image of the dataset, or bytes of its own."""

    name: str  # from the target, with "/"
    set: str
    image: str = ""  # path from the dataset folder
    md5: str = ""  # of the image
    data: bytes = b""


def files(kind: Kind, rows: Sequence[Row]) -> Iterator[File]:
    """Return what an export of the kind is made of."""
    match kind:
        case "kohya":
            yield from _beside_texts(rows, _kohya_folder)
        case "txt":
            yield from _beside_texts(rows, _txt_folder)
        case "imagefolder":
            yield from _imagefolder(rows)
        case "jsonl":
            yield from _jsonl(rows)


def fixed_tags(rows: Iterable[Row]) -> int | None:
    """Return how many tags the captions' fixed head has; None where that differs between images.

    sd-scripts wants to be told: no text file can say it.
    """
    heads = {sum(tag["part"] == "head" for tag in row["tags"]) for row in rows if not row["is_reg"]}
    return heads.pop() if len(heads) == 1 else None


def with_separators(rows: Iterable[Row]) -> list[str]:
    """Return the tags that hold what separates tags in a text, each once, sorted."""
    tags = (tag for row in rows for tag in row["tags"] if tag["category"] != SENTENCE)
    texts = {tag["tag"] for tag in tags}
    return sorted(text for text in texts if "," in text or "|||" in text)


def _kohya_folder(row: Row) -> str:
    above = "reg" if row["is_reg"] else "img"
    return f"{above}/{row['repeats']}_{row['set']}"


def _txt_folder(row: Row) -> str:
    return "reg" if row["is_reg"] else ""


def _beside_texts(rows: Sequence[Row], folder_of: Callable[[Row], str]) -> Iterator[File]:
    """Each image with its caption beside it, and in each folder the categories of its tags."""
    names = _names(rows)
    seen: dict[str, dict[str, Counter[str]]] = {}
    for row, name in zip(rows, names, strict=True):
        folder = folder_of(row)
        place = PurePosixPath(folder) / name
        yield _image(row, place)
        # a line even where there is no tag: sd-scripts fails on a file without one
        text = f"{row['caption']}\n".encode()
        yield File(place.with_suffix(".txt").as_posix(), row["set"], data=text)
        said = seen.setdefault(folder, {})
        for tag in row["tags"]:
            said.setdefault(canonical(tag["tag"]), Counter())[tag["category"]] += 1
    for folder, said in seen.items():
        categories = {tag: counts.most_common(1)[0][0] for tag, counts in sorted(said.items())}
        place = PurePosixPath(folder) / CATEGORIES
        yield File(place.as_posix(), "", data=_json(categories, indent=0))


def _imagefolder(rows: Sequence[Row]) -> Iterator[File]:
    """A folder per split, with the list that Hugging Face's datasets reads."""
    named = list(zip(rows, _names(rows), strict=True))
    # the types of its columns are read from the first rows: those that lack nothing go first
    named.sort(key=lambda one: [one[0]["score"], one[0]["rating"]].count(None))
    for split in sorted({row["split"] for row in rows}):
        within = [(row, name) for row, name in named if row["split"] == split]
        yield from (_image(row, PurePosixPath(split) / name) for row, name in within)
        lines = [_imagefolder_line(row, name) for row, name in within]
        yield File(f"{split}/metadata.jsonl", "", data=_lines(lines))


def _imagefolder_line(row: Row, name: str) -> dict[str, Any]:
    kept = (
        "tags", "set", "is_reg", "repeats", "weight", "width", "height", "rating", "score", "group",
    )  # fmt: skip
    return {"file_name": name, "text": row["caption"]} | {key: row[key] for key in kept}


def _jsonl(rows: Sequence[Row]) -> Iterator[File]:
    """All facts of each image on a line."""
    lines = []
    for row, name in zip(rows, _names(rows), strict=True):
        place = PurePosixPath("images") / name
        yield _image(row, place)
        facts = {key: value for key, value in row.items() if key != "path"}
        lines.append({"file_name": place.as_posix()} | facts)
    yield File(DATASET, "", data=_lines(lines))


def _image(row: Row, place: PurePosixPath) -> File:
    return File(place.as_posix(), row["set"], row["path"], row["md5"])


def _names(rows: Sequence[Row]) -> list[str]:
    """A file name for each row: its md5, with its set where several sets have the image."""
    times = Counter(row["md5"] for row in rows)
    return [
        PurePosixPath(row["path"])
        .with_stem(row["md5"] if times[row["md5"]] == 1 else f"{row['md5']}-{row['set']}")
        .name
        for row in rows
    ]


def _lines(rows: Iterable[Mapping[str, Any]]) -> bytes:
    return b"".join(_json(row) for row in rows)


def _json(value: Any, indent: int | None = None) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=indent) + "\n").encode()
