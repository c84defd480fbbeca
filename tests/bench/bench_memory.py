"""What each setting saves: bytes of a training step of real-size SD1.5 and SDXL, counted.

Run by hand: python tests/bench/bench_memory.py. Nothing is computed: tensors have shapes alone, as
torch makes them on the CPU, whose autocast and kernels are not all those of a card.
"""

import sys
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "train"))

from real_models import sd15, sdxl

from schemas.recipes.train import TrainRecipe
from train.adapters.adapter import attach_adapter
from train.blocks import SD15, SDXL
from train.frozen import big_layers, keep_as_fp8
from train.rehearsal import Memory, Rehearsal
from train.setup import place

CPU, META = torch.device("cpu"), torch.device("meta")
SETTINGS: dict[str, dict[str, Any]] = {
    "fp32": {},
    "fp16": {"steps": {"precision": "fp16"}},
    "fp16, checkpointing": {"steps": {"precision": "fp16", "checkpointing": True}},
    "fp16, fp8": {"steps": {"precision": "fp16"}, "storage": "fp8"},
    "fp16, fp8, checkpointing": {
        "steps": {"precision": "fp16", "checkpointing": True},
        "storage": "fp8",
    },
}


def counted(kind: str, side: int, batch: int, settings: dict[str, Any]) -> Memory:
    """Bytes of a step at a square bucket with a LoRA of dim 16 on the U-Net, captions encoded."""
    steps = {"total": 1, "batch": batch} | settings.get("steps", {})
    recipe = TrainRecipe.model_validate(
        {
            "model": {"path": "none", "storage": settings.get("storage", "same")},
            "adapter": {"dim": 16, "blocks": "unet"},
            "steps": steps,
        }
    )
    with torch.device("meta"):
        unet, text_encoders = sd15() if kind == "sd15" else sdxl()
    for network in (unet, *text_encoders):
        network.requires_grad_(False).eval()
    if recipe.model.storage == "fp8":
        for _, layer in big_layers(unet, text_encoders):
            keep_as_fp8(layer)
    architecture = SD15 if kind == "sd15" else SDXL
    adapter = attach_adapter(architecture, unet, text_encoders, recipe.adapter, 0).to("meta")
    place(recipe, META, unet, text_encoders, adapter)
    run = Rehearsal(recipe, CPU, unet, text_encoders, adapter, chunks=3, encoded=True)
    return run.memory((side, side), fake=True)


def main() -> None:
    for kind, side, batch in (("sd15", 512, 1), ("sd15", 768, 5), ("sdxl", 1024, 1)):
        for name, settings in SETTINGS.items():
            found = counted(kind, side, batch, settings)
            parts = (found.total, found.weights, found.adapter + found.optimizer, found.step)
            told = " | ".join(f"{part / 2**30:.2f}" for part in parts)
            print(f"{kind}, {side} px, batch {batch} | {name} | {told}", flush=True)


if __name__ == "__main__":
    main()
