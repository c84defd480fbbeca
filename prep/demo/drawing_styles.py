"""The artists' manners as numbers, and the colours of everything that has one."""

import colorsys
from dataclasses import dataclass
from typing import Literal

Color = tuple[int, int, int]


@dataclass(frozen=True)
class Style:
    """How an artist draws. Lengths are in head heights."""

    line: float  # width of outlines
    ink: str | None  # colour of outlines; None: each shape's own colour, darkened
    shading: Literal["flat", "cel", "soft", "hatch"]
    saturation: float = 1.0
    lift: float = 0.0  # share of white mixed into every colour
    tint: str | None = None  # colour of the paper, multiplied over all
    grain: float = 0.0  # strength of the paper's grain, 0 to 1
    eye: float = 1.0  # size of the eyes
    head: float = 1.0  # size of the head, body unchanged
    rim: str | None = None  # colour of light on the edges of hair and shoulders
    shadow: str = "#7a5aa0"  # what shadows are mixed with
    gloss: bool = True  # a band of light on the hair


STYLES: dict[str, Style] = {
    "mizutama_hako": Style(line=0.018, ink="#3b2a3f", shading="cel"),
    "inkwell_fox": Style(
        line=0.036, ink="#0c0a10", shading="flat", saturation=1.25, eye=1.05, gloss=False
    ),
    "yumeiro_pastel": Style(
        *(0.013, None, "soft"),
        saturation=0.72,
        lift=0.2,
        eye=1.14,
        shadow="#e88aa8",
    ),
    "suna_gami": Style(
        *(0.017, "#5b3b22", "hatch"),
        saturation=0.82,
        tint="#fdf6e6",
        grain=0.7,
        eye=0.92,
        gloss=False,
        shadow="#5b3b22",
    ),
    "neon_kumo": Style(
        line=0.02,
        ink="#1b1145",
        shading="cel",
        saturation=1.3,
        rim="#38f2ff",
        shadow="#3a1f9e",
    ),
    "mochi_daruma": Style(*(0.03, None, "flat"), lift=0.06, eye=1.2, head=1.2, shadow="#8a5a4a"),
    "tsukishiro_ren": Style(
        *(0.009, "#2b3350", "soft"),
        saturation=0.9,
        eye=0.92,
        head=0.94,
        tint="#f4f6ff",
        shadow="#405090",
    ),
}

HAIR = {
    "black_hair": "#38363f",
    "brown_hair": "#8a5a38",
    "blonde_hair": "#f7d774",
    "red_hair": "#d8403a",
    "pink_hair": "#f79ec0",
    "purple_hair": "#9065cf",
    "blue_hair": "#4272dc",
    "aqua_hair": "#76dfe2",
    "green_hair": "#57b060",
    "white_hair": "#f4f4fa",
    "grey_hair": "#9c9fa8",
}
# The second colour of streaked and fading hair, unlike the first in lightness or hue.
ACCENT = {
    "black_hair": "#e8466e",
    "brown_hair": "#fbe3a0",
    "blonde_hair": "#ff86b4",
    "red_hair": "#ffd27a",
    "pink_hair": "#8fd8ff",
    "purple_hair": "#ffc4ec",
    "blue_hair": "#c8f4ff",
    "aqua_hair": "#5b6fe0",
    "green_hair": "#eaf58c",
    "white_hair": "#7fa8f5",
    "grey_hair": "#d8527e",
}
EYES = {
    "blue_eyes": "#2f6fe8",
    "red_eyes": "#dd2f3a",
    "green_eyes": "#2fa84f",
    "yellow_eyes": "#f5bd1e",
    "purple_eyes": "#8c46d8",
    "brown_eyes": "#8a5226",
    "pink_eyes": "#ff6fb0",
    "aqua_eyes": "#23cfd8",
}
SKINS = ("#ffe6d6", "#ffdfca", "#fbd7bd")


def rgb(color: str) -> Color:
    """'#rrggbb' as three numbers."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def mix(one: Color, other: Color, share: float) -> Color:
    """`one` with `share` (0 to 1) of `other` in it."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def warm(skin: Color, strength: float) -> Color:
    """Skin out of the light: redder, never grey."""
    return mix(skin, (214, 96, 96), strength)


def toned(color: str, style: Style) -> Color:
    """A colour as this artist mixes it."""
    hue, light, saturation = colorsys.rgb_to_hls(*(part / 255 for part in rgb(color)))
    parts = colorsys.hls_to_rgb(hue, light, min(1.0, saturation * style.saturation))
    red, green, blue = (round(part * 255) for part in parts)
    return mix((red, green, blue), (255, 255, 255), style.lift)
