"""The optimizer and the course of its learning rate, as the recipe names them."""

import inspect
import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from schemas.errors import RecipeError
from schemas.recipes.train import OptimizerSection

OWN_KEYS = {"lr": "optimizer.lr", "params": "adapter.blocks"}


def make_optimizer(
    section: OptimizerSection, unet: Sequence[nn.Parameter], text: Sequence[nn.Parameter]
) -> torch.optim.Optimizer:
    """Return the optimizer over the U-Net's parameters and the text encoder's, at their rates.

    Each group keeps its full rate as "full_lr". Raises RecipeError for arguments that the
    optimizer does not take.
    """
    text_lr = section.lr if section.text_encoder_lr is None else section.text_encoder_lr
    groups = [
        {"params": list(parameters), "lr": rate, "full_lr": rate}
        for parameters, rate in ((unet, section.lr), (text, text_lr))
        if parameters
    ]
    known = [name for name in inspect.signature(torch.optim.AdamW).parameters if name != "self"]
    for key in section.args:
        if key in OWN_KEYS:
            raise RecipeError(f'optimizer.args: "{key}" has its own place, {OWN_KEYS[key]}')
        if key not in known:
            taken = ", ".join(name for name in known if name not in OWN_KEYS)
            raise RecipeError(f'optimizer.args: {section.name} takes no "{key}"; it takes {taken}')
    try:
        return torch.optim.AdamW(groups, **section.args)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"optimizer.args: {section.name} refuses them: {error}") from None


def rate_factor(
    step: int, total: int, schedule: Literal["constant", "cosine"], warmup: int
) -> float:
    """Return the part of the full learning rate at optimizer step `step`, counted from 0.

    It climbs from 0 over `warmup` steps, then stays, or falls to 0 along half a cosine
    (Loshchilov and Hutter 2017, arXiv:1608.03983).
    """
    if step < warmup:
        return step / warmup
    if schedule == "constant":
        return 1.0
    done = (step - warmup) / max(1, total - warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def set_rate(optimizer: torch.optim.Optimizer, factor: float) -> float:
    """Set every group to its full rate times `factor`; return the first group's rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["full_lr"] * factor
    return float(optimizer.param_groups[0]["lr"])
