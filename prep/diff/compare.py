"""Two sides of captions: tags that go, come, stand elsewhere or are written otherwise."""

from dataclasses import dataclass

import numpy as np

from prep.captions.columns import Bools, Ints
from prep.diff.sides import COLUMNS, Side


@dataclass(frozen=True)
class Compared:
    """What differs, as rows of the two sides."""

    before: Side  # of images that differ
    after: Side
    removed: Ints  # rows of `before`
    added: Ints  # rows of `after`
    kept_before: Ints  # rows of tags that are on both sides
    kept_after: Ints
    moved: Bools  # which of those kept stand elsewhere among them


def compared(before: Side, after: Side, images: int) -> Compared:
    """Compare the captions of images that both sides have."""
    differ = differing(before, after, images)
    before, after = before.take(differ[before.image]), after.take(differ[after.image])
    key_before, key_after = (pairs(side.image, side.tag) for side in (before, after))
    order = np.argsort(key_before, kind="stable")
    at = np.searchsorted(key_before[order], key_after)
    row = np.append(order, -1)[at]
    both = np.append(key_before, -1)[row] == key_after
    kept_after, kept_before = np.flatnonzero(both), row[both]
    removed = np.ones(len(before), bool)
    removed[kept_before] = False
    return Compared(
        before,
        after,
        np.flatnonzero(removed),
        np.flatnonzero(~both),
        kept_before,
        kept_after,
        _moved(before.take(kept_before), after.take(kept_after), kept_before),
    )


def differing(before: Side, after: Side, images: int) -> Bools:
    """Return which images have not the same tags, written the same, in the same order and parts."""
    many = before.counts(images)
    differ: Bools = many != after.counts(images)
    same = [side.take(~differ[side.image]) for side in (before, after)]
    unlike = np.zeros(len(same[0]), bool)
    for name in COLUMNS:
        if name != "source":  # who says a tag is no change of the caption
            unlike |= getattr(same[0], name) != getattr(same[1], name)
    differ[same[0].image[unlike]] = True
    return differ


def pairs(image: Ints, tag: Ints) -> Ints:
    """Return one number for each image and tag."""
    return np.asarray((image.astype(np.int64) << 32) | tag, np.int64)


def are_in(keys: Ints, among: Ints) -> Bools:
    """Return which keys are among others. (np.isin hashes, and such keys hash to few places.)"""
    if not len(among):
        return np.zeros(len(keys), bool)
    in_order = np.sort(among)
    at = np.minimum(np.searchsorted(in_order, keys), len(in_order) - 1)
    return np.asarray(in_order[at] == keys, bool)


def _moved(before: Side, after: Side, row: Ints) -> Bools:
    """Which of the same tags, in the order of `after`, have gone furthest in their image.

    A tag that goes to the front shifts all others by one place: they have not moved. One that
    changes its part is told as that.
    """
    stays = np.flatnonzero(before.part == after.part)
    image = after.image[stays]
    place = np.empty(len(stays), np.int64)
    place[np.lexsort((row[stays], image))] = np.arange(len(stays))
    shift = np.abs(place - np.arange(len(stays)))  # images stand in the same places on both sides
    moved: Bools = np.zeros(len(row), bool)
    if len(stays):
        starts = np.flatnonzero(np.diff(image, prepend=-1))
        most = np.repeat(np.maximum.reduceat(shift, starts), np.diff(starts, append=len(image)))
        moved[stays] = (shift == most) & (shift > 0)
    return moved
