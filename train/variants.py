"""What is made of an image's pixels before they are encoded: mirrored, its colours shifted.

Latents of each variant are cached beside those of the image itself, and every exposure sees one of
them. What a shift is follows from the image alone, so that no seed asks for other latents.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from schemas.recipes.train import LatentsSection

Pixels = npt.NDArray[np.uint8]  # [height, width, 3], RGB

HUE = 12  # degrees, the widest shift
GAMMA = 0.1  # the widest exponent is e to this
SHOWN = 4  # tags in a message
SIDED = r"(^|[ _-])(left|right|text)($|[ _-])"  # tags that are wrong of a mirrored picture


class Variant(NamedTuple):
    """How the pixels differ from the image's own."""

    mirrored: bool = False
    color: int = 0  # 1: shifted, -1: shifted as far the other way

    @property
    def name(self) -> str:
        """What the cache knows it by: all that shapes it, but for the image."""
        color = f"color {'+' if self.color > 0 else '-'}{HUE} {GAMMA}" if self.color else ""
        return ", ".join(filter(None, ["mirrored" * self.mirrored, color])) or "as it is"


AS_IT_IS = Variant()


def variants_of(section: LatentsSection) -> tuple[Variant, ...]:
    """Return the variants that a recipe asks for, the image as it is first."""
    sides, colors = (False, True)[: 1 + section.flip], (0, 1, -1)[: 1 + 2 * section.color]
    return tuple(Variant(mirrored, color) for mirrored in sides for color in colors)


def made(pixels: Pixels, variant: Variant, md5: str) -> Pixels:
    """Return the variant of an image's pixels."""
    if variant.color:
        pixels = _shifted(pixels, variant.color, md5)
    return pixels[:, ::-1] if variant.mirrored else pixels


def _shifted(pixels: Pixels, sign: int, md5: str) -> Pixels:
    """Turn the hue about the axis of greys, and bend the brightness by a gamma.

    Each image is shifted by an amount of its own, once each way: over both nothing is added.
    """
    turn, bend = np.random.default_rng(int(md5[:16], 16)).uniform(-1, 1, 2)
    angle = math.radians(sign * turn * HUE)
    level = np.linspace(0, 1, 256, dtype=np.float32) ** math.exp(sign * bend * GAMMA)
    bent = 255 * level.astype(np.float32)[pixels]
    across = (1 - math.cos(angle)) / 3
    along = math.sin(angle) / math.sqrt(3)
    row = np.array([math.cos(angle) + across, across - along, across + along], np.float32)
    turned = bent @ np.stack([row, np.roll(row, 1), np.roll(row, 2)]).T
    shifted: Pixels = np.clip(turned + 0.5, 0, 255).astype(np.uint8)
    return shifted


def belied(manifest: pa.Table) -> str:
    """Return a sentence on the tags that mirrored pictures belie, or nothing where there are none.

    Left and right, and text. What is on one side without a tag saying so is not found.
    """
    tags = pc.struct_field(pc.list_flatten(manifest.column("tags").combine_chunks()), "tag")
    counted = pc.value_counts(tags.filter(pc.match_substring_regex(tags, SIDED))).to_pylist()
    ranked = sorted(counted, key=lambda one: (-one["counts"], one["values"]))
    if not ranked:
        return ""
    shown = ", ".join(f"{one['values']} (on {one['counts']})" for one in ranked[:SHOWN])
    more = f" and {len(ranked) - SHOWN} tags more" if len(ranked) > SHOWN else ""
    return (
        f"latents.flip mirrors images whose tags say otherwise: {shown}{more}; drop these tags from"
        " the captions, or set flip = false"
    )
