"""The face: head, eyes, brows, mouth, blush and tears. Local frame: the head's."""

import math

from prep.demo.drawing_canvas import Canvas, Point, Points, heart, mirrored, moved, star
from prep.demo.drawing_styles import EYES, Color, mix, warm
from prep.demo.portrait import Portrait

FACE: Points = [
    *((0.0, 0.5), (0.13, 0.455), (0.285, 0.33), (0.385, 0.12), (0.4, -0.12), (0.3, -0.36)),
    *((0.0, -0.44), (-0.3, -0.36), (-0.4, -0.12), (-0.385, 0.12), (-0.285, 0.33), (-0.13, 0.455)),
]
_EYE_X, _EYE_Y = 0.19, 0.1
_MOUTH_Y = 0.34
# Closed mouths are drawn large enough to be told apart in a small picture.
_MOUTH_SIZE = {
    "smile": 1.22,
    "surprised": 1.2,
    ":d": 1.15,
    "grin": 1.2,
    "crying": 1.15,
    "angry": 1.25,
    ":p": 1.2,
}
_WHITE = (255, 255, 255)
_GAZE = {"looking_at_viewer": (0, 0), "looking_to_the_side": (-0.055, 0), "looking_up": (0, -0.06)}


def face(canvas: Canvas, skin: Color, fringe: Points) -> None:
    """Ears and face, with the fringe's shadow on it."""
    for side in (-1, 1):
        ear = [(0.36, 0.0), (0.45, -0.02), (0.46, 0.12), (0.38, 0.22)]
        canvas.shape([(x * side, y) for x, y in ear], skin)
    canvas.shape(FACE, skin, line=1.1)
    canvas.shade(moved(fringe, 0.02, 0.07), FACE, warm(skin, 0.22))


def features(canvas: Canvas, portrait: Portrait, skin: Color) -> None:
    """Eyes, nose, mouth, blush, tears."""
    if portrait.blush:
        _blush(canvas, skin)
    if portrait.expression == "crying":
        _tears(canvas)
    size = canvas.style.eye
    for side in (-1, 1):
        _eye(canvas, portrait, skin, side, size)
    canvas.stroke([(0.005, 0.235), (-0.012, 0.252)], warm(skin, 0.6), 0.016)
    larger = _MOUTH_SIZE.get(portrait.expression, 1.35)
    canvas.zoom(larger, 0.0, _MOUTH_Y)
    _mouth(canvas, portrait, skin)
    canvas.zoom(1 / larger, 0.0, _MOUTH_Y)


def brows(canvas: Canvas, portrait: Portrait, hair: Color) -> None:
    """Eyebrows, drawn over the fringe so that they can always be read."""
    lift, slant = {
        "angry": (0.045, 0.085),
        "frown": (0.0, -0.055),
        "crying": (-0.015, -0.075),
        "surprised": (-0.06, 0.0),
        "wavy_mouth": (0.0, -0.04),
        "pout": (0.02, 0.03),
    }.get(portrait.expression, (0.0, 0.0))
    color = mix(hair, (40, 20, 40), 0.55)
    width = 0.034 if portrait.expression == "angry" else 0.024
    for side in (-1, 1):
        covered = portrait.bangs == "hair_over_one_eye" and side == 1
        if covered:
            continue
        y = -0.11 + lift
        arch = [(0.1, y + slant), (0.2, y - 0.025), (0.29, y - slant * 0.5 + 0.01)]
        canvas.stroke([(x * side, y) for x, y in arch], color, width)


def _eye(canvas: Canvas, portrait: Portrait, skin: Color, side: int, size: float) -> None:
    x, rx, ry = side * _EYE_X, 0.118 * size, 0.142 * size
    lash = mix(canvas.ink(skin), (30, 15, 35), 0.7)
    kind = portrait.eyes
    if kind == "one_eye_closed":
        kind = "closed_eyes" if side == 1 else ""
    if kind == "closed_eyes":
        arc = [(x - rx, _EYE_Y), (x - rx * 0.4, _EYE_Y + 0.06), (x + rx * 0.4, _EYE_Y + 0.06)]
        canvas.stroke([*arc, (x + rx, _EYE_Y)], lash, 0.034)
        canvas.stroke([(x + side * rx, _EYE_Y), (x + side * rx * 1.2, _EYE_Y + 0.03)], lash, 0.025)
    elif kind == "^_^":
        arc = [(x - rx, _EYE_Y + 0.06), (x, _EYE_Y - 0.07), (x + rx, _EYE_Y + 0.06)]
        canvas.stroke(arc, lash, 0.036)
    elif kind == ">_<":
        near, far = x - side * rx * 0.8, x + side * rx * 0.9
        chevron = [(far, _EYE_Y - 0.09), (near, _EYE_Y), (far, _EYE_Y + 0.09)]
        canvas.stroke(chevron, lash, 0.036, smooth=False)
    else:
        _open_eye(canvas, portrait, skin, (x, rx, ry, side, kind), lash)


def _open_eye(
    canvas: Canvas,
    portrait: Portrait,
    skin: Color,
    place: tuple[float, float, float, int, str],
    lash: Color,
) -> None:
    x, rx, ry, side, kind = place
    y = _EYE_Y
    white = [(-1.0, 0.1), (-0.75, -0.7), (0.0, -1.0), (0.8, -0.72), (1.02, 0.0), (0.7, 0.75)]
    white += [(0.0, 0.98), (-0.7, 0.75)]
    shape = [(x + px * rx * side, y + py * ry) for px, py in white]
    canvas.shape(shape, (252, 252, 255), line=0)
    if kind == "@_@":
        canvas.stroke(_spiral(x, y, rx * 0.85), lash, 0.02)
    elif kind != "blank_eyes":
        second = portrait.eye_color2 if side == 1 else ""
        _iris(canvas, portrait, EYES[second or portrait.eye_color], (x, y, rx, ry), kind)
    low = [(x + px * rx * side, y + py * ry) for px, py in ((0.8, 0.7), (0.1, 1.0), (-0.6, 0.82))]
    canvas.stroke(low, lash, 0.012)
    if kind == "half-closed_eyes":
        lid = [(-1.15, -0.05), (-0.8, -1.15), (0.0, -1.3), (0.9, -1.15), (1.15, -0.05)]
        canvas.shape([(x + px * rx, y + py * ry) for px, py in [*lid, (0.0, -0.16)]], skin, line=0)
        edge = [(-1.1, 0.02), (0.0, -0.16), (1.1, 0.0)]
        canvas.stroke([(x + px * rx * side, y + py * ry) for px, py in edge], lash, 0.042)
        return
    upper = [(-1.0, -0.02), (-0.72, -0.72), (0.0, -1.02), (0.75, -0.8), (1.08, -0.1)]
    canvas.stroke([(x + px * rx * side, y + py * ry) for px, py in upper], lash, 0.036)
    wing = [(0.9, -0.5), (1.12, -0.22), (1.32, -0.3)]
    canvas.stroke([(x + px * rx * side, y + py * ry) for px, py in wing], lash, 0.024)


def _iris(
    canvas: Canvas,
    portrait: Portrait,
    named: str,
    place: tuple[float, float, float, float],
    kind: str,
) -> None:
    x, y, rx, ry = place
    dx, dy = _GAZE[portrait.gaze]
    x, y = x + dx, y + dy * 0.6
    base = canvas.color(named)
    dark, light = mix(base, (20, 0, 40), 0.42), mix(base, _WHITE, 0.5)
    small = 0.72 if portrait.expression == "surprised" else 1.0
    wide, tall = rx * 0.76 * small, ry * 0.9 * small
    canvas.disc(x, y, wide, tall, base, line=0.8, ink=mix(base, (15, 0, 30), 0.65))
    top = [(-0.93, -0.2), (-0.6, -0.82), (0.0, -0.97), (0.6, -0.82), (0.93, -0.2), (0.0, -0.3)]
    canvas.shape([(x + px * wide, y + py * tall) for px, py in top], dark, line=0)
    canvas.disc(x, y + tall * 0.6, wide * 0.55, tall * 0.26, light, line=0)
    if kind == "heart-shaped_pupils":
        canvas.shape(heart(x, y + 0.01, wide * 0.8), (255, 60, 130), line=0.6, ink=_WHITE)
        return
    if kind == "star-shaped_pupils":
        points = star(x, y + 0.01, wide * 0.95, inner=0.45)
        canvas.shape(points, (255, 240, 120), line=0.6, ink=_WHITE, smooth=False)
        return
    canvas.disc(x, y, wide * 0.42, tall * 0.42, mix(base, (10, 0, 20), 0.8), line=0)
    canvas.disc(x - wide * 0.36, y - tall * 0.44, wide * 0.36, tall * 0.3, _WHITE, line=0)
    canvas.disc(x + wide * 0.4, y + tall * 0.45, wide * 0.18, tall * 0.15, _WHITE, line=0)


def _spiral(x: float, y: float, radius: float) -> list[Point]:
    turns = [i * math.pi / 3 for i in range(16)]
    return [
        (x + radius * i / 15 * math.cos(a), y + radius * 1.15 * i / 15 * math.sin(a))
        for i, a in enumerate(turns)
    ]


def _mouth(canvas: Canvas, portrait: Portrait, skin: Color) -> None:
    line = mix(canvas.ink(skin), (110, 30, 40), 0.4)
    y = _MOUTH_Y
    match portrait.expression:
        case "smile":
            canvas.stroke([(-0.11, y - 0.015), (0.0, y + 0.035), (0.11, y - 0.015)], line, 0.024)
        case ":d":
            _cavity(canvas, [(-0.14, y - 0.03), (0.0, y - 0.015), (0.14, y - 0.03)], 0.1, line)
        case "grin":
            row = [(-0.15, y - 0.04), (-0.15, y - 0.04), (0.0, y - 0.02), (0.15, y - 0.04)]
            row += [(0.15, y - 0.04), (0.1, y + 0.05), (0.0, y + 0.075), (-0.1, y + 0.05)]
            canvas.shape(row, _WHITE, ink=line, line=1.2)
            canvas.stroke([(-0.12, y + 0.02), (0.0, y + 0.03), (0.12, y + 0.02)], line, 0.012)
        case "expressionless":
            canvas.stroke([(-0.075, y + 0.005), (0.075, y + 0.005)], line, 0.024)
        case "frown":
            canvas.stroke([(-0.1, y + 0.04), (0.0, y - 0.015), (0.1, y + 0.04)], line, 0.024)
        case "surprised":
            canvas.disc(0.0, y + 0.025, 0.06, 0.08, (150, 50, 60), ink=line, line=1.2)
        case "angry":
            row = [(-0.12, y + 0.06), (-0.08, y - 0.025), (0.08, y - 0.025), (0.12, y + 0.06)]
            canvas.shape(row, _WHITE, ink=line, line=1.2, smooth=False)
            canvas.stroke([(-0.1, y + 0.02), (0.1, y + 0.02)], line, 0.012)
            for x in (-0.04, 0.04):
                canvas.stroke([(x, y - 0.02), (x, y + 0.06)], line, 0.01)
        case "crying":
            wave = [(-0.13, y + 0.1), (-0.08, y), (0.0, y - 0.02), (0.08, y), (0.13, y + 0.1)]
            wave += [(0.13, y + 0.1), (0.04, y + 0.075), (-0.04, y + 0.075), (-0.13, y + 0.1)]
            canvas.shape(wave, (150, 50, 60), ink=line, line=1.2)
        case ":p":
            tongue = [(-0.02, y + 0.02), (0.08, y), (0.09, y + 0.09), (0.04, y + 0.13)]
            canvas.shape([*tongue, (-0.01, y + 0.09)], (255, 120, 135), ink=line)
            canvas.stroke([(-0.11, y - 0.01), (0.0, y + 0.025), (0.11, y - 0.02)], line, 0.024)
        case ":3":
            half = [(0.0, y - 0.02), (0.035, y + 0.035), (0.085, y + 0.03), (0.115, y - 0.03)]
            canvas.stroke(half, line, 0.024)
            canvas.stroke(mirrored(half), line, 0.024)
        case "pout":
            canvas.stroke([(-0.045, y + 0.02), (0.0, y - 0.02), (0.045, y + 0.02)], line, 0.026)
            for side in (-1, 1):
                puff = [(0.2, y - 0.08), (0.26, y - 0.03), (0.22, y + 0.04)]
                canvas.stroke([(x * side, py) for x, py in puff], line, 0.016)
        case _:
            wave = [(-0.13, y), (-0.09, y - 0.03), (-0.04, y + 0.03), (0.01, y - 0.03)]
            canvas.stroke([*wave, (0.06, y + 0.03), (0.11, y - 0.02)], line, 0.024)


def _cavity(canvas: Canvas, top: Points, depth: float, line: Color) -> None:
    (left, y), (_, middle), (right, _) = top
    low = y + depth
    outline = [(left, y), (left, y), (0.0, middle), (right, y), (right, y), (right * 0.7, low)]
    outline += [(0.0, low + 0.03), (left * 0.7, low)]
    canvas.shape(outline, (170, 55, 65), ink=line, line=1.2)
    canvas.disc(0.0, low - 0.01, right * 0.5, 0.032, (255, 135, 140), line=0)


def _blush(canvas: Canvas, skin: Color) -> None:
    pink = mix(skin, (255, 80, 110), 0.6)
    for side in (-1, 1):
        canvas.disc(0.268 * side, 0.272, 0.115, 0.068, pink, line=0)
        for x in (0.22, 0.265, 0.31):
            canvas.stroke(
                [(x * side + 0.012, 0.238), (x * side - 0.012, 0.302)],
                mix(pink, (220, 30, 70), 0.6),
                0.013,
            )


def _tears(canvas: Canvas) -> None:
    blue = (140, 205, 255)
    for side in (-1, 1):
        stream = [(0.13, 0.2), (0.25, 0.2), (0.27, 0.34), (0.22, 0.45), (0.15, 0.46), (0.14, 0.32)]
        canvas.shape([(x * side, y) for x, y in stream], blue, ink=(70, 140, 220), line=0.7)
        canvas.stroke([(0.19 * side, 0.24), (0.2 * side, 0.4)], _WHITE, 0.02)
