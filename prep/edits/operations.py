"""The journal's entries as columns: which edit does what to which tag of which image."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from prep.captions.columns import KINDS as CATEGORIES
from prep.captions.columns import Bools, Ints, ranges
from prep.edits.journal import KINDS, Change, Entry
from prep.edits.places import Places
from schemas.tables import PARTS

ADD, REMOVE, REPLACE, SET, CAPTION, EXCLUDE, INCLUDE = range(len(KINDS))  # as they stand there


@dataclass(frozen=True)
class Tagged:
    """The tags of all changes, one element each; a change's own lie side by side."""

    names: tuple[str, ...]  # canonical
    category: Ints
    part: Ints  # place in PARTS, or -1
    starts: Ints  # by change, and one more


@dataclass(frozen=True)
class Operations:
    """What is done, one element each: by image, then in the order in which it was asked for.

    `wave` counts, within an image, the groups of operations that can be done at once: additions and
    removals between two of another kind.
    """

    image: Ints
    kind: Ints
    tag: Ints  # place in `Tagged`; of `replace` the old tag; of `set` and `caption` the first
    change: Ints
    entry: Ints  # id
    wave: Ints

    def __len__(self) -> int:
        return len(self.image)

    def take(self, which: Bools | Ints) -> "Operations":
        """Return the operations at these places, or that a mask keeps."""
        columns = ("image", "kind", "tag", "change", "entry", "wave")
        return replace(self, **{name: getattr(self, name)[which] for name in columns})


@dataclass(frozen=True)
class Standing:
    """All that the journal says of the images of a dataset."""

    operations: Operations
    tagged: Tagged
    excluded: dict[int, str]  # images that are out of their set, and why
    written: Bools  # [images] whether a person wrote the whole caption
    waiting: int  # images that edits name and no set has now

    def part(self, start: int, stop: int) -> "Standing":
        """Return what it says of the images from `start` to before `stop`, which begin at 0."""
        low, high = np.searchsorted(self.operations.image, [start, stop])
        operations = self.operations.take(np.arange(low, high))
        return Standing(
            replace(operations, image=operations.image - start),
            self.tagged,
            {n - start: why for n, why in self.excluded.items() if start <= n < stop},
            self.written[start:stop],
            self.waiting,
        )


def standing(entries: Sequence[Entry], places: Places, count: int) -> Standing:
    """Return what the entries do to `count` images, in the order of the entries."""
    changes = [change for entry in entries for change in entry.changes]
    ids = np.array([entry.id for entry in entries for _ in entry.changes], np.int64)
    kinds = np.array([KINDS.index(change.do) for change in changes], np.int64)
    tagged = _tagged(changes)
    change, image, waiting = _pairs(changes, places, count)
    single = np.isin(kinds, (ADD, REMOVE))
    times = np.where(single, np.diff(tagged.starts), np.isin(kinds, (REPLACE, SET, CAPTION)))
    which, tag = ranges(tagged.starts[change], times[change])
    order = np.lexsort((tag, change[which], image[which]))
    tag, which = tag[order], which[order]
    operations = Operations(
        image=image[which],
        kind=kinds[change[which]],
        tag=tag,
        change=change[which],
        entry=ids[change[which]],
        wave=_waves(image[which], ~single[change[which]]),
    )
    whole = operations.take(np.isin(operations.kind, (SET, CAPTION)))
    written = np.zeros(count, bool)
    written[whole.image] = whole.kind == CAPTION  # of several the last counts
    excluded: dict[int, str] = {}
    for n in np.flatnonzero(np.isin(kinds[change], (EXCLUDE, INCLUDE))).tolist():
        if kinds[change[n]] == EXCLUDE:
            excluded[int(image[n])] = changes[change[n]].reason
        else:
            excluded.pop(int(image[n]), None)
    return Standing(operations, tagged, excluded, written, waiting)


def _pairs(changes: Sequence[Change], places: Places, count: int) -> tuple[Ints, Ints, int]:
    """Which change is about which image, each pair once, by change; how many images have no place.

    For an image that is gone those speak that were in its group when the edit was made.
    """
    md5s = [md5 for change in changes for md5 in change.images]
    change = np.repeat(np.arange(len(changes)), [len(change.images) for change in changes])
    named, image = places.of(md5s)
    missing = np.setdiff1d(np.arange(len(md5s)), named)
    copies = [
        (n, copy)
        for n in missing.tolist()
        for copy in changes[change[n]].copies.get(md5s[n], ())
    ]  # fmt: skip
    found, at = places.of([copy for _, copy in copies])
    spoken_for = np.array([n for n, _ in copies], np.int64)[found]
    waiting = {md5s[n] for n in np.setdiff1d(missing, spoken_for).tolist()}
    pairs = change[np.concatenate([named, spoken_for])] * count + np.concatenate([image, at])
    distinct = np.unique(pairs)
    return distinct // max(1, count), distinct % max(1, count), len(waiting)


def _tagged(changes: Sequence[Change]) -> Tagged:
    tags = [tag for change in changes for tag in change.tags]
    return Tagged(
        names=tuple(tag.tag for tag in tags),
        category=np.array([CATEGORIES.index(tag.category) for tag in tags], np.int64),
        part=np.array([PARTS.index(tag.part) if tag.part else -1 for tag in tags], np.int64),
        starts=np.cumsum([0, *(len(change.tags) for change in changes)]),
    )


def _waves(image: Ints, alone: Bools) -> Ints:
    """The number of each operation's group within its image; `alone` are groups of their own."""
    first = np.diff(image, prepend=-1) != 0
    starts = first | alone
    starts[1:] |= alone[:-1]
    number = np.cumsum(starts)
    wave: Ints = number - number[np.flatnonzero(first)][np.cumsum(first) - 1]
    return wave
