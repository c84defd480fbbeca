"""edits.jsonl: every edit a person made, one line for each command, appended and never rewritten.

A line names images and canonical tags, as they were found when the command ran: never the query
that found them, nor text as captions have it. Undoing and doing again are lines as well. A line
counts once it is whole; what a kill left of one is moved to `edits.torn` by the next command.
"""

import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from schemas.errors import DataError
from schemas.files import disk_error
from schemas.progress import say

FILE, TORN = "edits.jsonl", "edits.torn"
Kind = Literal["add", "remove", "replace", "set", "caption", "exclude", "include"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class EditTag:
    """A tag in an edit. `part` is "" but where a whole caption says head, flex or tail."""

    tag: str  # canonical
    category: str = "general"
    part: str = ""


@dataclass(frozen=True)
class Change:
    """One thing that is done to some images.

    tags: what is added or removed; of `replace` the old tag and the new one; of `set` and `caption`
    all. images: md5s as they came. copies: the other images of their groups, which speak for an
    image that is no longer in the dataset.
    """

    do: Kind
    images: tuple[str, ...]
    tags: tuple[EditTag, ...] = ()
    reason: str = ""  # of `exclude`
    copies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """A line of the journal: changes; or the entries that are undone, or done again."""

    id: int
    time: str  # UTC
    command: str  # as the person wrote it
    changes: tuple[Change, ...] = ()
    undo: tuple[int, ...] = ()
    redo: tuple[int, ...] = ()


@dataclass(frozen=True)
class Journal:
    """All lines, which of them count, and which can be done again (the last undone is last)."""

    entries: tuple[Entry, ...] = ()
    done: tuple[int, ...] = ()
    undone: tuple[int, ...] = ()

    @property
    def counting(self) -> list[Entry]:
        """The entries whose changes stand, in their order."""
        standing = set(self.done)
        return [entry for entry in self.entries if entry.id in standing]


def read(root: Path) -> Journal:
    """Return the journal of a dataset folder; what a kill left of a last line does not count.

    Raises DataError naming the line that is none.
    """
    path = root / FILE
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return Journal()
    whole, torn = _parted(data)
    entries = [_entry(line, number, path) for number, line in _lines(whole)]
    if torn and _is_whole(torn):  # only its line end is missing
        entries.append(_entry(torn, len(entries) + 1, path))
    return _replayed(entries)


def append(root: Path, entry: Entry) -> Entry:
    """Write the entry, numbered and dated, behind the others; return it. The lock must be held.

    Once this returns, the edit outlives a loss of power. Raises DiskError or DataError.
    """
    path = root / FILE
    entries = read(root).entries
    numbered = replace(entry, id=entries[-1].id + 1 if entries else 1, time=_now())
    try:
        _mend(path)
        is_new = not path.exists()
        with path.open("ab") as file:
            file.write(json.dumps(_to_json(numbered), ensure_ascii=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            _sync_folder(root)
    except OSError as error:
        if told := disk_error(error, path):
            raise told from error
        raise
    return numbered


def changes_as_json(entries: Iterable[Entry]) -> list[Any]:
    """Return what the entries do, without times and words: what shapes captions."""
    return [[entry.id, _to_json(entry)["changes"]] for entry in entries]


def _replayed(entries: Sequence[Entry]) -> Journal:
    done: list[int] = []
    undone: list[int] = []
    for entry in entries:
        if entry.undo:
            done = [id for id in done if id not in entry.undo]
            undone += entry.undo
        elif entry.redo:
            undone = [id for id in undone if id not in entry.redo]
            done += entry.redo
        else:
            done.append(entry.id)
            undone = []
    return Journal(tuple(entries), tuple(done), tuple(undone))


def _parted(data: bytes) -> tuple[bytes, bytes]:
    """The whole lines, and what stands behind the last line end."""
    end = data.rfind(b"\n") + 1
    return data[:end], data[end:]


def _lines(whole: bytes) -> Iterable[tuple[int, bytes]]:
    return ((n, line) for n, line in enumerate(whole.split(b"\n"), 1) if line.strip())


def _is_whole(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _mend(path: Path) -> None:
    """Give a last line its end; or, where a kill left a part of it, keep that part elsewhere."""
    if not path.exists():
        return
    whole, torn = _parted(path.read_bytes())
    if not torn:
        return
    if _is_whole(torn):
        with path.open("ab") as file:
            file.write(b"\n")
        return
    aside = path.with_name(TORN)
    with aside.open("ab") as file:
        file.write(torn + b"\n")
        file.flush()
        os.fsync(file.fileno())
    with path.open("rb+") as file:
        file.truncate(len(whole))
        file.flush()
        os.fsync(file.fileno())
    say(f"edit: a command was killed while it wrote its edit: what there is of it is in {aside}")


def _sync_folder(folder: Path) -> None:
    """A new file's name is safe once its folder is; Windows knows no such thing."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _to_json(entry: Entry) -> dict[str, Any]:
    row: dict[str, Any] = {"id": entry.id, "time": entry.time, "command": entry.command}
    if entry.undo or entry.redo:
        return row | {"undo" if entry.undo else "redo": entry.undo or entry.redo}
    return row | {"changes": [_change_to_json(change) for change in entry.changes]}


def _change_to_json(change: Change) -> dict[str, Any]:
    names = ("tag", "category", "part")
    tags = [{name: value for name in names if (value := getattr(tag, name))} for tag in change.tags]
    row = {
        "do": change.do, "tags": tags, "reason": change.reason, "images": change.images,
        "copies": change.copies,
    }  # fmt: skip
    return {key: value for key, value in row.items() if value}


def _entry(line: bytes, number: int, path: Path) -> Entry:
    try:
        row = json.loads(line)
        return Entry(
            int(row["id"]),
            str(row["time"]),
            str(row["command"]),
            tuple(map(_change, row.get("changes", ()))),
            tuple(row.get("undo", ())),
            tuple(row.get("redo", ())),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DataError(
            f"{path}, line {number}, is no edit: mend the line, or remove it to do without its edit"
        ) from None


def _change(row: Mapping[str, Any]) -> Change:
    if row["do"] not in KINDS:
        raise ValueError(row["do"])
    return Change(
        row["do"],
        tuple(row["images"]),
        tuple(EditTag(**tag) for tag in row.get("tags", ())),
        str(row.get("reason", "")),
        {md5: tuple(others) for md5, others in row.get("copies", {}).items()},
    )
