"""A model's tensors in the layout of its own code, written down a second time beside ours."""

import re
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file

Tensors = dict[str, torch.Tensor]
UNET = "model.diffusion_model."


def as_single_file(folder: Path, kind: str) -> Tensors:
    """A folder's tensors, by their names in a single file."""
    unet = load_file(folder / "unet/diffusion_pytorch_model.safetensors")
    text = [load_file(folder / "text_encoder/model.safetensors")]
    if kind == "sdxl":
        text.append(load_file(folder / "text_encoder_2/model.safetensors"))
    made = layout(kind, unet, *text)
    made |= {f"first_stage_model.{key}": tensor for key, tensor in vae_tensors(folder / "vae")}
    return {key: tensor.clone().contiguous() for key, tensor in made.items()}


def layout(kind: str, unet: Tensors, text: Tensors, second: Tensors | None = None) -> Tensors:
    made = {f"{UNET}{unet_key(key, kind)}": tensor for key, tensor in unet.items()}
    first = "cond_stage_model" if kind == "sd15" else "conditioner.embedders.0"
    made |= {
        f"{first}.transformer.text_model.{key.removeprefix('text_model.')}": tensor
        for key, tensor in text.items()
    }
    if second is not None:
        made |= {f"conditioner.embedders.1.model.{key}": t for key, t in open_clip(second)}
    return made


RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
OUTSIDE = {
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}


def unet_key(key: str, kind: str) -> str:
    for theirs, own in OUTSIDE.items():
        if key.startswith(f"{theirs}."):
            return own + key.removeprefix(theirs)
    side, *parts = key.split(".")
    if side == "mid_block":
        part, layer, *rest = parts
        place = f"middle_block.{1 if part == 'attentions' else 2 * int(layer)}"
    else:
        level, part, layer, *rest = parts
        down = side == "down_blocks"
        number = 3 * int(level) + int(layer) + down
        if part == "downsamplers":
            return f"input_blocks.{number + 2}.0.op.{rest[-1]}"
        if part == "upsamplers":  # behind the attention, which SD1.5's first level up lacks
            inner = 1 if kind == "sd15" and level == "0" else 2
            return f"output_blocks.{number + 2}.{inner}.conv.{rest[-1]}"
        side = "input" if down else "output"
        place = f"{side}_blocks.{number}.{1 if part == 'attentions' else 0}"
    if part == "resnets":
        rest = [RESNET[rest[0]], *rest[1:]]
    return ".".join([place, *rest])


VAE_NAMES = (
    (r"mid_block\.resnets\.0", "mid.block_1"),
    (r"mid_block\.resnets\.1", "mid.block_2"),
    (r"mid_block\.attentions\.0\.group_norm", "mid.attn_1.norm"),
    (r"mid_block\.attentions\.0\.to_out\.0", "mid.attn_1.proj_out"),
    (r"mid_block\.attentions\.0\.to_([qkv])", r"mid.attn_1.\1"),
    (r"down_blocks\.(\d)\.resnets", r"down.\1.block"),
    (r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample"),
    (r"up_blocks\.(\d)\.resnets", r"up.\1.block"),
    (r"up_blocks\.(\d)\.upsamplers\.0", r"up.\1.upsample"),
    ("conv_norm_out", "norm_out"),
    ("conv_shortcut", "nin_shortcut"),
)


def vae_tensors(folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    for key, tensor in load_file(folder / "diffusion_pytorch_model.safetensors").items():
        name = key
        for theirs, own in VAE_NAMES:
            name = re.sub(theirs, own, name)
        name = re.sub(r"decoder\.up\.(\d)", lambda found: f"decoder.up.{3 - int(found[1])}", name)
        is_projection = ".attn_1." in name and tensor.dim() == 2
        yield name, tensor[:, :, None, None] if is_projection else tensor


OPEN_CLIP = (
    ("text_model.embeddings.position_embedding.weight", "positional_embedding"),
    ("text_model.embeddings.token_embedding", "token_embedding"),
    ("text_model.final_layer_norm", "ln_final"),
    ("text_model.encoder.layers", "transformer.resblocks"),
    ("layer_norm", "ln_"),
    ("mlp.fc1", "mlp.c_fc"),
    ("mlp.fc2", "mlp.c_proj"),
    ("self_attn", "attn"),
)


def open_clip(text: Tensors) -> Iterator[tuple[str, torch.Tensor]]:
    yield "logit_scale", torch.tensor(4.6)
    yield "text_projection", text["text_projection.weight"].T
    for key, tensor in text.items():
        name = key
        for theirs, own in OPEN_CLIP:
            name = name.replace(theirs, own)
        if "q_proj" in name:
            three = [text[key.replace("q_proj", f"{part}_proj")] for part in "qkv"]
            yield name.replace("q_proj.", "in_proj_"), torch.cat(three)
        elif not re.search("[kv]_proj|text_projection", name):
            yield name, tensor
