"""Curves as inline SVG that grows with the page: labels stand beside it, lines keep their width."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from prep.report.html import Html, element

Point = tuple[float, float]

WIDTH, HEIGHT = 1000, 300  # of the drawing's own units; the page stretches them
MOST_POINTS = 800  # of a line: more are no more to see


@dataclass(frozen=True)
class Line:
    """A line of a chart, and the class that says how it is drawn."""

    points: Sequence[Point]
    kind: str
    ragged: bool = False  # single steps: a few wild ones are cut off, not to flatten the rest


def curve(
    loss: Sequence[Point], smooth: Sequence[Point], validation: Sequence[Point], x: str
) -> Html:
    """Draw the loss over steps: each step faint, their mean strong, validation as dots.

    `x` names the horizontal axis. The values that are not finite are left out.
    """
    kinds = Line(loss, "steps", ragged=True), Line(smooth, "smooth"), Line(validation, "validation")
    return chart(kinds, x)


def chart(lines: Sequence[Line], x: str) -> Html:
    """Draw lines of losses over each other; those without a finite value are left out."""
    lines = [
        replace(line, points=kept)
        for line in lines
        if (kept := [point for point in line.points if math.isfinite(point[1])])
    ]
    if not lines:
        return element("p", "No step has a finite loss.", class_="missing")
    right = max(point[0] for line in lines for point in line.points) or 1
    marks = ticks(*_range(lines))
    low, high = marks[0], marks[-1]

    def at(point: Point) -> Point:
        across, up = point[0] / right, (point[1] - low) / (high - low)
        return round(across * WIDTH, 1), round((1 - min(max(up, 0), 1)) * HEIGHT, 1)

    rules = (
        element("line", x1=0, x2=WIDTH, y1=_text(at((0, mark))[1]), y2=_text(at((0, mark))[1]))
        for mark in marks
    )
    told = "; ".join(
        f"from {line.points[0][1]:.3f} to {line.points[-1][1]:.3f}"
        for line in lines
        if not line.ragged
    )
    drawing = element(
        "svg",
        element("g", rules, class_="rules"),
        (_path([at(point) for point in _thinned(line.points)], line.kind) for line in lines),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        preserveAspectRatio="none",
        role="img",
        aria_label=f"loss {told}",
    )
    heights = (
        element("span", _text(mark), style=f"bottom:{(mark - low) / (high - low):.2%}")
        for mark in marks
    )
    return element(
        "div",
        element("div", heights, class_="up"),
        drawing,
        element("div", *(element("span", text) for text in ("0", x, f"{right:,.0f}")), class_="on"),
        class_="curve",
    )


def smoothed(points: Sequence[Point], share: float = 0.05) -> list[Point]:
    """Return the mean over a window of `share` of the points around each, whole at the ends."""
    reach = max(1, round(len(points) * share / 2))
    sums = [0.0]
    for _, value in points:
        sums.append(sums[-1] + value)
    found = []
    for place, (step, _) in enumerate(points):
        first, last = max(0, place - reach), min(len(points), place + reach + 1)
        found.append((step, (sums[last] - sums[first]) / (last - first)))
    return found


def ticks(low: float, high: float) -> list[float]:
    """Return four to seven round values from below `low` to above `high`."""
    span = max(high - low, abs(high) * 1e-3, 1e-9)
    size = 10 ** math.floor(math.log10(span / 4))
    size *= next(factor for factor in (1, 2, 5, 10) if span / (factor * size) <= 5)
    first, last = math.floor(low / size), math.ceil(high / size)
    return [round(n * size, 12) for n in range(first, max(last, first + 1) + 1)]


def _range(lines: Sequence[Line]) -> tuple[float, float]:
    """The values to show."""
    shown: list[float] = []
    for line in lines:
        values = sorted(value for _, value in line.points)
        cut = len(values) // 50 if line.ragged else 0
        shown += values[cut : len(values) - cut]
    return min(shown), max(shown)


def _thinned(points: Sequence[Point]) -> list[Point]:
    every = -(-len(points) // MOST_POINTS)
    return list(points[::every])


def _path(points: Sequence[Point], kind: str) -> Html:
    line = "M" + "L".join(f"{x:g} {y:g}" for x, y in points)
    return element("path", d=line, class_=kind)


def _text(value: float) -> str:
    return f"{value:g}"
