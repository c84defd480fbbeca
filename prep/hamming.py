"""Hashes of 64 bits that differ in few: an exact index over a million, and groups around keepers.

The index rests on the pigeonhole principle (Norouzi, Punjani and Fleet, "Fast Exact Search in
Hamming Space with Multi-Index Hashing", 2014): cut 64 bits into `bits + k` blocks, and two hashes
that differ in at most `bits` bits agree in at least `k` of the blocks. So the hashes are sorted
once for each choice of `k` blocks, and only those that agree in all of these are compared. What is
sorted is the hashes themselves, each value once, their bits moved: no index travels along.

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
Block = tuple[int, int]  # bits of a hash: from, to, the lowest is 0
Alike = Callable[[Indices, Indices], Bools]  # which pairs (keeper, other) are one picture

CROWD = 256  # hashes that agree in the chosen blocks, from which on they are crowded
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
        near = joins.of(rank)
        if pairs.crowded[rank]:
            near = np.concatenate([near, crowd.near(rank, bits, keeper)])
        near = near[keeper[near] < 0]  # looking is dear: only at those without a keeper
        if alike is not None and len(near):
            near = near[alike(np.full(len(near), order[rank]), order[near])]
        others = np.concatenate([near, mates.get(rank, _NONE)])
        keeper[others[keeper[others] < 0]] = rank
    answer = np.empty_like(keeper)
    answer[order] = order[keeper]
    return answer


def near_any(hashes: Hashes, others: Hashes, bits: int) -> Bools:
    """Return for each hash whether some hash of `others` is within `bits` bits of it: exact."""
    values, value = np.unique(np.concatenate([hashes, others]), return_inverse=True)
    ours, theirs = np.zeros(len(values), bool), np.zeros(len(values), bool)
    ours[value[: len(hashes)]] = True
    theirs[value[len(hashes) :]] = True
    pairs = _value_pairs(values, bits)
    near = ours & theirs
    near[pairs.first[theirs[pairs.second]]] = True
    near[pairs.second[theirs[pairs.first]]] = True
    left = np.flatnonzero(pairs.crowded & ours & ~near)
    right = values[pairs.crowded & theirs]
    step = max(1, BLOCK // max(1, len(right)))
    for start in range(0, len(left), step):
        rows = left[start : start + step]
        apart = np.bitwise_count(values[rows, None] ^ right[None, :])
        near[rows] = (apart <= bits).any(axis=1)
    return np.asarray(near[value[: len(hashes)]], bool)


def near_pairs(hashes: Hashes, bits: int) -> Pairs:
    """Return the pairs that differ in at most `bits` bits, without those of the crowded."""
    values, value, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    found = _value_pairs(values, bits)
    repeated = np.flatnonzero(counts > 1)
    first = np.concatenate([found.first, repeated])
    second = np.concatenate([found.second, repeated])
    crowded = found.crowded
    many = counts[first] * counts[second] >= CROWD
    crowded[first[many]] = True
    crowded[second[many]] = True
    sparse = ~(crowded[first] & crowded[second])
    a, b = _holders(first[sparse], second[sparse], value, counts)
    return Pairs(np.minimum(a, b), np.maximum(a, b), crowded[value])


_NONE = np.empty(0, np.int64)


def _holders(
    first: Indices, second: Indices, value: Indices, counts: Indices
) -> tuple[Indices, Indices]:
    """The pairs of hashes that have the pairs of values; of one value with itself each once."""
    order = np.argsort(value, kind="stable")
    starts = np.cumsum(counts) - counts
    many = counts[first] * counts[second]
    pair = np.repeat(np.arange(len(first)), many)
    number = np.arange(len(pair)) - np.repeat(np.cumsum(many) - many, many)
    left, right = np.divmod(number, counts[second][pair])
    once = (first != second)[pair] | (left < right)
    a = order[starts[first][pair] + left]
    b = order[starts[second][pair] + right]
    return a[once], b[once]


def _value_pairs(values: Hashes, bits: int) -> Pairs:
    """The near pairs of sorted hashes that are all different."""
    return _pairs(values, bits, _agreeing(len(values), bits))


def _pairs(values: Hashes, bits: int, agreeing: int) -> Pairs:
    """Near pairs by their agreeing in so many blocks; the crowded once more, in more blocks."""
    if agreeing == 0:
        return Pairs(_NONE, _NONE, np.ones(len(values), bool))
    edges = [64 * block // (bits + agreeing) for block in range(bits + agreeing + 1)]
    blocks = list(pairwise(edges))
    crowded = np.zeros(len(values), bool)
    found = [(_NONE, _NONE)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        choices = combinations(range(len(blocks)), agreeing)
        parts = pool.map(lambda chosen: _agreeing_pairs(values, bits, blocks, chosen), choices)
        for one, other, crowd in parts:
            crowded[np.searchsorted(values, crowd)] = True
            found.append((np.searchsorted(values, one), np.searchsorted(values, other)))
    first, second = (np.concatenate(column) for column in zip(*found, strict=True))
    sparse = ~(crowded[first] & crowded[second])
    first, second = first[sparse], second[sparse]
    members = np.flatnonzero(crowded)
    if agreeing < MOST_AGREEING and len(members) > 4 * CROWD:
        finer = _pairs(values[members], bits, agreeing + 1)
        first = np.concatenate([first, members[finer.first]])
        second = np.concatenate([second, members[finer.second]])
        crowded[members[~finer.crowded]] = False
    return Pairs(first, second, crowded)


def _agreeing(count: int, bits: int) -> int:
    """In how many blocks near hashes are to agree, so that the work is least; 0: compare all."""
    costs = {0: count * count / 2 * SCANNED}
    for agreeing in range(1, MOST_AGREEING + 1):
        blocks = bits + agreeing
        rivals = count / 2 ** (ENTROPY * 64 * agreeing / blocks)
        costs[agreeing] = comb(blocks, agreeing) * count * (SORTED + rivals * COMPARED)
    return min(costs, key=lambda agreeing: costs[agreeing])


def _agreeing_pairs(
    values: Hashes, bits: int, blocks: Sequence[Block], chosen: tuple[int, ...]
) -> tuple[Hashes, Hashes, Hashes]:
    """Near pairs that agree in the blocks chosen and in no earlier choice; and the crowded.

    The bits are moved so that the chosen ones are the highest, and the hashes sorted as they are
    then: those that agree are neighbours, no index is carried along, and as few bits differ.
    """
    others = [block for number, block in enumerate(blocks) if number not in chosen]
    moved = [blocks[number] for number in chosen] + _joined(others)
    ranked = _moved(values, moved)
    ranked.sort()
    limit = np.uint64(1 << sum(high - low for low, high in others))  # above: they do not agree
    crowd = _in_runs(ranked >> np.uint64(int(limit).bit_length() - 1), CROWD)
    firsts, seconds = [ranked[:0]], [ranked[:0]]
    place = np.flatnonzero(((ranked[1:] ^ ranked[:-1]) < limit) & ~crowd[1:])
    step = 1
    while len(place):
        apart = ranked[step:].take(place)
        apart ^= ranked.take(place)
        near = np.flatnonzero(np.bitwise_count(apart) <= bits)
        near = place[near[apart[near] < limit]]
        firsts.append(ranked[near])
        seconds.append(ranked[near + step])
        step += 1
        place = place[apart < limit]
        place = place[: np.searchsorted(place, len(ranked) - step)]
    first = _moved_back(np.concatenate(firsts), moved)
    second = _moved_back(np.concatenate(seconds), moved)
    new = _first_choice(first ^ second, blocks, chosen)
    return first[new], second[new], _moved_back(ranked[crowd], moved)


def _joined(blocks: Sequence[Block]) -> list[Block]:
    """The same bits in as few blocks as they make."""
    joined: list[Block] = []
    for low, high in blocks:
        if joined and joined[-1][1] == low:
            low = joined.pop()[0]
        joined.append((low, high))
    return joined


def _moved(values: Hashes, blocks: Sequence[Block]) -> Hashes:
    """All bits, those of the first block highest."""
    moved = np.zeros_like(values)
    for low, high in blocks:
        moved <<= np.uint64(high - low)
        moved |= values >> np.uint64(low) & np.uint64((1 << high - low) - 1)
    return moved


def _moved_back(moved: Hashes, blocks: Sequence[Block]) -> Hashes:
    """What `_moved` made this of."""
    values, rest = np.zeros_like(moved), moved.copy()
    for low, high in reversed(blocks):
        values |= (rest & np.uint64((1 << high - low) - 1)) << np.uint64(low)
        rest >>= np.uint64(high - low)
    return values


def _in_runs(keys: Hashes, least: int) -> Bools:
    """Which of the sorted keys are equal to so many, themselves included."""
    far = least - 1
    starts = np.flatnonzero(keys[: max(0, len(keys) - far)] == keys[far:])
    bounds = np.zeros(len(keys) + 1, np.int32)
    bounds[starts] += 1
    bounds[starts + least] -= 1
    return np.cumsum(bounds[:-1]) > 0


def _first_choice(apart: Hashes, blocks: Sequence[Block], chosen: tuple[int, ...]) -> Bools:
    """Whether the blocks chosen are the first ones in which two hashes agree: each pair once."""
    first = np.ones(len(apart), bool)
    for number, (low, high) in enumerate(blocks[: chosen[-1]]):
        if number not in chosen:
            first &= (apart & np.uint64((1 << high) - (1 << low))) != 0
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
