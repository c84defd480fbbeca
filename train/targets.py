"""Which modules of a model an adapter changes: found, named, and counted against the model's kind.

A LoRA changes the Linear layers and 1x1 convolutions of the U-Net's attention blocks, and the
attention and MLP of the text encoders. One with `conv` (LoCon, C3Lier) also changes the U-Net's
resnets and samplers. Counting is not idle: an adapter that misses some modules learns in silence.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from schemas.errors import ModelError
from train.blocks import LAYERS_PER_LEVEL, TEXT, Architecture, unet_block

RESNET = 3  # conv1, conv2 and time_emb_proj, without the shortcut

_TEXT_LAYER = re.compile(
    r"(?:text_model\.)?encoder\.layers\.\d+\.(self_attn\.([qkv]|out)_proj|mlp\.fc\d)"
)
_CONV_PART = re.compile(
    r"\.resnets\.\d+\.(conv1|conv2|time_emb_proj|conv_shortcut)$"
    r"|\.(down|up)samplers\.\d+\.conv$"
)


@dataclass(frozen=True)
class Target:
    """A module that an adapter may change."""

    name: str  # in adapter files
    block: str
    base: nn.Linear | nn.Conv2d

    @property
    def is_wide(self) -> bool:
        """Whether it is a convolution with a kernel above 1x1, which `conv_dim` is for."""
        return isinstance(self.base, nn.Conv2d) and self.base.kernel_size != (1, 1)


def find_targets(
    architecture: Architecture, unet: Any, text_encoders: Sequence[Any], *, conv: bool = False
) -> list[Target]:
    """Return the modules that an adapter changes, the U-Net's first, in the model's order.

    Raises ModelError when a block has more or fewer of them than the models' configurations demand.
    """
    targets = list(_found(architecture, unet, text_encoders, conv))
    found = Counter(target.block for target in targets)
    configs = [encoder.config.to_dict() for encoder in text_encoders]
    expected = expected_modules(unet.config, configs, conv=conv)
    for block in architecture.blocks:
        if found[block] != expected[block]:
            raise ModelError(
                f"block {block} must have {expected[block]} modules for an adapter and has"
                f" {found[block]}: this model is built otherwise than its config.json says"
            )
    return targets


def _found(
    architecture: Architecture, unet: Any, text_encoders: Sequence[Any], conv: bool
) -> Iterator[Target]:
    for path, module in unet.named_modules():
        block = unet_block(path)
        if block and isinstance(module, nn.Linear | nn.Conv2d):
            flat = isinstance(module, nn.Linear) or module.kernel_size == (1, 1)
            if (".attentions." in path and flat) or (conv and _CONV_PART.search(path)):
                yield Target(architecture.unet_name(path), block, module)
    for number, encoder in enumerate(text_encoders):
        for path, module in encoder.named_modules():
            if isinstance(module, nn.Linear) and _TEXT_LAYER.fullmatch(path):
                yield Target(architecture.text_name(number, path), TEXT, module)


def expected_modules(
    unet: Mapping[str, Any], text_encoders: Sequence[Mapping[str, Any]], *, conv: bool = False
) -> Counter[str]:
    """Return how many modules per block an adapter must find, computed from the configurations.

    A transformer block has 10 (four projections in each of two attentions, two in the MLP), an
    attention block 2 more (proj_in, proj_out); a CLIP layer has 6. SD1.5: 192 + 72, SDXL: 722 + 72
    + 192. With `conv` a resnet has 3, 4 where its width changes, and a sampler 1: the U-Net has
    278 and 788.
    """
    layers, channels = unet["layers_per_block"], unet["block_out_channels"]
    depths = unet.get("transformer_layers_per_block") or 1
    depths = [depths] * len(channels) if isinstance(depths, int) else list(depths)
    count: Counter[str] = Counter()
    for level, kind in enumerate(unet["down_block_types"]):
        for layer in range(layers):
            block = f"IN{LAYERS_PER_LEVEL * level + 1 + layer:02}"
            count[block] += _attention(depths[level]) if "CrossAttn" in kind else 0
            wider = layer == 0 and level > 0 and channels[level] != channels[level - 1]
            count[block] += (RESNET + wider) if conv else 0
        if conv and level < len(channels) - 1:
            count[f"IN{LAYERS_PER_LEVEL * level + layers + 1:02}"] += 1
    count["M00"] = _attention(depths[-1]) + (2 * RESNET if conv else 0)
    for level, kind in enumerate(unet["up_block_types"]):
        for layer in range(layers + 1):
            block = f"OUT{LAYERS_PER_LEVEL * level + layer:02}"
            count[block] += _attention(depths[-1 - level]) if "CrossAttn" in kind else 0
            count[block] += RESNET + 1 if conv else 0  # what is skipped to here widens every input
        if conv and level < len(channels) - 1:
            count[f"OUT{LAYERS_PER_LEVEL * level + layers:02}"] += 1
    count[TEXT] = sum(6 * config["num_hidden_layers"] for config in text_encoders)
    return +count


def _attention(depth: int) -> int:
    return 10 * depth + 2
