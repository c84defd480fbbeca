"""An image file to the pixels of its bucket: decoded, upright, over white, scaled, cropped.

With them goes the mask: how opaque the picture is at each of its latent's pixels.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from schemas.errors import DataError
from schemas.files import md5_of
from taggers.images import (
    OF_THE_MACHINE,
    REDUCE_TO,
    Unreadable,
    read,
    upright_alpha,
    upright_rgb,
)
from train.latent_shards import SHRINK, Mask
from train.variants import AS_IT_IS, Pixels, Variant, made

Filter = Literal["lanczos", "area"]

SPARE = 2  # a JPEG may be decoded smaller as long as this many target pixels are left for each
JPEG_SCALES = (1, 2, 4, 8)


class Changed(DataError):
    """The file is not the image that the manifest speaks of.

    Its text is a reason of few, with what is of this image only after a colon.
    """


@dataclass(frozen=True)
class Picture:
    """One image and where it goes: sizes in pixels, upright, as (width, height)."""

    path: Path
    md5: str
    size: tuple[int, int]
    scaled: tuple[int, int]
    corner: tuple[int, int]  # left, top of the bucket in the scaled image
    bucket: tuple[int, int]
    filter: Filter
    variant: Variant = AS_IT_IS


class Decoded(NamedTuple):
    """What becomes of an image file."""

    pixels: Pixels  # of the bucket
    mask: Mask | None  # how opaque they are, averaged as latents are; None: they all are


def decode(picture: Picture) -> Decoded:
    """Return the pixels of the bucket, uint8 [height, width, 3], and the mask of their latent.

    "lanczos" also where it shrinks (Pillow widens the kernel with the factor, so nothing aliases):
    it keeps thin lines, which drawings are made of, sharper than averaging does. "area" averages
    exactly what each target pixel covers, as sd-scripts' INTER_AREA.

    Raises Unreadable when the bytes do not decode, Changed when they are other bytes than promised.
    """
    _check_bytes(picture)
    # The area filter promises what a peer does, and that peer decodes in full.
    keep = -(-SPARE * max(picture.scaled) // REDUCE_TO) if picture.filter == "lanczos" else 0
    image = read(picture.path, keep)
    try:
        alpha = upright_alpha(image)
        image = upright_rgb(image)
    except (ValueError, KeyError, TypeError) as error:  # a mode that Pillow cannot convert
        raise Unreadable("broken", f"{picture.path}: broken ({error})") from error
    expected = {tuple(-(-side // scale) for side in picture.size) for scale in JPEG_SCALES}
    if image.size not in expected:
        raise Changed(
            f"another size than the manifest says: {image.width}x{image.height},"
            f" not {picture.size[0]}x{picture.size[1]}"
        )
    pixels = made(_scaled(image, picture), picture.variant, picture.md5)
    return Decoded(pixels, None if alpha is None else _mask(alpha, picture))


def _mask(alpha: Image.Image, picture: Picture) -> Mask:
    """Scale and crop the alpha as the picture is, then average what each latent pixel covers."""
    scaled = _scaled(Image.merge("RGB", [alpha] * 3), picture)[:, :, 0]
    if picture.variant.mirrored:
        scaled = scaled[:, ::-1]
    height, width = (side // SHRINK for side in scaled.shape)
    means = scaled.reshape(height, SHRINK, width, SHRINK).mean(axis=(1, 3))
    mask: Mask = (means + 0.5).astype(np.uint8)
    return mask


def _check_bytes(picture: Picture) -> None:
    try:
        found = md5_of(picture.path)
    except FileNotFoundError:
        raise Changed("missing") from None
    except OSError as error:
        if error.errno in OF_THE_MACHINE:
            raise
        raise Changed(f"cannot be read: {error.strerror}") from error
    if found != picture.md5:
        raise Changed("changed since the manifest was made")


def _scaled(image: Image.Image, picture: Picture) -> Pixels:
    """Return the pixels of the bucket."""
    if image.size == picture.scaled:
        whole = np.asarray(image)
    elif picture.filter == "area":
        whole = area(np.asarray(image), *picture.scaled)
    else:
        whole = np.asarray(image.resize(picture.scaled, Image.Resampling.LANCZOS))
    (left, top), (width, height) = picture.corner, picture.bucket
    return whole[top : top + height, left : left + width]


def area(pixels: Pixels, width: int, height: int) -> Pixels:
    """Shrink to `width` x `height`, each target pixel the mean of the exact area that it covers.

    Pillow's BOX counts whole source pixels only, which at a factor of 1.5 takes one and two by
    turns.
    """
    lower = _area_rows(pixels.astype(np.uint8), height)
    narrower = _area_rows(lower.transpose(1, 0, 2), width).transpose(1, 0, 2)
    shrunk: Pixels = np.ascontiguousarray(np.clip(narrower + 0.5, 0, 255).astype(np.uint8))
    return shrunk


def _area_rows(
    values: npt.NDArray[np.uint8] | npt.NDArray[np.float32], count: int
) -> npt.NDArray[np.float32]:
    """Average [n, m, 3] over its first axis into `count` equal parts: float32 [count, m, 3]."""
    length = len(values)
    edges = np.arange(count + 1) * length / count
    out = np.empty((count, *values.shape[1:]), dtype=np.float32)
    for target in range(count):
        start, stop = edges[target], edges[target + 1]
        first, last = int(start), min(length, int(np.ceil(stop)))
        covered = np.minimum(np.arange(first + 1, last + 1), stop)
        covered = covered - np.maximum(np.arange(first, last), start)
        weights = (covered / covered.sum()).astype(np.float32)
        out[target] = np.tensordot(weights, values[first:last].astype(np.float32), axes=1)
    return out


__all__ = ["Changed", "Decoded", "Filter", "Picture", "Pixels", "Unreadable", "area", "decode"]
