"""A selection of images whose mean features are those of others: greedy, then improved by swaps.

Each image is a row of features in a few kinds: which tags it has, and for a figure such as its
aspect which of some thresholds it does not exceed. Their means over a set are the frequencies of
its tags and the distribution of the figure; so distances between means are distances between sets
(of figures the Cramér distance). Each kind counts by how much a selection at random would miss.

Greedy as in kernel herding (Chen, Welling and Smola, "Super-Samples from Kernel Herding", 2010),
without drawing an image twice: the next image is the one that brings the mean nearest to what is
wanted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

LEVELS = 16  # thresholds of a figure
SWAPS = 600  # selected images that are tried against all others


@dataclass(frozen=True)
class Features:
    """Features of one kind as the places of ones: `column` of image `row`, each pair once."""

    name: str
    row: Ints
    column: Ints
    wanted: Floats  # [columns] the mean to come near to


@dataclass(frozen=True)
class Distance:
    """How far the mean of a selection is from the wanted one, and how far chance would be."""

    chosen: float
    random: float


def at_most(name: str, values: Floats, targets: Floats, weights: Floats) -> Features:
    """Return for each value which of the targets' (and values') quantiles it does not exceed."""
    levels = np.linspace(0, 1, LEVELS + 2)[1:-1]
    edges = np.unique(np.quantile(np.concatenate([values, targets]), levels))
    row, column = np.nonzero(values[:, None] <= edges)
    wanted = np.average(targets[:, None] <= edges, axis=0, weights=weights)
    return Features(name, row, column, wanted)


def select(
    kinds: Sequence[Features], count: int, number: int, kept: Sequence[int] = ()
) -> tuple[Bools, dict[str, Distance]]:
    """Choose `number` of `count` images; return which, and the distances by kind.

    `kept` are chosen already. Of equals the first is chosen: the same rows give the same.
    """
    chosen = np.zeros(count, bool)
    chosen[list(kept)] = True
    if number >= count:
        chosen[:] = True
    elif number > len(kept):
        _choose(_Rows.of(kinds, count, number), chosen, number)
    return chosen, {kind.name: _distance(kind, chosen) for kind in kinds}


@dataclass(frozen=True)
class _Rows:
    """All kinds side by side, scaled so that chance misses each alike: products with an image."""

    columns: Sequence[Ints]  # of each image
    images: Sequence[Ints]  # of each column
    weight: Floats  # [columns] the square of the scale
    along: Floats  # [count] product of each image with the wanted mean
    norm: Floats  # [count] with itself

    @classmethod
    def of(cls, kinds: Sequence[Features], count: int, number: int) -> "_Rows":
        parts = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros(0))]
        width = 0
        for kind in kinds:
            missed = _by_chance(kind, count, number)
            weight = np.full(len(kind.wanted), 1 / missed**2 if missed > 0 else 0.0)
            parts.append((kind.row, kind.column + width, weight, kind.wanted))
            width += len(kind.wanted)
        row, column, weight, wanted = map(np.concatenate, zip(*parts, strict=True))
        along = _sums(row, (weight * wanted)[column], count)
        norm = _sums(row, weight[column], count)
        return cls(_grouped(row, column, count), _grouped(column, row, width), weight, along, norm)

    def with_all(self, image: int) -> Floats:
        """Return the product of one image with every image."""
        columns = self.columns[image]
        lists = [self.images[column] for column in columns.tolist()]
        if not lists:
            return np.zeros(len(self.norm))
        weights = np.repeat(self.weight[columns], [len(one) for one in lists])
        return _sums(np.concatenate(lists), weights, len(self.norm))


def _choose(rows: _Rows, chosen: Bools, number: int) -> None:
    """Choose images one by one until there are `number`, then put better ones in their place."""
    fixed = set(np.flatnonzero(chosen).tolist())
    total = np.zeros(len(chosen))  # product of each image with the sum of the chosen
    for place in fixed:
        total += rows.with_all(place)
    order: list[int] = []
    for held in range(len(fixed) + 1, number + 1):
        change = 2 * (total - held * rows.along) + rows.norm
        change[chosen] = np.inf
        best = int(np.argmin(change))
        chosen[best] = True
        order.append(best)
        total += rows.with_all(best)
    for place in order[:SWAPS]:  # the first were chosen when least was known of the others
        without = total - rows.with_all(place)
        change = 2 * (without - number * rows.along) + rows.norm
        stays = change[place]
        change[chosen] = np.inf
        best = int(np.argmin(change))
        if change[best] < stays - 1e-9:
            chosen[place], chosen[best] = False, True
            total = without + rows.with_all(best)


def _sums(key: Ints, weights: Floats, count: int) -> Floats:
    """The sum of the weights of each key from 0 to `count`."""
    return np.bincount(key, weights, count).astype(np.float64, copy=False)


def _grouped(key: Ints, value: Ints, count: int) -> list[Ints]:
    """The values of each key from 0 to `count`."""
    order = np.argsort(key, kind="stable")
    ends = np.searchsorted(key[order], np.arange(1, count))
    return list(np.split(value[order], ends)) if count else []


def _distance(kind: Features, chosen: Bools) -> Distance:
    """By how much the chosen miss the wanted mean in one kind, in the kind's own units."""
    number = int(chosen.sum())
    held = np.bincount(kind.column[chosen[kind.row]], minlength=len(kind.wanted))
    apart = held / max(1, number) - kind.wanted
    return Distance(float(np.sqrt((apart**2).sum())), _by_chance(kind, len(chosen), number))


def _by_chance(kind: Features, count: int, number: int) -> float:
    """Return how far the mean of `number` images at random is from the wanted one, on average.

    The root of the expected square: that of the whole mean, and the variance of drawing without
    putting back.
    """
    if not count or not number:
        return 0.0
    mean = np.bincount(kind.column, minlength=len(kind.wanted)) / count
    bias = ((mean - kind.wanted) ** 2).sum()
    variance = (mean * (1 - mean)).sum()
    spread = (count - number) / (number * (count - 1)) if count > 1 else 0.0
    return float(np.sqrt(bias + variance * max(0.0, spread)))
