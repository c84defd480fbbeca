"""What the site knows of tags: the present name of an alias, and what a tag implies.

It comes from the snapshot in the dataset, so that captions need no network. A dataset without a
site has none: no name is an alias there and nothing implies anything.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np
import pyarrow as pa

from prep.captions.columns import KINDS, PERSON, Bools, Images, Ints, Names, Tags, ranges
from schemas.tags import MADE

BLOCK = 1 << 21  # cells (image x implied tag) looked at together: they fit into a cache


@dataclass(frozen=True)
class Knowledge:
    """Aliases and implications as the site had them; all names canonical."""

    aliases: Mapping[str, str] = field(default_factory=dict)  # to the name that took its place
    implications: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # the direct ones
    categories: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: pa.Table) -> "Knowledge":
        """Return what the rows of the table of the site's tags say."""
        columns = [rows[name].to_pylist() for name in ("name", "alias_of", "implies", "category")]
        told = list(zip(*columns, strict=True))
        return cls(
            {name: new for name, new, _, _ in told if new},
            {name: tuple(implied) for name, _, implied, _ in told if implied},
            {name: category for name, _, _, category in told if category},
        )

    def present(self, name: str) -> str:
        """Return the name that the site has now for a canonical name: its own, if no alias."""
        passed = {name}
        new = name
        while (after := self.aliases.get(new)) is not None:
            if after in passed:
                return name  # aliases in a circle lead nowhere
            passed.add(after)
            new = after
        return new

    def implications_as(self, names: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
        """Return the implications between tags that now have these other names."""
        found: dict[str, tuple[str, ...]] = {}
        for name, implied in self.implications.items():
            new = names.get(name, name)
            found[new] = (*found.get(new, ()), *(names.get(one, one) for one in implied))
        return found


UNKNOWN = Knowledge()


@dataclass(frozen=True, eq=False)
class Implied:
    """Leave out tags that another tag of the image implies, over any number of steps."""

    implications: Mapping[str, Collection[str]]

    @cached_property
    def above(self) -> Mapping[str, Collection[str]]:
        """What each tag implies, directly or not."""
        every = {one for implied in self.implications.values() for one in implied}
        return ancestors(self.implications, every | self.implications.keys())

    def __call__(self, tags: Tags, images: Images, bit: int) -> Tags:
        """Return the tags that nothing implies, and those that rules or persons have added."""
        marks = _marks(self, Names.of(tags.names))
        if not len(marks.flat):
            return tags
        of_rules = np.isin(tags.category, [KINDS.index(category) for category in MADE])
        kept = of_rules | (tags.source & PERSON != 0)
        return tags.where(kept | ~_implied(tags, len(images), marks))


def ancestors(
    implications: Mapping[str, Collection[str]], names: Iterable[str]
) -> dict[str, set[str]]:
    """Return what each of `names` implies, directly or not, among `names`.

    Tags that imply each other, in a circle, are none of each other's ancestors.
    """
    names = set(names)
    reached = {name: _reached(implications, name) for name in names & implications.keys()}
    found = {
        name: {one for one in above & names if name not in reached.get(one, ())}
        for name, above in reached.items()
    }
    return {name: above for name, above in found.items() if above}


def _reached(implications: Mapping[str, Collection[str]], name: str) -> set[str]:
    reached: set[str] = set()
    waiting = list(implications.get(name, ()))
    while waiting:
        if (one := waiting.pop()) not in reached:
            reached.add(one)
            waiting.extend(implications.get(one, ()))
    return reached


@dataclass(frozen=True)
class _Marks:
    """Which columns a tag marks in a table of (image, implied tag), and which is its own."""

    width: int  # the last column is for tags that nothing implies: it is never marked
    column: Ints  # [names]
    first: Ints  # [names] where those that a name marks begin in `flat`
    count: Ints  # [names]
    flat: Ints


@lru_cache(maxsize=1)  # blocks of images have the same names
def _marks(implied: Implied, names: Names) -> _Marks:
    above = {
        name: sorted(one for one in implied.above[name] if one in names.codes)
        for name in implied.above
        if name in names.codes
    }
    marked = sorted(set().union(*above.values()))
    columns = {name: place for place, name in enumerate(marked)}
    column = np.full(len(names), len(columns), np.int32)
    for name, place in columns.items():
        column[names.codes[name]] = place
    count = np.zeros(len(names), np.int32)
    for name, implied_by_it in above.items():
        count[names.codes[name]] = len(implied_by_it)
    in_order = sorted(above, key=lambda name: names.codes[name])
    flat = np.array([columns[one] for name in in_order for one in above[name]], np.int32)
    first = np.cumsum(count, dtype=np.int32) - count
    return _Marks(len(columns) + 1, column, first, count, flat)


def _implied(tags: Tags, images: int, marks: _Marks) -> Bools:
    """Which tags another tag of their image has above it.

    Images go through in blocks: a table of (image, implied tag) is marked, then read.
    """
    width = marks.width
    rows = max(1, BLOCK // width)
    starts = np.arange(0, images, rows)
    bounds = np.searchsorted(tags.image, np.append(starts, images))
    implied = np.zeros(len(tags), bool)
    marked = np.zeros(rows * width, bool)
    for start, low, high in zip(starts, bounds[:-1], bounds[1:], strict=True):
        row = (tags.image[low:high] - start).astype(np.int32) * width
        tag = tags.tag[low:high].astype(np.int32)
        many = marks.count[tag]
        implying = np.flatnonzero(many)
        many = many[implying]
        which, places = ranges(marks.first[tag[implying]], many)
        cells = row[implying][which] + marks.flat[places]
        marked[cells] = True
        implied[low:high] = marked[row + marks.column[tag]]
        marked[cells] = False
    return implied
