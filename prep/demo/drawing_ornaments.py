"""What is worn on the head and before the eyes. Local frame: the head's."""

from prep.demo.drawing_canvas import Canvas, mirrored, moved, star
from prep.demo.drawing_styles import Color, mix
from prep.demo.portrait import Portrait

_WHITE = (255, 255, 255)


def behind_head(canvas: Canvas, portrait: Portrait) -> None:
    """Parts that the hair covers: ears, the far rim of hats, streamers."""
    worn = portrait.ornaments
    if "rabbit_ears" in worn:
        for side in (1, -1):
            tilt = 0.05 if side == 1 else 0.0
            ear = [(0.1, -0.5), (0.12, -0.85), (0.24 + tilt, -1.04), (0.36, -0.8), (0.34, -0.45)]
            inner = [(0.16, -0.55), (0.19, -0.82), (0.25 + tilt, -0.93), (0.3, -0.78), (0.28, -0.5)]
            canvas.shape([(x * side, y) for x, y in ear], (250, 246, 248), line=1.2)
            canvas.shape([(x * side, y) for x, y in inner], (255, 176, 196), line=0)
    if "straw_hat" in worn:
        canvas.disc(0.0, -0.3, 0.84, 0.3, canvas.shadow(canvas.color("#f0cf82"), 0.25), line=1.2)
    if "witch_hat" in worn:
        canvas.disc(0.0, -0.28, 0.82, 0.24, canvas.color("#2a2140"), line=1.2)
    if "hair_ribbon" in worn:
        for dx in (0.0, 0.12):
            end = [(0.42, -0.4), (0.6 + dx, -0.1), (0.54 + dx, 0.3)]
            canvas.limb(end, [0.06, 0.11, 0.12], canvas.color("#3f7be8"))


def on_head(canvas: Canvas, portrait: Portrait, hair: Color) -> None:
    """Parts over the hair."""
    for name in portrait.ornaments:
        match name:
            case "cat_ears":
                _cat_ears(canvas, hair)
            case "horns":
                _horns(canvas)
            case "halo":
                _halo(canvas)
            case "beret":
                _beret(canvas)
            case "witch_hat":
                _witch_hat(canvas)
            case "straw_hat":
                _straw_hat(canvas)
            case "crown":
                _crown(canvas)
            case "headphones":
                _headphones(canvas)
            case "hairband":
                band = [(-0.47, -0.16), (-0.36, -0.38), (0.0, -0.5), (0.36, -0.38), (0.47, -0.16)]
                canvas.limb(band, [0.09] * 5, canvas.color("#f04f6a"))
            case "maid_headdress":
                _headdress(canvas)
            case "hair_bow":
                _bow(canvas)
            case "hair_ribbon":
                _ribbon(canvas)
            case "hairclip":
                for turn in (-0.06, 0.06):
                    path = [(0.22, -0.19 + turn), (0.45, -0.26 + turn)]
                    canvas.limb(path, [0.075, 0.075], canvas.color("#ffd23f"))
            case "hair_flower":
                _flower(canvas)
            case "glasses":
                _glasses(canvas)
            case "eyepatch":
                _eyepatch(canvas)


def _cat_ears(canvas: Canvas, hair: Color) -> None:
    ear = [(0.14, -0.54), (0.14, -0.54), (0.26, -0.74), (0.44, -0.88), (0.44, -0.88)]
    ear += [(0.5, -0.62), (0.47, -0.3), (0.47, -0.3), (0.32, -0.44)]
    inner = [(0.24, -0.56), (0.3, -0.68), (0.41, -0.78), (0.44, -0.6), (0.42, -0.42)]
    for side in (1, -1):
        canvas.shape([(x * side, y) for x, y in ear], hair, line=1.2)
        canvas.shape([(x * side, y) for x, y in inner], (255, 172, 188), line=0)


def _horns(canvas: Canvas) -> None:
    horn = [(0.2, -0.5), (0.2, -0.5), (0.26, -0.7), (0.42, -0.82), (0.64, -0.84), (0.64, -0.84)]
    horn += [(0.52, -0.68), (0.42, -0.54), (0.38, -0.42), (0.38, -0.42)]
    color = canvas.color("#7d2438")
    for side in (1, -1):
        canvas.shape([(x * side, y) for x, y in horn], color, line=1.2)
        for x, y in ((0.3, -0.62), (0.4, -0.71)):
            path = [((x - 0.04) * side, y - 0.03), ((x + 0.07) * side, y + 0.05)]
            canvas.stroke(path, mix(color, _WHITE, 0.5), 0.02)


def _halo(canvas: Canvas) -> None:
    ring = [(-0.4, -0.74), (0.0, -0.84), (0.4, -0.74), (0.0, -0.64)]
    canvas.stroke([*ring, ring[0]], (190, 130, 20), 0.085)
    canvas.stroke([*ring, ring[0]], (255, 226, 90), 0.055)


def _beret(canvas: Canvas) -> None:
    color = canvas.color("#b8323e")
    cap = [(-0.5, -0.34), (-0.66, -0.58), (-0.4, -0.8), (0.05, -0.82), (0.42, -0.62), (0.44, -0.36)]
    canvas.shape([*cap, (0.0, -0.42)], color, line=1.2)
    canvas.limb(
        [(-0.48, -0.33), (0.0, -0.41), (0.44, -0.34)], [0.08] * 3, mix(color, (30, 0, 20), 0.35)
    )
    canvas.limb([(-0.1, -0.8), (-0.08, -0.9)], [0.05, 0.05], color)


def _witch_hat(canvas: Canvas) -> None:
    color = canvas.color("#3a2d58")
    cone = [(-0.42, -0.36), (-0.26, -0.72), (-0.04, -1.0), (0.3, -1.1), (0.3, -1.1), (0.16, -0.9)]
    canvas.shape([*cone, (0.3, -0.66), (0.42, -0.36), (0.0, -0.3)], color, line=1.2)
    band = [(-0.4, -0.42), (0.0, -0.36), (0.4, -0.42)]
    canvas.limb(band, [0.12] * 3, canvas.color("#e89a2e"))
    brim = [(-0.86, -0.22), (-0.5, -0.36), (0.0, -0.3), (0.5, -0.36), (0.86, -0.22), (0.4, -0.18)]
    canvas.shape([*brim, (0.0, -0.17), (-0.4, -0.18)], color, line=1.2)


def _straw_hat(canvas: Canvas) -> None:
    color = canvas.color("#f3d68c")
    dome = [(-0.43, -0.38), (-0.36, -0.72), (0.0, -0.84), (0.36, -0.72), (0.43, -0.38)]
    canvas.shape([*dome, (0.0, -0.32)], color, line=1.2)
    canvas.limb([(-0.42, -0.44), (0.0, -0.38), (0.42, -0.44)], [0.12] * 3, canvas.color("#e2504c"))
    brim = [(-0.86, -0.24), (-0.5, -0.38), (0.0, -0.32), (0.5, -0.38), (0.86, -0.24), (0.4, -0.19)]
    canvas.shape([*brim, (0.0, -0.17), (-0.4, -0.19)], color, line=1.2)
    for x in (-0.6, -0.3, 0.0, 0.3, 0.6):
        canvas.stroke([(x, -0.31), (x * 1.1, -0.22)], canvas.shadow(color, 0.3), 0.014)


def _crown(canvas: Canvas) -> None:
    gold = canvas.color("#ffcf3e")
    points = [(-0.29, -0.46), (-0.35, -0.84), (-0.17, -0.66), (0.0, -0.92), (0.17, -0.66)]
    points += [(0.35, -0.84), (0.29, -0.46)]
    canvas.shape(points, gold, line=1.2, smooth=False)
    for x, y, color in (
        (0.0, -0.6, "#e0384c"),
        (-0.18, -0.56, "#3f86e8"),
        (0.18, -0.56, "#3f86e8"),
    ):
        canvas.disc(x, y, 0.045, 0.05, canvas.color(color), line=0.7)


def _headphones(canvas: Canvas) -> None:
    dark = canvas.color("#30343f")
    band = [(-0.5, -0.1), (-0.46, -0.42), (0.0, -0.68), (0.46, -0.42), (0.5, -0.1)]
    canvas.limb(band, [0.07, 0.08, 0.09, 0.08, 0.07], dark)
    for side in (1, -1):
        canvas.disc(0.5 * side, 0.06, 0.13, 0.2, dark, line=1.2)
        canvas.disc(0.53 * side, 0.06, 0.07, 0.12, canvas.color("#2fe0c0"), line=0.7)


def _headdress(canvas: Canvas) -> None:
    for i in range(-4, 5):
        x = i * 0.1
        canvas.disc(x, -0.56 + 1.0 * x * x, 0.085, 0.1, (252, 252, 255))
    band = [(-0.44, -0.3), (0.0, -0.48), (0.44, -0.3)]
    canvas.limb(band, [0.07] * 3, (45, 42, 55))


def _bow(canvas: Canvas) -> None:
    red = canvas.color("#e8283c")
    loop = [(0.0, 0.0), (0.0, 0.0), (0.14, -0.18), (0.3, -0.17), (0.32, 0.08), (0.18, 0.14)]
    tail = [(0.0, 0.0), (0.16, 0.16), (0.14, 0.32), (0.04, 0.24)]
    x, y = -0.36, -0.46
    for part in (tail, mirrored(tail), loop, mirrored(loop)):
        canvas.shape(moved(part, x, y), red, line=1.2)
    canvas.disc(x, y, 0.07, 0.075, mix(red, _WHITE, 0.2))


def _ribbon(canvas: Canvas) -> None:
    blue = canvas.color("#3f7be8")
    loop = [(0.0, 0.0), (0.0, 0.0), (0.1, -0.12), (0.22, -0.1), (0.2, 0.06)]
    for part in (loop, mirrored(loop)):
        canvas.shape(moved(part, 0.42, -0.4), blue)
    canvas.disc(0.42, -0.4, 0.045, 0.05, mix(blue, _WHITE, 0.25))
    fall = [(0.45, -0.36), (0.53, -0.08), (0.5, 0.2)]
    canvas.limb(fall, [0.06, 0.1, 0.11], blue)


def _flower(canvas: Canvas) -> None:
    x, y = 0.37, -0.33
    for dx, dy in ((0.0, -0.12), (0.115, -0.04), (0.07, 0.1), (-0.07, 0.1), (-0.115, -0.04)):
        canvas.disc(x + dx, y + dy, 0.088, 0.088, canvas.color("#ff8fb8"))
    canvas.disc(x, y, 0.06, 0.06, canvas.color("#ffe066"))


def _glasses(canvas: Canvas) -> None:
    frame = (60, 40, 50)
    for side in (1, -1):
        lens = [(0.035, 0.0), (0.05, -0.08), (0.19, -0.1), (0.34, -0.08), (0.36, 0.06)]
        lens += [(0.32, 0.24), (0.19, 0.28), (0.06, 0.23)]
        path = [(x * side, y + 0.01) for x, y in lens]
        canvas.stroke([*path, path[0]], frame, 0.034)
        canvas.stroke([(0.36 * side, 0.02), (0.46 * side, -0.02)], frame, 0.03)
    canvas.stroke([(-0.04, 0.03), (0.0, 0.01), (0.04, 0.03)], frame, 0.03)


def _eyepatch(canvas: Canvas) -> None:
    dark = (38, 34, 44)
    canvas.stroke([(-0.44, -0.06), (0.0, -0.18), (0.44, -0.3)], dark, 0.03)
    patch = [(0.04, -0.04), (0.19, -0.1), (0.35, -0.06), (0.34, 0.14), (0.2, 0.28), (0.07, 0.16)]
    canvas.shape(patch, dark, line=1.2)
    canvas.shape(star(0.2, 0.07, 0.07), (235, 235, 245), line=0, smooth=False)
