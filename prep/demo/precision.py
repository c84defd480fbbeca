"""In which precision the demo's networks are trained: bfloat16 where a processor knows it."""

import torch


def half(device: str | torch.device) -> torch.autocast:
    """Return the block within which a network computes in bfloat16, or in fp32 where that is slow.

    It halves the time of processors that know it; for others torch converts value by value, and a
    convolution takes thirty times as long.
    """
    kind = torch.device(device).type
    known = kind != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.autocast(kind, torch.bfloat16, enabled=known)
