"""Comparing trainings: the t distribution is the books', and corrections only ever hold back."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.compare_statistics import (
    GRAIN,
    chance,
    compare,
    holm,
    interval,
    t_quantile,
    t_within,
    verdict,
)

values = st.lists(st.floats(-10, 10), min_size=2, max_size=6)
chances = st.lists(st.floats(0, 1), min_size=1, max_size=12)


# Student's t in the tables that every book prints: two-sided, of 1 to 120 degrees of freedom
@pytest.mark.parametrize(
    ("level", "df", "t"),
    [
        (0.95, 1, 12.706),
        (0.95, 2, 4.303),
        (0.95, 3, 3.182),
        (0.95, 4, 2.776),
        (0.95, 9, 2.262),
        (0.95, 10, 2.228),
        (0.95, 120, 1.980),
        (0.99, 2, 9.925),
        (0.99, 5, 4.032),
    ],
)
def test_quantiles_are_those_of_the_tables(level: float, df: int, t: float) -> None:
    assert t_quantile(level, df) == pytest.approx(t, abs=6e-4)


@given(st.floats(0, 50), st.floats(0, 50), st.integers(1, 40))
def test_more_lies_within_a_wider_range(a: float, b: float, df: int) -> None:
    low, high = sorted((a, b))
    assert 0 <= t_within(low, df) <= t_within(high, df) + 1e-12 <= 1 + 2e-12
    assert t_within(-high, df) == t_within(high, df)


@given(st.floats(0.01, 0.99), st.integers(1, 40))
def test_the_quantile_is_where_the_share_is_reached(level: float, df: int) -> None:
    assert t_within(t_quantile(level, df), df) == pytest.approx(level, abs=1e-9)


@given(values, st.floats(-5, 5))
def test_an_interval_moves_with_its_values_and_holds_their_mean(xs: list[float], by: float) -> None:
    here, there = interval(xs), interval([x + by for x in xs])
    assert here.low is not None
    assert here.high is not None
    assert there.low is not None
    assert here.low < here.mean < here.high
    assert there.low == pytest.approx(here.low + by, abs=1e-6)
    assert here.high - here.low >= 2 * GRAIN / math.sqrt(len(xs))


@given(values)
def test_zero_lies_outside_the_interval_just_when_chance_is_small(xs: list[float]) -> None:
    found, p = interval(xs), chance(xs)
    assert found.low is not None
    assert found.high is not None
    assert p is not None
    if abs(p - 0.05) > 1e-9:
        assert (found.low > 0 or found.high < 0) == (p < 0.05)


@given(chances)
def test_correction_never_makes_a_difference_surer(ps: list[float]) -> None:
    corrected = holm(ps)
    assert all(before <= after <= 1 for before, after in zip(ps, corrected, strict=True))
    assert min(corrected) == min(1.0, min(ps) * len(ps))
    order = sorted(range(len(ps)), key=ps.__getitem__)
    ranked = [corrected[place] for place in order]
    assert ranked == sorted(ranked)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12, unique=True), st.randoms())
def test_correction_follows_the_values_not_their_places(ps: list[float], rng: object) -> None:
    shuffled = ps.copy()
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    before, after = dict(zip(ps, holm(ps), strict=True)), holm(shuffled)
    assert after == [before[p] for p in shuffled]


def test_holm_on_a_worked_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=6))
def test_the_other_way_round_only_the_sign_changes(pairs: list[tuple[float, float]]) -> None:
    a, b = ({"kept": [pair[side] for pair in pairs]} for side in (0, 1))
    (there,), (back,) = compare({"a": a, "b": b}, ["kept"]), compare({"b": b, "a": a}, ["kept"])
    assert there.difference.mean == pytest.approx(-back.difference.mean)
    assert there.p == pytest.approx(back.p, abs=1e-9)


def test_differences_are_taken_seed_by_seed() -> None:
    arms = {"a": {"kept": [0.2, 0.5, 0.8]}, "b": {"kept": [0.3, 0.6, 0.9]}}
    (found,) = compare(arms, ["kept"])
    assert found.decided  # though the two arms overlap widely
    assert found.difference.mean == pytest.approx(0.1)
    assert verdict("a", [found]) == "Against a, with b kept is higher by 0.10 (+0.08 to +0.12)."


def test_what_is_decided_and_what_is_not_stand_in_one_sentence() -> None:
    arms = {
        "none": {"kept": [0.5, 0.52, 0.51], "signature": [0.9, 0.8, 0.7]},
        "some": {"kept": [0.9, 0.93, 0.9], "signature": [0.7, 0.9, 0.8]},
    }
    assert verdict("none", compare(arms, ["kept", "signature"])) == (
        "Against none, with some kept is higher by 0.40 (+0.38 to +0.42);"
        " not decided: some: signature."
    )


def test_a_difference_of_single_readings_decides_nothing() -> None:
    same = compare({"a": {"kept": [1.0] * 3}, "b": {"kept": [0.99] * 3}}, ["kept"])
    assert not same[0].decided
    assert verdict("a", same) == (
        "Not decided: no arm differs from a by more than chance may explain."
    )
    far = compare({"a": {"kept": [1.0] * 3}, "b": {"kept": [0.5] * 3}}, ["kept"])
    assert far[0].decided


def test_one_run_each_decides_nothing() -> None:
    arms = {"a": {"kept": [0.1]}, "b": {"kept": [0.9]}}
    (found,) = compare(arms, ["kept"])
    assert (found.p, found.difference.low, found.decided) == (None, None, False)
    assert verdict("a", [found]) == "One run each: not decided."


def test_a_figure_that_a_run_lacks_is_not_compared() -> None:
    arms = {
        "a": {"kept": [0.1, 0.2], "style": [None, None]},
        "b": {"kept": [0.1, 0.2], "style": [0.3, 0.4]},
    }
    assert [one.figure for one in compare(arms, ["kept", "style"])] == ["kept"]
