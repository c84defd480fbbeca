"""The configurations of models in single files, which hold none: known facts, and sizes read off.

What the shapes of tensors do not show (heads, norms, activations, the schedule of noise) is as
SD1.5 and SDXL base 1.0 publish it in their config.json files; widths, depths and counts are taken
from the file, so that narrower relatives of the two are read as well.
"""

import re
from collections.abc import Mapping
from typing import Any

from schemas.recipes.train import ModelKind
from train.kinds import SCALING

UNET = "model.diffusion_model."
FIRST = {  # text encoder of SD1.5, first of SDXL
    "sd15": "cond_stage_model.transformer.",
    "sdxl": "conditioner.embedders.0.transformer.",
}
SECOND = "conditioner.embedders.1.model."
VAE = "first_stage_model."

SD15_HEADS = 8  # of attention at each level; SDXL's are 64 wide
HEAD_WIDTH = 64  # of the text encoders too
NOISE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "steps_offset": 1,
}

Shapes = Mapping[str, tuple[int, ...]]


def unet_levels(shapes: Shapes) -> tuple[int, int]:
    """Return the levels of a U-Net and the layers of each; a sampler ends all but the last."""
    pattern = re.compile(re.escape(UNET) + r"input_blocks\.(\d+)\.0\.op\.weight")
    samplers = sorted(int(found[1]) for name in shapes if (found := pattern.fullmatch(name)))
    return len(samplers) + 1, samplers[0] - 1 if samplers else 0


def unet_context(shapes: Shapes) -> int:
    """Return the width that the U-Net attends to, 0 when it attends to nothing."""
    name = UNET + "middle_block.1.transformer_blocks.0.attn2.to_k.weight"
    return shapes[name][1] if name in shapes else 0


def unet_config(shapes: Shapes, kind: ModelKind) -> dict[str, Any]:
    """Return what diffusers' UNet2DConditionModel is made from."""
    levels, layers = unet_levels(shapes)
    starts = [level * (layers + 1) + 1 for level in range(levels)]
    widths = [shapes[f"{UNET}input_blocks.{n}.0.out_layers.3.weight"][0] for n in starts]
    depths = [_count(shapes, f"{UNET}input_blocks.{n}.1.transformer_blocks.") for n in starts]
    config: dict[str, Any] = {
        "in_channels": 4,
        "out_channels": 4,
        "down_block_types": [_block("Down", depth) for depth in depths],
        "up_block_types": [_block("Up", depth) for depth in reversed(depths)],
        "block_out_channels": widths,
        "layers_per_block": layers,
        "cross_attention_dim": unet_context(shapes),
        "use_linear_projection": len(shapes[UNET + "middle_block.1.proj_in.weight"]) == 2,
    }
    if kind == "sd15":
        return config | {"sample_size": 64, "attention_head_dim": SD15_HEADS}
    told = shapes[UNET + "label_emb.0.0.weight"][1]
    return config | {
        "sample_size": 128,
        "attention_head_dim": [max(1, width // HEAD_WIDTH) for width in widths],
        "transformer_layers_per_block": [max(1, depth) for depth in depths],
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": (told - shapes[SECOND + "text_projection"][1]) // 6,
        "projection_class_embeddings_input_dim": told,
    }


def vae_config(shapes: Shapes, prefix: str, kind: ModelKind) -> dict[str, Any]:
    """Return what diffusers' AutoencoderKL is made from."""
    levels = _count(shapes, f"{prefix}encoder.down.")
    widths = [shapes[f"{prefix}encoder.down.{n}.block.0.conv2.weight"][0] for n in range(levels)]
    return {
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "block_out_channels": widths,
        "layers_per_block": _count(shapes, f"{prefix}encoder.down.0.block."),
        "latent_channels": shapes[f"{prefix}decoder.conv_in.weight"][1],
        "sample_size": {"sd15": 512, "sdxl": 1024}[kind],
        "scaling_factor": SCALING[kind],
    }


def first_text_config(shapes: Shapes, kind: ModelKind) -> dict[str, Any]:
    """Return what the CLIPTextModel of SD1.5, or SDXL's first, is made from: CLIP ViT-L/14."""
    prefix = text_prefix(shapes, kind)
    vocabulary, width = shapes[f"{prefix}embeddings.token_embedding.weight"]
    return _text_config(vocabulary, width) | {
        "intermediate_size": shapes[f"{prefix}encoder.layers.0.mlp.fc1.weight"][0],
        "num_hidden_layers": _count(shapes, f"{prefix}encoder.layers."),
        "projection_dim": width,
        "hidden_act": "quick_gelu",
    }


def second_text_config(shapes: Shapes) -> dict[str, Any]:
    """Return what SDXL's CLIPTextModelWithProjection is made from: OpenCLIP ViT-bigG/14."""
    vocabulary, width = shapes[f"{SECOND}token_embedding.weight"]
    return _text_config(vocabulary, width) | {
        "intermediate_size": shapes[f"{SECOND}transformer.resblocks.0.mlp.c_fc.weight"][0],
        "num_hidden_layers": _count(shapes, f"{SECOND}transformer.resblocks."),
        "projection_dim": shapes[f"{SECOND}text_projection"][1],
        "hidden_act": "gelu",
    }


def text_prefix(shapes: Shapes, kind: ModelKind) -> str:
    """Return what the first text encoder's tensors begin with: some files lack one level."""
    prefix = FIRST[kind]
    inner = f"{prefix}text_model."
    return inner if f"{inner}embeddings.token_embedding.weight" in shapes else prefix


def _text_config(vocabulary: int, width: int) -> dict[str, Any]:
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "num_attention_heads": max(1, width // HEAD_WIDTH),
        "max_position_embeddings": 77,
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
        "pad_token_id": vocabulary - 1,
    }


def _block(side: str, depth: int) -> str:
    return f"CrossAttn{side}Block2D" if depth else f"{side}Block2D"


def _count(shapes: Shapes, prefix: str) -> int:
    """How many different numbers stand behind a prefix."""
    found = (name[len(prefix) :].split(".")[0] for name in shapes if name.startswith(prefix))
    return len(set(found))
