"""Neck, torso and arms, dressed. Local frame: the body's, its unit a head, its origin the face."""

from collections.abc import Callable

from prep.demo.drawing_canvas import Canvas, Points, limb, mirrored, moved, star
from prep.demo.drawing_styles import Color, mix, warm
from prep.demo.portrait import Portrait

_WHITE = (255, 255, 255)
_TORSO: Points = [
    *((-0.16, 0.62), (-0.16, 0.62), (-0.36, 0.7), (-0.51, 0.8), (-0.51, 0.95), (-0.42, 1.2)),
    *((-0.4, 1.55), (-0.52, 2.0), (-0.6, 3.6), (0.6, 3.6), (0.52, 2.0), (0.4, 1.55)),
    *((0.42, 1.2), (0.51, 0.95), (0.51, 0.8), (0.36, 0.7), (0.16, 0.62), (0.16, 0.62)),
]
_CLOTH = {
    "serafuku": "#fbfbff",
    "blazer": "#3d4a7a",
    "white_shirt": "#fbfbff",
    "red_shirt": "#d9433f",
    "blue_shirt": "#4d84dc",
    "green_shirt": "#58ad62",
    "striped_shirt": "#fbfbff",
    "hoodie": "#b9a6e8",
    "turtleneck_sweater": "#c9a37a",
    "black_jacket": "#3a3842",
    "red_jacket": "#cf3a3f",
    "white_dress": "#fbfbff",
    "blue_dress": "#4f8be0",
    "red_dress": "#d63a48",
    "maid": "#35333f",
    "pink_kimono": "#f7a8c4",
    "blue_kimono": "#4a6cc0",
    "armor": "#b4bcca",
    "overalls": "#f8d34e",
}
_BARE = frozenset({"white_dress", "blue_dress", "red_dress"})
_SHORT_SLEEVES = frozenset(
    ("white_shirt", "red_shirt", "blue_shirt", "green_shirt", "striped_shirt", "maid")
)
_WIDE_SLEEVES = frozenset({"pink_kimono", "blue_kimono"})

# The arm on the viewer's right: shoulder, elbow, hand. The other is its mirror image.
_DOWN: Points = [(0.45, 0.86), (0.56, 1.3), (0.5, 1.75)]
_ARMS: dict[str, tuple[Points, Points]] = {
    "": (_DOWN, _DOWN),
    "arms_up": ([(0.45, 0.86), (0.84, 0.52), (0.74, -0.1)],) * 2,
    "waving": (_DOWN, [(0.45, 0.88), (0.8, 1.02), (0.84, 0.46)]),
    "v": ([(0.45, 0.88), (0.82, 1.05), (0.72, 0.52)], _DOWN),
    "crossed_arms": ([(0.46, 0.88), (0.58, 1.22), (-0.3, 1.14)],) * 2,
    "own_hands_together": ([(0.46, 0.88), (0.58, 1.28), (0.07, 1.04)],) * 2,
    "finger_to_mouth": ([(0.46, 0.88), (0.5, 1.28), (0.06, 0.68)], _DOWN),
    "holding": ([(0.46, 0.88), (0.76, 1.26), (0.62, 0.84)], _DOWN),
    "hugging": ([(0.46, 0.88), (0.58, 1.28), (0.16, 1.26)],) * 2,
}
_BOTH_HANDS = {"holding_book": "hugging", "teddy_bear": "hugging"}


class Body:
    """Torso first, arms later: what is held lies between them or over them."""

    def __init__(self, canvas: Canvas, portrait: Portrait, skin: Color) -> None:
        self.canvas, self.portrait, self.skin = canvas, portrait, skin
        self.cloth = canvas.color(_CLOTH[portrait.clothes])
        self.deep = canvas.shadow(self.cloth, 0.28)
        held = _BOTH_HANDS.get(portrait.object, "holding") if portrait.object else ""
        self.left, self.right = _ARMS[portrait.pose or held]

    def torso(self) -> None:
        """Arms that hang, neck, torso and what it wears."""
        canvas, skin = self.canvas, self.skin
        for arm, side in ((self.left, -1), (self.right, 1)):
            if arm is _DOWN:
                self._arm(arm, side)
        bare = self.portrait.clothes in _BARE
        canvas.shape(_TORSO, skin if bare else self.cloth, line=1.2)
        neck = [(-0.13, 0.3), (-0.12, 0.58), (-0.2, 0.68), (0.0, 0.8), (0.2, 0.68), (0.12, 0.58)]
        neck.append((0.13, 0.3))
        canvas.shape(neck, skin, line=1.0)
        canvas.shade(
            [(-0.3, 0.2), (0.3, 0.2), (0.3, 0.52), (0.0, 0.64), (-0.3, 0.52)], neck, warm(skin, 0.3)
        )
        if not bare:
            dark = [(0.36, 0.7), (0.36, 1.0), (0.22, 1.5), (0.3, 3.7), (0.8, 3.7), (0.8, 0.6)]
            canvas.shade(dark, _TORSO, self.deep)
        _OUTFITS[self.portrait.clothes](self)
        if canvas.style.rim:
            canvas.stroke(
                [(-0.3, 0.7), (-0.48, 0.8), (-0.48, 0.96)], canvas.color(canvas.style.rim), 0.025
            )
        self._neckwear()

    def arms(self) -> None:
        """Arms that are raised, over everything on the torso."""
        for arm, side in ((self.left, -1), (self.right, 1)):
            if arm is not _DOWN:
                self._arm(arm, side)
        match self.portrait.pose:
            case "waving":
                self._open_hand(0.84, 0.4)
                for x, y in ((1.06, 0.2), (0.62, 0.18)):
                    lean = 0.05 if x > 0.8 else -0.05
                    marks = [(x - lean * 0.4, y - 0.1), (x + lean, y), (x - lean * 0.4, y + 0.1)]
                    self.canvas.stroke(marks, (70, 60, 80), 0.03, halo=0.014)
            case "v":
                self._fingers(-0.72, 0.48, ((-0.15, -0.34), (0.13, -0.35)))
            case "finger_to_mouth":
                self._fingers(-0.05, 0.64, ((0.03, -0.22),))
            case "own_hands_together":
                palm = [(-0.09, 1.1), (-0.075, 0.85), (0.0, 0.76), (0.075, 0.85), (0.09, 1.1)]
                self.canvas.shape(palm, self.skin)
                self.canvas.stroke([(0, 0.8), (0, 1.08)], self.canvas.ink(self.skin), 0.014)

    def _arm(self, arm: Points, side: int) -> None:
        canvas, clothes = self.canvas, self.portrait.clothes
        path = [(x * side, y) for x, y in arm]
        _, (x1, y1), (_, y2) = path
        raised = y2 < y1
        if clothes in _BARE or clothes in _SHORT_SLEEVES:
            whole = path[:2] if raised else path
            canvas.limb(whole, [0.2, 0.17, 0.13][: len(whole)], self.skin)
            if clothes in _SHORT_SLEEVES:
                self._short_sleeve(path)
            if raised:
                canvas.limb(path[1:], [0.17, 0.13], self.skin)
                canvas.disc(x1, y1, 0.07, 0.07, self.skin, line=0)
            self._hand(path)
            return
        self._hand(path)
        if clothes in _WIDE_SLEEVES:
            self._wide_sleeve(path, side)
        elif raised:
            canvas.limb(path[:2], [0.23, 0.24], self.cloth, line=1.1)
            canvas.limb(path[1:], [0.23, 0.18], self.cloth, line=1.1)
            canvas.disc(x1, y1, 0.105, 0.105, self.cloth, line=0)
        else:
            sleeve = limb(path, [0.23, 0.24, 0.19])
            canvas.shape(sleeve, self.cloth, line=1.1)
            canvas.shade(moved(sleeve, 0.1, 0.03), sleeve, self.deep)

    def _hand(self, path: Points) -> None:
        _, (x1, y1), (x2, y2) = path
        x, y = x2 + (x2 - x1) * 0.12, y2 + (y2 - y1) * 0.12
        self.canvas.disc(x, y, 0.092, 0.096, self.skin)

    def _short_sleeve(self, path: Points) -> None:
        canvas = self.canvas
        (x0, y0), (x1, y1), _ = path
        if self.portrait.clothes == "maid":
            canvas.disc(x0 * 1.04, y0 + 0.02, 0.17, 0.16, self.cloth)
            canvas.stroke([(x0 - 0.12, y0 + 0.16), (x0 + 0.12, y0 + 0.16)], _WHITE, 0.05)
        else:
            half = [(x0, y0), (x0 + (x1 - x0) * 0.6, y0 + (y1 - y0) * 0.6)]
            canvas.limb(half, [0.24, 0.27], self.cloth)

    def _wide_sleeve(self, path: Points, side: int) -> None:
        (x0, y0), (x1, y1), (x2, y2) = path
        low = max(y1, y2) + 0.3
        drop = [(x0 - 0.1, y0), (x0 + 0.1, y0 - 0.04), (x1 + side * 0.1, y1), (x2, y2 - 0.1)]
        drop += [(x2 + side * 0.06, low), (x1 - side * 0.08, low), (x0 - side * 0.1, y0 + 0.2)]
        self.canvas.shape(drop, self.cloth, line=1.2)

    def _open_hand(self, x: float, y: float) -> None:
        spread = ((-0.15, -0.12), (-0.09, -0.24), (0.0, -0.28), (0.09, -0.25), (0.16, -0.12))
        for dx, dy in spread:
            self.canvas.limb([(x, y), (x + dx, y + dy)], [0.09, 0.06], self.skin)
        self.canvas.disc(x, y, 0.11, 0.12, self.skin, line=0)

    def _fingers(self, x: float, y: float, tips: tuple[tuple[float, float], ...]) -> None:
        for dx, dy in tips:
            self.canvas.limb([(x + dx * 0.2, y), (x + dx, y + dy)], [0.085, 0.065], self.skin)
        self.canvas.disc(x, y, 0.11, 0.11, self.skin)
        self.canvas.stroke(
            [(x - 0.05, y + 0.03), (x + 0.06, y + 0.02)], self.canvas.ink(self.skin), 0.012
        )

    def _neckwear(self) -> None:
        canvas = self.canvas
        match self.portrait.neckwear:
            case "red_scarf":
                self._scarf(canvas.color("#d8323c"), None)
            case "striped_scarf":
                self._scarf(canvas.color("#f6efe0"), canvas.color("#3f9a8c"))
            case "black_choker":
                canvas.limb([(-0.13, 0.55), (0.0, 0.59), (0.13, 0.55)], [0.1] * 3, (35, 30, 40))
            case "neck_bell":
                canvas.limb([(-0.13, 0.55), (0.0, 0.59), (0.13, 0.55)], [0.06] * 3, (200, 40, 60))
                canvas.disc(0.0, 0.68, 0.1, 0.1, (255, 208, 60), line=1.2)
                canvas.stroke([(-0.08, 0.68), (0.08, 0.68)], (120, 80, 20), 0.016)
                canvas.disc(0.0, 0.715, 0.022, 0.022, (120, 80, 20), line=0)

    def _scarf(self, main: Color, stripe: Color | None) -> None:
        canvas = self.canvas
        tail = [(0.14, 0.66), (0.22, 0.95), (0.24, 1.25)]
        canvas.limb(tail, [0.18, 0.22, 0.24], main)
        if stripe:
            for y in (0.88, 1.06, 1.22):
                canvas.limb([(0.1, y), (0.32, y - 0.02)], [0.075] * 2, stripe, line=0)
        wrap = [(-0.32, 0.6), (-0.2, 0.5), (0.0, 0.55), (0.2, 0.5), (0.32, 0.6), (0.26, 0.75)]
        wrap += [(0.0, 0.83), (-0.26, 0.75)]
        canvas.shape(wrap, main, line=1.1)
        if stripe:
            for x in (-0.2, 0.0, 0.2):
                path = [(x * 0.9, 0.55 - abs(x) * 0.1), (x * 1.1, 0.79 - abs(x) * 0.2)]
                canvas.limb(path, [0.075] * 2, stripe, line=0)
        else:
            canvas.stroke([(-0.24, 0.64), (0.0, 0.7), (0.2, 0.66)], canvas.shadow(main, 0.4), 0.02)


def _serafuku(body: Body) -> None:
    canvas = body.canvas
    navy, red = canvas.color("#31488f"), canvas.color("#e23c48")
    half = [(0.15, 0.6), (0.15, 0.6), (0.4, 0.7), (0.45, 0.86), (0.3, 0.95), (0.0, 1.06)]
    half += [(0.0, 1.06), (0.06, 0.86)]
    for part in (half, mirrored(half)):
        canvas.shape(part, navy)
    for side in (1, -1):
        band = [(0.37, 0.88), (0.2, 0.94), (0.04, 1.0)]
        canvas.stroke([(x * side, y) for x, y in band], _WHITE, 0.022)
    for side in (1, -1):
        end = [(0.0, 0.98), (0.1, 1.0), (0.18, 1.34), (0.02, 1.27)]
        canvas.shape([(x * side, y) for x, y in end], red, smooth=False)
    canvas.disc(0.0, 0.98, 0.08, 0.07, red)


def _blazer(body: Body) -> None:
    canvas = body.canvas
    _inner_shirt(body)
    red = canvas.color("#c9303c")
    tie = [(-0.05, 0.82), (0.05, 0.82), (0.035, 0.9), (0.09, 1.3), (0.0, 1.4), (-0.09, 1.3)]
    canvas.shape([*tie, (-0.035, 0.9)], red, smooth=False)
    canvas.stroke([(-0.07, 1.12), (0.07, 1.2)], _WHITE, 0.025)
    _lapels(body, 1.5)


def _inner_shirt(body: Body) -> None:
    canvas = body.canvas
    front = [(-0.17, 0.62), (0.17, 0.62), (0.26, 0.9), (0.16, 1.8), (-0.16, 1.8), (-0.26, 0.9)]
    canvas.shape(front, (251, 251, 255), smooth=False)
    _collar(body, (251, 251, 255))


def _collar(body: Body, color: Color) -> None:
    leaf = [(0.14, 0.58), (0.23, 0.68), (0.14, 0.86), (0.01, 0.78)]
    for part in (leaf, mirrored(leaf)):
        body.canvas.shape(part, color, smooth=False)


def _lapels(body: Body, low: float) -> None:
    canvas = body.canvas
    lapel = [(0.17, 0.6), (0.36, 0.72), (0.34, 0.95), (0.24, 1.0), (0.1, low), (0.05, low)]
    lapel += [(0.2, 0.95)]
    for part in (lapel, mirrored(lapel)):
        canvas.shape(part, mix(body.cloth, _WHITE, 0.12), smooth=False)
    for side in (1, -1):
        canvas.stroke([(0.07 * side, low), (0.1 * side, 3.5)], canvas.ink(body.cloth), 0.02)


def _shirt(body: Body) -> None:
    canvas = body.canvas
    if body.portrait.clothes == "striped_shirt":
        blue = canvas.color("#3a62c4")
        for row in range(14):
            y = 0.86 + row * 0.19
            wide = 0.49 if y < 1.0 else 0.4 if y < 1.6 else 0.46
            canvas.limb([(-wide, y), (0.0, y + 0.03), (wide, y)], [0.085] * 3, blue, line=0)
    if body.portrait.clothes == "white_shirt":
        _collar(body, (251, 251, 255))
        canvas.stroke([(0.0, 0.82), (0.0, 2.6)], body.deep, 0.018)
        for y in (0.95, 1.2, 1.45):
            canvas.disc(0.0, y, 0.026, 0.026, (150, 160, 190), line=0)
    else:
        neckline = [(-0.21, 0.66), (0.0, 0.83), (0.21, 0.66)]
        canvas.stroke(neckline, body.deep, 0.045)


def _hoodie(body: Body) -> None:
    canvas = body.canvas
    hood = [(-0.2, 0.58), (-0.42, 0.62), (-0.4, 0.8), (-0.12, 0.94), (0.0, 0.86), (0.12, 0.94)]
    hood += [(0.4, 0.8), (0.42, 0.62), (0.2, 0.58), (0.12, 0.74), (0.0, 0.8), (-0.12, 0.74)]
    canvas.shape(hood, mix(body.cloth, _WHITE, 0.22), line=1.1)
    for x in (-0.1, 0.1):
        canvas.stroke([(x, 0.9), (x * 1.15, 1.2)], _WHITE, 0.034)
        canvas.disc(x * 1.15, 1.22, 0.03, 0.03, (255, 225, 120))
    pocket = [(-0.26, 1.72), (-0.17, 1.42), (0.17, 1.42), (0.26, 1.72)]
    canvas.shape(pocket, mix(body.cloth, _WHITE, 0.1), smooth=False)


def _turtleneck(body: Body) -> None:
    canvas = body.canvas
    collar = [(-0.17, 0.47), (0.0, 0.52), (0.17, 0.47), (0.2, 0.68), (0.0, 0.76), (-0.2, 0.68)]
    canvas.shape(collar, mix(body.cloth, _WHITE, 0.12), line=1.1)
    for x in (-0.1, 0.0, 0.1):
        canvas.stroke([(x, 0.53), (x * 1.15, 0.71)], body.deep, 0.018)
    for x in (-0.27, -0.09, 0.09, 0.27):
        canvas.stroke([(x, 0.88), (x * 0.85, 1.5), (x, 3.5)], body.deep, 0.022)


def _jacket(body: Body) -> None:
    _inner_shirt(body)
    _lapels(body, 1.35)
    canvas = body.canvas
    for side in (1, -1):
        zipper = [(0.27 * side, 1.0), (0.13 * side, 1.4), (0.13 * side, 3.4)]
        canvas.stroke(zipper, canvas.color("#ffd65a"), 0.022)


def _dress(body: Body) -> None:
    canvas = body.canvas
    for side in (1, -1):
        canvas.limb([(0.27 * side, 0.68), (0.29 * side, 0.95)], [0.09, 0.1], body.cloth)
    bodice = [(-0.41, 0.92), (-0.18, 0.87), (0.0, 0.93), (0.18, 0.87), (0.41, 0.92), (0.42, 1.2)]
    bodice += [(0.38, 1.52), (0.7, 2.2), (1.0, 3.6), (-1.0, 3.6), (-0.7, 2.2), (-0.38, 1.52)]
    bodice.append((-0.42, 1.2))
    canvas.shape(bodice, body.cloth, line=1.2)
    canvas.shade([(0.2, 0.8), (0.16, 1.5), (0.3, 3.7), (1.2, 3.7), (0.6, 0.8)], bodice, body.deep)
    frill = mix(body.cloth, _WHITE, 0.55) if body.portrait.clothes != "white_dress" else body.deep
    for i in range(-3, 4):
        canvas.disc(i * 0.118, 0.92 - (abs(i) == 1) * 0.03, 0.062, 0.045, frill, line=0.7)
    canvas.stroke([(-0.38, 1.5), (0.0, 1.54), (0.38, 1.5)], frill, 0.05)


def _maid(body: Body) -> None:
    canvas = body.canvas
    _collar(body, _WHITE)
    bib = [(-0.24, 0.89), (0.24, 0.89), (0.2, 1.48), (0.5, 2.2), (0.6, 3.6), (-0.6, 3.6)]
    bib += [(-0.5, 2.2), (-0.2, 1.48)]
    canvas.shape(bib, (252, 252, 255), smooth=False)
    for side in (1, -1):
        for i in range(5):
            x, y = side * (0.3 + 0.035 * (i % 2)), 0.7 + i * 0.1
            canvas.disc(x, y, 0.075, 0.07, (252, 252, 255), line=0.8)
    canvas.limb([(-0.38, 1.5), (0.0, 1.53), (0.38, 1.5)], [0.09] * 3, (252, 252, 255))
    canvas.disc(0.0, 0.86, 0.05, 0.05, canvas.color("#c8394a"))


def _kimono(body: Body) -> None:
    canvas = body.canvas
    light = mix(body.cloth, _WHITE, 0.75)
    for side in (1, -1):
        for wide, color in ((0.17, light), (0.09, mix(body.cloth, (60, 20, 60), 0.35))):
            band = [(-0.19 * side, 0.6), (-0.12 * side, 0.86), (0.2 * side, 1.3)]
            canvas.limb(band, [wide] * 3, color, line=0.8)
    obi = canvas.color("#f5c54b" if body.portrait.clothes == "blue_kimono" else "#7b4fb0")
    canvas.shape([(-0.44, 1.22), (0.44, 1.22), (0.43, 1.62), (-0.43, 1.62)], obi, smooth=False)
    canvas.stroke([(-0.42, 1.42), (0.42, 1.42)], canvas.color("#d8394a"), 0.05)
    for x, y in ((-0.36, 0.98), (0.37, 1.02), (-0.3, 1.9), (0.32, 2.1), (0.0, 2.5)):
        petals = star(x, y, 0.085, 5, 0.6)
        canvas.shape(petals, light, line=0.6)
        canvas.disc(x, y, 0.025, 0.025, canvas.color("#f5c54b"), line=0)


def _armor(body: Body) -> None:
    canvas = body.canvas
    gold = canvas.color("#e8b84a")
    gorget = [(-0.2, 0.6), (0.0, 0.66), (0.2, 0.6), (0.27, 0.76), (0.0, 0.88), (-0.27, 0.76)]
    canvas.shape(gorget, mix(body.cloth, _WHITE, 0.3), line=1.1)
    canvas.stroke([(0.0, 0.86), (0.0, 1.5)], body.deep, 0.025)
    canvas.stroke([(-0.4, 1.02), (-0.2, 1.2), (0.0, 1.12), (0.2, 1.2), (0.4, 1.02)], gold, 0.035)
    canvas.limb([(-0.4, 1.5), (0.0, 1.56), (0.4, 1.5)], [0.09] * 3, gold)
    canvas.shape(star(0.0, 1.0, 0.09), canvas.color("#d8394a"), smooth=False)
    for side in (1, -1):
        for y, size in ((1.04, 0.19), (0.9, 0.23)):
            canvas.disc(0.5 * side, y, size, size * 0.75, mix(body.cloth, _WHITE, 0.2), line=1.1)
        canvas.stroke([(0.34 * side, 0.97), (0.5 * side, 1.05), (0.68 * side, 0.97)], gold, 0.03)


def _overalls(body: Body) -> None:
    canvas = body.canvas
    denim = canvas.color("#3f66a8")
    canvas.stroke([(-0.21, 0.66), (0.0, 0.83), (0.21, 0.66)], body.deep, 0.045)
    for side in (1, -1):
        canvas.limb([(0.31 * side, 0.69), (0.23 * side, 1.0)], [0.11, 0.11], denim)
    bib = [(-0.3, 0.95), (0.3, 0.95), (0.33, 1.45), (0.46, 1.6), (0.6, 3.6), (-0.6, 3.6)]
    bib += [(-0.46, 1.6), (-0.33, 1.45)]
    canvas.shape(bib, denim, smooth=False)
    canvas.shape(
        [(-0.13, 1.2), (0.13, 1.2), (0.1, 1.4), (-0.1, 1.4)], mix(denim, _WHITE, 0.2), smooth=False
    )
    for x in (-0.23, 0.23):
        canvas.disc(x, 1.01, 0.042, 0.042, (255, 212, 90))


_OUTFITS: dict[str, Callable[[Body], None]] = {
    "serafuku": _serafuku,
    "blazer": _blazer,
    "white_shirt": _shirt,
    "red_shirt": _shirt,
    "blue_shirt": _shirt,
    "green_shirt": _shirt,
    "striped_shirt": _shirt,
    "hoodie": _hoodie,
    "turtleneck_sweater": _turtleneck,
    "black_jacket": _jacket,
    "red_jacket": _jacket,
    "white_dress": _dress,
    "blue_dress": _dress,
    "red_dress": _dress,
    "maid": _maid,
    "pink_kimono": _kimono,
    "blue_kimono": _kimono,
    "armor": _armor,
    "overalls": _overalls,
}
