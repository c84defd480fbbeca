"""Pairs of 64-bit hashes that differ in few bits, and groups around keepers."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

BLOCK = 2048  # hashes compared at once with as many others: bounds the memory, not the result

Hashes = npt.NDArray[np.uint64]
Indices = npt.NDArray[np.int64]


def pairs_within(hashes: Hashes, bits: int) -> tuple[Indices, Indices, Indices]:
    """Return all pairs i < j with at most `bits` differing bits, and those bits: exact."""
    found = list(_blocks(hashes, hashes, bits))
    first, second, distance = (np.concatenate(part) for part in zip(*found, strict=True))
    upper = first < second
    return first[upper], second[upper], distance[upper]


def near_any(hashes: Hashes, others: Hashes, bits: int) -> npt.NDArray[np.bool_]:
    """Return for each hash whether some hash of `others` is within `bits` bits of it."""
    near = np.zeros(len(hashes), dtype=bool)
    for first, _, _ in _blocks(hashes, others, bits):
        near[first] = True
    return near


def stars(count: int, first: Indices, second: Indices, kept: Sequence[int] = ()) -> Indices:
    """Return for each of `count` items the item that stands for it.

    Items are in order of preference. Each joins the first keeper it is near to, else it becomes a
    keeper itself, so that nobody is farther from its keeper than one pair (chains of near pairs
    would join strangers). `kept` are keepers already, before all others.
    """
    near: dict[int, list[int]] = {}
    for a, b in zip(first.tolist(), second.tolist(), strict=True):
        near.setdefault(a, []).append(b)
        near.setdefault(b, []).append(a)
    keeper = np.full(count, -1, dtype=np.int64)
    already = set(kept)
    for item in [*sorted(already), *(i for i in range(count) if i not in already)]:
        if keeper[item] >= 0:
            continue
        keeper[item] = item
        for other in near.get(item, ()):
            if keeper[other] < 0:
                keeper[other] = item
    return keeper


def _blocks(
    hashes: Hashes, others: Hashes, bits: int
) -> Iterator[tuple[Indices, Indices, Indices]]:
    empty = np.empty(0, dtype=np.int64)
    yield empty, empty, empty
    for top in range(0, len(hashes), BLOCK):
        for left in range(0, len(others), BLOCK):
            block = hashes[top : top + BLOCK, None] ^ others[None, left : left + BLOCK]
            distance = np.bitwise_count(block)
            rows, columns = np.nonzero(distance <= bits)
            yield rows + top, columns + left, distance[rows, columns].astype(np.int64)
