"""Curves as inline SVG that grows with the page: labels stand beside it, lines keep their width."""

import math
from collections.abc import Sequence

from prep.report.html import Html, element

Point = tuple[float, float]

WIDTH, HEIGHT = 1000, 300  # of the drawing's own units; the page stretches them
MOST_POINTS = 800  # of a line: more are no more to see


def curve(
    loss: Sequence[Point], smooth: Sequence[Point], validation: Sequence[Point], x: str
) -> Html:
    """Draw the loss over steps: each step faint, their mean strong, validation as dots.

    `x` names the horizontal axis. The values that are not finite are left out.
    """
    loss, smooth, validation = (
        [point for point in line if math.isfinite(point[1])] for line in (loss, smooth, validation)
    )
    if not loss:
        return element("p", "No step has a finite loss.", class_="missing")
    right = max(point[0] for point in (*loss, *validation)) or 1
    ticks = _ticks(*_range(loss, smooth, validation))
    low, high = ticks[0], ticks[-1]

    def at(point: Point) -> Point:
        across, up = point[0] / right, (point[1] - low) / (high - low)
        return round(across * WIDTH, 1), round((1 - min(max(up, 0), 1)) * HEIGHT, 1)

    rules = (
        element("line", x1=0, x2=WIDTH, y1=_text(at((0, t))[1]), y2=_text(at((0, t))[1]))
        for t in ticks
    )
    drawing = element(
        "svg",
        element("g", rules, class_="rules"),
        _path([at(point) for point in _thinned(loss)], "steps"),
        _path([at(point) for point in _thinned(smooth)], "smooth"),
        _path([at(point) for point in validation], "validation") if validation else None,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        preserveAspectRatio="none",
        role="img",
        aria_label=f"loss from {smooth[0][1]:.3f} to {smooth[-1][1]:.3f}",
    )
    heights = (
        element("span", _text(tick), style=f"bottom:{(tick - low) / (high - low):.2%}")
        for tick in ticks
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


def _range(*lines: Sequence[Point]) -> tuple[float, float]:
    """The values to show: a few wild steps are cut off so that they do not flatten the rest."""
    steps, *others = lines
    values = sorted(value for _, value in steps)
    cut = len(values) // 50
    values = values[cut : len(values) - cut]
    values += [value for line in others for _, value in line]
    return min(values), max(values)


def _ticks(low: float, high: float) -> list[float]:
    """Four to seven round values from below `low` to above `high`."""
    span = max(high - low, abs(high) * 1e-3, 1e-9)
    size = 10 ** math.floor(math.log10(span / 4))
    size *= next(factor for factor in (1, 2, 5, 10) if span / (factor * size) <= 5)
    first, last = math.floor(low / size), math.ceil(high / size)
    return [round(n * size, 12) for n in range(first, max(last, first + 1) + 1)]


def _thinned(points: Sequence[Point]) -> list[Point]:
    every = -(-len(points) // MOST_POINTS)
    return list(points[::every])


def _path(points: Sequence[Point], kind: str) -> Html:
    line = "M" + "L".join(f"{x:g} {y:g}" for x, y in points)
    return element("path", d=line, class_=kind)


def _text(value: float) -> str:
    return f"{value:g}"
