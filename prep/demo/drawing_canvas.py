"""What drawing needs from a canvas: smooth shapes in a local frame, outlines, shading, paper.

Points are given in a local frame (the head's, the body's, the picture's) and mapped to pixels of a
picture two or three times as large as wanted, which is reduced at the end.
"""

import math
import random
from collections.abc import Sequence
from functools import cache, lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from prep.demo.drawing_styles import Color, Style, mix, rgb, toned

Point = tuple[float, float]
Points = Sequence[Point]
_Array = npt.NDArray[np.float64]


class Canvas:
    """A picture being drawn in an artist's manner."""

    def __init__(self, width: int, height: int, style: Style, seed: int) -> None:
        self.times = 3 if max(width, height) <= 160 else 2
        self.width, self.height = width * self.times, height * self.times
        self.image = Image.new("RGB", (self.width, self.height), "white")
        self.pen = ImageDraw.Draw(self.image)
        self.style = style
        self.rng = random.Random(seed)
        self.to_picture()

    def to_picture(self) -> None:
        """Local frame: x from 0 to width / height, y from 0 at the top to 1."""
        self.place(self.height, 0.0, 0.0)

    def place(self, unit: float, x: float, y: float, turn: float = 0.0) -> None:
        """Local frame with its origin at pixel (x, y), `unit` pixels long, turned by radians."""
        cos, sin = math.cos(turn) * unit, math.sin(turn) * unit
        self.unit = unit
        self._turn = np.array([[cos, sin], [-sin, cos]])
        self._origin = np.array([x, y])

    def zoom(self, times: float, x: float, y: float) -> None:
        """Make what is drawn next `times` as large about the local point (x, y)."""
        self._origin = self._origin + np.array([x, y]) @ self._turn * (1 - times)
        self._turn = self._turn * times
        self.unit *= times

    def color(self, name: str) -> Color:
        """'#rrggbb' as this artist mixes it."""
        return toned(name, self.style)

    def ink(self, fill: Color) -> Color:
        """The colour of the outline of a shape of colour `fill`."""
        if self.style.ink:
            return rgb(self.style.ink)
        return mix(fill, (70, 25, 50), 0.58)

    def shadow(self, fill: Color, strength: float = 0.3) -> Color:
        """`fill` out of the light."""
        deep = mix((0, 0, 0), rgb(self.style.shadow), 0.8)
        return mix(fill, deep, strength)

    def line_width(self, times: float = 1.0) -> int:
        return max(1, round(self.style.line * self.unit * times))

    def shape(
        self,
        points: Points,
        fill: Color,
        *,
        line: float = 1.0,
        ink: Color | None = None,
        smooth: bool = True,
    ) -> None:
        """A filled shape; outlined `line` times as wide as usual (0: not at all).

        Smooth through its points (closed Catmull-Rom); a point given twice is a corner.
        """
        path = self._path(points, smooth)
        self.pen.polygon(path, fill)
        if line:
            self._outline(path, ink or self.ink(fill), self.line_width(line))

    def stroke(
        self, points: Points, color: Color, width: float, *, smooth: bool = True, halo: float = 0
    ) -> None:
        """An open line `width` units wide with round ends; `halo`: white around it, in units."""
        path = self._pixels(np.asarray(points), _open_spline(len(points)) if smooth else None)
        if halo:
            self._line(path, (255, 255, 255), width + 2 * halo)
        self._line(path, color, width)

    def disc(
        self,
        x: float,
        y: float,
        rx: float,
        ry: float,
        fill: Color,
        *,
        line: float = 1.0,
        ink: Color | None = None,
    ) -> None:
        """An ellipse."""
        path = self._pixels(_circle() * (rx, ry) + (x, y), None)
        self.pen.polygon(path, fill)
        if line:
            self._outline(path, ink or self.ink(fill), self.line_width(line))

    def limb(self, points: Points, widths: Sequence[float], fill: Color, line: float = 1.0) -> None:
        """A shape along an open path, as wide as told at each point, round at both ends."""
        self.shape(limb(points, widths), fill, line=line)

    def shade(
        self,
        points: Points,
        inside: Points,
        color: Color,
        *,
        fade: tuple[float, float] | None = None,
    ) -> None:
        """Lay `color` over what `points` and `inside` share, in the artist's way of shading.

        fade: from nothing at the first local y to all at the second, whatever the manner.
        """
        if self.style.shading == "flat" and fade is None:
            return
        one, other = self._path(points, True), self._path(inside, True)
        soft = 0.06 * self.unit if fade is None and self.style.shading == "soft" else 0.0
        spread = 2 * soft
        left, top = (max(0, int(max(min(one[i::2]) - spread, min(other[i::2])))) for i in (0, 1))
        right = min(self.width, int(min(max(one[0::2]) + spread, max(other[0::2]))) + 1)
        bottom = min(self.height, int(min(max(one[1::2]) + spread, max(other[1::2]))) + 1)
        if right - left < 2 or bottom - top < 2:
            return
        size = (right - left, bottom - top)
        mask, within = _mask(one, left, top, size), _mask(other, left, top, size)
        if soft:
            mask = mask.filter(ImageFilter.BoxBlur(soft))
        mask = ImageChops.multiply(mask, within)
        if fade is not None:
            ends = self._pixels(np.array([(0.0, fade[0]), (0.0, fade[1])]), None)
            mask = ImageChops.multiply(mask, _ramp(ends[1] - top, ends[3] - top, size))
        elif self.style.shading == "hatch":
            step = max(4, round(0.035 * self.unit))
            mask = ImageChops.multiply(
                mask, _hatching(self.width, self.height, step).crop((left, top, right, bottom))
            )
        self.image.paste(color, (left, top), mask)

    def vertical(self, top: Color, bottom: Color, start: float = 0.0, end: float = 1.0) -> None:
        """Fill between two heights of the picture (0 to 1) from one colour to another."""
        first, last = round(start * self.height), round(end * self.height)
        ramp = Image.linear_gradient("L").resize((1, max(1, last - first)))
        band = Image.composite(
            Image.new("RGB", ramp.size, bottom), Image.new("RGB", ramp.size, top), ramp
        )
        self.image.paste(band.resize((self.width, band.height)), (0, first))

    def finish(self) -> Image.Image:
        """The picture at the size asked for, on the artist's paper."""
        picture = self.image.reduce(self.times)
        if self.style.tint:
            paper = Image.new("RGB", picture.size, rgb(self.style.tint))
            picture = ImageChops.multiply(picture, paper)
        if self.style.grain:
            grain = _grain(picture.width, picture.height, self.style.grain)
            picture = ImageChops.multiply(picture, grain)
        return picture

    def _outline(self, path: list[float], color: Color, pixels: int) -> None:
        self.pen.line(path + path[:4], color, pixels, joint="curve" if pixels > 4 else None)

    def _line(self, path: list[float], color: Color, width: float) -> None:
        pixels = max(1, round(width * self.unit))
        self.pen.line(path, color, pixels, joint="curve" if pixels > 4 else None)
        if pixels > 3:
            reach = (pixels - 1) / 2
            for x, y in (path[:2], path[-2:]):
                self.pen.ellipse((x - reach, y - reach, x + reach, y + reach), color)

    def _path(self, points: Points, smooth: bool) -> list[float]:
        return self._pixels(np.asarray(points), _closed_spline(len(points)) if smooth else None)

    def _pixels(self, points: _Array, spline: _Array | None) -> list[float]:
        if spline is not None:
            points = spline @ points
        path: list[float] = (points @ self._turn + self._origin).ravel().tolist()
        return path


def mirrored(points: Points) -> list[Point]:
    """The same on the other side of x = 0."""
    return [(-x, y) for x, y in points]


def moved(points: Points, x: float, y: float, size: float = 1.0) -> list[Point]:
    """The same, `size` times as large, then elsewhere."""
    return [(px * size + x, py * size + y) for px, py in points]


def star(x: float, y: float, radius: float, tips: int = 5, inner: float = 0.42) -> list[Point]:
    """A star's corners, for a shape that is not smooth."""
    return [
        (
            x + radius * (inner if i % 2 else 1.0) * math.sin(math.pi * i / tips),
            y - radius * (inner if i % 2 else 1.0) * math.cos(math.pi * i / tips),
        )
        for i in range(2 * tips)
    ]


def heart(x: float, y: float, radius: float) -> list[Point]:
    """A heart's outline, corners doubled."""
    half = [(0.0, -0.35), (0.0, -0.35), (0.45, -0.85), (0.95, -0.45), (0.7, 0.2), (0.0, 0.95)]
    other = [(0.0, 0.95), (-0.7, 0.2), (-0.95, -0.45), (-0.45, -0.85)]
    return moved(half + other, x, y, radius)


def limb(points: Points, widths: Sequence[float]) -> list[Point]:
    """The outline of a path with the given width at each point, its ends rounded."""
    left: list[Point] = []
    right: list[Point] = []
    for i, ((x, y), width) in enumerate(zip(points, widths, strict=True)):
        (x0, y0), (x1, y1) = points[max(0, i - 1)], points[min(len(points) - 1, i + 1)]
        length = math.hypot(x1 - x0, y1 - y0) or 1.0
        dx, dy = (y1 - y0) / length * width / 2, -(x1 - x0) / length * width / 2
        left.append((x + dx, y + dy))
        right.append((x - dx, y - dy))
        if i == len(points) - 1:
            left.append((x - dy * 0.7, y + dx * 0.7))
    return left + right[::-1]


@cache
def _closed_spline(count: int) -> _Array:
    """[5 count, count]: samples of the closed uniform Catmull-Rom curve through `count` points."""
    return _spline(count, count, closed=True)


@cache
def _open_spline(count: int) -> _Array:
    return _spline(count, count - 1, closed=False)


def _spline(count: int, spans: int, *, closed: bool, steps: int = 5) -> _Array:
    rows = []
    for span in range(spans):
        for t in np.linspace(0, 1, steps, endpoint=False):
            row = np.zeros(count)
            weights = (-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3)
            for offset, weight in zip((-1, 0, 1, 2), (*weights, t**3 - t**2), strict=True):
                i = (span + offset) % count if closed else min(max(span + offset, 0), count - 1)
                row[i] += weight / 2
            rows.append(row)
    if not closed:
        rows.append(np.eye(count)[-1])
    return np.array(rows)


@cache
def _circle() -> _Array:
    angles = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _mask(path: list[float], left: int, top: int, size: tuple[int, int]) -> Image.Image:
    mask = Image.new("L", size, 0)
    shifted = [value - (top if i % 2 else left) for i, value in enumerate(path)]
    ImageDraw.Draw(mask).polygon(shifted, 255)
    return mask


def _ramp(start: float, end: float, size: tuple[int, int]) -> Image.Image:
    """L, `size`: 0 above row `start`, 255 below row `end`."""
    rows = (np.arange(size[1]) - start) / max(1.0, end - start)
    column = Image.fromarray((rows.clip(0, 1) * 255).astype(np.uint8)[:, None])
    return column.resize(size)


@lru_cache(maxsize=8)
def _hatching(width: int, height: int, step: int) -> Image.Image:
    """L: slanted lines `step` pixels apart."""
    x, y = np.arange(width)[None, :], np.arange(height)[:, None]
    return Image.fromarray(np.where((x + y) % step < step * 0.42, 255, 40).astype(np.uint8))


@lru_cache(maxsize=8)
def _grain(width: int, height: int, strength: float) -> Image.Image:
    """RGB: the unevenness of paper, the same for every picture of a size."""
    noise = np.random.Generator(np.random.PCG64(5)).random((height, width), dtype=np.float32)
    fine = Image.fromarray((noise * 255).astype(np.uint8))
    coarse = fine.resize((max(1, width // 5), max(1, height // 5))).resize(fine.size)
    mixed = np.asarray(Image.blend(fine, coarse, 0.45), dtype=np.float32) / 255
    return Image.fromarray(
        (255 * (1 - strength * 0.34 * (mixed - 0.35).clip(0))).astype(np.uint8)
    ).convert("RGB")
