"""Which of torch's kernels computes attention: it decides over memory and time."""

from collections.abc import Iterable
from typing import Any

import torch
from torch.nn.attention import SDPBackend

NAMES = {
    SDPBackend.FLASH_ATTENTION: "flash",
    SDPBackend.EFFICIENT_ATTENTION: "memory-efficient",
    SDPBackend.CUDNN_ATTENTION: "cuDNN",
    SDPBackend.MATH: "math, which holds the whole matrix",
}
TOKENS = 77  # of the inputs that are asked about


def kernels(unet: Any, device: torch.device, dtype: torch.dtype) -> str:
    """Name what torch chooses for training a U-Net: "flash", or several kernels with their heads.

    torch chooses by device, precision and the width of a head, which differs between levels.
    """
    chosen: dict[str, list[int]] = {}
    for width in sorted(set(_widths(unet))):
        q = torch.zeros(1, 1, TOKENS, width, device=device, dtype=dtype, requires_grad=True)
        kernel = SDPBackend(torch._fused_sdp_choice(q, q, q))
        chosen.setdefault(NAMES.get(kernel, kernel.name.lower()), []).append(width)
    if len(chosen) == 1:
        return next(iter(chosen))
    return "; ".join(
        f"{name} (heads {', '.join(map(str, widths))} wide)" for name, widths in chosen.items()
    )


def _widths(unet: Any) -> Iterable[int]:
    """The width of each attention's heads."""
    for module in unet.modules():
        if hasattr(module, "heads") and hasattr(module, "to_q"):
            yield module.to_q.out_features // module.heads
