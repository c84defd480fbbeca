"""Changes of captions as columns: what became of which tag of which image, by which rule."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import get_args

import numpy as np

from prep.captions.columns import Bools, Ints
from schemas.recipes.prep import RuleName

# what may have done it: stages before captions, then the rules; a rule is told by its place here
RULES: tuple[str, ...] = ("fetch", "dedup", *get_args(RuleName))
SAID_BY = ("", "booru", "tagger", "both")  # of a tag that sources give or gave
NOTHING = -1


class Kind(IntEnum):
    """What becomes of a tag."""

    ADDED = 0
    REMOVED = 1
    RENAMED = 2
    MOVED = 3
    PART = 4
    SPELT = 5
    CATEGORY = 6

    @property
    def word(self) -> str:
        """As the report has it."""
        return self.name.lower()


@dataclass(frozen=True)
class Changes:
    """One element for each change, in no order."""

    image: Ints  # place among the images compared
    rule: Ints  # place in RULES
    change: Ints  # of Kind
    tag: Ints  # code of `Words`; of "renamed" the old name
    now: Ints  # code of the new name, part, text or category; NOTHING of other changes
    said_by: Ints  # place in SAID_BY
    category: Ints  # code

    def __len__(self) -> int:
        return len(self.image)

    def take(self, which: Bools | Ints) -> "Changes":
        """Return the changes at these places, or that a mask keeps."""
        return Changes(*(column[which] for column in _columns(self)))

    @classmethod
    def of(cls, change: Kind, image: Ints, rule: Ints, tag: Ints, category: Ints, *,
           now: Ints | None = None, said_by: Ints | None = None) -> "Changes":  # fmt: skip
        """Return changes of one kind."""
        count = len(image)
        return cls(
            image, rule, np.full(count, change), tag,
            np.full(count, NOTHING) if now is None else now,
            np.zeros(count, np.int64) if said_by is None else said_by,
            category,
        )  # fmt: skip


def all_of(parts: Sequence[Changes]) -> Changes:
    """Return some columns of changes as one, image by image."""
    whole = Changes(*(np.concatenate(some) for some in zip(*map(_columns, parts), strict=True)))
    return whole.take(np.argsort(whole.image, kind="stable"))


def _columns(changes: Changes) -> tuple[Ints, ...]:
    one = changes
    return one.image, one.rule, one.change, one.tag, one.now, one.said_by, one.category
