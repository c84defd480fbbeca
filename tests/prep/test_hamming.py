"""Near hashes and groups around keepers, against comparing each with each."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prep import hamming
from prep.hamming import near_any, near_pairs, stars

# few distinct patterns, so that near ones occur; clusters of near-identical ones; any 64 bits
hashes = st.lists(
    st.one_of(
        st.integers(0, 2**64 - 1),
        st.integers(0, 255),
        st.sampled_from([0, 2**64 - 1]),
        st.builds(lambda a, b: 2**63 ^ 1 << a ^ 1 << b, st.integers(0, 63), st.integers(0, 63)),
    ),
    max_size=24,
)
bits = st.integers(0, 16)
plans = st.integers(0, 2)  # in how many blocks near hashes are to agree
crowds = st.sampled_from([2, 4, 100])
Planned = Callable[[int, int], None]


def column(values: list[int]) -> np.ndarray:
    return np.array(values, dtype=np.uint64)


def apart(a: int, b: int) -> int:
    return (a ^ b).bit_count()


def plain_stars(
    values: list[int], bits: int, kept: list[int], same: list[int | None], strangers: set[int]
) -> list[int]:
    """What `stars` promises, read literally; `strangers`: pairs whose sum is not alike."""
    keeper = [-1] * len(values)
    for item in [*sorted(kept), *(i for i in range(len(values)) if i not in kept)]:
        if keeper[item] < 0:
            keeper[item] = item
            for other, value in enumerate(values):
                near = apart(values[item], value) <= bits and item + other not in strangers
                equal = same[item] is not None and same[item] == same[other]
                if keeper[other] < 0 and (near or equal):
                    keeper[other] = item
    return keeper


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> Planned:
    """Fixes in how many blocks hashes agree, and how many that agree are a crowd."""

    def plan(agreeing: int, crowd: int) -> None:
        monkeypatch.setattr(hamming, "_agreeing", lambda count, bits: agreeing)
        monkeypatch.setattr(hamming, "CROWD", crowd)
        monkeypatch.setattr(hamming, "BLOCK", 7)
        monkeypatch.setattr(hamming, "MOST_AGREEING", min(agreeing + 1, 2))

    return plan


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(hashes, bits, plans, crowds, st.data())
def test_each_joins_the_first_keeper_that_is_near_and_alike_or_the_same(
    planned: Planned, values: list[int], bits: int, agreeing: int, crowd: int, data: st.DataObject
) -> None:
    planned(agreeing, crowd)
    count = len(values)
    kept = data.draw(st.lists(st.integers(0, max(count - 1, 0)), unique=True)) if count else []
    words = st.one_of(st.none(), st.integers(0, 4))
    same = data.draw(st.lists(words, min_size=count, max_size=count))
    strangers = data.draw(st.sets(st.integers(0, 2 * count)))
    found = stars(
        column(values),
        bits,
        kept=kept,
        same=same,
        judge=lambda places: lambda a, b: ~np.isin(a + b, list(strangers)),
    )
    assert found.tolist() == plain_stars(values, bits, kept, same, strangers)


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(hashes, hashes, bits, plans, crowds)
def test_which_hashes_have_a_near_one_among_others(
    planned: Planned,
    values: list[int],
    others: list[int],
    bits: int,
    agreeing: int,
    crowd: int,
) -> None:
    planned(agreeing, crowd)
    expected = [any(apart(a, b) <= bits for b in others) for a in values]
    assert near_any(column(values), column(others), bits).tolist() == expected


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1), bits)
def test_a_thousand_hashes_in_clusters_are_grouped_as_comparing_all_would(
    seed: int, bits: int
) -> None:
    rng = np.random.default_rng(seed)
    centres = rng.integers(0, 2**63, 12, dtype=np.uint64)
    values = centres[rng.integers(0, 12, 1000)]
    for _ in range(8):
        flipped = np.uint64(1) << rng.integers(0, 64, 1000, dtype=np.uint64)
        values = np.where(rng.random(1000) < 0.5, values ^ flipped, values)
    near = np.bitwise_count(values[:, None] ^ values[None, :]) <= bits
    expected = np.full(1000, -1)
    for item in range(1000):
        if expected[item] < 0:
            expected[near[item] & (expected < 0)] = item
    assert np.array_equal(stars(values, bits), expected)
    with_others = near_any(values[:500], values[500:], bits)
    assert np.array_equal(with_others, near[:500, 500:].any(axis=1))


def test_the_index_finds_every_pair_once(planned: Planned) -> None:
    rng = np.random.default_rng(0)
    base = rng.integers(0, 2**63, 300, dtype=np.uint64)
    values = np.concatenate([base, base ^ np.uint64(5), base ^ np.uint64(1 << 40)])
    planned(2, 1000)
    pairs = near_pairs(values, 6)
    assert not pairs.crowded.any()
    found = set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    apart = np.bitwise_count(values[:, None] ^ values[None, :]) <= 6
    expected = {(a, b) for a, b in zip(*np.nonzero(apart), strict=True) if a < b}
    assert found == expected
    assert len(pairs.first) == len(found)


def test_a_chain_does_not_join_its_ends() -> None:
    assert stars(column([0, 0b1, 0b11]), 1).tolist() == [0, 0, 2]


def test_the_preferred_keeper_gets_what_is_near_two() -> None:
    values = column([0b00, 0b11, 0b01])
    assert stars(values, 1).tolist() == [0, 1, 0]
    assert stars(values, 1, kept=[1]).tolist() == [0, 1, 1]


def test_nothing_has_no_keepers_and_is_near_nothing() -> None:
    assert stars(column([]), 6).tolist() == []
    assert near_any(column([]), column([1]), 6).tolist() == []
    assert near_any(column([1]), column([]), 6).tolist() == [False]
