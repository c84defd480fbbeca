"""What a training would do, told before it is done: the plan of `train --dry-run`.

The checks are those of a training (train.setup), in the same order; nothing is written, no image
is decoded, and of the model's weights only the shapes are read.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from schemas.geometry import Placement, place
from schemas.recipes.train import TrainRecipe
from train.data import Data
from train.rehearsal import Cost, Rehearsal, cost
from train.setup import NO_PRIOR, batches_of, begin, encodes_once, length
from train.text import CHUNK, Tokens
from train.variants import belied

LIMITS = (CHUNK, 2 * CHUNK, 3 * CHUNK)  # of a caption, in tokens


@dataclass(frozen=True)
class PlannedImage:
    """What becomes of an image in one of its places, in pixels."""

    md5: str
    width: int
    height: int
    scaled: tuple[int, int]  # width and height after scaling, before the crop
    bucket: tuple[int, int]  # width and height; 0, 0: it is left out
    crop: tuple[int, int, int, int]  # left, top, right, bottom, in the scaled image


@dataclass(frozen=True)
class PlannedBucket:
    """How many images are trained at one shape."""

    width: int
    height: int
    images: int  # each in every bucket where it has a place


@dataclass(frozen=True)
class Plan:
    """What a training would do."""

    images: Sequence[PlannedImage]
    buckets: Sequence[PlannedBucket]
    mean_crop: float  # the part that is cut off an image, over those that are trained
    most_crop: float
    trained: int  # images, as the two that follow
    held_out: int
    left_out: int
    empty_captions: int
    lost_tags: Mapping[str, int]  # by the limit in tokens: tags beyond it, over all captions
    steps: int
    epochs: float
    images_seen: int  # repeats counted: the steps that a batch of one would take
    adapter: Mapping[str, Sequence[int]]  # tensor -> shape, as the file will have them
    problems: Sequence[str]
    cost: Cost | None  # None: it was not to be measured

    @property
    def modules(self) -> int:
        """How many modules the adapter changes."""
        return len({name.partition(".")[0] for name in self.adapter})


def plan(
    recipe: TrainRecipe,
    root: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    measure: bool = True,
) -> Plan:
    """Return what `train` would do with the same arguments; raises what it would raise.

    measure: take a few steps on the device, with weights of no meaning, to tell memory and hours.
    """
    begun = begin(recipe, root, resume=resume, overwrite=overwrite, device=device, weights=False)
    data, tokens, adapter = begun.data, begun.tokens, begun.adapter
    begun.model.vae_source.settings()
    width, height = (data.table.column(side).to_numpy() for side in ("width", "height"))
    placement = place(width, height, recipe.latents)
    left_out = dict(placement.dropped) | _missing(data, (root / recipe.data).parent)
    shapes = np.stack([placement.bucket_width, placement.bucket_height], axis=1)
    shapes[np.isin(placement.image, list(left_out))] = 0
    batches, held_out = batches_of(recipe, data, placement.image, shapes, left_out)
    trained = np.unique(placement.image[batches.places]).tolist()
    steps, forwards = length(recipe, batches)
    seen = batches.images(forwards)
    crops = placement.cropped()[batches.places]
    empty = sum(not data.tags(row).texts for row in trained)
    lost, chunks = _lost(data, tokens, trained, recipe.caption.tokens)
    paths = data.table.column("path")
    problems = [f"{paths[row]}: {reason}" for row, reason in sorted(left_out.items())]
    if recipe.latents.flip and (told := belied(data.table)):
        problems.append(told)
    if recipe.loss.prior == "model" and not data.is_reg.any():
        problems.append(NO_PRIOR)
    if empty:
        problems.append(f"{empty} captions are empty")
    if beyond := lost[str(recipe.caption.tokens)]:
        problems.append(f"{beyond} tags lie beyond {recipe.caption.tokens} tokens and are not read")
    counted = Counter((w, h) for w, h in shapes[batches.places].tolist())
    named = {name: list(tensor.shape) for name, tensor in sorted(adapter.tensors().items())}
    found = None
    if measure:
        once = encodes_once(recipe, data, adapter)
        rehearsal = Rehearsal(
            recipe, begun.device, begun.unet, begun.text_encoders, adapter, chunks, once
        )
        found = cost(rehearsal, counted, steps, forwards)
        problems += _too_large(found, begun.device)
    return Plan(
        images=_images(data, placement, shapes),
        buckets=[PlannedBucket(w, h, count) for (w, h), count in sorted(counted.items())],
        mean_crop=float(crops.mean()),
        most_crop=float(crops.max()),
        trained=len(trained),
        held_out=len(held_out),
        left_out=len(left_out),
        empty_captions=empty,
        lost_tags=lost,
        steps=steps,
        epochs=forwards / batches.per_epoch,
        images_seen=seen,
        adapter=named,
        problems=problems,
        cost=found,
    )


def _missing(data: Data, root: Path) -> dict[int, str]:
    """The rows whose file is gone."""
    paths = data.table.column("path").to_pylist()
    return {row: "missing" for row, path in enumerate(paths) if not (root / path).exists()}


def _lost(data: Data, tokens: Tokens, rows: Sequence[int], own: int) -> tuple[dict[str, int], int]:
    """By each limit of tokens, how many tags lie beyond it, in the captions' own order.

    And the chunks of the longest caption at the recipe's own limit.
    """
    lost, chunks = {}, 1
    for limit in LIMITS:
        captions = [data.caption(tokens, row, limit) for row in rows]
        lost[str(limit)] = sum(caption.lost for caption in captions)
        if limit == own:
            chunks = max(len(caption.ids) for caption in captions)
    return lost, chunks


def _too_large(found: Cost, device: torch.device) -> list[str]:
    if device.type != "cuda":
        return []
    there = torch.cuda.get_device_properties(device).total_memory
    if found.pace is not None and found.memory.total <= there:
        return []
    return [
        f"a step takes {found.memory.total / 2**30:.1f} GiB and the device has"
        f" {there / 2**30:.1f}: see docs/memory.md for what saves some"
    ]


def _images(data: Data, placement: Placement, shapes: np.ndarray) -> list[PlannedImage]:
    """Every place of every image; `shapes` (int [places, 2]) are 0 where one is left out."""
    table = data.table.select(["md5", "width", "height"]).take(placement.image)
    columns = (
        *(column.to_pylist() for column in table.columns),
        *(placement.scaled_width.tolist(), placement.scaled_height.tolist()),
        *(placement.crop_left.tolist(), placement.crop_top.tolist()),
        shapes.tolist(),
    )
    return [
        PlannedImage(md5, w, h, (across, down), (bw, bh), (left, top, left + bw, top + bh))
        for md5, w, h, across, down, left, top, (bw, bh) in zip(*columns, strict=True)
    ]
