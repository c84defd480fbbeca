"""What `prep edit` shows: what would change, what changed, and the list of all edits."""

import shlex
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from prep.dataset import Dataset
from prep.edits import conflicts, journal, lines, taken_back
from prep.edits import edit as edits
from prep.edits.edit import Example, Outcome, Wanted
from prep.edits.journal import Change, Entry
from schemas.errors import UsageError

NAMES = 6  # of an example's tags, where nothing changes


def edit(root: Path, query: str, wanted: Wanted, *, dry_run: bool) -> None:
    """Do what is wanted, and show it."""
    outcome = edits.edit(
        root, query, wanted, command=shlex.join(_words(query, wanted)), dry_run=dry_run
    )
    show(outcome)


def open_lines(root: Path, query: str, *, dry_run: bool) -> None:
    """Let the person edit captions in an editor, then do what was changed."""
    text = lines.write_lines(root, query)
    lines.open_editor(text)
    outcome = take_back(root, text, dry_run=dry_run, command=shlex.join(["--open", query]))
    if outcome.entry is not None:
        shutil.rmtree(text.parent, ignore_errors=True)
    else:  # an editor that does not wait for its window is still open
        print(f"`prep edit --from {text}` takes what you save there later")


def take_back(root: Path, source: Path, *, dry_run: bool, command: str = "") -> Outcome:
    """Take captions back, and show what was changed in them."""
    words = command or shlex.join(["--from", str(source)])
    outcome = taken_back.take_back(root, source, command=words, dry_run=dry_run)
    if outcome.changes:
        show(outcome, found="changed")
    else:
        print(f"no caption was changed in {source}")
    return outcome


def show(outcome: Outcome, found: str = "found") -> None:
    """Print what was found, what changes, and some examples."""
    print(f"{_images(outcome.found)} {found}")
    for change in outcome.changes:
        print(f"{_images(len(change.images))}: {_said(change)}")
    if outcome.examples:
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for example in outcome.examples:
            table.add_row(example.md5[:12], _difference(example))
        Console(highlight=False, markup=False).print(table)
    if outcome.entry is not None:
        print(f"edit {outcome.entry.id}: `prep run` makes the captions; --undo takes it back")
    elif outcome.changes:
        print("nothing is written yet: say it again without --dry-run")


def back_or_forth(root: Path, count: int, *, back: bool) -> None:
    """Undo or redo, and say which edits."""
    word = "undo" if back else "redo"
    work = edits.undo if back else edits.redo
    for entry in work(root, count, command=f"--{word} {count}"):
        print(f"{'undone' if back else 'done again'}: edit {entry.id}, {entry.command}")


def log(root: Path) -> None:
    """Print all edits, the latest last, with those that find nothing to change any more."""
    dataset = Dataset.open(root)
    held = journal.read(dataset.root)
    failed = conflicts.counted(dataset.root)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("edit", "when (UTC)", "images", "state", "prep edit"):
        numeric = title in ("edit", "images")
        table.add_column(title, justify="right" if numeric else "left", overflow="fold")
    for entry in held.entries:
        table.add_row(
            str(entry.id),
            entry.time.replace("T", " ").removesuffix("Z"),
            f"{len({md5 for change in entry.changes for md5 in change.images}):,}",
            _state(entry, held, failed.get(entry.id, 0)),
            entry.command,
        )
    if held.entries:
        Console(highlight=False, markup=False).print(table)
    else:
        print("no edits yet")


def count_and_folder(first: str, second: Path) -> tuple[int, Path]:
    """Return what stands where a query would: a number, a folder, or first one, then the other."""
    if not first or first.isdecimal():
        count = int(first or 1)
        if not count:
            raise UsageError("--undo 0: give how many edits, 1 or more")
        return count, second
    return 1, Path(first)


def _state(entry: Entry, held: journal.Journal, failed: int) -> str:
    if entry.undo or entry.redo:
        ids = ", ".join(map(str, sorted(entry.undo or entry.redo)))
        return f"{'undoes' if entry.undo else 'does again'} {ids}"
    if entry.id not in held.done:
        return "undone"
    return f"stands, {failed:,} gone" if failed else "stands"


def _images(count: int) -> str:
    return f"{count:,} image{'s' if count != 1 else ''}"


def _said(change: Change) -> str:
    names = [tag.tag for tag in change.tags]
    match change.do:
        case "replace":
            return f"{names[0]} becomes {names[1]}"
        case "exclude" | "include":
            return f"{change.do}{f' ({change.reason})' if change.reason else ''}"
        case _:
            return f"{change.do} {', '.join(names) or 'nothing'}"


def _difference(example: Example) -> str:
    gone = [f"-{tag}" for tag in example.before if tag not in example.after]
    came = [f"+{tag}" for tag in example.after if tag not in example.before]
    if gone or came:
        return " ".join([*gone, *came])
    more = ", ..." if len(example.before) > NAMES else ""
    return ", ".join(example.before[:NAMES]) + more


def _words(query: str, wanted: Wanted) -> Iterator[str]:
    """The command as it could be typed again."""
    yield query
    named: tuple[tuple[str, Sequence[str]], ...] = (
        ("--add", wanted.add), ("--remove", wanted.remove),
    )  # fmt: skip
    for option, texts in named:
        for text in texts:
            yield from (option, text)
    for old, new in wanted.replace:
        yield from ("--replace", old, new)
    for option, given in (("--set", wanted.set), ("--caption", wanted.caption)):
        if given is not None:
            yield from (option, given)
    if wanted.exclude or wanted.include:
        yield "--exclude" if wanted.exclude else "--include"
    if wanted.reason:
        yield from ("--reason", wanted.reason)
