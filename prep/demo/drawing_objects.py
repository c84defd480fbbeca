"""What is held, in the body's frame, and the marks of comics around the head."""

import math
from collections.abc import Callable

from prep.demo.drawing_canvas import Canvas, Point, heart, moved, star
from prep.demo.drawing_styles import mix
from prep.demo.portrait import Portrait

_WHITE = (255, 255, 255)
_INK = (50, 40, 60)
_HAND: Point = (-0.61, 0.8)


def behind_figure(canvas: Canvas, portrait: Portrait) -> None:
    """What is held so that the figure covers a part of it."""
    if portrait.object == "holding_umbrella":
        _canopy(canvas)


def held(canvas: Canvas, portrait: Portrait) -> None:
    """What is held before the figure; the hand is drawn after it."""
    x, y = _HAND
    match portrait.object:
        case "holding_book":
            _book(canvas)
        case "holding_sword":
            _sword(canvas, x, y)
        case "holding_umbrella":
            canvas.limb(
                [(-0.3, -0.5), (x - 0.06, y + 0.3)], [0.045, 0.045], canvas.color("#8a5a38")
            )
        case "holding_cup":
            _mug(canvas, x + 0.16, y - 0.06)
        case "holding_gun":
            _gun(canvas, x, y)
        case "holding_microphone":
            canvas.limb([(x - 0.02, y + 0.16), (-0.46, 0.4)], [0.09, 0.11], (60, 60, 70))
            canvas.disc(-0.42, 0.3, 0.15, 0.15, (170, 175, 188), line=1.2)
            for dx in (-0.04, 0.04):
                canvas.stroke([(-0.42 + dx, 0.18), (-0.42 + dx, 0.42)], (90, 95, 110), 0.014)
        case "holding_balloon":
            canvas.stroke([(x, y), (-0.72, 0.4), (-0.74, 0.1)], _INK, 0.016)
            red = canvas.color("#f0465a")
            canvas.shape([(-0.78, 0.14), (-0.74, 0.06), (-0.7, 0.14)], red, smooth=False)
            balloon = [(-0.74, 0.1), (-0.98, -0.14), (-0.96, -0.4), (-0.74, -0.52), (-0.52, -0.4)]
            canvas.shape([*balloon, (-0.5, -0.14)], red, line=1.2)
            canvas.disc(-0.84, -0.3, 0.05, 0.08, mix(red, _WHITE, 0.7), line=0)
        case "lollipop":
            canvas.limb([(x, y + 0.16), (-0.6, 0.5)], [0.035, 0.035], _WHITE)
            canvas.disc(-0.6, 0.34, 0.2, 0.2, canvas.color("#ff7fb4"), line=1.2)
            swirl = [
                (-0.6 + 0.0105 * i * math.cos(i * 0.75), 0.34 + 0.0105 * i * math.sin(i * 0.75))
                for i in range(17)
            ]
            canvas.stroke(swirl, _WHITE, 0.045)
        case "teddy_bear":
            _teddy(canvas)


def _canopy(canvas: Canvas) -> None:
    color = canvas.color("#7fb8f0")
    x, y, wide, tall = -0.22, -0.36, 1.02, 0.54
    rim = [(x + wide * k / 4, y + (0.0 if k % 2 == 0 else -0.07)) for k in range(-4, 5)]
    dome = [(x + wide * math.cos(a), y - tall * math.sin(a)) for a in (0.35, 0.8, 1.57, 2.34, 2.79)]
    canvas.shape([rim[0], *rim, rim[-1], *dome], color, line=1.3)
    for k in (-0.5, 0.0, 0.5):
        rib = [(x, y - tall), (x + wide * k * 0.75, y - tall * 0.6), (x + wide * k, y)]
        canvas.stroke(rib, canvas.shadow(color, 0.3), 0.018)
    canvas.limb([(x, y - tall), (x, y - tall - 0.1)], [0.04, 0.03], _INK)


def _book(canvas: Canvas) -> None:
    cover = canvas.color("#2f8f6a")
    canvas.shape(
        [(-0.42, 0.9), (0.0, 0.97), (0.42, 0.9), (0.42, 1.4), (0.0, 1.47), (-0.42, 1.4)],
        cover,
        line=1.2,
        smooth=False,
    )
    for side in (1, -1):
        page = [(0.0, 0.95), (0.36, 0.87), (0.36, 0.9), (0.0, 0.98)]
        canvas.shape([(x * side, y) for x, y in page], (252, 248, 236), smooth=False, line=0.7)
    canvas.stroke([(0.0, 0.98), (0.0, 1.46)], canvas.shadow(cover, 0.4), 0.03)
    gold = canvas.color("#f4cf5a")
    canvas.shape(star(-0.21, 1.17, 0.1), gold, smooth=False, line=0.6)
    for y in (1.1, 1.2, 1.3):
        canvas.stroke([(0.1, y + 0.02), (0.32, y - 0.02)], gold, 0.025)


def _sword(canvas: Canvas, x: float, y: float) -> None:
    lean = -0.14
    blade = [(x - 0.055, y - 0.16), (x + 0.075, y - 0.14), (x + lean + 0.05, -0.4)]
    blade += [(x + lean - 0.04, -0.58), (x + lean - 0.08, -0.4)]
    canvas.shape(blade, (222, 230, 242), line=1.2, smooth=False)
    canvas.stroke([(x + 0.005, y - 0.16), (x + lean - 0.02, -0.38)], (150, 165, 190), 0.025)
    canvas.limb([(x - 0.2, y - 0.18), (x + 0.2, y - 0.12)], [0.08, 0.08], canvas.color("#e0b03a"))
    canvas.limb([(x, y - 0.12), (x + 0.03, y + 0.2)], [0.07, 0.07], canvas.color("#7a3d2a"))
    canvas.disc(x + 0.035, y + 0.22, 0.055, 0.055, canvas.color("#e0b03a"))


def _mug(canvas: Canvas, x: float, y: float) -> None:
    color = canvas.color("#f58a4b")
    handle = [(x + 0.14, y - 0.1), (x + 0.28, y - 0.08), (x + 0.28, y + 0.1), (x + 0.14, y + 0.12)]
    canvas.stroke(handle, canvas.ink(color), 0.075)
    canvas.stroke(handle, color, 0.045)
    cup = [(x - 0.19, y - 0.18), (x + 0.19, y - 0.18), (x + 0.17, y + 0.19), (x - 0.17, y + 0.19)]
    canvas.shape(cup, color, smooth=False, line=1.2)
    canvas.disc(x, y - 0.18, 0.19, 0.05, mix(color, _WHITE, 0.4))
    canvas.shape(heart(x, y + 0.02, 0.075), _WHITE, line=0)
    for dx in (-0.08, 0.08):
        steam = [(x + dx, y - 0.26), (x + dx + 0.05, y - 0.36), (x + dx - 0.04, y - 0.45)]
        canvas.stroke([*steam, (x + dx + 0.02, y - 0.54)], (205, 212, 224), 0.034, halo=0.012)


def _gun(canvas: Canvas, x: float, y: float) -> None:
    steel, dark = (112, 120, 138), (52, 52, 66)
    grip = [(x - 0.08, y - 0.18), (x + 0.1, y - 0.18), (x + 0.14, y + 0.2), (x - 0.03, y + 0.2)]
    canvas.shape(grip, dark, smooth=False, line=1.2)
    guard = [(x - 0.08, y - 0.16), (x - 0.2, y - 0.12), (x - 0.2, y - 0.02), (x - 0.06, y)]
    canvas.stroke(guard, dark, 0.03)
    slide = [(x - 0.5, y - 0.36), (x + 0.12, y - 0.36), (x + 0.12, y - 0.16), (x - 0.5, y - 0.18)]
    canvas.shape(slide, steel, smooth=False, line=1.3)
    canvas.stroke([(x - 0.46, y - 0.31), (x + 0.08, y - 0.31)], (190, 198, 214), 0.025)
    for dx in (0.0, 0.05):
        canvas.stroke([(x + dx, y - 0.28), (x + dx, y - 0.2)], dark, 0.018)
    canvas.limb([(x - 0.47, y - 0.38), (x - 0.43, y - 0.38)], [0.05, 0.05], dark)


def _teddy(canvas: Canvas) -> None:
    brown = canvas.color("#b57a48")
    light = mix(brown, _WHITE, 0.5)
    canvas.disc(0.0, 1.4, 0.25, 0.26, brown, line=1.2)
    for side in (1, -1):
        canvas.disc(0.19 * side, 0.82, 0.1, 0.1, brown, line=1.2)
        canvas.disc(0.19 * side, 0.82, 0.05, 0.05, light, line=0)
    canvas.disc(0.0, 1.0, 0.26, 0.24, brown, line=1.2)
    canvas.disc(0.0, 1.07, 0.12, 0.09, light, line=0)
    canvas.disc(0.0, 1.03, 0.04, 0.03, _INK, line=0)
    for side in (1, -1):
        canvas.disc(0.11 * side, 0.95, 0.03, 0.035, _INK, line=0)


def effects(canvas: Canvas, portrait: Portrait, frame: tuple[float, float, float]) -> None:
    """The marks around the head, from the right of it to the left, inside the picture.

    frame: half the picture's width, and its upper edge and lower edge, in heads from the face.
    """
    half, top, _ = frame
    reach = min(0.86, half - 0.32)
    height = max(top + 0.3, -0.52 if reach > 0.7 else -0.86)
    for number, name in enumerate(portrait.effects):
        side = 1 if number % 2 == 0 else -1
        if name == "sweatdrop":
            _sweatdrop(canvas, min(0.5, half - 0.1), -0.08)
        elif name == "anger_vein":
            _anger_vein(canvas, 0.3, -0.38)
        else:
            _MARKS[name](canvas, reach * side, height)


def _chevrons(canvas: Canvas, x: float, y: float) -> None:
    for i in (-1, 0, 1):
        px, py = x + i * 0.17, y + abs(i) * 0.05
        canvas.stroke(
            [(px - 0.06, py + 0.09), (px, py - 0.05), (px + 0.06, py + 0.09)],
            (226, 60, 60),
            0.04,
            smooth=False,
            halo=0.02,
        )


def _exclamation(canvas: Canvas, x: float, y: float) -> None:
    body = [(x - 0.07, y - 0.24), (x + 0.07, y - 0.24), (x + 0.03, y + 0.08), (x - 0.03, y + 0.08)]
    canvas.stroke([*body, body[0]], _WHITE, 0.06, smooth=False)
    canvas.disc(x, y + 0.19, 0.085, 0.085, _WHITE, line=0)
    canvas.shape(body, (240, 50, 60), line=0, smooth=False)
    canvas.disc(x, y + 0.19, 0.055, 0.055, (240, 50, 60), line=0)


def _question(canvas: Canvas, x: float, y: float) -> None:
    hook = [(x - 0.12, y - 0.12), (x - 0.06, y - 0.23), (x + 0.08, y - 0.22), (x + 0.12, y - 0.1)]
    hook += [(x + 0.03, y), (x, y + 0.08)]
    canvas.disc(x, y + 0.2, 0.075, 0.075, _WHITE, line=0)
    canvas.stroke(hook, (60, 90, 220), 0.07, halo=0.024)
    canvas.disc(x, y + 0.2, 0.05, 0.05, (60, 90, 220), line=0)


def _heart(canvas: Canvas, x: float, y: float) -> None:
    canvas.shape(heart(x, y, 0.2), (255, 75, 130), line=1.4, ink=_WHITE)
    canvas.shape(heart(x + 0.16, y + 0.24, 0.1), (255, 75, 130), line=1.2, ink=_WHITE)


def _sparkle(canvas: Canvas, x: float, y: float) -> None:
    for dx, dy, size in ((0.0, 0.0, 0.25), (0.17, 0.23, 0.14), (-0.15, 0.24, 0.1)):
        points = star(x + dx, y + dy, size, 4, 0.26)
        canvas.shape(points, (255, 232, 90), line=0.8, ink=(215, 150, 20), smooth=False)


def _sweatdrop(canvas: Canvas, x: float, y: float) -> None:
    drop = [(0.0, -0.22), (0.0, -0.22), (0.1, 0.0), (0.09, 0.12), (0.0, 0.17), (-0.09, 0.12)]
    canvas.shape(moved([*drop, (-0.1, 0.0)], x, y), (130, 200, 255), line=1.0, ink=(40, 100, 200))
    canvas.disc(x - 0.03, y + 0.05, 0.022, 0.045, _WHITE, line=0)


def _anger_vein(canvas: Canvas, x: float, y: float) -> None:
    for sx, sy in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        bend = [(0.05, 0.19), (0.06, 0.06), (0.19, 0.05)]
        path = [(x + px * sx, y + py * sy) for px, py in bend]
        canvas.stroke(path, (232, 30, 50), 0.05, halo=0.016)


def _note(canvas: Canvas, x: float, y: float) -> None:
    ink = (70, 60, 160)
    for dx in (-0.13, 0.13):
        canvas.disc(x + dx - 0.05, y + 0.16, 0.105, 0.085, _WHITE, line=0)
    frame = [(x - 0.13, y + 0.15), (x - 0.13, y - 0.18), (x + 0.13, y - 0.22), (x + 0.13, y + 0.13)]
    canvas.stroke(frame, ink, 0.045, smooth=False, halo=0.02)
    canvas.stroke([(x - 0.13, y - 0.13), (x + 0.13, y - 0.17)], ink, 0.07)
    for dx in (-0.13, 0.13):
        canvas.disc(x + dx - 0.05, y + 0.16, 0.085, 0.065, ink, line=0)


def _bubble(canvas: Canvas, x: float, y: float) -> None:
    lean = -1 if x > 0 else 1
    tail = [(x + lean * 0.02, y + 0.14), (x + lean * 0.24, y + 0.34), (x + lean * 0.18, y + 0.08)]
    canvas.disc(x, y, 0.3, 0.22, _WHITE, ink=_INK, line=1.4)
    canvas.shape(tail, _WHITE, ink=_INK, smooth=False)
    canvas.disc(x, y, 0.28, 0.2, _WHITE, line=0)
    for dx in (-0.13, 0.0, 0.13):
        canvas.disc(x + dx, y, 0.038, 0.038, _INK, line=0)


def _zzz(canvas: Canvas, x: float, y: float) -> None:
    lean = 1 if x > 0 else -1
    for i, size in enumerate((0.06, 0.09, 0.12)):
        cx, cy = x + lean * (i - 1) * 0.13, y + 0.22 - i * 0.22
        letter = [(cx - size, cy - size), (cx + size, cy - size), (cx - size, cy + size)]
        canvas.stroke(
            [*letter, (cx + size, cy + size)], (60, 70, 150), 0.045, smooth=False, halo=0.02
        )


_MARKS: dict[str, Callable[[Canvas, float, float], None]] = {
    "^^^": _chevrons,
    "!": _exclamation,
    "?": _question,
    "heart": _heart,
    "sparkle": _sparkle,
    "musical_note": _note,
    "speech_bubble": _bubble,
    "zzz": _zzz,
}
