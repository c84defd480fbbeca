"""torch.compile of the U-Net's transformer blocks, where there is a compiler for it.

Most of the time goes into these blocks, and those of one width are compiled once: minutes at the
start, where the whole U-Net would take tens of them.
"""

from typing import Any

import torch

from schemas.errors import RecipeError
from schemas.recipes.train import TrainRecipe

# a block is compiled anew by width, batch and bucket, with the adapter and without, to train and
# to draw; torch's own limit is 8
MOST_VERSIONS = 64


def check_compile(recipe: TrainRecipe, device: torch.device) -> None:
    """Raise RecipeError where steps.compile cannot be had."""
    if not recipe.steps.compile:
        return
    for key, given in (("storage", recipe.model.storage), ("offload", recipe.model.offload)):
        if given not in ("", "same"):
            raise RecipeError(
                f'steps.compile does not go with model.{key} = "{given}": a compiled block may hold'
                " weights that were cast or fetched until its backward pass; leave one of them out"
            )
    if lacking := _lacking(device):
        raise RecipeError(f"steps.compile needs {lacking}: install it, or set compile = false")


def compile_blocks(unet: Any, backend: str = "inductor") -> None:
    """Have each transformer block compiled when it first computes, its adapter's layers with it."""
    torch._dynamo.config.recompile_limit = MOST_VERSIONS
    unet.compile_repeated_blocks(backend=backend)


def _lacking(device: torch.device) -> str:
    """What torch's compiler needs on this device and does not find; empty: nothing."""
    if device.type == "cuda":
        from torch.utils._triton import has_triton

        there = has_triton()
        return "" if there else "Triton (on Windows: pip install triton-windows)"
    from torch._inductor.cpp_builder import get_cpp_compiler

    try:
        get_cpp_compiler()
    except Exception:  # torch raises anything here, by platform
        return "a C++ compiler for the CPU (g++, or cl on Windows)"
    return ""
