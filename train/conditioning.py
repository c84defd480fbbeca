"""What the U-Net is told beside the noisy latents: the caption and, SDXL's, sizes and crop.

SDXL learnt how large a picture was before it was scaled, and what was cropped off it (Podell et
al. 2023, arXiv:2307.01952, section 2.2), so that small or cut pictures do not teach it to draw
such.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from schemas.geometry import Placement
from train.text import Encoded


def true_sizes(manifest: pa.Table, placement: Placement) -> npt.NDArray[np.float32]:
    """Return what each of n places' images was and became, as it is and mirrored: [2, n, 6].

    In pixels: original height and width; top and left edge of the crop, in the scaled image, as it
    really happened (of a mirrored one what was cut off at the right); height and width of the
    bucket.
    """
    cut_right = placement.scaled_width - placement.bucket_width - placement.crop_left
    height, width = (manifest.column(side).to_numpy() for side in ("height", "width"))
    sizes = [
        (
            *(height[placement.image], width[placement.image]),
            *(placement.crop_top, left),
            *(placement.bucket_height, placement.bucket_width),
        )
        for left in (placement.crop_left, cut_right)
    ]
    return np.stack(sizes).swapaxes(1, 2).astype(np.float32)


def whole_sizes(count: int, size: tuple[int, int]) -> torch.Tensor:
    """Return [count, 6] for pictures to be drawn at (width, height): whole, and never scaled."""
    width, height = size
    row = [height, width, 0, 0, height, width]
    return torch.tensor([row] * count, dtype=torch.float32)


def predict(
    unet: Any, x: torch.Tensor, t: torch.Tensor, encoded: Encoded, sizes: torch.Tensor
) -> torch.Tensor:
    """Return what the U-Net predicts of x_t [n,c,h,w], in its own precision: [n,c,h,w].

    t: [n] or one for all. sizes: [n, 6], which SD1.5 is not told.
    """
    added = None
    if encoded.pooled is not None:
        added = {"text_embeds": encoded.pooled, "time_ids": sizes}
    predicted: torch.Tensor = unet(x, t, encoded.context, added_cond_kwargs=added).sample
    return predicted
