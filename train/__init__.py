"""Manifest and images to latents and adapters. Imports schemas and taggers, never prep.

`train.train(recipe, root)` is the command of the same name as a function.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from train.loop import RunResult, train

__all__ = ["RunResult", "train"]


def __getattr__(name: str) -> Any:
    # imported when asked for, so that `train --help` loads no torch
    if name in __all__:
        from train import loop

        return getattr(loop, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
