"""Names in one table: a module's path in diffusers -> its block and its name in adapter files.

Block names are those the ecosystem counts in: IN00-11, M00, OUT00-11 for the U-Net of Stable
Diffusion 1.5, TE for its text encoder. Adapter files use diffusers' paths with `_` for `.` under
`lora_unet_` and `lora_te_text_model_` (the convention of kohya-ss/sd-scripts).
"""

import difflib
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from schemas.errors import RecipeError

TEXT = "TE"
UNET_BLOCKS = (
    *(f"IN{number:02}" for number in range(12)),
    "M00",
    *(f"OUT{number:02}" for number in range(12)),
)
BLOCKS = (TEXT, *UNET_BLOCKS)
ATTENTION_BLOCKS = (
    *("IN01", "IN02", "IN04", "IN05", "IN07", "IN08", "M00"),
    *(f"OUT{number:02}" for number in range(3, 12)),
)

UNET_PREFIX = "lora_unet_"
TEXT_PREFIX = "lora_te_text_model_"
LAYERS_PER_LEVEL = 3  # two layers and a sampler going down, three layers going up

_LAYER = re.compile(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)")
_TEXT_LAYER = re.compile(
    r"encoder\.layers\.\d+\.(self_attn\.[qkv]_proj|self_attn\.out_proj|mlp\.fc\d)"
)
_RANGE = re.compile(r"(IN|OUT)(\d{1,2})(?:-(\d{1,2}))?")


def unet_block(path: str) -> str | None:
    """Return the block of a U-Net module ("down_blocks.1.attentions.0..." -> "IN04").

    None for what belongs to no block: the time embedding and the output layers.
    """
    if path.startswith("conv_in"):
        return "IN00"
    if path.startswith("mid_block."):
        return "M00"
    if not (found := _LAYER.match(path)):
        return None
    side, level, part, layer = found[1], int(found[2]), found[3], int(found[4])
    if side == "up":
        layer = LAYERS_PER_LEVEL - 1 if part == "upsamplers" else layer
        return f"OUT{LAYERS_PER_LEVEL * level + layer:02}"
    layer = LAYERS_PER_LEVEL - 1 if part == "downsamplers" else layer
    return f"IN{LAYERS_PER_LEVEL * level + 1 + layer:02}"


def is_unet_target(path: str) -> bool:
    """Whether a Linear or 1x1 Conv at `path` belongs to what a LoRA changes: attention blocks."""
    return ".attentions." in path


def is_text_target(path: str) -> bool:
    """Whether a Linear at `path` of a CLIP text model is what a LoRA changes: attention, MLP."""
    return _TEXT_LAYER.fullmatch(_bare_text_path(path)) is not None


def unet_name(path: str) -> str:
    """Return the name of a U-Net module in adapter files."""
    return UNET_PREFIX + path.replace(".", "_")


def text_name(path: str) -> str:
    """Return the name of a text encoder's module in adapter files.

    The same with and without the `text_model` level that transformers 5 dropped.
    """
    return TEXT_PREFIX + _bare_text_path(path).replace(".", "_")


def block_of_name(name: str) -> str | None:
    """Return the block of a module by its name in adapter files (paths with `_` for `.`)."""
    if name.startswith("lora_te"):
        return TEXT
    path = name.removeprefix(UNET_PREFIX)
    path = re.sub(r"^(down|up)_blocks_(\d+)_([a-z]+)_(\d+)", r"\1_blocks.\2.\3.\4", path)
    return unet_block(re.sub(r"^mid_block_", "mid_block.", path))


def expected_modules(unet: Mapping[str, Any], text: Mapping[str, Any]) -> Counter[str]:
    """Return how many modules a LoRA must find per block, computed from the two configurations.

    A transformer block has 10 (four projections in each of two attentions, two in the MLP), an
    attention block 2 more (proj_in, proj_out); a CLIP layer has 6. SD1.5: 192 + 72.
    """
    layers = unet["layers_per_block"]
    down, up = unet["down_block_types"], unet["up_block_types"]
    depth = unet.get("transformer_layers_per_block") or 1
    per_attention = 10 * int(depth) + 2
    count: Counter[str] = Counter({"M00": per_attention, TEXT: 6 * text["num_hidden_layers"]})
    for level, kind in enumerate(down):
        if "CrossAttn" in kind:
            for layer in range(layers):
                count[f"IN{LAYERS_PER_LEVEL * level + 1 + layer:02}"] = per_attention
    for level, kind in enumerate(up):
        if "CrossAttn" in kind:
            for layer in range(layers + 1):
                count[f"OUT{LAYERS_PER_LEVEL * level + layer:02}"] = per_attention
    return count


def parse_blocks(text: str) -> frozenset[str]:
    """Return the blocks that `adapter.blocks` names: "all", "unet" or "IN04-07,OUT03-06,TE".

    Raises RecipeError for an unknown name, and when no module of a LoRA lies in what is named.
    """
    if text.strip().lower() == "all":
        return frozenset(BLOCKS)
    if text.strip().lower() == "unet":
        return frozenset(UNET_BLOCKS)
    chosen: set[str] = set()
    for part in text.split(","):
        chosen.update(_parse_part(part.strip().upper(), text))
    if not chosen & {TEXT, *ATTENTION_BLOCKS}:
        raise RecipeError(
            f'adapter.blocks = "{text}" holds no module that a LoRA changes: those lie in'
            f" {TEXT}, {', '.join(ATTENTION_BLOCKS)}"
        )
    return frozenset(chosen)


def _parse_part(part: str, text: str) -> list[str]:
    if part in BLOCKS:
        return [part]
    if found := _RANGE.fullmatch(part):
        side, first = found[1], int(found[2])
        last = int(found[3]) if found[3] else first
        names = [f"{side}{number:02}" for number in range(first, last + 1)]
        if names and set(names) <= set(BLOCKS):
            return names
    near = difflib.get_close_matches(part, BLOCKS, n=1, cutoff=0.6)
    hint = f' (did you mean "{near[0]}"?)' if near else ""
    raise RecipeError(
        f'adapter.blocks = "{text}": "{part}" is no block{hint}; known are "all", "unet", TE,'
        " IN00 to IN11, M00, OUT00 to OUT11, and ranges such as IN04-07"
    )


def _bare_text_path(path: str) -> str:
    return path.removeprefix("text_model.")
