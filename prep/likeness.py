"""Whether two pictures that hash alike look alike: small pictures compared, with some tolerance.

A pHash tells little of a flat or dark picture, and nothing of colour: another expression, another
coat or another plain background may differ in two of its bits. So a picture of 64 x 64 is kept
beside each hash, and near hashes are duplicates only when no place of one is unlike every place
near it in the other. Before, the edges that one of them may have lost are cut from the other. The
tolerance is what re-encoding, another size, a watermark and another colour profile need;
docs/dedup.md tells how it was measured, and what it costs.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
from PIL import Image

SIDE = 64  # pixels of the small picture, whatever the shape of the large one
QUALITY = 90  # of the JPEG that it is kept as, 2 kB in the place of 12; colour at full size
LUMA = 28.0  # levels of 255 that a place may differ in light
LEAST_LUMA, CONTRAST = 4.0, 0.6  # less in flat pictures: this share of the light's deviation
CHROMA = 14.0  # levels of 255 that a place may differ in colour
FADED = 0.7  # one copy may have this share of the other's saturation, as colour profiles make it
GREY = 6.0  # levels of chroma below which a picture has no colour: its copy in grey is a copy
LOST = (0.0, 0.01, 0.02)  # shares of a side that may be cut from either end of one of two copies
CELLS = 4  # places a side in which pictures are first compared roughly
REACH = 4  # pixels: 2 for what is cut, 1 for the mean, 1 for the neighbours
AT_ONCE = 128  # pairs

Pixels = npt.NDArray[np.uint8]  # [n, SIDE, SIDE, 3], RGB
Planes = npt.NDArray[np.float32]  # [n, 3, side, side]: luma and two chromas (BT.601), levels
Levels = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_TO_PLANES = np.array(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32
)


def small(picture: Image.Image) -> bytes:
    """Return an RGB picture at SIDE x SIDE, as JPEG."""
    written = io.BytesIO()
    reduced = picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    reduced.save(written, "JPEG", quality=QUALITY, subsampling=0)
    return written.getvalue()


def pixels_of(pictures: Sequence[bytes]) -> Pixels:
    """Return what `small` made bytes of."""
    pixels = np.empty((len(pictures), SIDE, SIDE, 3), np.uint8)
    for place, picture in enumerate(pictures):
        pixels[place] = Image.open(io.BytesIO(picture))
    return pixels


@dataclass(frozen=True)
class Likeness:
    """Small pictures, and what of them is asked for most often."""

    pictures: Sequence[bytes]
    _low: Planes  # [n, 3, CELLS, CELLS]: what is near the places of each cell is at least this
    _high: Planes
    _grey: Bools
    _light: Levels  # [n], how much the light may differ

    @classmethod
    def of(cls, pictures: Sequence[bytes]) -> "Likeness":
        """Look at the pictures once, each as `small` returned it."""
        parts = [
            _rough(_planes(pictures[start : start + AT_ONCE]))
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
        """False where some cell already shows that a pair is not alike."""
        light, answer = self._light, np.zeros(len(first), bool)
        low, high = self._low[:, 0, 1, 1], self._high[:, 0, 1, 1]  # one cell tells most apart
        may = np.minimum(light[first], light[second]) + 0.01  # more than rounding
        likely = (low[first] <= high[second] + may) & (low[second] <= high[first] + may)
        places = np.flatnonzero(likely)
        for start in range(0, len(places), AT_ONCE * 64):
            part = places[start : start + AT_ONCE * 64]
            a, b = first[part], second[part]
            bound = np.full((len(part), 3, 1, 1), CHROMA + 0.01, np.float32)
            bound[:, 0] = may[part, None, None]
            within = self._low[a] <= self._high[b] + bound
            within &= self._low[b] <= self._high[a] + bound
            within[:, 1:] |= (self._grey[a] | self._grey[b])[:, None, None, None]
            answer[part] = within.all(axis=(1, 2, 3))
        return answer

    def _closely(self, first: Indices, second: Indices) -> Bools:
        """As they are, and where that does not do, without the edges that only one has."""
        places, row = np.unique(np.concatenate([first, second]), return_inverse=True)
        planes = _planes([self.pictures[place] for place in places])
        a, b = row[: len(first)], row[len(first) :]
        light = np.minimum(self._light[first], self._light[second])
        grey = self._grey[first] | self._grey[second]
        smooth = _smoothed(planes)
        answer = _near(smooth[a], smooth[b], light, grey)
        left = np.flatnonzero(~answer)
        if len(left):
            one, other = _aligned(planes[a[left]], planes[b[left]])
            answer[left] = _near(_smoothed(one), _smoothed(other), light[left], grey[left])
        return answer


def _near(a: Planes, b: Planes, light: Levels, grey: Bools) -> Bools:
    """Whether no place of one is unlike all that is near it in the other, for each pair."""
    answer = _apart(a[:, :1], b[:, :1]) <= light
    coloured = np.flatnonzero(answer & ~grey)
    more, less = _by_saturation(a[coloured, 1:], b[coloured, 1:])
    faded = (more * less).sum(axis=(1, 2, 3)) / np.maximum((more * more).sum(axis=(1, 2, 3)), 1)
    more = more * np.clip(faded, FADED, 1.0)[:, None, None, None]
    answer[coloured] = _apart(more, less) <= CHROMA
    return answer


def _rough(planes: Planes) -> tuple[Planes, Planes, Bools, Levels]:
    light = np.clip(CONTRAST * planes[:, 0].std(axis=(1, 2)), LEAST_LUMA, LUMA)
    grey = np.abs(planes[:, 1:]).max(axis=(1, 2, 3), initial=0) < GREY
    low, high = _around(planes, REACH)
    low[:, 1:] = np.minimum(low[:, 1:], FADED * low[:, 1:])  # either picture may be the faded one
    high[:, 1:] = np.maximum(high[:, 1:], FADED * high[:, 1:])
    low, high = low[..., 1:-1, 1:-1], high[..., 1:-1, 1:-1]  # as `_smoothed` leaves them
    return _cells(low), _cells(high), grey, light.astype(np.float32)


def _cut(before: float, after: float) -> Levels:
    """What enlarges a line of SIDE levels, without these shares of its ends, to SIDE again."""
    at = before * SIDE + (np.arange(SIDE) + 0.5) * (1 - before - after) - 0.5
    at = np.clip(at, 0, SIDE - 1)
    below = np.minimum(at.astype(int), SIDE - 2)
    matrix = np.zeros((SIDE, SIDE), np.float32)
    matrix[np.arange(SIDE), below] = 1 - (at - below)
    matrix[np.arange(SIDE), below + 1] = at - below
    return matrix


_CUTS = np.stack([_cut(before, after) for before, after in product(LOST, LOST)])
_WHOLE = np.broadcast_to(_CUTS[:1], _CUTS.shape)
_OF_FIRST = np.concatenate([_CUTS, _WHOLE[1:]])  # [17, SIDE, SIDE]: one of two is cut, or none
_OF_SECOND = np.concatenate([_WHOLE, _CUTS[1:]])


def _aligned(a: Planes, b: Planes) -> tuple[Planes, Planes]:
    """Each pair without the edges that only one has, as the light's means by row and column say."""
    rows = _best_cut(a[:, 0].mean(axis=2), b[:, 0].mean(axis=2))
    columns = _best_cut(a[:, 0].mean(axis=1), b[:, 0].mean(axis=1))
    first, second = (
        cuts[rows][:, None] @ planes @ cuts[columns][:, None].swapaxes(2, 3)
        for cuts, planes in ((_OF_FIRST, a), (_OF_SECOND, b))
    )
    return first, second


def _best_cut(a: Levels, b: Levels) -> Indices:
    """Which of the cuts makes two lines [n, SIDE] most alike."""
    ours, theirs = (
        (lines @ cuts.reshape(-1, SIDE).T).reshape(len(lines), -1, SIDE)
        for cuts, lines in ((_OF_FIRST, a), (_OF_SECOND, b))
    )
    return np.asarray(((ours - theirs) ** 2).sum(axis=2).argmin(axis=1), np.int64)


def _planes(pictures: Sequence[bytes]) -> Planes:
    levels = pixels_of(pictures).astype(np.float32)
    return np.ascontiguousarray((levels @ _TO_PLANES.T).transpose(0, 3, 1, 2))


def _smoothed(planes: Planes) -> Planes:
    """Means over 3 x 3 places, so that a line counts alike wherever it falls between them."""
    rows = planes[..., :-2, :] + planes[..., 1:-1, :] + planes[..., 2:, :]
    return np.asarray((rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]) / 9, np.float32)


def _around(planes: Planes, reach: int = 1) -> tuple[Planes, Planes]:
    """The least and the greatest level among each place and those within `reach` pixels."""
    edge = (reach, reach)
    wide = np.pad(planes, ((0, 0), (0, 0), edge, edge), mode="edge")
    width = 2 * reach + 1
    return _windows(wide, width, np.minimum), _windows(wide, width, np.maximum)


def _windows(planes: Planes, width: int, chosen: np.ufunc) -> Planes:
    """The least or greatest in each window of width x width; windows double, and may overlap."""
    have = 1
    while have < width:
        more = min(have, width - have)
        planes = chosen(planes[..., :-more, :], planes[..., more:, :])
        planes = chosen(planes[..., :-more], planes[..., more:])
        have += more
    return planes


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
