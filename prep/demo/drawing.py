"""Portraits turned into pixels: `draw` composes a portrait for a frame, layer by layer.

The layers are in `prep.demo.drawing_*`: background, hair, face, body, ornaments, objects. All of it
is a pure function of the portrait and the size.
"""

import random
from dataclasses import dataclass

from PIL import Image

from prep.demo.drawing_background import background
from prep.demo.drawing_body import Body
from prep.demo.drawing_canvas import Canvas
from prep.demo.drawing_face import brows, face, features
from prep.demo.drawing_hair import Hair
from prep.demo.drawing_objects import behind_figure, effects, held
from prep.demo.drawing_ornaments import behind_head, on_head
from prep.demo.drawing_styles import SKINS, STYLES
from prep.demo.portrait import Portrait


def draw(portrait: Portrait, width: int, height: int) -> Image.Image:
    """The picture of a portrait, RGB, `width` x `height` pixels; the same each time.

    The figure is composed for the frame; meant for aspects from 1:3 to 3:1.
    """
    canvas = Canvas(width, height, STYLES[portrait.artist], portrait.seed)
    background(canvas, portrait.background)
    frame = _compose(canvas, portrait)
    skin = canvas.color(canvas.rng.choice(SKINS))
    hair = Hair(canvas, portrait)
    body = Body(canvas, portrait, skin)

    frame.body(canvas)
    behind_figure(canvas, portrait)
    frame.head(canvas)
    behind_head(canvas, portrait)
    hair.back()
    frame.body(canvas)
    body.torso()
    frame.head(canvas)
    fringe = hair.fringe()
    face(canvas, skin, fringe)
    features(canvas, portrait, skin)
    hair.over_shoulders()
    hair.front(fringe)
    brows(canvas, portrait, hair.base)
    on_head(canvas, portrait, hair.base)
    frame.body(canvas)
    held(canvas, portrait)
    body.arms()
    effects(canvas, portrait, frame.edges(canvas))
    return canvas.finish()


@dataclass(frozen=True)
class _Frame:
    """Where the figure stands: a head's height and the face's centre in pixels, tilt in radians."""

    unit: float
    x: float
    y: float
    turn: float

    def body(self, canvas: Canvas) -> None:
        canvas.place(self.unit, self.x, self.y)

    def head(self, canvas: Canvas) -> None:
        """The head turns about the neck and grows upward from the chin."""
        size = canvas.style.head
        chin = 0.5 * self.unit
        canvas.place(
            self.unit * size, self.x + chin * self.turn, self.y + chin * (1 - size), self.turn
        )

    def edges(self, canvas: Canvas) -> tuple[float, float, float]:
        """Half the picture's width, its top and its bottom as the body's frame has them."""
        half = min(self.x, canvas.width - self.x) / self.unit
        return half, -self.y / self.unit, (canvas.height - self.y) / self.unit


def _compose(canvas: Canvas, portrait: Portrait) -> _Frame:
    rng: random.Random = canvas.rng
    near = portrait.framing == "portrait"
    tall, wide = canvas.height, canvas.width
    unit = min(tall * (0.54 if near else 0.43), wide * (0.64 if near else 0.5))
    unit *= rng.uniform(0.96, 1.03) / max(1.0, canvas.style.head) ** 0.5
    x = wide / 2 + rng.uniform(-0.02, 0.02) * wide
    if wide > 1.8 * tall:
        x += rng.choice((-0.16, 0.0, 0.16)) * wide
    y = tall * (0.455 if near else 0.41) + rng.uniform(-0.012, 0.012) * tall
    turn = rng.uniform(-0.03, 0.03)
    if portrait.head_tilt:
        turn = rng.choice((-1, 1)) * rng.uniform(0.2, 0.26)
    return _Frame(unit, x, y, turn)
