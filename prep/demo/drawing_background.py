"""What is behind the figure. Local frame: the picture's, x from 0 to width / height, y to 1."""

import math
from collections.abc import Callable

from prep.demo.drawing_canvas import Canvas, star
from prep.demo.drawing_styles import mix

_WHITE = (255, 255, 255)


def background(canvas: Canvas, name: str) -> None:
    """Draw the background called `name` over the whole picture."""
    canvas.to_picture()
    wide = canvas.width / canvas.height
    if name in _PLAIN:
        color = canvas.color(_PLAIN[name]) if name != "white_background" else _WHITE
        canvas.image.paste(color, (0, 0, canvas.width, canvas.height))
    else:
        _SCENES[name](canvas, wide, min(1.0, wide))


_PLAIN = {
    "white_background": "#ffffff",
    "grey_background": "#b4b6bc",
    "blue_background": "#7cb0f2",
    "pink_background": "#fbb6ce",
    "yellow_background": "#fbe07a",
}


def _gradient(canvas: Canvas, wide: float, size: float) -> None:
    top, low = canvas.rng.choice(
        (("#8fd6f8", "#f7b9dc"), ("#f9d48c", "#f18f9c"), ("#b7a2f2", "#a6f0dc"))
    )
    canvas.vertical(canvas.color(top), canvas.color(low))


def _dots(canvas: Canvas, wide: float, size: float) -> None:
    base, dot = canvas.rng.choice((("#ffd9e4", "#fff7fa"), ("#bfe6dc", "#f4fffb")))
    canvas.vertical(canvas.color(base), canvas.color(base))
    step = 0.17 * size
    for row in range(int(1 / step) + 2):
        for column in range(int(wide / step) + 2):
            x = (column + (row % 2) / 2) * step
            canvas.disc(x, row * step, 0.3 * step, 0.3 * step, canvas.color(dot), line=0)


def _stripes(canvas: Canvas, wide: float, size: float) -> None:
    base, stripe = canvas.rng.choice((("#fdf0b8", "#f8cf7a"), ("#d6e8fb", "#a3c8f0")))
    canvas.vertical(canvas.color(base), canvas.color(base))
    step = 0.2 * size
    for i in range(-int(1 / step) - 1, int(wide / step) + 2):
        x = i * step
        corners = [(x, 0.0), (x + step / 2, 0.0), (x + step / 2 + 0.7, 1.0), (x + 0.7, 1.0)]
        canvas.shape(corners, canvas.color(stripe), line=0, smooth=False)


def _cloud(canvas: Canvas, x: float, y: float, size: float, color: tuple[int, int, int]) -> None:
    for dx, dy, r in ((-0.9, 0.1, 0.5), (-0.3, -0.25, 0.65), (0.4, -0.1, 0.6), (1.0, 0.15, 0.42)):
        canvas.disc(x + dx * size, y + dy * size, r * size, r * size * 0.75, color, line=0)
    canvas.disc(x, y + 0.25 * size, 1.2 * size, 0.32 * size, color, line=0)


def _blue_sky(canvas: Canvas, wide: float, size: float) -> None:
    canvas.vertical(canvas.color("#4a9cf0"), canvas.color("#c5e8fd"))
    shift = canvas.rng.uniform(-0.08, 0.08)
    for x, y, big in ((0.14, 0.2, 0.12), (0.86, 0.13, 0.14), (0.08, 0.62, 0.1), (0.94, 0.5, 0.11)):
        _cloud(canvas, (x + shift) * wide, y, big * (0.5 + 0.5 * size), _WHITE)


def _sunset(canvas: Canvas, wide: float, size: float) -> None:
    canvas.vertical(canvas.color("#f2673a"), canvas.color("#fdd27a"))
    x, y = wide * canvas.rng.uniform(0.78, 0.86), 0.32
    canvas.disc(x, y, 0.17 * size, 0.17 * size, canvas.color("#fff0b0"), line=0)
    for px, py, big in ((0.15, 0.25, 0.1), (0.9, 0.55, 0.1), (0.1, 0.6, 0.08)):
        _cloud(canvas, px * wide, py, big * size, canvas.color("#f7a070"))
    hill = [(0.0, 0.9), (wide * 0.25, 0.8), (wide * 0.6, 0.88), (wide, 0.78), (wide, 1.1)]
    canvas.shape([*hill, (0.0, 1.1)], canvas.color("#8a3d50"), line=0)


def _night_sky(canvas: Canvas, wide: float, size: float) -> None:
    canvas.vertical(canvas.color("#141b4d"), canvas.color("#4a4a9c"))
    for i in range(int(26 + 14 * wide)):
        x, y = canvas.rng.random() * wide, canvas.rng.random()
        points = star(x, y, (0.014 + 0.02 * (i % 3 == 0)) * (0.5 + size / 2), 4, 0.35)
        canvas.shape(points, (255, 246, 190), line=0, smooth=False)
    x, y, r = wide * 0.84, 0.17, 0.115 * (0.4 + 0.6 * size)
    canvas.disc(x, y, r, r, (255, 240, 170), line=0)
    canvas.disc(x - r * 0.45, y - r * 0.2, r * 0.85, r * 0.85, canvas.color("#1b2259"), line=0)


def _cherry_blossoms(canvas: Canvas, wide: float, size: float) -> None:
    canvas.vertical(canvas.color("#cfe9fb"), canvas.color("#fdeef4"))
    bark = canvas.color("#6b4636")
    canvas.limb(
        [(wide * 0.1, 1.1), (wide * 0.07, 0.5), (wide * 0.14, 0.0)],
        [0.12 * size, 0.1 * size, 0.06 * size],
        bark,
        line=0,
    )
    canvas.limb(
        [(wide * 0.08, 0.45), (wide * 0.3, 0.2), (wide * 0.6, 0.12)],
        [0.06 * size, 0.04 * size, 0.02 * size],
        bark,
        line=0,
    )
    for i in range(34):
        x = canvas.rng.random() ** 1.3 * wide
        y = canvas.rng.random() * (0.3 - 0.12 * x / wide)
        r = (0.05 + 0.04 * canvas.rng.random()) * size
        canvas.disc(x, y, r, r, canvas.color(("#fbb4cf", "#f796bb", "#fdd3e2")[i % 3]), line=0)
    for _ in range(16):
        x, y, r = canvas.rng.random() * wide, 0.3 + 0.7 * canvas.rng.random(), 0.022 * size
        petal = [(x - r, y), (x, y - r * 0.8), (x + r * 1.3, y + r * 0.3), (x, y + r * 0.7)]
        canvas.shape(petal, canvas.color("#f78fb6"), line=0)


def _forest(canvas: Canvas, wide: float, size: float) -> None:
    canvas.vertical(canvas.color("#d8f2c0"), canvas.color("#a2d890"))
    for i, part in enumerate((0.05, 0.3, 0.72, 0.95, 0.5)):
        x = (part + canvas.rng.uniform(-0.03, 0.03)) * wide
        canvas.limb(
            [(x, 1.0), (x, 0.2)], [0.09 * size, 0.07 * size], canvas.color("#7a5536"), line=0
        )
        leaf = canvas.color(("#3f8f4a", "#56a852", "#2f7a44")[i % 3])
        for dx, dy in ((-0.1, 0.22), (0.1, 0.22), (0.0, 0.08), (-0.08, 0.06), (0.09, 0.04)):
            canvas.disc(x + dx * size, dy, 0.14 * size, 0.13, leaf, line=0)
    _grass(canvas, wide, size, "#4fa04a")


def _grass(canvas: Canvas, wide: float, size: float, color: str) -> None:
    blades = int(wide / (0.05 * size))
    edge = [(wide * i / (2 * blades), 0.8 if i % 2 else 0.87) for i in range(2 * blades + 1)]
    canvas.shape([*edge, (wide, 1.1), (0.0, 1.1)], canvas.color(color), line=0, smooth=False)


def _beach(canvas: Canvas, wide: float, size: float) -> None:
    canvas.vertical(canvas.color("#58aef4"), canvas.color("#d4f0fd"), 0.0, 0.48)
    _cloud(canvas, wide * 0.12, 0.18, 0.1 * size, _WHITE)
    _cloud(canvas, wide * 0.9, 0.26, 0.12 * size, _WHITE)
    canvas.vertical(canvas.color("#1f7fc8"), canvas.color("#4fd0dc"), 0.48, 0.8)
    for i in range(7):
        x, y = canvas.rng.random() * wide, 0.52 + 0.035 * i
        canvas.stroke([(x, y), (x + 0.16 * size, y)], (235, 252, 255), 0.01)
    sand = [(0.0, 0.76), (wide * 0.3, 0.8), (wide * 0.7, 0.75), (wide, 0.79), (wide, 1.1)]
    canvas.shape([*sand, (0.0, 1.1)], canvas.color("#f6e0a4"), line=0)
    canvas.stroke(sand[:4], _WHITE, 0.02)


def _window(canvas: Canvas, wide: float, size: float) -> None:
    wall = canvas.color("#f1dfc6")
    canvas.vertical(wall, mix(wall, (120, 90, 60), 0.2))
    left, right, top, low = wide * 0.1, wide * 0.9, 0.07, 0.74
    canvas.shape(
        [(left, top), (right, top), (right, low), (left, low)],
        canvas.color("#aedcf8"),
        line=0,
        smooth=False,
    )
    frame = canvas.color("#a8713f")
    outline = [(left, top), (right, top), (right, low), (left, low), (left, top)]
    canvas.stroke(outline, frame, 0.04, smooth=False)
    canvas.stroke([((left + right) / 2, top), ((left + right) / 2, low)], frame, 0.03)
    canvas.stroke([(left, 0.4), (right, 0.4)], frame, 0.03)
    for side in (0, 1):
        x0, x1 = (0.0, wide * 0.2) if side == 0 else (wide, wide * 0.8)
        drape = [(x0, -0.05), (x1, -0.05), ((x0 + x1 * 2) / 3, 0.45), (x1 * 0.97, 0.9), (x0, 0.9)]
        canvas.shape(drape, canvas.color("#e8788a"), line=0)
        canvas.stroke([((x0 + x1) / 2, 0.0), ((x0 + x1) / 2, 0.85)], canvas.color("#c4566a"), 0.015)


def _classroom(canvas: Canvas, wide: float, size: float) -> None:
    canvas.vertical(canvas.color("#f4ead2"), canvas.color("#e2cfa8"))
    board = [(wide * 0.04, 0.08), (wide * 0.96, 0.08), (wide * 0.96, 0.62), (wide * 0.04, 0.62)]
    canvas.shape(board, canvas.color("#2f6b50"), line=0, smooth=False)
    canvas.stroke([*board, board[0]], canvas.color("#9a6a3c"), 0.035, smooth=False)
    for i, y in enumerate((0.17, 0.27, 0.37, 0.47)):
        for x0, x1 in ((0.09, 0.24 - 0.03 * (i % 2)), (0.76 + 0.03 * (i % 2), 0.91)):
            canvas.stroke([(x0 * wide, y), (x1 * wide, y)], (225, 240, 230), 0.016)
    for y in (0.8, 0.9):
        canvas.stroke([(0.0, y), (wide, y)], canvas.color("#c9ae7c"), 0.01)


def _bookshelf(canvas: Canvas, wide: float, size: float) -> None:
    canvas.vertical(canvas.color("#5a3a26"), canvas.color("#4a2e1e"))
    colors = ("#c8473f", "#3f6fb8", "#e0b04a", "#4f9a64", "#8a58a8", "#e8e0cc")
    step = 0.25
    for row in range(4):
        low, x = (row + 1) * step - 0.025, 0.01
        while x < wide:
            thick = canvas.rng.uniform(0.035, 0.06) * (0.5 + size / 2)
            tall = canvas.rng.uniform(0.15, 0.205)
            box = [(x, low - tall), (x + thick, low - tall), (x + thick, low), (x, low)]
            canvas.shape(box, canvas.color(canvas.rng.choice(colors)), line=0, smooth=False)
            x += thick + 0.006
        canvas.stroke([(0.0, low + 0.012), (wide, low + 0.012)], canvas.color("#a87448"), 0.025)


def _cityscape(canvas: Canvas, wide: float, size: float) -> None:
    canvas.vertical(canvas.color("#2b2a5c"), canvas.color("#b35c96"))
    x = 0.0
    while x < wide:
        width = canvas.rng.uniform(0.13, 0.19) * size
        top = canvas.rng.uniform(0.12, 0.5)
        tower = [(x, top), (x + width, top), (x + width, 1.05), (x, 1.05)]
        canvas.shape(tower, canvas.color("#23254a"), line=0, smooth=False)
        cell = 0.045 * size
        for i in range(int(width / cell)):
            for j in range(int((1 - top) / (cell * 1.5))):
                if canvas.rng.random() < 0.45:
                    px, py = x + (i + 0.3) * cell, top + (j + 0.4) * cell * 1.5
                    left, up = px * canvas.height, py * canvas.height
                    reach = cell * 0.5 * canvas.height
                    canvas.pen.rectangle((left, up, left + reach, up + reach), (255, 220, 120))
        x += width + 0.012 * size


def _snowing(canvas: Canvas, wide: float, size: float) -> None:
    canvas.vertical(canvas.color("#8fa2b8"), canvas.color("#c6d2e0"))
    drift = [(0.0, 0.8), (wide * 0.3, 0.74), (wide * 0.7, 0.82), (wide, 0.75), (wide, 1.1)]
    canvas.shape([*drift, (0.0, 1.1)], (248, 251, 255), line=0)
    for i in range(int(44 * max(1.0, wide))):
        r = (0.012 + 0.012 * (i % 3)) * (0.5 + size / 2)
        canvas.disc(canvas.rng.random() * wide, canvas.rng.random(), r, r, _WHITE, line=0)


def _rain(canvas: Canvas, wide: float, size: float) -> None:
    canvas.vertical(canvas.color("#5c6a7e"), canvas.color("#95a2b2"))
    for x in (0.1, 0.5, 0.9):
        _cloud(canvas, x * wide, 0.04, 0.15, canvas.color("#4a5566"))
    for _ in range(int(46 * max(1.0, wide))):
        x, y = canvas.rng.random() * wide, canvas.rng.random()
        canvas.stroke([(x, y), (x - 0.03, y + 0.12)], (205, 226, 245), 0.01)


def _underwater(canvas: Canvas, wide: float, size: float) -> None:
    canvas.vertical(canvas.color("#2fc0dc"), canvas.color("#0f4a96"))
    for x in (0.12, 0.4, 0.75):
        beam = [(x * wide, 0.0), ((x + 0.1) * wide, 0.0), ((x + 0.02) * wide, 1.0)]
        canvas.shape(
            [*beam, ((x - 0.16) * wide, 1.0)], canvas.color("#4cc6e4"), line=0, smooth=False
        )
    for i in range(18):
        x, y = canvas.rng.random() * wide, canvas.rng.random()
        r = (0.018 + 0.02 * (i % 3)) * (0.4 + 0.6 * size)
        canvas.disc(x, y, r, r, (178, 236, 250), line=0)
        canvas.disc(x, y, r * 0.76, r * 0.76, canvas.color("#3fb0d8"), line=0)
        canvas.disc(x - r * 0.3, y - r * 0.3, r * 0.22, r * 0.22, _WHITE, line=0)
    for k in (0.06, 0.93):
        weed = [(k * wide + 0.02 * math.sin(i), 1.05 - 0.08 * i) for i in range(7)]
        canvas.stroke(weed, canvas.color("#2f9a6a"), 0.035 * size)


_SCENES: dict[str, Callable[[Canvas, float, float], None]] = {
    "gradient_background": _gradient,
    "polka_dot_background": _dots,
    "striped_background": _stripes,
    "blue_sky": _blue_sky,
    "sunset": _sunset,
    "night_sky": _night_sky,
    "cherry_blossoms": _cherry_blossoms,
    "forest": _forest,
    "beach": _beach,
    "window": _window,
    "classroom": _classroom,
    "bookshelf": _bookshelf,
    "cityscape": _cityscape,
    "snowing": _snowing,
    "rain": _rain,
    "underwater": _underwater,
}
