"""What the site knows of tags: the present name of an alias, and what a tag implies.

It comes from the snapshot in the dataset, so that captions need no network. A dataset without a
site has none: no name is an alias there and nothing implies anything.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from prep.captions.columns import KINDS, PERSON, Bools, Images, Tags
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


@dataclass(frozen=True)
class Implied:
    """Leave out tags that another tag of the image implies, over any number of steps."""

    implications: Mapping[str, Collection[str]]

    def __call__(self, tags: Tags, images: Images, bit: int) -> Tags:
        """Return the tags that nothing implies, and those that rules or persons have added."""
        above = ancestors(self.implications, tags.names)
        if not above:
            return tags
        of_rules = np.isin(tags.category, [KINDS.index(category) for category in MADE])
        kept = of_rules | (tags.source & PERSON != 0)
        return tags.where(kept | ~_implied(tags, len(images), above))


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


def _implied(tags: Tags, images: int, above: Mapping[str, Collection[str]]) -> Bools:
    """Which tags another tag of their image has above it.

    Images go through in blocks: a table of (image, implied tag) is marked, then read.
    """
    columns = {name: place for place, name in enumerate(sorted(set().union(*above.values())))}
    width = len(columns) + 1  # the last column is for tags that nothing implies: never marked
    column = np.array([columns.get(name, width - 1) for name in tags.names], np.int32)
    lists = [[columns[one] for one in sorted(above.get(name, ()))] for name in tags.names]
    count = np.array([len(one) for one in lists], np.int32)
    first = np.cumsum(count, dtype=np.int32) - count
    flat = np.array([one for marked in lists for one in marked], np.int32)
    rows = max(1, BLOCK // width)
    starts = np.arange(0, images, rows)
    bounds = np.searchsorted(tags.image, np.append(starts, images))
    implied = np.zeros(len(tags), bool)
    marked = np.zeros(rows * width, bool)
    for start, low, high in zip(starts, bounds[:-1], bounds[1:], strict=True):
        row = (tags.image[low:high] - start).astype(np.int32) * width
        tag = tags.tag[low:high].astype(np.int32)
        many = count[tag]
        implying = np.flatnonzero(many)
        many = many[implying]
        cells = np.repeat(row[implying], many) + flat[_ranges(first[tag[implying]], many)]
        marked[cells] = True
        implied[low:high] = marked[row + column[tag]]
        marked[cells] = False
    return implied


def _ranges(first: npt.NDArray[np.int32], count: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """The numbers from each `first` on, `count` of each, in a row."""
    ends = np.cumsum(count, dtype=count.dtype)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total, dtype=count.dtype) - np.repeat(ends - count - first, count)
