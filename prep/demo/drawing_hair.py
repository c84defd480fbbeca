"""Hair: what falls behind the body, what is tied, what hangs before the face."""

from prep.demo.drawing_canvas import Canvas, Points, limb, mirrored, moved
from prep.demo.drawing_styles import ACCENT, HAIR, Color, mix
from prep.demo.portrait import Portrait

TIED = frozenset(
    ("twintails", "ponytail", "side_ponytail", "single_braid", "twin_braids", "twin_drills")
)
_TAIL_END = {"short_hair": 0.4, "medium_hair": 0.62, "long_hair": 1.12, "very_long_hair": 1.75}
_LOCK_END = {"short_hair": 0.36, "medium_hair": 0.52, "long_hair": 1.02, "very_long_hair": 1.3}
_DOME = [(0.47, 0.06), (0.485, -0.2), (0.36, -0.47), (0.0, -0.6), (-0.36, -0.47), (-0.485, -0.2)]

# The lower edge of the fringe, from the viewer's left to right; corners doubled.
_FRINGES: dict[str, list[tuple[float, float]]] = {
    "": [
        *((-0.40, 0.02), (-0.33, -0.2), (-0.26, 0.0), (-0.26, 0.0), (-0.17, -0.2), (-0.07, -0.04)),
        *((-0.07, -0.04), (0.0, -0.2), (0.11, -0.02), (0.11, -0.02), (0.2, -0.2), (0.3, 0.02)),
        *((0.3, 0.02), (0.35, -0.18), (0.40, 0.02)),
    ],
    "blunt_bangs": [
        *((-0.41, 0.1), (-0.36, -0.02), (-0.36, -0.02), (-0.2, -0.035), (0.0, -0.04)),
        *((0.2, -0.035), (0.36, -0.02), (0.36, -0.02), (0.41, 0.1)),
    ],
    "parted_bangs": [
        *((-0.40, 0.12), (-0.40, 0.12), (-0.31, -0.1), (-0.14, -0.28), (0.0, -0.47), (0.0, -0.47)),
        *((0.14, -0.28), (0.31, -0.1), (0.40, 0.12), (0.40, 0.12)),
    ],
    "swept_bangs": [
        *((-0.40, 0.1), (-0.40, 0.1), (-0.38, -0.2), (-0.26, -0.44), (-0.26, -0.44)),
        *((-0.1, -0.22), (0.14, -0.08), (0.36, 0.05), (0.36, 0.05), (0.40, 0.05)),
    ],
    "hair_between_eyes": [
        *((-0.40, 0.02), (-0.34, -0.2), (-0.24, -0.04), (-0.24, -0.04), (-0.12, -0.24)),
        *((-0.08, -0.02), (0.01, 0.22), (0.01, 0.22), (0.09, -0.02), (0.12, -0.24)),
        *((0.25, -0.03), (0.25, -0.03), (0.34, -0.2), (0.40, 0.02)),
    ],
    "hair_over_one_eye": [
        *((-0.40, 0.08), (-0.40, 0.08), (-0.38, -0.2), (-0.24, -0.44), (-0.24, -0.44)),
        *((-0.08, -0.16), (0.02, 0.1), (0.1, 0.34), (0.2, 0.42), (0.2, 0.42), (0.32, 0.36)),
        (0.41, 0.2),
    ],
}


class Hair:
    """The hair of one portrait, drawn in layers from the back to the front."""

    def __init__(self, canvas: Canvas, portrait: Portrait) -> None:
        self.canvas, self.portrait = canvas, portrait
        jitter = canvas.rng.uniform(-0.05, 0.05)
        white = (255, 255, 255)
        self.base = mix(canvas.color(HAIR[portrait.hair_color]), white, max(0.0, jitter))
        self.base = mix(self.base, (0, 0, 0), max(0.0, -jitter))
        self.deep: Color = canvas.shadow(self.base, 0.26)
        self.gloss = mix(self.base, white, 0.45)
        self.accent = canvas.color(ACCENT[portrait.hair_color])
        self.ink = canvas.ink(self.base)
        self.end = _TAIL_END[portrait.hair_length]
        self.sway = canvas.rng.uniform(-0.05, 0.05)

    def back(self) -> None:
        """All that is behind the body."""
        self._skull_and_fall()
        style = self.portrait.hair_style
        if style == "ponytail":
            end = self.end
            self._tail(
                [(0.0, -0.5), (0.34, -0.66), (0.64, -0.4), (0.7, 0.1), (0.66 + self.sway, end)],
                [0.2, 0.3, 0.36, 0.32, 0.1],
            )
        elif style == "twintails":
            self._twintail(-1.0)
            self._twintail(1.0)
        elif style == "single_hair_bun":
            self._bun(0.0, -0.66, 0.21)
        elif style == "double_bun":
            self._bun(-0.4, -0.5, 0.18)
            self._bun(0.4, -0.5, 0.18)

    def over_shoulders(self) -> None:
        """Locks, tails and braids that fall before the body."""
        style, end = self.portrait.hair_style, self.end
        if style == "side_ponytail":
            self._tail(
                [(0.4, -0.28), (0.66, -0.22), (0.72, 0.15), (0.66 + self.sway, end)],
                [0.16, 0.3, 0.32, 0.08],
            )
            self._knot(0.45, -0.27)
        elif style == "twin_drills":
            self._drill(-1.0)
            self._drill(1.0)
        elif style == "twin_braids":
            self._braid([(-0.4, 0.28), (-0.46, 0.6), (-0.42, end)])
            self._braid([(0.4, 0.28), (0.46, 0.6), (0.42, end)])
        elif style == "single_braid":
            self._braid([(0.4, 0.2), (0.44, 0.6), (0.26, end + 0.1)], 1.3)
        if style not in TIED and self.end > 1:
            self._front_lock(-1.0)
            self._front_lock(1.0)

    def fringe(self) -> list[tuple[float, float]]:
        """The outline of the hair over the forehead."""
        bangs = self.portrait.bangs
        drift = self.canvas.rng.uniform(-0.015, 0.015)
        edge = [(x, y + (drift if abs(x) < 0.35 else 0)) for x, y in _FRINGES[bangs]]
        return [(-0.47, 0.08), *edge, (0.47, 0.08), *_DOME[1:]]

    def front(self, fringe: Points) -> None:
        """Fringe, side locks, light and streaks."""
        canvas = self.canvas
        self._side_lock(-1.0)
        self._side_lock(1.0)
        canvas.shape(fringe, self.base, line=0)
        right_side = [(0.2, -0.7), (0.3, -0.3), (0.34, 0.1), (0.3, 0.5), (0.7, 0.5), (0.7, -0.7)]
        canvas.shade(right_side, fringe, self.deep)
        if canvas.style.gloss:
            self._shine()
        if self.portrait.hair_accent == "streaked_hair":
            self._streaks()
        self._strands()
        corner = -len(_DOME)  # where `fringe` leaves the edge over the forehead for the dome
        canvas.stroke(fringe[1:corner], self.ink, canvas.style.line)
        canvas.stroke([*fringe[corner:], fringe[0]], self.ink, canvas.style.line * 1.2)
        if canvas.style.rim:
            edge = [(-0.46, 0.0), (-0.455, -0.2), (-0.34, -0.44), (-0.1, -0.56)]
            canvas.stroke(edge, canvas.color(canvas.style.rim), 0.028)
        if self.portrait.ahoge:
            self._ahoge()

    def _skull_and_fall(self) -> None:
        style, length = self.portrait.hair_style, self.portrait.hair_length
        if style in TIED or length == "short_hair":
            shape = [*_DOME, (-0.49, 0.1), (-0.44, 0.4), (-0.2, 0.46), (0.2, 0.46), (0.44, 0.4)]
            shape.append((0.49, 0.1))
        elif length == "medium_hair":
            shape = [*_DOME, (-0.52, 0.2), (-0.56, 0.6), (-0.6, 0.76), (-0.6, 0.76), (-0.3, 0.72)]
            shape += [(0.3, 0.72), (0.6, 0.76), (0.6, 0.76), (0.56, 0.6), (0.52, 0.2)]
        elif length == "long_hair":
            shape = [*_DOME, (-0.53, 0.2), (-0.62, 0.7), (-0.66, 1.2), (-0.66, 1.2), (-0.3, 1.12)]
            shape += [(0.3, 1.12), (0.66, 1.2), (0.66, 1.2), (0.62, 0.7), (0.53, 0.2)]
        else:
            side = [(0.57, 0.2), (0.8, 0.62), (0.86, 1.0), (1.04, 1.45), (0.95, 2.2)]
            shape = [*_DOME, *mirrored(side), *side[::-1]]
        self.canvas.shape(shape, self.deep, line=1.2, ink=self.ink)
        inner = moved(shape, 0, -0.02, 0.93)
        if self.canvas.style.shading != "flat":
            self.canvas.shade(inner, shape, mix(self.deep, self.base, 0.35))
        self._fade(shape, 0.05, max(0.45, min(self.end, 1.2)))

    def _fade(self, shape: Points, start: float, end: float) -> None:
        if self.portrait.hair_accent == "gradient_hair":
            self.canvas.shade(shape, shape, self.accent, fade=(start, end))
            self.canvas.stroke([*shape, shape[0]], self.ink, self.canvas.style.line)

    def _twintail(self, side: float) -> None:
        wide = 0.3 if self.end < 1 else 0.36
        end = max(self.end, 0.62)
        path = [(0.36, -0.38), (0.62, -0.42), (0.84, 0.0), (0.84, 0.45), (0.8 + self.sway, end)]
        self._tail([(x * side, y) for x, y in path], [0.16, wide, wide + 0.04, wide - 0.04, 0.06])
        self._knot(0.45 * side, -0.4)

    def _tail(self, path: Points, widths: list[float]) -> None:
        outline = limb(path, widths)
        canvas = self.canvas
        canvas.shape(outline, self.base, line=1.2, ink=self.ink)
        canvas.shade(moved(outline, 0.1, 0.02), outline, self.deep)
        self._fade(outline, 0.0, max(0.4, path[-1][1]))
        middle = path[1:]
        canvas.stroke(middle, self.deep, 0.02)
        if self.portrait.hair_accent == "streaked_hair":
            canvas.stroke([(x - 0.06, y) for x, y in middle[:-1]], self.accent, 0.07)

    def _knot(self, x: float, y: float) -> None:
        self.canvas.disc(x, y, 0.075, 0.095, self.canvas.color("#f2f2f6"))

    def _bun(self, x: float, y: float, radius: float) -> None:
        canvas = self.canvas
        canvas.disc(x, y, radius, radius * 0.95, self.base, line=1.2, ink=self.ink)
        canvas.stroke(
            [
                *((x - radius * 0.6, y + radius * 0.1), (x, y - radius * 0.55)),
                *((x + radius * 0.5, y), (x, y + radius * 0.4), (x - radius * 0.2, y)),
            ],
            self.deep,
            0.03,
        )

    def _drill(self, side: float) -> None:
        canvas = self.canvas
        turns = 4 if self.end < 1 else 6
        end = max(0.75, min(self.end, 1.25))
        for turn in range(turns, -1, -1):
            part = turn / turns
            y = 0.05 + (end - 0.05) * part
            wide = 0.2 * (1 - 0.62 * part)
            fill = self.accent if self.portrait.hair_accent and turn % 2 else self.base
            x = side * (0.58 + 0.08 * part)
            tilted = [(-wide, 0.05), (-wide * 0.6, -0.1), (wide, -0.1), (wide, 0.02), (0.0, 0.13)]
            canvas.shape(moved(tilted, x, y), fill, ink=self.ink)
            canvas.stroke(
                [(x - wide * 0.7, y + 0.05), (x, y + 0.06), (x + wide * 0.8, y - 0.03)],
                self.deep,
                0.025,
            )

    def _braid(self, path: Points, size: float = 1.0) -> None:
        canvas = self.canvas
        (x0, y0), _, (x1, y1) = path
        beads = max(4, round((y1 - y0) / (0.105 * size)))
        for bead in range(beads + 1):
            part = bead / beads
            # Quadratic Bezier through the path's three points.
            x = (1 - part) ** 2 * x0 + 2 * part * (1 - part) * path[1][0] + part**2 * x1
            y = y0 + (y1 - y0) * part
            wide = 0.115 * size * (1 - 0.3 * part)
            last = bead == beads
            fill = self.base
            if self.portrait.hair_accent and bead >= beads * 0.5:
                fill = self.accent
            if last:
                tip = [(x - 0.05, y), (x - 0.07, y + 0.12), (x, y + 0.2), (x + 0.07, y + 0.12)]
                canvas.shape([*tip, (x + 0.05, y)], fill, ink=self.ink)
                canvas.disc(x, y, 0.06, 0.035, canvas.color("#e84a5f"))
            else:
                for side in (-1, 1):
                    lobe = [(0.0, 0.09), (wide * side, 0.0), (wide * side, -0.08), (0.0, -0.03)]
                    canvas.shape(moved(lobe, x, y, 1.0), fill, ink=self.ink)

    def _front_lock(self, side: float) -> None:
        end = _LOCK_END[self.portrait.hair_length]
        path = [(0.42, 0.2), (0.45, 0.5), (0.44, 0.75), (0.36 + self.sway, end)]
        self._tail([(x * side, y) for x, y in path], [0.16, 0.22, 0.2, 0.04])

    def _side_lock(self, side: float) -> None:
        end = 0.36 if self.portrait.hair_length == "short_hair" else 0.48
        lock = [(0.49, -0.15), (0.495, 0.1), (0.45, end - 0.06), (0.4, end), (0.4, end)]
        lock += [(0.37, 0.2), (0.36, -0.1), (0.4, -0.25)]
        shape = [(x * side, y) for x, y in lock]
        self.canvas.shape(shape, self.base, ink=self.ink)
        self._fade(shape, -0.1, end)

    def _shine(self) -> None:
        top = [(-0.36, -0.3), (-0.2, -0.39), (0.0, -0.42), (0.2, -0.39), (0.32, -0.32)]
        low = [(0.25, -0.3), (0.16, -0.33), (0.1, -0.29), (0.02, -0.34), (-0.08, -0.29)]
        low += [(-0.16, -0.33), (-0.26, -0.25)]
        self.canvas.shape([*top, *low], self.gloss, line=0)

    def _streaks(self) -> None:
        for x in (-0.25, 0.17):
            streak = [(x * 0.5, -0.58), (x * 0.5 + 0.08, -0.56), (x + 0.08, -0.24), (x, -0.06)]
            self.canvas.shape([*streak, (x - 0.05, -0.24)], self.accent, line=0)
        for side in (-1, 1):
            path = [(0.43 * side, -0.1), (0.44 * side, 0.1), (0.41 * side, 0.28)]
            self.canvas.stroke(path, self.accent, 0.06)

    def _strands(self) -> None:
        for x in (-0.28, 0.0, 0.28):
            path = [(x * 0.3, -0.55), (x * 0.75, -0.42), (x, -0.26)]
            self.canvas.stroke(path, self.deep, 0.012)

    def _ahoge(self) -> None:
        curl = [(-0.03, -0.55), (-0.07, -0.72), (0.03, -0.86), (0.2, -0.84), (0.24, -0.72)]
        back = [(0.24, -0.72), (0.14, -0.77), (0.06, -0.74), (0.03, -0.64), (0.05, -0.55)]
        self.canvas.shape([*curl, *back], self.base, line=1.2, ink=self.ink)
