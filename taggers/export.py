"""In what form a model wants its pixels, and whether it answers with probabilities or logits.

Three exports are in use:

    [n, size, size, 3]   WD14's own (https://huggingface.co/SmilingWolf): BGR, 0..255
    [n, 3, size, size]   timm's of the same models: BGR, (x / 255 - 0.5) / 0.5
    [n, 3, size, size]   of other models trained with timm: as config.json beside the model says

timm's config.json has mean and std, but no order of colours; WD14's models have BGR, most others
RGB, and the wrong one costs accuracy in silence. So a config with another mean or std than WD14's
must name its order.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.errors import ModelError

CONFIG = "config.json"
HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Scaling:
    """What a [n, 3, size, size] model makes of its pixels; in the order of its channels."""

    bgr: bool = True
    mean: tuple[float, ...] = HALF
    std: tuple[float, ...] = HALF


def read_scaling(path: Path) -> Scaling:
    """The scaling that a timm config.json names; WD14's where it names none, or is not there.

    Its own key `"channels": "rgb"` or `"bgr"` says the order. Raises ModelError where it is needed
    and missing, or a value is none.
    """
    try:
        config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        inner = config.get("pretrained_cfg", {})
        mean, std = (_three(config.get(key, inner.get(key, HALF))) for key in ("mean", "std"))
        order = config.get("channels", "bgr" if (mean, std) == (HALF, HALF) else "")
    except (ValueError, TypeError, AttributeError):
        raise ModelError(
            f"{path} is no timm config: mean and std are to be three numbers each; "
            "download it again, or remove it where the model is one of WD14's"
        ) from None
    if order not in ("bgr", "rgb"):
        raise ModelError(
            f"{path} names a mean and std that are not WD14's, but not the order of colours: "
            'add "channels": "rgb" to it, or "bgr", as the model\'s page says'
        )
    return Scaling(order == "bgr", mean, std)


def as_input(images: npt.NDArray[np.uint8], scaling: Scaling | None) -> npt.NDArray[np.float32]:
    """RGB uint8 [n, size, size, 3] -> what the model takes; `scaling` None: WD14's own export."""
    if scaling is None:
        return np.ascontiguousarray(images[..., ::-1], np.float32)
    ordered = images[..., ::-1] if scaling.bgr else images
    mean, std = np.array(scaling.mean, np.float32), np.array(scaling.std, np.float32)
    scaled = (ordered.astype(np.float32) / 255 - mean) / std
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


def probes(size: int) -> npt.NDArray[np.uint8]:
    """White, black and noise, uint8 [3, size, size, 3]: what tells probabilities from logits.

    A tagger says of nearly all its labels that they are not on such pictures: its logits are then
    far below 0, where no probability lies.
    """
    noise = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
    return np.stack([np.full_like(noise, 255), np.zeros_like(noise), noise])


def are_probabilities(answers: npt.NDArray[np.float32]) -> bool:
    """Whether all of a model's answers to `probes` lie between 0 and 1, half precision allowed."""
    return bool((answers >= -1e-3).all() and (answers <= 1 + 1e-3).all())


def _three(numbers: Any) -> tuple[float, ...]:
    values = tuple(float(number) for number in numbers)
    if len(values) != 3 or isinstance(numbers, str | Mapping):
        raise ValueError
    return values
