"""Hashes of 64 bits that differ in few: an exact index over a million, and groups around keepers.

The index rests on the pigeonhole principle (Norouzi, Punjani and Fleet, "Fast Exact Search in
Hamming Space with Multi-Index Hashing", 2014): cut 64 bits into `bits + k` blocks, and two hashes
that differ in at most `bits` bits agree in at least `k` of the blocks. So the hashes are sorted
once for each choice of `k` blocks, and only those that agree in all of these are compared.

Near-identical hashes, as flat pictures have, would be compared pair by pair in nearly every choice.
Hashes that many others agree with are therefore *crowded*: they are set apart and compared with the
other crowded ones directly, and only as far as the answer needs.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations, pairwise
from math import comb

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Indices = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Alike = Callable[[Indices, Indices], Bools]  # which pairs (keeper, other) are one picture

CROWD = 1024  # hashes that agree in the chosen blocks, from which on they are crowded
BLOCK = 1 << 20  # pairs compared at once: bounds the memory, not the result
MOST_AGREEING = 4  # blocks: more choices than these have cost more than they save
ENTROPY = 0.7  # of a bit of real hashes, which are neither even nor independent
# seconds on one core, only their proportions matter: to sort one hash, to compare two that agree
# in a choice, to compare two without an index
SORTED, COMPARED, SCANNED = 6e-8, 3e-9, 1.5e-9


@dataclass(frozen=True)
class Pairs:
    """Near pairs `first` < `second`, each once; but for pairs of which both are `crowded`."""

    first: Indices
    second: Indices
    crowded: Bools  # by hash


def stars(
    hashes: Hashes,
    bits: int,
    *,
    kept: Sequence[int] = (),
    same: Sequence[object | None] | None = None,
    judge: Callable[[Indices], Alike] | None = None,
) -> Indices:
    """Return for each hash the one that stands for it, its keeper; keepers stand for themselves.

    `hashes` are in order of preference. Each joins the first keeper that differs from it in at most
    `bits` bits and that `judge` says is the same picture, or whose `same` equals its own (None
    equals nothing); else it becomes a keeper itself. So nobody is farther from its keeper than one
    pair: chains of near pairs would join strangers. `kept` are keepers already, before all others.

    `judge` is told all hashes that may be asked of, and returns what judges pairs of these.
    """
    already = np.array(sorted(set(kept)), np.int64)
    is_kept = np.zeros(len(hashes), bool)
    is_kept[already] = True
    order = np.concatenate([already, np.flatnonzero(~is_kept)])  # rank -> place in `hashes`
    ranked = hashes[order]
    pairs = near_pairs(ranked, bits)
    first, second = pairs.first, pairs.second
    alike: Alike | None = None
    if judge is not None:
        asked = pairs.crowded.copy()
        asked[first] = True
        asked[second] = True
        alike = judge(order[asked])
        sound = alike(order[first], order[second])
        first, second = first[sound], second[sound]
    joins = _Joins(first, second, len(hashes))
    mates = _mates(same, order)
    crowd = _Crowd(np.flatnonzero(pairs.crowded), ranked)
    involved = pairs.crowded.copy()
    involved[first] = True
    involved[second] = True
    involved[list(mates)] = True
    keeper = np.where(involved, -1, np.arange(len(hashes)))
    for rank in np.flatnonzero(involved).tolist():
        if keeper[rank] >= 0:
            continue
        keeper[rank] = rank
        found = [joins.of(rank), mates.get(rank, _NONE)]
        if pairs.crowded[rank]:
            near = crowd.near(rank, bits, keeper)
            if alike is not None:
                near = near[alike(np.full(len(near), order[rank]), order[near])]
            found.append(near)
        others = np.concatenate(found)
        keeper[others[keeper[others] < 0]] = rank
    answer = np.empty_like(keeper)
    answer[order] = order[keeper]
    return answer


def near_any(hashes: Hashes, others: Hashes, bits: int) -> Bools:
    """Return for each hash whether some hash of `others` is within `bits` bits of it: exact."""
    count = len(hashes)
    if not count or not len(others):
        return np.zeros(count, bool)
    together = np.concatenate([hashes, others])
    pairs = near_pairs(together, bits, across=count)
    near = np.zeros(count, bool)
    near[pairs.first] = True
    left = np.flatnonzero(pairs.crowded[:count] & ~near)
    right = np.unique(others[pairs.crowded[count:]])
    step = max(1, BLOCK // max(1, len(right)))
    for start in range(0, len(left), step):
        rows = left[start : start + step]
        apart = np.bitwise_count(hashes[rows, None] ^ right[None, :])
        near[rows] = (apart <= bits).any(axis=1)
    return near


def near_pairs(hashes: Hashes, bits: int, across: int | None = None) -> Pairs:
    """Return the pairs that differ in at most `bits` bits, without those of the crowded.

    `across`: only pairs of one among the first so many hashes and one among the rest.
    """
    return _pairs(hashes, bits, _agreeing(len(hashes), bits), across)


def _pairs(hashes: Hashes, bits: int, agreeing: int, across: int | None) -> Pairs:
    """Near pairs by their agreeing in so many blocks; the crowded once more, in more blocks."""
    if agreeing == 0:
        return Pairs(_NONE, _NONE, np.ones(len(hashes), bool))
    masks = _masks(bits + agreeing)
    choices = list(combinations(range(len(masks)), agreeing))
    crowded = np.zeros(len(hashes), bool)
    found = [(_NONE, _NONE)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        parts = pool.map(lambda one: _agreeing_pairs(hashes, bits, masks, one, across), choices)
        for first, second, crowd in parts:
            crowded[crowd] = True
            found.append((first, second))
    first, second = (np.concatenate(column) for column in zip(*found, strict=True))
    sparse = ~(crowded[first] & crowded[second])
    first, second = first[sparse], second[sparse]
    members = np.flatnonzero(crowded)
    if agreeing < MOST_AGREEING and len(members) > 4 * CROWD:
        border = None if across is None else int(np.searchsorted(members, across))
        finer = _pairs(hashes[members], bits, agreeing + 1, border)
        first = np.concatenate([first, members[finer.first]])
        second = np.concatenate([second, members[finer.second]])
        crowded[members[~finer.crowded]] = False
    return Pairs(first, second, crowded)


_NONE = np.empty(0, np.int64)


def _agreeing(count: int, bits: int) -> int:
    """In how many blocks near hashes are to agree, so that the work is least; 0: compare all."""
    costs = {0: count * count / 2 * SCANNED}
    for agreeing in range(1, MOST_AGREEING + 1):
        blocks = bits + agreeing
        rivals = count / 2 ** (ENTROPY * 64 * agreeing / blocks)
        costs[agreeing] = comb(blocks, agreeing) * count * (SORTED + rivals * COMPARED)
    return min(costs, key=lambda agreeing: costs[agreeing])


def _masks(blocks: int) -> list[int]:
    """The bits of each block: as many as the others', or one more."""
    edges = [64 * block // blocks for block in range(blocks + 1)]
    return [(1 << end) - (1 << start) for start, end in pairwise(edges)]


def _agreeing_pairs(
    hashes: Hashes, bits: int, masks: Sequence[int], choice: tuple[int, ...], across: int | None
) -> tuple[Indices, Indices, Indices]:
    """Near pairs that agree in the blocks chosen and in no earlier choice; and the crowded."""
    order, run, ends = _runs(_key(hashes, masks, choice))
    if not len(order):
        return _NONE, _NONE, _NONE
    is_crowd = np.diff(ends, prepend=0) >= CROWD
    crowded = order[is_crowd[run]]
    ranked = hashes[order]
    end = ends[run]
    firsts, seconds = [_NONE], [_NONE]
    place = np.flatnonzero(~is_crowd[run] & (np.arange(1, len(order) + 1) < end))
    step = 1
    while len(place):
        near = place[np.bitwise_count(ranked[place] ^ ranked[place + step]) <= bits]
        firsts.append(order[near])
        seconds.append(order[near + step])
        step += 1
        place = place[place + step < end[place]]
    a, b = np.concatenate(firsts), np.concatenate(seconds)
    first, second = np.minimum(a, b), np.maximum(a, b)
    new = _first_choice(hashes[first] ^ hashes[second], masks, choice)
    if across is not None:
        new &= (first < across) & (second >= across)
    return first[new], second[new], crowded


def _key(hashes: Hashes, masks: Sequence[int], choice: tuple[int, ...]) -> Hashes:
    """The bits of the chosen blocks side by side."""
    key = np.zeros(len(hashes), np.uint64)
    for block in choice:
        lowest = (masks[block] & -masks[block]).bit_length() - 1
        width = masks[block].bit_length() - lowest
        key <<= np.uint64(width)
        key |= hashes >> np.uint64(lowest) & np.uint64((1 << width) - 1)
    return key


def _runs(key: Hashes) -> tuple[Indices, Indices, Indices]:
    """The places of all that agree with another; for each its run of those; where runs end."""
    order = np.argsort(key.astype(np.uint16), kind="stable")  # by counting, as keys are short
    rest = key >> np.uint64(16)
    while rest.any():
        order = order[np.argsort(rest[order].astype(np.uint16), kind="stable")]
        rest >>= np.uint64(16)
    ranked = key[order]
    edges = np.concatenate([[0], np.flatnonzero(ranked[1:] != ranked[:-1]) + 1, [len(key)]])
    sizes = np.diff(edges)
    order = order[np.repeat(sizes > 1, sizes)]
    sizes = sizes[sizes > 1]
    return order, np.repeat(np.arange(len(sizes)), sizes), np.cumsum(sizes)


def _first_choice(apart: Hashes, masks: Sequence[int], choice: tuple[int, ...]) -> Bools:
    """Whether the blocks chosen are the first ones in which two hashes agree: each pair once."""
    first = np.ones(len(apart), bool)
    for block in range(choice[-1]):
        if block not in choice:
            first &= (apart & np.uint64(masks[block])) != 0
    return first


class _Joins:
    """For each item the later ones that it is near to."""

    def __init__(self, first: Indices, second: Indices, count: int) -> None:
        order = np.argsort(first, kind="stable")
        self._second = second[order]
        self._starts = np.searchsorted(first[order], np.arange(count + 1))

    def of(self, item: int) -> Indices:
        later: Indices = self._second[self._starts[item] : self._starts[item + 1]]
        return later


class _Crowd:
    """The crowded that no keeper stands for yet, so that a keeper looks only at those."""

    def __init__(self, members: Indices, hashes: Hashes) -> None:
        self._members, self._hashes = members, hashes[members]
        self._ranked = hashes
        self._stale = 0  # times a member was looked at in vain

    def near(self, rank: int, bits: int, keeper: Indices) -> Indices:
        """The members after `rank`, without a keeper, that are within `bits` bits of it."""
        start = int(np.searchsorted(self._members, rank, side="right"))
        if max(start, self._stale) > len(self._members) // 2:
            left = keeper[self._members] < 0
            self._members, self._hashes, self._stale = self._members[left], self._hashes[left], 0
            start = int(np.searchsorted(self._members, rank, side="right"))
        near = np.bitwise_count(self._hashes[start:] ^ self._ranked[rank]) <= bits
        members = self._members[start:][near]
        found: Indices = members[keeper[members] < 0]
        self._stale += len(members) - len(found)
        return found


def _mates(same: Sequence[object | None] | None, order: Indices) -> dict[int, Indices]:
    """By rank: the later ones that are the same by somebody's word."""
    holders: dict[object, list[int]] = {}
    if same is not None:
        for rank, place in enumerate(order.tolist()):
            if (word := same[place]) is not None:
                holders.setdefault(word, []).append(rank)
    groups = (np.array(ranks, np.int64) for ranks in holders.values() if len(ranks) > 1)
    return {rank: group[n + 1 :] for group in groups for n, rank in enumerate(group.tolist())}
