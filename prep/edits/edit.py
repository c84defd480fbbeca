"""`prep edit`: what a person wants of the images that a query finds, into the journal; and back."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from prep import seals
from prep.captions.columns import Ints
from prep.dataset import Dataset
from prep.edits import journal
from prep.edits.apply import edited
from prep.edits.find import Captions
from prep.edits.journal import Change, EditTag, Entry
from prep.edits.operations import standing
from prep.edits.places import places_of
from prep.imports.texts import pieces
from prep.lock import locked
from schemas.errors import DatasetError, UsageError
from schemas.progress import say
from schemas.tables import PARTS
from schemas.tags import SENTENCE, canonical, split

EXAMPLES = 5


@dataclass(frozen=True)
class Wanted:
    """What is to be done to each image found; tags as a person wrote them, with commas."""

    add: Sequence[str] = ()
    remove: Sequence[str] = ()
    replace: Sequence[tuple[str, str]] = ()
    set: str | None = None
    caption: str | None = None
    exclude: bool = False
    include: bool = False
    reason: str = ""

    @property
    def nothing(self) -> bool:
        """Whether there is nothing to do but to look."""
        return self == Wanted()


@dataclass(frozen=True)
class Example:
    """An image, by its md5, and what an edit takes from its tags and gives to them."""

    md5: str
    before: tuple[str, ...]
    after: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """What a query found and what came of it; `entry` is None where nothing was written."""

    found: int
    changes: tuple[Change, ...]
    examples: tuple[Example, ...]
    entry: Entry | None = None


def edit(root: Path, query: str, wanted: Wanted, *, command: str, dry_run: bool = False) -> Outcome:
    """Do what is wanted to the captions of all images that the query finds.

    `command`: the words of the person, for the log. Raises UsageError, QueryError, DatasetError;
    where nothing would change, too.
    """
    _check(wanted)
    dataset = opened(root)
    with locked(root):
        captions = Captions.of(dataset)
        rows = captions.found(query, excluded=wanted.include)
        if not len(rows):
            raise DatasetError(f'{root}: no image has a caption that "{query}" finds')
        changes = tuple(_changes(captions, rows, wanted))
        if not changes and not wanted.nothing:
            tags = [*wanted.remove, *(old for old, _ in wanted.replace)]
            raise DatasetError(
                f"{root}: of the {len(rows)} images that the query finds none has"
                f" {', '.join(tags)}: there is nothing to change"
            )
        examples = examples_of(captions, rows, changes)
        if dry_run or not changes:
            return Outcome(len(rows), changes, examples)
        entry = journal.append(root, Entry(0, "", command, changes))
        return Outcome(len(rows), changes, examples, entry)


def undo(root: Path, count: int, *, command: str) -> list[Entry]:
    """Take back the last `count` edits that stand; return them. Raises DatasetError."""
    dataset = Dataset.open(root)
    with locked(dataset.root):
        held = journal.read(root)
        ids = held.done[::-1][:count]
        if not ids:
            raise DatasetError(f"{root}: there is no edit to undo")
        journal.append(root, Entry(0, "", command, undo=ids))
        return _named(held, ids)


def redo(root: Path, count: int, *, command: str) -> list[Entry]:
    """Do the last `count` undone edits again; return them. A new edit ends what can be redone."""
    dataset = Dataset.open(root)
    with locked(dataset.root):
        held = journal.read(root)
        ids = held.undone[::-1][:count]
        if not ids:
            raise DatasetError(f"{root}: nothing was undone since the last edit")
        journal.append(root, Entry(0, "", command, redo=ids))
        return _named(held, ids)


def opened(root: Path) -> Dataset:
    """Open a dataset that has captions. Raises DatasetError."""
    dataset = Dataset.open(root)
    if seals.read_seal(root, "caption") is None:
        raise DatasetError(f"{root}: there are no captions to edit yet: `prep run` makes them")
    return dataset


def _named(held: journal.Journal, ids: Sequence[int]) -> list[Entry]:
    by_id = {entry.id: entry for entry in held.entries}
    return [by_id[id] for id in ids]


def _check(wanted: Wanted) -> None:
    whole = [wanted.set is not None, wanted.caption is not None, wanted.exclude, wanted.include]
    if sum(whole) > 1 or (any(whole) and (wanted.add or wanted.remove or wanted.replace)):
        raise UsageError(
            "--set, --caption, --exclude and --include each stand alone:"
            " give one of them, or any of --add, --remove and --replace"
        )
    if wanted.reason and not wanted.exclude:
        raise UsageError("--reason says why images are excluded: give it with --exclude")
    for text in (*wanted.add, *wanted.remove, *(word for pair in wanted.replace for word in pair)):
        if not canonical(text.replace(",", " ")):
            raise UsageError("a tag is missing: an empty word is none")
    for old, new in wanted.replace:
        if "," in old or "," in new:
            raise UsageError(f'--replace "{old}" "{new}": one tag takes the place of one other')


def _changes(captions: Captions, rows: Ints, wanted: Wanted) -> Iterator[Change]:
    """What is written into the journal: only images of which something can be taken are named."""

    def change(do: journal.Kind, images: Ints, *tags: EditTag, reason: str = "") -> Change:
        names = captions.names(images)
        return Change(do, names, tags, reason, captions.copies(names))

    if wanted.exclude or wanted.include:
        yield change("exclude" if wanted.exclude else "include", rows, reason=wanted.reason)
    if wanted.caption is not None:
        yield change("caption", rows, *parsed(captions, wanted.caption))
    if wanted.set is not None:
        yield change("set", rows, *(captions.tag(name) for name in split(wanted.set)))
    for old, new in wanted.replace:
        images = rows[captions.having(canonical(old))[rows]]
        if len(images):
            known = [captions.tag(canonical(name)) for name in (old, new)]
            yield change("replace", images, *known)
    for name in dict.fromkeys(name for text in wanted.remove for name in split(text)):
        if len(images := rows[captions.having(name)[rows]]):
            yield change("remove", images, captions.tag(name))
    if names := list(dict.fromkeys(name for text in wanted.add for name in split(text))):
        yield change("add", rows, *(captions.tag(name) for name in names))
    asked = [*wanted.add, *(word for _, word in wanted.replace), wanted.set or ""]
    _tell_unknown(captions, [name for text in asked for name in split(text)])


def parsed(captions: Captions, text: str) -> list[EditTag]:
    """Return the tags of a whole caption; with `|||` between head, flex and tail.

    What reads like a sentence is none: it is one piece, spelt as it stands, whatever commas it has.
    Raises UsageError where there are more than three parts.
    """
    known = set(captions.known)
    sections = [list(pieces(section, known)) for section in text.split("|||")]
    if len(sections) > len(PARTS):
        raise UsageError('a caption has at most a head, a middle and a tail: "|||" stands twice')
    parts = PARTS if len(sections) > 1 else ("",)
    found: dict[str, EditTag] = {}
    for part, names in zip(parts, sections, strict=False):
        for piece, is_sentence in names:
            name = piece if is_sentence else canonical(piece)
            tag = EditTag(name, SENTENCE, part) if is_sentence else captions.tag(name, part)
            found.setdefault(name, tag)
    return list(found.values())


def _tell_unknown(captions: Captions, names: Sequence[str]) -> None:
    """A misspelt tag would be learnt as it is."""
    from difflib import get_close_matches

    for name in dict.fromkeys(names):
        if not captions.knows(name):
            near = get_close_matches(name, captions.known, 1, 0.8)
            hint = f': did you mean "{near[0]}"?' if near else ""
            say(f'edit: nothing here has the tag "{name}" so far{hint}')


def examples_of(captions: Captions, rows: Ints, changes: tuple[Change, ...]) -> tuple[Example, ...]:
    """Return the first images that the changes change, or, without any, the first of `rows`."""
    now = captions.now
    entries = journal.read(captions.dataset.root).counting
    next_id = max([entry.id for entry in entries], default=0) + 1
    held = standing(
        [Entry(next_id, "", "", changes)], places_of(captions.dataset, now.images), len(now.images)
    )
    after = edited(now.edited.tags, held, 1).tags
    shown = []
    for n in rows.tolist():
        one, other = (
            tuple(tags.names[code] for code in tags.tag[_slice(tags.image, n)].tolist())
            for tags in (now.edited.tags, after)
        )
        if one != other or not held.operations.image.size:
            shown.append(Example(now.images.md5s[n], one, other))
        if len(shown) == EXAMPLES:
            break
    return tuple(shown)


def _slice(image: Ints, n: int) -> slice:
    start, stop = np.searchsorted(image, [n, n + 1])
    return slice(int(start), int(stop))
