"""The kinds of models that are trained here, and what is said of all others."""

from schemas.errors import ModelError
from schemas.recipes.train import ModelKind

SPOKEN = {"sd15": "SD1.5", "sdxl": "SDXL"}
LEVELS = {"sd15": 4, "sdxl": 3}  # of the U-Net
LAYERS = 2  # of each level
SCALING = {"sd15": 0.18215, "sdxl": 0.13025}  # of latents: one over their standard deviation
SD2_CONTEXT = 1024  # width of Stable Diffusion 2's text encoder


def check_unet(
    what: str, kind: ModelKind, *, channels: int, context: object, levels: int, layers: int
) -> None:
    """Raise ModelError unless a U-Net is one of the kind it seems to be.

    what: the key and its value in the recipe. channels: that it takes; context: the width that it
    attends to.
    """
    if channels == 9:
        raise ModelError(
            f"{what} is an inpainting model (its U-Net takes 9 channels): give the plain"
            " checkpoint, whose adapters work on both"
        )
    if channels != 4:
        raise ModelError(
            f"{what} is no text-to-image model: its U-Net takes {channels} channels, SD1.5's and"
            " SDXL's take 4"
        )
    if kind == "sd15" and context == SD2_CONTEXT:
        raise ModelError(f"{what} is a Stable Diffusion 2 model: kiroku trains SD1.5 and SDXL")
    if (levels, layers) != (LEVELS[kind], LAYERS):
        raise ModelError(
            f"{what} is built otherwise than {SPOKEN[kind]}: its U-Net has {levels} levels of"
            f" {layers} layers, not {LEVELS[kind]} of {LAYERS}, so that its blocks have no names"
        )
