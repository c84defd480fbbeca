"""What names, shapes and metadata of an adapter file tell, whoever wrote it; no torch.

Names of tensors become those of kohya's files:

lora_unet_mid_block_attentions_0_proj_in.lora_down.weight             sd-scripts, LyCORIS, kiroku
unet.mid_block.attentions.0.proj_in.lora_A.weight                     diffusers with peft
unet.mid_block.attentions.0.proj_in.lora.down.weight                  diffusers before
mid_block.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora.down.weight
                                                                      diffusers at first
base_model.model.mid_block.attentions.0.proj_in.lora_A.default.weight peft by itself
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from train.blocks import UNET_PREFIX, block_of_name

MARKS = {  # the end of a tensor's name that only modules of this kind have
    "lora_down.weight": "lora",
    "hada_w1_a": "loha",
    "lokr_w1": "lokr",
    "lokr_w1_a": "lokr",
    "oft_blocks": "oft",
    "oft_diag": "oft",
    "a1.weight": "glora",
    "on_input": "ia3",
    "diff": "full",
}
CONTEXTS = {768: "sd15", 1024: "sd2", 2048: "sdxl"}  # width of what cross-attention is told
OF_SDXL = ("lora_te1_", "lora_te2_", "lora_unet_input_blocks_", "lora_unet_output_blocks_")
VERSIONS = {"sdxl": "sdxl", "sd_v2": "sd2", "sd_v1": "sd15"}  # of ss_base_model_version
BESIDE = "adapter_config.json"  # peft's, which holds alpha

ENDS = {  # of peft's and diffusers' names, and what kohya's have for them
    ".lora_A.weight": "lora_down.weight",
    ".lora_B.weight": "lora_up.weight",
    ".lora_A.default.weight": "lora_down.weight",
    ".lora_B.default.weight": "lora_up.weight",
    ".lora.down.weight": "lora_down.weight",
    ".lora.up.weight": "lora_up.weight",
    ".lora_linear_layer.down.weight": "lora_down.weight",
    ".lora_linear_layer.up.weight": "lora_up.weight",
    ".lora_conv2d_layer.down.weight": "lora_down.weight",
    ".lora_conv2d_layer.up.weight": "lora_up.weight",
    "_lora.down.weight": "lora_down.weight",
    "_lora.up.weight": "lora_up.weight",
    ".lora_magnitude_vector": "dora_scale",
    ".lora_magnitude_vector.weight": "dora_scale",
    ".lora_magnitude_vector.default.weight": "dora_scale",
}
STARTS = (  # of paths, and the prefix that says the same
    ("text_encoder_2.", "lora_te2_"),
    ("text_encoder.", "lora_te_"),
    ("unet.", UNET_PREFIX),
    ("text_model.", "lora_te_text_model_"),
    ("", UNET_PREFIX),
)
_PEFT = re.compile(r"^(base_model\.model\.)+")


class TensorName(NamedTuple):
    """A module and which of its tensors this is, as `lora_unet_...` and `lora_up.weight`."""

    module: str
    end: str


def kohya_name(name: str) -> TensorName:
    """Return a tensor's name as kohya's files have it; what is not known stays as it is."""
    if name.startswith("lora_"):
        return TensorName(*_halves(name))
    for theirs, end in ENDS.items():
        if name.endswith(theirs):
            return TensorName(_module(name.removesuffix(theirs)), end)
    if name.endswith(".alpha"):
        return TensorName(_module(name.removesuffix(".alpha")), "alpha")
    return TensorName(*_halves(name))


def _module(path: str) -> str:
    path = _PEFT.sub("", path).replace(".processor.", ".")
    if path.endswith("to_out"):
        path += ".0"
    for start, prefix in STARTS:
        if path.startswith(start):
            return prefix + path.removeprefix(start).replace(".", "_")
    raise AssertionError("the last start is empty")


def _halves(name: str) -> tuple[str, str]:
    module, _, end = name.partition(".")
    return module, end


def model_of(
    shapes: Mapping[str, tuple[int, ...]],
    modules: Mapping[str, Mapping[str, str]],
    metadata: Mapping[str, str],
) -> str:
    """Return which kind of model an adapter is of: sd15, sdxl, sd2, or "" for any other.

    From shapes, names and metadata, in this order. modules: by name, and in them the tensors'
    names by their ends.
    """
    for name, ends in modules.items():
        right = ends.get("lora_down.weight") or ends.get("hada_w1_b")
        context = shapes[right][1] if right and name.endswith("attn2_to_k") else 0
        if context in CONTEXTS:
            return CONTEXTS[context]
    if any(name.startswith(OF_SDXL) or "_transformer_blocks_1_" in name for name in modules):
        return "sdxl" if any(block_of_name(name) for name in modules) else ""
    version = metadata.get("ss_base_model_version", "")
    told = next((kind for start, kind in VERSIONS.items() if version.startswith(start)), "")
    return told or ("sd15" if any(block_of_name(name) for name in modules) else "")


def alphas_beside(path: Path, metadata: Mapping[str, str]) -> dict[str, float]:
    """Return alpha where peft and diffusers keep it: in a file beside, or in the metadata.

    By the beginning of the modules' names that it holds for.
    """
    beside = (path if path.is_dir() else path.parent) / BESIDE
    if beside.is_file():
        alpha = read_json(beside.read_text(encoding="utf-8", errors="replace")).get("lora_alpha")
        return {"": float(alpha)} if isinstance(alpha, int | float) else {}
    told = read_json(metadata.get("lora_adapter_metadata", ""))
    starts = {"unet": "lora_unet_", "text_encoder": "lora_te_", "text_encoder_2": "lora_te2_"}
    found = {start: told.get(f"{model}.lora_alpha") for model, start in starts.items()}
    return {start: float(a) for start, a in found.items() if isinstance(a, int | float)}


def alpha_of(name: str, alphas: Mapping[str, float]) -> float | None:
    """Return the alpha that is kept beside the tensors of a module; None where there is none."""
    return next((alpha for start, alpha in alphas.items() if name.startswith(start)), None)


def read_json(text: str) -> dict[str, Any]:
    """Return a JSON object; {} for any other text."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
