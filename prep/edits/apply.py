"""Edits over columns of tags: wave after wave, each done to all of its images at once.

What a removal takes away keeps its place until the end, so that a tag which is added again stands
where it stood. An operation that finds nothing to do where there was something when it was made (a
tag to remove or to replace that is not there) changes nothing and is a conflict.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from prep.captions.columns import KINDS, PERSON, Bools, Ints, Tags, made, ranges
from prep.edits.operations import ADD, REMOVE, REPLACE, SET, Operations, Standing


@dataclass(frozen=True)
class Conflicts:
    """Operations that could not be done, one element each."""

    entry: Ints  # id
    image: Ints
    tag: tuple[str, ...]  # that was not there

    def __len__(self) -> int:
        return len(self.entry)

    def behind(self, images: int) -> "Conflicts":
        """Return the same where so many images stand before these."""
        return replace(self, image=self.image + images)

    @classmethod
    def joined(cls, parts: Sequence["Conflicts"]) -> "Conflicts":
        """Return those of several blocks of images."""
        return cls(
            np.concatenate([np.zeros(0, np.int64), *(one.entry for one in parts)]),
            np.concatenate([np.zeros(0, np.int64), *(one.image for one in parts)]),
            tuple(tag for one in parts for tag in one.tag),
        )


@dataclass(frozen=True)
class Edited:
    """Tags after edits, and what the rules behind them have to know."""

    tags: Tags
    standing: Standing
    conflicts: Conflicts

    def as_written(self, tags: Tags) -> Tags:
        """Return what later rules made of the tags, but for captions that a person wrote whole.

        `tags` may have more names than those here, behind them.
        """
        written = self.standing.written
        if not written.any():
            return tags
        own = replace(self.tags, names=tags.names)
        return _by_image([tags.where(~written[tags.image]), own.where(written[own.image])])


def edited(tags: Tags, standing: Standing, bit: int) -> Edited:
    """Return the tags as the edits leave them; `bit` marks those that edits added."""
    todo = standing.operations
    wider, codes = tags.with_names(standing.tagged.names)
    if not len(todo):
        return Edited(wider, standing, _conflicts(todo, np.zeros(0, bool), standing))
    depth = np.zeros(len(standing.written), np.int64)
    np.maximum.at(depth, todo.image, todo.wave + 1)
    state = _State(wider.where(depth[wider.image] > 0).once(), codes, standing, bit)
    done = [wider.where(depth[wider.image] == 0)]
    failed = np.zeros(len(todo), bool)
    order = np.argsort(todo.wave, kind="stable")
    ends = np.cumsum(np.bincount(todo.wave))
    for wave, which in enumerate(np.split(order, ends[:-1])):
        operations = todo.take(which)
        failed[which] = state.do(operations)
        done.append(state.leave(depth[state.tags.image] == wave + 1))
    return Edited(_by_image(done), standing, _conflicts(todo, failed, standing))


def _conflicts(todo: Operations, failed: Bools, standing: Standing) -> Conflicts:
    lost = todo.take(failed)
    names = tuple(standing.tagged.names[place] for place in lost.tag.tolist())
    return Conflicts(lost.entry, lost.image, names)


@dataclass
class _State:
    """The tags of images that have edits yet to come, with those taken away among them."""

    tags: Tags
    codes: Ints  # of the edits' tags, in `tags.names`
    standing: Standing
    bit: int

    def __post_init__(self) -> None:
        self.there = np.ones(len(self.tags), bool)

    def do(self, todo: Operations) -> Bools:
        """Do one wave of operations; return which of them could not be done."""
        failed = np.zeros(len(todo), bool)
        single, moves = np.isin(todo.kind, (ADD, REMOVE)), todo.kind == REPLACE
        if single.any():
            failed[single] = self._present(todo.take(single))
        if moves.any():
            failed[moves] = self._replace(todo.take(moves))
        if not (whole := ~(single | moves)).any():
            return failed
        self._set(todo.take(whole))
        return failed

    def leave(self, mask: Bools) -> Tags:
        """Return the tags of images that are done, and forget them."""
        left = self.tags.where(mask & self.there)
        self._keep(~mask)
        return left

    def _present(self, todo: Operations) -> Bools:
        """Additions and removals: of several of one tag the last decides."""
        tag = self.codes[todo.tag]
        key = todo.image * len(self.tags.names) + tag
        order = np.lexsort((np.arange(len(todo)), key))
        first = np.flatnonzero(np.diff(key[order], prepend=-1))
        last = np.append(first[1:], len(order)) - 1
        row = self._rows_of(todo.image[order[first]], tag[order[first]])
        adds = todo.kind[order] == ADD
        before = np.append(False, adds[:-1])
        before[first] = self._is_there(row)
        failed = np.zeros(len(todo), bool)
        failed[order] = ~adds & ~before

        held, stays = row >= 0, adds[last]
        self.there[row[held]] = stays[held]
        self._mark(row[held & stays])
        # a tag that is new stands where it was first asked for
        asked = np.minimum.reduceat(np.where(adds, order, len(order)), first)
        fresh = np.flatnonzero(~held & (asked < len(order)))
        fresh = fresh[np.argsort(asked[fresh])]
        named = todo.tag[order[last[fresh]]]
        self._append(todo.image[order[first[fresh]]], named, stays[fresh])
        return failed

    def _replace(self, todo: Operations) -> Bools:
        """One tag for another, in its place; where that is there already, it stays where it is."""
        new = self.codes[todo.tag + 1]
        old_row = self._rows_of(todo.image, self.codes[todo.tag])
        new_row = self._rows_of(todo.image, new)
        can = self._is_there(old_row)
        both = can & self._is_there(new_row) & (new_row != old_row)
        self.there[old_row[both]] = False
        self._mark(new_row[both])
        moved = can & ~both
        row = old_row[moved]
        stale = new_row[moved & (new_row >= 0) & (new_row != old_row)]
        columns = {name: getattr(self.tags, name).copy() for name in ("tag", "category")}
        columns["tag"][row] = new[moved]
        columns["category"][row] = self.standing.tagged.category[todo.tag[moved] + 1]
        self.tags = replace(self.tags, **columns)
        self._mark(row)
        mask = np.ones(len(self.tags), bool)
        mask[stale] = False
        self._keep(mask)
        return ~can

    def _set(self, todo: Operations) -> None:
        """All tags at once: `set` leaves the trigger alone, `caption` leaves nothing."""
        hit = np.zeros(len(self.standing.written), np.int64)
        hit[todo.image] = todo.kind
        kind = hit[self.tags.image]
        trigger = self.tags.category == KINDS.index("trigger")
        self._keep((kind == 0) | ((kind == SET) & trigger))
        starts = self.standing.tagged.starts
        which, tag = ranges(starts[todo.change], np.diff(starts)[todo.change])
        image = todo.image[which]
        row = self._rows_of(image, self.codes[tag])
        self.there[row[row >= 0]] = True
        fresh = row < 0
        self._append(image[fresh], tag[fresh], np.ones(np.count_nonzero(fresh), bool))

    def _rows_of(self, image: Ints, tag: Ints) -> Ints:
        """The row of each pair of image and tag, -1 where there is none."""
        mentioned = np.zeros(len(self.tags.names), bool)
        mentioned[tag] = True
        rows = np.flatnonzero(mentioned[self.tags.tag])
        keys = self.tags.image[rows].astype(np.int64) * len(mentioned) + self.tags.tag[rows]
        order = np.argsort(keys, kind="stable")
        wanted = image * len(mentioned) + tag
        at = np.searchsorted(keys[order], wanted)
        is_it = np.append(keys[order], -1)[at] == wanted
        return np.where(is_it, np.append(rows[order], -1)[at], -1)

    def _is_there(self, row: Ints) -> Bools:
        return np.append(self.there, False)[row]  # -1: no row

    def _append(self, image: Ints, tagged: Ints, there: Bools) -> None:
        """Put tags of edits behind those of their images, in the given order."""
        all_ = self.standing.tagged
        new = made(
            self.tags.names, image, self.codes[tagged], all_.category[tagged], PERSON, self.bit
        )
        new = replace(new, part=all_.part[tagged].astype(np.int8))
        order = np.argsort(np.concatenate([self.tags.image, new.image]), kind="stable")
        self.tags = _together([self.tags, new]).take(order)
        self.there = np.concatenate([self.there, there])[order]

    def _mark(self, rows: Ints) -> None:
        """Note that a person wants these."""
        source, touched = self.tags.source.copy(), self.tags.touched.copy()
        source[rows] |= PERSON
        touched[rows] |= np.uint32(self.bit)
        self.tags = replace(self.tags, source=source, touched=touched)

    def _keep(self, mask: Bools) -> None:
        if not mask.all():
            self.tags, self.there = self.tags.where(mask), self.there[mask]


def _by_image(parts: Iterable[Tags]) -> Tags:
    """The parts image by image; none of them shares an image with another."""
    whole = _together(list(parts))
    return whole.take(np.argsort(whole.image, kind="stable"))


def _together(parts: list[Tags]) -> Tags:
    return Tags(
        parts[0].names,
        np.concatenate([part.image for part in parts]),
        np.concatenate([part.tag for part in parts]),
        np.concatenate([part.category for part in parts]),
        np.concatenate([part.source for part in parts]),
        np.concatenate([part.touched for part in parts]),
        np.concatenate([part.part for part in parts]),
    )
