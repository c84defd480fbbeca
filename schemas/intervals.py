"""Means of a few values, one per training seed: their interval, and what chance would give.

Student's t; a spread below a figure's grain counts as its grain.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean, and where it lies by the t distribution; None where one value tells nothing."""

    mean: float
    low: float | None
    high: float | None


def t_within(t: float, df: int) -> float:
    """Return the probability that Student's t of `df` degrees of freedom lies within -t and t.

    The finite sums of Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.
    """
    if math.isinf(t):
        return 1.0
    angle = math.atan(abs(t) / math.sqrt(df))
    sine, square = math.sin(angle), math.cos(angle) ** 2
    odd = df % 2
    total, term = 0.0, math.cos(angle) if odd else 1.0
    for step in range(1 + odd, df, 2):
        total += term
        term *= square * step / (step + 1)
    if odd:
        return 2 / math.pi * (angle + sine * total)
    return sine * total


def t_quantile(level: float, df: int) -> float:
    """Return the t within which, either way, a share of `level` lies; by halving."""
    low, high = 0.0, 1.0
    while t_within(high, df) < level:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if t_within(middle, df) < level else (low, middle)
    return (low + high) / 2


def interval(values: Sequence[float], grain: float, level: float = LEVEL) -> Interval:
    """Return the mean of the values, one per seed, and its t interval."""
    mean = fmean(values)
    if len(values) < 2:
        return Interval(mean, None, None)
    half = t_quantile(level, len(values) - 1) * _error(values, grain)
    return Interval(mean, mean - half, mean + half)


def chance(values: Sequence[float], grain: float) -> float | None:
    """Return the two-sided probability of such differences where there is none; None: too few."""
    if len(values) < 2:
        return None
    return 1 - t_within(fmean(values) / _error(values, grain), len(values) - 1)


def _error(values: Sequence[float], grain: float) -> float:
    """The standard error of the mean."""
    return max(stdev(values), grain) / math.sqrt(len(values))
