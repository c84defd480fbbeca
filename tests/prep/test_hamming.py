"""Near pairs of hashes and groups around keepers, against comparing each with each."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prep import hamming
from prep.hamming import near_any, pairs_within, stars

# few distinct patterns, so that near ones occur; and any 64 bits
hashes = st.lists(
    st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 255), st.sampled_from([0, 2**64 - 1])),
    max_size=24,
)
bits = st.integers(0, 64)


def column(values: list[int]) -> np.ndarray:
    return np.array(values, dtype=np.uint64)


def apart(a: int, b: int) -> int:
    return (a ^ b).bit_count()


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hamming, "BLOCK", 5)


@settings(deadline=None)
@given(hashes, bits)
def test_all_pairs_within_so_many_bits_and_no_others(values: list[int], bits: int) -> None:
    first, second, distance = pairs_within(column(values), bits)
    expected = {
        (i, j, apart(values[i], values[j]))
        for j in range(len(values))
        for i in range(j)
        if apart(values[i], values[j]) <= bits
    }
    found = list(zip(first.tolist(), second.tolist(), distance.tolist(), strict=True))
    assert set(found) == expected
    assert len(found) == len(expected)


@settings(deadline=None)
@given(hashes, hashes, bits)
def test_which_hashes_have_a_near_one_among_others(
    values: list[int], others: list[int], bits: int
) -> None:
    expected = [any(apart(a, b) <= bits for b in others) for a in values]
    assert near_any(column(values), column(others), bits).tolist() == expected


@settings(deadline=None)
@given(hashes, st.integers(0, 8), st.data())
def test_every_loser_is_near_its_keeper_and_keepers_are_strangers(
    values: list[int], bits: int, data: st.DataObject
) -> None:
    first, second, _ = pairs_within(column(values), bits)
    some = st.lists(st.integers(0, max(len(values) - 1, 0)), unique=True)
    kept = data.draw(some) if values else []
    keeper = stars(len(values), first, second, kept).tolist()
    keepers = {item for item, its in enumerate(keeper) if item == its}
    assert set(keeper) == keepers
    for item, its in enumerate(keeper):
        assert apart(values[item], values[its]) <= bits
    assert all(apart(values[a], values[b]) > bits for a in keepers for b in keepers if a < b)
    # an earlier keeper stays one, unless another earlier one is near it and preferred
    for item in kept:
        if item not in keepers:
            assert keeper[item] in kept
            assert keeper[item] < item


@settings(deadline=None)
@given(hashes, st.integers(0, 8), st.data())
def test_earlier_keepers_stay_when_new_items_come(
    values: list[int], bits: int, data: st.DataObject
) -> None:
    first, second, _ = pairs_within(column(values), bits)
    before = stars(len(values), first, second).tolist()
    keepers = {values[item] for item, its in enumerate(before) if item == its}
    more = data.draw(st.permutations([*values, *data.draw(hashes)]))
    first, second, _ = pairs_within(column(more), bits)
    kept = [item for item, value in enumerate(more) if value in keepers]
    after = stars(len(more), first, second, kept).tolist()
    assert keepers <= {more[item] for item, its in enumerate(after) if item == its}


def test_a_chain_does_not_join_its_ends() -> None:
    first, second = np.array([0, 1]), np.array([1, 2])
    assert stars(3, first, second).tolist() == [0, 0, 2]


def test_the_preferred_keeper_gets_what_is_near_two() -> None:
    first, second = np.array([0, 1]), np.array([2, 2])
    assert stars(3, first, second).tolist() == [0, 1, 0]
    assert stars(3, first, second, kept=[1]).tolist() == [0, 1, 1]


def test_nothing_has_no_pairs() -> None:
    assert [len(part) for part in pairs_within(column([]), 64)] == [0, 0, 0]
    assert stars(0, *pairs_within(column([]), 64)[:2]).tolist() == []
