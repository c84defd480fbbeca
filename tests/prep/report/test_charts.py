"""The loss curve: what is averaged, and what a run that went wrong looks like."""

import math
import re

import pytest

from prep.report.charts import MOST_POINTS, curve, smoothed


def test_the_mean_follows_the_window_and_is_whole_at_the_ends() -> None:
    points = [(step, float(step)) for step in range(1, 101)]
    mean = smoothed(points, share=0.1)
    assert mean[0] == (1, 3.5)  # steps 1 to 6
    assert mean[49] == (50, 50.0)
    assert mean[-1] == (100, 97.5)


def test_a_constant_loss_is_drawn_as_a_level_line() -> None:
    points = [(1, 0.5), (2, 0.5)]
    heights = re.findall(
        r'<path d="M[\d.]+ ([\d.]+)L[\d.]+ ([\d.]+)"', curve(points, points, [], "step")
    )
    assert [a == b for a, b in heights] == [True, True]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_steps_that_are_no_numbers_are_left_out(value: float) -> None:
    points = [(1, 0.5), (2, value), (3, 0.4)]
    drawn = curve(points, points, [], "step")
    assert "nan" not in drawn
    assert "inf" not in drawn


def test_a_loss_that_was_never_a_number_is_told() -> None:
    assert curve([(1, math.nan)], [(1, math.nan)], [], "step") == (
        '<p class="missing">No step has a finite loss.</p>'
    )


def test_a_long_run_does_not_make_a_large_page() -> None:
    points = [(step, 1 / step) for step in range(1, 100_001)]
    assert curve(points, smoothed(points), [], "step").count("L") <= 2 * MOST_POINTS


def test_validation_has_a_line_of_its_own() -> None:
    points = [(1, 0.5), (2, 0.4)]
    assert 'class="validation"' in curve(points, points, [(1, 0.6), (2, 0.5)], "step")
    assert 'class="validation"' not in curve(points, points, [], "step")
