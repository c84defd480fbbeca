"""`prep edit --from`: captions that were edited elsewhere, against what they were here."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prep import manifest
from prep.dataset import Dataset
from prep.edits import journal, lines
from prep.edits.edit import Outcome, examples_of, opened
from prep.edits.find import Captions
from prep.edits.journal import Entry
from prep.edits.three_way import Said, changes, check_sentences, sentences_of
from prep.exports.write import GIVEN
from prep.imports.lists import DATASET
from prep.imports.texts import decoded
from prep.lock import locked
from schemas.errors import DatasetError
from schemas.files import sha256_of
from schemas.progress import say
from schemas.tables import GIVEN_OUT, MANIFEST

LISTS = (DATASET, "metadata.jsonl")
Pair = tuple[str, Said, Said]  # md5, what was given out, what came back


def take_back(root: Path, source: Path, *, command: str, dry_run: bool = False) -> Outcome:
    """Turn what a person changed in `source` into edits.

    source: manifest.parquet; the folder of an export, or a list in it; or the lines of
    `prep edit --open`. A manifest that was taken in is put beside, so that a new one can be made.
    Raises DatasetError, UsageError, DataError.
    """
    dataset = opened(root)
    if not source.exists() and not source.is_absolute() and (root / source).exists():
        source = root / source
    with locked(root):
        outcome = _taken(dataset, list(_pairs(dataset, source)), command, dry_run)
        if source.suffix == ".parquet" and not dry_run and manifest.edited_by_hand(dataset):
            beside = root / f"manifest.{sha256_of(dataset.manifest)[:8]}.parquet"
            dataset.manifest.replace(beside)
            say(f"edit: the edited manifest is kept as {beside.name}")
        return outcome


def _taken(dataset: Dataset, pairs: Sequence[Pair], command: str, dry_run: bool) -> Outcome:
    captions = Captions.of(dataset)
    came = dataset.originals()
    found = changes(captions, [(came.get(md5, md5), given, back) for md5, given, back in pairs])
    named = {md5 for change in found for md5 in change.images}
    shown = examples_of(captions, captions.places_of(named), found)
    if dry_run or not found:
        return Outcome(len(pairs), found, shown)
    return Outcome(
        len(pairs), found, shown, journal.append(dataset.root, Entry(0, "", command, found))
    )


def _pairs(dataset: Dataset, source: Path) -> Iterator[Pair]:
    """What was given out and what came back, for each image whose caption is not the same."""
    if not source.exists():
        raise DatasetError(f"{source} is not there: --from takes a file or a folder of captions")
    if source.is_dir():
        return _from_folder(source)
    match source.suffix.lower():
        case ".parquet":
            return _from_manifest(dataset, source)
        case ".txt":
            return lines.pairs(source)
        case ".jsonl":
            return _from_list(source, _given(source.parent, source.parent.parent))
    raise DatasetError(
        f"{source} is nothing that captions can be taken back from: name manifest.parquet,"
        " the folder of an export, or the text that `prep edit --open` wrote"
    )


def _from_manifest(dataset: Dataset, source: Path) -> Iterator[Pair]:
    own = manifest.given_out(dataset)
    if not own.is_file():
        raise DatasetError(
            f"{own} is missing, which tells what {source.name} was: remove {source.name},"
            " then `prep run` makes both"
        )
    given = {(row["set"], row["md5"]): row for row in MANIFEST.read(own).to_pylist()}
    back = MANIFEST.read(source).to_pylist()
    for row in back:
        if (old := given.get((row["set"], row["md5"]))) is not None:
            yield from _changed(old, row["caption"], row["tags"])
    gone = given.keys() - {(row["set"], row["md5"]) for row in back}
    other = [
        name for name in MANIFEST.schema.names if name not in ("set", "md5", "caption", "tags")
    ]
    differing = {
        name
        for row in back
        for name in other
        if row[name] != given.get((row["set"], row["md5"]), row)[name]
    }
    if gone:
        say(f"edit: {len(gone)} rows are gone: `prep edit --exclude` takes images out of their set")
    if differing:
        say(f"edit: {', '.join(sorted(differing))} are no captions: they come from prep.toml")


def _from_folder(folder: Path) -> Iterator[Pair]:
    given = _given(folder)
    if lists := [path for name in LISTS for path in sorted(folder.rglob(name))]:
        for path in lists:
            yield from _from_list(path, given)
        return
    for row in given[1]:
        text = given[0] / Path(row["file"]).with_suffix(".txt")
        if text.is_file():
            yield from _changed(row, decoded(text.read_bytes())[0].strip(), None)


def _from_list(path: Path, given: tuple[Path, list[dict[str, Any]]]) -> Iterator[Pair]:
    folder, rows = given
    by_file = {folder / row["file"]: row for row in rows}
    for number, line in enumerate(decoded(path.read_bytes())[0].splitlines(), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            old = by_file.get(path.parent / entry["file_name"])
            text = str(entry["text"] if "text" in entry else entry["caption"])
            tags = [_as_given(tag) for tag in entry["tags"]] if "tags" in entry else None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise DatasetError(
                f"{path}, line {number}, is no image with its caption: mend it, and try again"
            ) from None
        if old is not None:
            yield from _changed(old, text, tags)


def _as_given(tag: Mapping[str, Any]) -> dict[str, str]:
    """A tag of a list: dataset.jsonl says its canonical name as well as its text."""
    return {
        "tag": str(tag.get("text", tag["tag"])), "category": str(tag.get("category", "")),
        "part": str(tag.get("part", "")),
    }  # fmt: skip


def _changed(
    old: Mapping[str, Any], text: str, tags: Sequence[Mapping[str, Any]] | None
) -> Iterator[Pair]:
    """Where tags were changed they count, else the text."""
    if tags is not None and list(tags) != old["tags"]:
        check_sentences(old["tags"], tags)
        yield old["md5"], Said.in_tags(old["tags"]), Said.in_tags(tags)
    elif text != old["caption"]:
        yield old["md5"], Said.in_tags(old["tags"]), Said.in_text(text, sentences_of(old["tags"]))


def _given(*folders: Path) -> tuple[Path, list[dict[str, Any]]]:
    """The export's folder, and the captions as they were when it was made."""
    for folder in folders:
        if (folder / GIVEN).is_file():
            return folder, list(GIVEN_OUT.read(folder / GIVEN).to_pylist())
    raise DatasetError(
        f"{folders[0]} has no {GIVEN}, by which `prep export` tells what it wrote:"
        " what was changed there cannot be told. `prep import` takes the folder as a set of its own"
    )
