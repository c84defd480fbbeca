"""Whether two pictures that hash alike look alike: small pictures compared, with some tolerance.

A pHash tells little of a flat or dark picture, and nothing of colour: another expression, another
coat or another plain background may differ in two of its bits. So a picture of 32 x 32 is kept
beside each hash, and near hashes are duplicates only when no place of one is unlike every place
near it in the other. The tolerance is what re-encoding, another size, a crop by 2 % and another
colour profile need; docs/dedup.md tells how it was measured, and what it costs.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

SIDE = 32  # pixels of the small picture, whatever the shape of the large one
BYTES = SIDE * SIDE * 3
LUMA = 17.0  # levels of 255 that a place may differ in light
LEAST_LUMA, CONTRAST = 4.0, 0.4  # less in flat pictures: this share of the light's deviation
CHROMA = 14.0  # levels of 255 that a place may differ in colour
FADED = 0.7  # one copy may have this share of the other's saturation, as colour profiles make it
GREY = 6.0  # levels of chroma below which a picture has no colour: its copy in grey is a copy
CELLS = 4  # places a side in which pictures are first compared roughly
AT_ONCE = 512  # pairs

Small = npt.NDArray[np.uint8]  # [n, SIDE, SIDE, 3], RGB
Planes = npt.NDArray[np.float32]  # [n, 3, side, side]: luma and two chromas (BT.601), levels
Indices = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_TO_PLANES = np.array(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32
)


def small(picture: Image.Image) -> bytes:
    """Return an RGB picture at SIDE x SIDE, as bytes."""
    return bytes(picture.resize((SIDE, SIDE), Image.Resampling.BOX).tobytes())


@dataclass(frozen=True)
class Likeness:
    """Small pictures, and what of them is asked for most often."""

    pictures: Small
    _mean: Planes  # [n, 3, CELLS, CELLS]
    _low: Planes  # what the mean of a picture that is alike reaches at least
    _high: Planes
    _grey: Bools
    _light: npt.NDArray[np.float32]  # how much the light may differ

    @classmethod
    def of(cls, pictures: Small) -> "Likeness":
        """Look at the pictures once."""
        parts = [
            _rough(pictures[start : start + AT_ONCE])
            for start in range(0, max(1, len(pictures)), AT_ONCE)
        ]
        return cls(pictures, *(np.concatenate(column) for column in zip(*parts, strict=True)))

    def alike(self, first: Indices, second: Indices) -> Bools:
        """Return for each pair of pictures whether they look alike."""
        answer = self._roughly(first, second)
        places = np.flatnonzero(answer)
        for start in range(0, len(places), AT_ONCE):
            part = places[start : start + AT_ONCE]
            answer[part] = self._closely(first[part], second[part])
        return answer

    def _roughly(self, first: Indices, second: Indices) -> Bools:
        """False where the means of some cell already show that a pair is not alike."""
        answer = np.ones(len(first), bool)
        step = AT_ONCE * 16
        for start in range(0, len(first), step):
            a, b = first[start : start + step], second[start : start + step]
            within = (self._low[b] <= self._mean[a]) & (self._mean[a] <= self._high[b])
            within &= (self._low[a] <= self._mean[b]) & (self._mean[b] <= self._high[a])
            no_colour = self._grey[a] | self._grey[b]
            within[:, 1:] |= no_colour[:, None, None, None]
            answer[start : start + step] = within.all(axis=(1, 2, 3))
        return answer

    def _closely(self, first: Indices, second: Indices) -> Bools:
        a, b = _smoothed(_planes(self.pictures[first])), _smoothed(_planes(self.pictures[second]))
        light = np.minimum(self._light[first], self._light[second])
        answer = _apart(a[:, :1], b[:, :1]) <= light
        coloured = ~(self._grey[first] | self._grey[second])
        more, less = _by_saturation(a[:, 1:], b[:, 1:])
        faded = (more * less).sum(axis=(1, 2, 3)) / np.maximum((more * more).sum(axis=(1, 2, 3)), 1)
        more = more * np.clip(faded, FADED, 1.0)[:, None, None, None]
        return np.asarray(answer & (~coloured | (_apart(more, less) <= CHROMA)), bool)


def _rough(pictures: Small) -> tuple[Planes, Planes, Planes, Bools, npt.NDArray[np.float32]]:
    planes = _planes(pictures)
    light = np.clip(CONTRAST * planes[:, 0].std(axis=(1, 2)), LEAST_LUMA, LUMA)
    grey = np.abs(planes[:, 1:]).max(axis=(1, 2, 3), initial=0) < GREY
    smooth = _smoothed(planes)
    low, high = (_cells(bound) for bound in _around(smooth))
    may = np.stack([light, *[np.full_like(light, CHROMA)] * 2], axis=1)[:, :, None, None]
    bound = may[:, 1:]
    fade = FADED  # either picture may be the faded one
    low, high = low - 0.01, high + 0.01  # more than rounding
    lowest = np.minimum(low[:, 1:] - bound, (low[:, 1:] - bound) / fade)
    highest = np.maximum(high[:, 1:] + bound, (high[:, 1:] + bound) / fade)
    lowest = np.minimum(lowest, fade * low[:, 1:] - bound)
    highest = np.maximum(highest, fade * high[:, 1:] + bound)
    low = np.concatenate([low[:, :1] - may[:, :1], lowest], axis=1)
    high = np.concatenate([high[:, :1] + may[:, :1], highest], axis=1)
    return _cells(smooth), low, high, grey, light.astype(np.float32)


def _planes(pictures: Small) -> Planes:
    return np.asarray(np.einsum("pc,nyxc->npyx", _TO_PLANES, pictures, optimize=True), np.float32)


def _smoothed(planes: Planes) -> Planes:
    """Means over 3 x 3 places, so that a line counts alike wherever it falls between them."""
    rows = planes[..., :-2, :] + planes[..., 1:-1, :] + planes[..., 2:, :]
    return np.asarray((rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]) / 9, np.float32)


def _around(planes: Planes) -> tuple[Planes, Planes]:
    """The least and the greatest level among each place and its neighbours."""
    wide = np.pad(planes, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    bounds = []
    for chosen in (np.minimum, np.maximum):
        rows = chosen(chosen(wide[..., :-2, :], wide[..., 1:-1, :]), wide[..., 2:, :])
        bounds.append(chosen(chosen(rows[..., :-2], rows[..., 1:-1]), rows[..., 2:]))
    return bounds[0], bounds[1]


def _apart(a: Planes, b: Planes) -> npt.NDArray[np.float32]:
    """By how much the worst place of each pair lies outside of what is near it in the other."""
    found = np.zeros(len(a), np.float32)
    for one, other in ((a, b), (b, a)):
        low, high = _around(other)
        outside = np.maximum(one - high, low - one)
        found = np.maximum(found, outside.max(axis=(1, 2, 3), initial=0))
    return found


def _by_saturation(a: Planes, b: Planes) -> tuple[Planes, Planes]:
    """Each pair's more and less saturated colours."""
    swap = (a * a).sum(axis=(1, 2, 3)) < (b * b).sum(axis=(1, 2, 3))
    swap = swap[:, None, None, None]
    return np.where(swap, b, a), np.where(swap, a, b)


def _cells(planes: Planes) -> Planes:
    """Means over CELLS x CELLS parts; what does not divide evenly is left out at the edges."""
    side = planes.shape[-1] // CELLS
    cut = planes[..., : side * CELLS, : side * CELLS]
    parts = cut.reshape(*cut.shape[:2], CELLS, side, CELLS, side)
    return np.asarray(parts.mean(axis=(3, 5)), np.float32)
