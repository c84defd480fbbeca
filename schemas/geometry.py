"""Which bucket an image is trained in, and how it is scaled and cropped to it. numpy only.

A bucket is a width and a height in pixels, both multiples of `step`, of an area of at most
`resolution` squared. An image is scaled until it covers its bucket and cropped about its centre, so
that at most one side loses anything (but for "kohya" without upscaling, which crops both).

`place` is a pure function of sizes and recipe: the same image gets the same bucket whatever else
is in the set.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from schemas.errors import RecipeError
from schemas.recipes.train import LatentsSection

Ints = npt.NDArray[np.int64]
Column = npt.NDArray[np.int32]

DECIMALS = 9  # distances that agree so far are equal; what is beyond is the rounding of `log`


@dataclass(frozen=True)
class Placement:
    """What becomes of n images, as int32 [m] columns, in pixels: m places.

    The first n are one for each image in their order, those of `dropped` all 0; behind them stand
    the places that images have in buckets of further resolutions.
    """

    image: Column  # which of the n images a place is of
    bucket_width: Column
    bucket_height: Column
    scaled_width: Column  # of the whole image after scaling, before the crop
    scaled_height: Column
    crop_left: Column  # from the scaled image's left edge to the bucket's
    crop_top: Column
    dropped: Mapping[int, str]  # image -> why no bucket takes it

    def cropped(self) -> npt.NDArray[np.float64]:
        """The part of the image that is cut away, float64 [m] in [0, 1); 0 where dropped."""
        kept = self.bucket_width.astype(np.float64) * self.bucket_height
        whole = self.scaled_width.astype(np.float64) * self.scaled_height
        return np.where(whole > 0, 1 - kept / np.maximum(whole, 1), 0.0)


def place(
    widths: npt.NDArray[np.integer], heights: npt.NDArray[np.integer], latents: LatentsSection
) -> Placement:
    """Give n images of upright size `widths` x `heights` [n] their buckets.

    "log": the bucket nearest in |log(width / height)|; portrait and landscape are mirror images of
    each other. An image that would have to be enlarged for it takes, when `upscale` is false, the
    nearest shape that lies within its own size instead (`max` and the area still hold, `min` no
    longer can). "kohya": see `_place_kohya`.

    An image with a side shorter than `step` is dropped when `upscale` is false: nothing fits in it.
    Of several resolutions an image has a place in the least that takes it, and in each larger one
    where it is not enlarged and its bucket is another.
    Raises RecipeError when the recipe leaves no bucket at all.
    """
    w, h = np.asarray(widths, dtype=np.int64), np.asarray(heights, dtype=np.int64)
    found = [_place_at(w, h, latents, side) for side in latents.resolutions]
    fits = np.stack([(bucket > 0).all(axis=1) for bucket, _ in found])
    image, bucket, scaled = _chosen(w, h, found, fits)
    crop = (scaled - bucket) // 2
    lacking = np.flatnonzero(~np.asarray(fits.any(axis=0)))
    dropped = {int(row): _reason(w[row], h[row], latents.step) for row in lacking}
    return Placement(
        image=image.astype(np.int32),
        bucket_width=bucket[:, 0].astype(np.int32),
        bucket_height=bucket[:, 1].astype(np.int32),
        scaled_width=scaled[:, 0].astype(np.int32),
        scaled_height=scaled[:, 1].astype(np.int32),
        crop_left=crop[:, 0].astype(np.int32),
        crop_top=crop[:, 1].astype(np.int32),
        dropped=dropped,
    )


def _place_at(w: Ints, h: Ints, latents: LatentsSection, resolution: int) -> tuple[Ints, Ints]:
    """Buckets and scaled sizes of one resolution, both [n, 2]; 0 in a bucket: it takes none."""
    if latents.buckets == "kohya":
        return _place_kohya(w, h, latents, resolution)
    return _place_log(w, h, latents, resolution)


def _chosen(
    w: Ints, h: Ints, found: Sequence[tuple[Ints, Ints]], fits: npt.NDArray[np.bool_]
) -> tuple[Ints, Ints, Ints]:
    """Choose places among those of each resolution; return image [m], bucket and scaled [m, 2].

    fits: [resolutions, n], where an image has a bucket.
    """
    every = np.arange(len(w))
    first = fits.argmax(axis=0) if len(found) > 1 else np.zeros(len(w), dtype=np.int64)
    stacked = [np.stack(parts) for parts in zip(*found, strict=True)]
    both = np.concatenate(stacked, axis=2)  # [resolutions, n, bucket and scaled]
    taken = np.asarray(fits.any(axis=0))
    images, places = [every], [both[first, every] * taken[:, None]]
    for number in range(1, len(found)):
        further = fits[number] & (first < number)
        further &= (both[number, :, 2] <= w) & (both[number, :, 3] <= h)
        for earlier in range(number):
            further &= (both[number] != both[earlier]).any(axis=1)
        images.append(every[further])
        places.append(both[number, further])
    whole = np.concatenate(places)
    return np.concatenate(images), whole[:, :2], whole[:, 2:]


def buckets(latents: LatentsSection, resolution: int) -> Ints:
    """The shapes that the recipe offers at a resolution, ascending: int64 [m, 2], (width, height).

    For each side between `min` and `max` the longest other side that the area allows, both ways
    round, and the square. Bounds that are no multiples of `step` are moved inwards to the next one.
    Source: the set that sd-scripts makes (`make_bucket_resolutions`).
    """
    step = latents.step
    least, most = -(-latents.min // step) * step, latents.max // step * step
    shapes = _shapes(resolution**2, step, least, most, most)
    if not len(shapes):
        raise RecipeError(
            f"[latents] leaves no bucket: no two multiples of step {step} between min {latents.min}"
            f" and max {latents.max} stay within resolution {resolution} squared;"
            " lower min or step"
        )
    return shapes


def _shapes(area: int, step: int, least: int, most_width: int, most_height: int) -> Ints:
    """Shapes of at most `area` that are as long as they can be in at least one direction, sorted.

    The square is always among them, if `least` allows one: where steps are coarse a square image
    would otherwise lose half of itself to a longer shape.
    """

    def longest(sides: Ints, most: int) -> Ints:
        return np.minimum(area // sides // step * step, most)

    across = np.arange(least, most_width + 1, step, dtype=np.int64)
    down = np.arange(least, most_height + 1, step, dtype=np.int64)
    square = min(math.isqrt(area) // step * step, most_width, most_height)
    shapes = np.concatenate(
        [
            np.stack([across, longest(across, most_height)], axis=1),
            np.stack([longest(down, most_width), down], axis=1),
            np.array([[square, square]], dtype=np.int64),
        ]
    )
    long_enough: Ints = shapes[(shapes >= least).all(axis=1)]
    return np.unique(long_enough, axis=0)


def _place_log(w: Ints, h: Ints, latents: LatentsSection, resolution: int) -> tuple[Ints, Ints]:
    bucket = _nearest_log(w, h, buckets(latents, resolution))
    if not latents.upscale:
        _keep_within(w, h, bucket, latents, resolution**2)
    return bucket, _cover(w, h, bucket)


def _keep_within(w: Ints, h: Ints, bucket: Ints, latents: LatentsSection, area: int) -> None:
    """Give the images that are smaller than their bucket one within their own size, in place."""
    step = latents.step
    most = latents.max // step * step
    smaller = np.flatnonzero((w < bucket[:, 0]) | (h < bucket[:, 1]))
    within = np.minimum(np.stack([w[smaller], h[smaller]], axis=1) // step * step, most)
    sizes, group = np.unique(within, axis=0, return_inverse=True)
    for number, (width, height) in enumerate(sizes):
        rows = smaller[group.reshape(-1) == number]
        shapes = _shapes(area, step, step, int(width), int(height))
        bucket[rows] = _nearest_log(w[rows], h[rows], shapes) if len(shapes) else 0


def _nearest_log(w: Ints, h: Ints, shapes: Ints) -> Ints:
    """The shape nearest in |log ratio| for each image; of equals the larger, then the squarer."""
    # log(w) - log(h), not log(w / h): the difference changes nothing but its sign when mirrored.
    ratio = np.log(shapes[:, 0]) - np.log(shapes[:, 1])
    first = np.lexsort([np.abs(ratio).round(DECIMALS), -shapes.prod(axis=1)])
    wanted = np.log(w) - np.log(h)
    distance = np.abs(wanted[:, None] - ratio[first][None, :]).round(DECIMALS)
    nearest: Ints = shapes[first][distance.argmin(axis=1)]
    return nearest


def _cover(w: Ints, h: Ints, bucket: Ints) -> Ints:
    """The size [n, 2] at which an image just covers its bucket, the other side rounded half up."""
    across, down = bucket[:, 0], bucket[:, 1]
    by_width = across * h >= down * w
    height = np.maximum(down, (2 * h * across + w) // (2 * w))
    width = np.maximum(across, (2 * w * down + h) // (2 * h))
    return np.where(
        by_width[:, None], np.stack([across, height], axis=1), np.stack([width, down], axis=1)
    )


def _place_kohya(w: Ints, h: Ints, latents: LatentsSection, resolution: int) -> tuple[Ints, Ints]:
    """Buckets exactly as sd-scripts makes them: the nearest by |width / height|, a linear ratio.

    Without upscaling neither `min` nor `max` holds: an image of a larger area is brought down to
    it, one side snapped to the step (the one that keeps the aspect better) and the other taken from
    the aspect; a smaller one stays as it is; then both sides are cut to the step.
    Source: `BucketManager.select_bucket`, kohya-ss/sd-scripts 48d368fa. In floats, as there.
    """
    aspect = w / h
    if not latents.upscale:
        return _kohya_without_upscaling(w, h, aspect, latents.step, resolution**2)
    shapes = buckets(latents, resolution)
    ratio = shapes[:, 0] / shapes[:, 1]
    bucket = shapes[np.abs(ratio[None, :] - aspect[:, None]).argmin(axis=1)]
    itself = np.stack([w, h], axis=1)
    exact = (itself[:, None, :] == shapes[None, :, :]).all(axis=2).any(axis=1)
    bucket = np.where(exact[:, None], itself, bucket)
    by_height = aspect > bucket[:, 0] / bucket[:, 1]
    scale = np.where(by_height, bucket[:, 1] / h, bucket[:, 0] / w)
    return bucket, _half_up(np.stack([w * scale, h * scale], axis=1))


def _kohya_without_upscaling(
    w: Ints, h: Ints, aspect: npt.NDArray[np.float64], step: int, area: int
) -> tuple[Ints, Ints]:
    def snap(values: npt.NDArray[np.floating]) -> Ints:
        return _half_up(values) // step * step

    width = np.sqrt(area * aspect)
    height = area / width
    by_width, by_height = snap(width), snap(height)
    with np.errstate(divide="ignore", invalid="ignore"):
        width_error = np.abs(by_width / snap(by_width / aspect) - aspect)
        height_error = np.abs(snap(by_height * aspect) / by_height - aspect)
    keep_width = width_error < height_error
    shrunk = np.where(
        keep_width[:, None],
        np.stack([by_width, _half_up(by_width / aspect)], axis=1),
        np.stack([_half_up(by_height * aspect), by_height], axis=1),
    )
    scaled = np.where((w * h > area)[:, None], shrunk, np.stack([w, h], axis=1))
    return scaled // step * step, scaled


def _half_up(values: npt.NDArray[np.floating]) -> Ints:
    rounded: Ints = np.floor(values + 0.5).astype(np.int64)
    return rounded


def _reason(width: int, height: int, step: int) -> str:
    if min(width, height) < step:
        return f"smaller than {step} px"
    return f"a side shrinks below {step} px"
