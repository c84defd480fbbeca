"""Which modules an adapter changes: counts, names and sizes on real-size SD1.5 and SDXL."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from schemas.errors import ModelError
from schemas.recipes.train import AdapterSection, ModelSection
from train.adapters.adapter import Adapter, attach_adapter
from train.blocks import ARCHITECTURES, SD15, SDXL, Architecture
from train.model import find_model
from train.targets import Target, expected_modules, find_targets

Networks = tuple[Any, list[Any]]


def named(networks: Networks, architecture: Architecture, conv: bool = False) -> list[Target]:
    return find_targets(architecture, *networks, conv=conv)


def count(targets: list[Target], prefix: str) -> int:
    return sum(target.name.startswith(prefix) for target in targets)


def meta_lora(architecture: Architecture, networks: Networks, where: str) -> Adapter:
    with torch.device("meta"):
        return attach_adapter(architecture, *networks, AdapterSection(blocks=where), seed=0)


def test_sd15_has_192_and_72_modules_under_the_names_of_the_ecosystem(real_sd15: Networks) -> None:
    targets = named(real_sd15, SD15)
    assert count(targets, "lora_unet_") == 192
    assert count(targets, "lora_te_text_model_encoder_layers_") == 72
    assert len(targets) == 264
    assert {
        "lora_unet_down_blocks_0_attentions_0_proj_in",
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q",
        "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_out_0",
        "lora_unet_up_blocks_3_attentions_2_transformer_blocks_0_ff_net_0_proj",
        "lora_unet_up_blocks_3_attentions_2_transformer_blocks_0_ff_net_2",
        "lora_te_text_model_encoder_layers_0_self_attn_q_proj",
        "lora_te_text_model_encoder_layers_11_self_attn_out_proj",
        "lora_te_text_model_encoder_layers_11_mlp_fc1",
    } <= {target.name for target in targets}


def test_sdxl_has_722_and_72_and_192_modules_under_the_names_of_the_ecosystem(
    real_sdxl: Networks,
) -> None:
    targets = named(real_sdxl, SDXL)
    assert count(targets, "lora_unet_") == 722
    assert count(targets, "lora_te1_text_model_encoder_layers_") == 72
    assert count(targets, "lora_te2_text_model_encoder_layers_") == 192
    assert len(targets) == 986
    assert {
        "lora_unet_input_blocks_4_1_proj_in",
        "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q",
        "lora_unet_input_blocks_8_1_transformer_blocks_9_ff_net_2",
        "lora_unet_middle_block_1_transformer_blocks_9_attn2_to_out_0",
        "lora_unet_output_blocks_5_1_transformer_blocks_1_ff_net_0_proj",
        "lora_te1_text_model_encoder_layers_11_mlp_fc1",
        "lora_te2_text_model_encoder_layers_31_self_attn_k_proj",
    } <= {target.name for target in targets}


def test_with_convolutions_the_unets_have_278_and_788_modules(
    real_sd15: Networks, real_sdxl: Networks
) -> None:
    small, large = named(real_sd15, SD15, conv=True), named(real_sdxl, SDXL, conv=True)
    assert count(small, "lora_unet_") == 278
    assert count(large, "lora_unet_") == 788
    assert {
        "lora_unet_down_blocks_0_resnets_0_time_emb_proj",
        "lora_unet_down_blocks_1_resnets_0_conv_shortcut",
        "lora_unet_down_blocks_2_downsamplers_0_conv",
        "lora_unet_up_blocks_0_upsamplers_0_conv",
    } <= {target.name for target in small}
    assert {
        "lora_unet_input_blocks_1_0_in_layers_2",
        "lora_unet_input_blocks_3_0_op",
        "lora_unet_input_blocks_4_0_skip_connection",
        "lora_unet_middle_block_2_out_layers_3",
        "lora_unet_output_blocks_2_2_conv",
        "lora_unet_output_blocks_8_0_emb_layers_1",
    } <= {target.name for target in large}
    wide = {target.name.rpartition("_resnets_0_")[2] for target in small if target.is_wide}
    assert {"conv1", "conv2"} <= wide
    assert not {"conv_shortcut", "time_emb_proj"} & wide


def test_dim_16_on_chosen_blocks_has_the_known_size(real_sd15: Networks) -> None:
    adapter = meta_lora(SD15, real_sd15, "IN04-07,OUT03-06,TE")
    names = list(adapter.layers)
    assert sum(name.startswith("lora_unet_") for name in names) == 84
    assert sum(name.startswith("lora_te_") for name in names) == 72
    assert sum(weight.numel() for weight in adapter.parameters()) == 6_430_720


def test_shapes_are_those_of_the_files(real_sd15: Networks, real_sdxl: Networks) -> None:
    tensors = meta_lora(SD15, real_sd15, "IN01").tensors()
    conv, linear = (
        f"lora_unet_down_blocks_0_attentions_0_{part}"
        for part in ("proj_in", "transformer_blocks_0_ff_net_0_proj")
    )
    assert tensors[f"{conv}.lora_down.weight"].shape == (16, 320, 1, 1)
    assert tensors[f"{conv}.lora_up.weight"].shape == (320, 16, 1, 1)
    assert tensors[f"{linear}.lora_down.weight"].shape == (16, 320)
    assert tensors[f"{linear}.lora_up.weight"].shape == (2560, 16)
    assert tensors[f"{linear}.alpha"].shape == ()
    large = meta_lora(SDXL, real_sdxl, "IN07").tensors()
    middle = "lora_unet_input_blocks_7_1_proj_in"
    assert large[f"{middle}.lora_down.weight"].shape == (16, 1280)


@pytest.mark.parametrize("kind", ["sd15", "sdxl"])
def test_every_module_has_one_name_and_lies_in_a_block_of_its_architecture(
    kind: Any, request: pytest.FixtureRequest
) -> None:
    architecture = ARCHITECTURES[kind]
    targets = named(request.getfixturevalue(f"real_{kind}"), architecture, conv=True)
    assert len({target.name for target in targets}) == len(targets)
    assert {target.block for target in targets} == set(architecture.blocks) - {"IN00"}
    flat = {t.block for t in named(request.getfixturevalue(f"real_{kind}"), architecture)}
    assert flat == {"TE", *architecture.attention}


@pytest.mark.parametrize("kind", ["sd15", "sdxl"])
def test_the_kernel_of_every_module_is_known_by_its_name(
    kind: Any, request: pytest.FixtureRequest
) -> None:
    unet, texts = request.getfixturevalue(f"real_{kind}")
    architecture = ARCHITECTURES[kind]
    named = {architecture.unet_name(path): module for path, module in unet.named_modules()}
    for number, text in enumerate(texts):
        named |= {architecture.text_name(number, p): m for p, m in text.named_modules()}
    found = {
        name: tuple(module.weight.shape[2:])
        for name, module in named.items()
        if isinstance(module, nn.Linear | nn.Conv2d)
    }
    assert {name: architecture.kernel(name) for name in found} == found
    assert set(found.values()) == {(), (1, 1), (3, 3)}


def test_sgm_names_are_those_that_diffusers_converts_back(real_sdxl: Networks) -> None:
    """diffusers' own converter of single files, on weights under our names."""
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    dotted = {
        f"model.diffusion_model.{sgm_path(target.name.removeprefix('lora_unet_'))}.{kind}": weight
        for target in named(real_sdxl, SDXL, conv=True)
        for kind, weight in target.base.named_parameters()
        if target.name.startswith("lora_unet_")
    }
    first = real_sdxl[0].conv_in.named_parameters()
    dotted |= {f"model.diffusion_model.input_blocks.0.0.{kind}": weight for kind, weight in first}
    back = convert_ldm_unet_checkpoint(dotted, {"layers_per_block": 2})
    weights = dict(real_sdxl[0].named_parameters())
    assert sum(key.endswith(".weight") for key in back) == 788 + 1
    assert all(weights[key] is back[key] for key in back)


def sgm_path(flat: str) -> str:
    """A name with `.` again: those that hold a `_` of their own are few."""
    kept = r"input_blocks|middle_block|output_blocks|transformer_blocks|proj_in|proj_out|to_[qkv]"
    kept += r"|to_out|in_layers|out_layers|emb_layers|skip_connection"
    parts = re.findall(rf"{kept}|[a-z]+\d?|\d+", flat)
    return ".".join(parts)


def test_a_model_that_lacks_modules_is_refused(model: Path) -> None:
    found = find_model(ModelSection(path=str(model)), Path())
    unet, text = found.unet(), found.text_encoders()
    unet.mid_block.attentions[0].proj_in = nn.Identity()
    message = (
        "block M00 must have 12 modules for an adapter and has 11: this model is built otherwise"
        " than its config.json says"
    )
    with pytest.raises(ModelError, match=f"^{re.escape(message)}$"):
        find_targets(SD15, unet, text)


def test_counts_follow_the_configuration_alone(real_sdxl: Networks) -> None:
    unet, text = real_sdxl
    counts = expected_modules(unet.config, [encoder.config.to_dict() for encoder in text])
    assert counts["IN04"] == 22
    assert counts["IN07"] == counts["M00"] == counts["OUT02"] == 102
    assert counts["TE"] == 72 + 192
    assert "OUT08" not in counts
