"""Means over seeds: the t distribution is the books', and an interval says what its p says."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.intervals import chance, interval, t_quantile, t_within

GRAIN = 0.01
values = st.lists(st.floats(-10, 10), min_size=2, max_size=6)


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
    here, there = interval(xs, GRAIN), interval([x + by for x in xs], GRAIN)
    assert here.low is not None
    assert here.high is not None
    assert there.low is not None
    assert here.low < here.mean < here.high
    assert there.low == pytest.approx(here.low + by, abs=1e-6)
    assert here.high - here.low >= 2 * GRAIN / math.sqrt(len(xs))


@given(values)
def test_zero_lies_outside_the_interval_just_when_chance_is_small(xs: list[float]) -> None:
    found, p = interval(xs, GRAIN), chance(xs, GRAIN)
    assert found.low is not None
    assert found.high is not None
    assert p is not None
    if abs(p - 0.05) > 1e-9:
        assert (found.low > 0 or found.high < 0) == (p < 0.05)
