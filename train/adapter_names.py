"""Names of an adapter's tensors, whoever wrote the file, as kohya's files have them.

lora_unet_mid_block_attentions_0_proj_in.lora_down.weight             sd-scripts, LyCORIS, kiroku
unet.mid_block.attentions.0.proj_in.lora_A.weight                     diffusers with peft
unet.mid_block.attentions.0.proj_in.lora.down.weight                  diffusers before
mid_block.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora.down.weight
                                                                      diffusers at first
base_model.model.mid_block.attentions.0.proj_in.lora_A.default.weight peft by itself
"""

import re
from typing import NamedTuple

from train.blocks import UNET_PREFIX

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
