"""Losses of a training out of its log, as few points as a curve shows."""

import json
from collections.abc import Sequence
from statistics import fmean

from train.run_folder import RunFolder

Points = tuple[tuple[int, float], ...]  # step and loss
MOST = 400


def losses(runs: Sequence[RunFolder]) -> Points:
    """Return the loss over the steps, of several runs one behind the other."""
    return thinned(_points(runs, "loss"))


def validation(runs: Sequence[RunFolder]) -> Points:
    """Return the loss on the images held out, where there are some."""
    return tuple(_points(runs, "validation_loss"))


def thinned(points: Sequence[tuple[int, float]], most: int = MOST) -> Points:
    """Return at most that many points, each the mean of those up to it."""
    width = -(-len(points) // most) or 1
    parts = [points[start : start + width] for start in range(0, len(points), width)]
    return tuple((part[-1][0], round(fmean(loss for _, loss in part), 6)) for part in parts)


def _points(runs: Sequence[RunFolder], key: str) -> list[tuple[int, float]]:
    points, before = [], 0
    for run in runs:
        lines = map(json.loads, run.log.read_text(encoding="utf-8").splitlines())
        points += [(before + line["step"], line[key]) for line in lines if key in line]
        before += json.loads(run.result.read_text(encoding="utf-8"))["steps"]
    return points
