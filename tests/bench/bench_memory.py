"""What each setting saves: bytes of a training step of real-size SD1.5 and SDXL, counted.

Run by hand: python tests/bench/bench_memory.py. Nothing is computed: tensors have shapes alone, as
torch makes them on the CPU, whose autocast and kernels are not all those of a card.
"""

from typing import Any

import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

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


def sd15() -> tuple[Any, tuple[Any, ...]]:
    """SD1.5 as its published config.json files describe it, without weights."""
    text = CLIPTextConfig(
        hidden_size=768, intermediate_size=3072, num_attention_heads=12, projection_dim=768
    )
    unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
    return unet, (CLIPTextModel(text),)


def sdxl() -> tuple[Any, tuple[Any, ...]]:
    """SDXL base 1.0, the same."""
    first = CLIPTextConfig(
        hidden_size=768, intermediate_size=3072, num_attention_heads=12, projection_dim=768
    )
    second = CLIPTextConfig(
        hidden_size=1280,
        intermediate_size=5120,
        num_hidden_layers=32,
        num_attention_heads=20,
        projection_dim=1280,
        hidden_act="gelu",
    )
    unet = UNet2DConditionModel(
        sample_size=128,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(320, 640, 1280),
        cross_attention_dim=2048,
        attention_head_dim=(5, 10, 20),
        transformer_layers_per_block=(1, 2, 10),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
    )
    return unet, (CLIPTextModel(first), CLIPTextModelWithProjection(second))


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
