"""LoRA layers: names and sizes on SD1.5, the change they make, and what other programs read."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from schemas.errors import ModelError
from schemas.recipes.train import ModelSection
from train.adapter_file import write_adapter
from train.lora import Adapter, LoRA, attach_lora, delta
from train.model import find_model
from train.text import Tokens, encode


@pytest.fixture(scope="module")
def sd15() -> tuple[Any, Any]:
    """SD1.5 as its published config.json files describe it, without weights."""
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(
            sample_size=64,
            cross_attention_dim=768,
            attention_head_dim=8,
            block_out_channels=(320, 640, 1280, 1280),
            layers_per_block=2,
        )
        text = CLIPTextModel(
            CLIPTextConfig(
                hidden_size=768, intermediate_size=3072, num_attention_heads=12, projection_dim=768
            )
        )
    return unet, text


def meta_lora(sd15: tuple[Any, Any], **changes: Any) -> Adapter:
    options = {"dim": 16, "alpha": 4.0, "where": "all", "seed": 0} | changes
    with torch.device("meta"):
        return attach_lora(*sd15, **options)


def test_sd15_has_192_and_72_modules_under_the_names_of_the_ecosystem(
    sd15: tuple[Any, Any],
) -> None:
    names = list(meta_lora(sd15).layers)
    assert sum(name.startswith("lora_unet_") for name in names) == 192
    assert sum(name.startswith("lora_te_text_model_encoder_layers_") for name in names) == 72
    assert {
        "lora_unet_down_blocks_0_attentions_0_proj_in",
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q",
        "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_out_0",
        "lora_unet_up_blocks_3_attentions_2_transformer_blocks_0_ff_net_0_proj",
        "lora_unet_up_blocks_3_attentions_2_transformer_blocks_0_ff_net_2",
        "lora_te_text_model_encoder_layers_0_self_attn_q_proj",
        "lora_te_text_model_encoder_layers_11_self_attn_out_proj",
        "lora_te_text_model_encoder_layers_11_mlp_fc1",
    } <= set(names)


def test_dim_16_on_chosen_blocks_has_the_known_size(sd15: tuple[Any, Any]) -> None:
    adapter = meta_lora(sd15, where="IN04-07,OUT03-06,TE")
    names = list(adapter.layers)
    assert sum(name.startswith("lora_unet_") for name in names) == 84
    assert sum(name.startswith("lora_te_") for name in names) == 72
    assert sum(weight.numel() for weight in adapter.parameters()) == 6_430_720


def test_shapes_are_those_of_the_files(sd15: tuple[Any, Any]) -> None:
    tensors = meta_lora(sd15, where="IN01").tensors()
    conv, linear = (
        f"lora_unet_down_blocks_0_attentions_0_{part}"
        for part in ("proj_in", "transformer_blocks_0_ff_net_0_proj")
    )
    assert tensors[f"{conv}.lora_down.weight"].shape == (16, 320, 1, 1)
    assert tensors[f"{conv}.lora_up.weight"].shape == (320, 16, 1, 1)
    assert tensors[f"{linear}.lora_down.weight"].shape == (16, 320)
    assert tensors[f"{linear}.lora_up.weight"].shape == (2560, 16)
    assert tensors[f"{linear}.alpha"].shape == ()


def test_a_model_that_lacks_modules_is_refused(model: Path) -> None:
    found = find_model(ModelSection(path=str(model)), Path())
    unet, text = found.unet(), found.text_encoder()
    unet.mid_block.attentions[0].proj_in = nn.Identity()
    message = (
        "block M00 must have 12 modules for a LoRA and has 11: this model is built otherwise than"
        " its config.json says"
    )
    with pytest.raises(ModelError, match=f"^{re.escape(message)}$"):
        attach_lora(unet, text, dim=4, alpha=4, where="all", seed=0)


@pytest.mark.parametrize("base", [nn.Linear(6, 5), nn.Conv2d(6, 5, 1)])
def test_forward_is_the_base_with_delta_added(base: nn.Linear | nn.Conv2d) -> None:
    torch.manual_seed(0)
    layer = LoRA(base, rank=3, alpha=2.0)
    layer.start(7, "name")
    nn.init.normal_(layer.up)
    x = torch.randn(2, 4, 6) if isinstance(base, nn.Linear) else torch.randn(2, 6, 4, 4)
    change = layer.delta()
    assert change.shape == base.weight.shape
    apart = base(x) + layer(x)
    with torch.no_grad():
        base.weight += change
    torch.testing.assert_close(apart, base(x))


def test_delta_is_the_formula_of_the_paper() -> None:
    down, up = torch.randn(3, 6), torch.randn(5, 3)
    torch.testing.assert_close(delta(down, up, 1.5), up @ down * 0.5)


def test_an_untouched_adapter_changes_nothing_and_is_drawn_by_name(model: Path) -> None:
    found = find_model(ModelSection(path=str(model)), Path())
    parts: list[Adapter] = []
    for where in ("all", "M00"):
        parts.append(
            attach_lora(found.unet(), found.text_encoder(), dim=4, alpha=4, where=where, seed=3)
        )
    everything, middle = (part.tensors() for part in parts)
    assert all(not t.any() for name, t in everything.items() if name.endswith("lora_up.weight"))
    assert all(torch.equal(everything[name], middle[name]) for name in middle)


def test_the_file_loads_in_diffusers_with_equal_outputs(model: Path, tmp_path: Path) -> None:
    from diffusers import StableDiffusionPipeline

    found = find_model(ModelSection(path=str(model)), Path())
    unet, text = found.unet(), found.text_encoder()
    adapter = attach_lora(unet, text, dim=4, alpha=2, where="all", seed=0)
    torch.manual_seed(0)
    for weight in adapter.parameters():
        nn.init.normal_(weight, std=0.1)
    write_adapter(tmp_path / "a.safetensors", adapter.tensors(), {}, "fp32")
    theirs = StableDiffusionPipeline.from_pretrained(model, low_cpu_mem_usage=False)
    theirs.load_lora_weights(str(tmp_path), weight_name="a.safetensors")
    x, context = torch.randn(2, 4, 8, 8), torch.randn(2, 77, 128)
    tokens = Tokens(found.tokenizer())
    prompt = "azusa, long hair, blue eyes"
    with torch.no_grad():
        ours = unet(x, 400, context).sample
        with adapter.off():
            assert not torch.allclose(ours, unet(x, 400, context).sample, atol=1e-3)
        torch.testing.assert_close(theirs.unet(x, 400, context).sample, ours, atol=1e-5, rtol=1e-5)
        ids = tokens.stacked([tokens.prompt(prompt)])
        embedded = encode(text, ids, clip_skip=1)
        expected, _ = theirs.encode_prompt(prompt, "cpu", 1, False)
        torch.testing.assert_close(embedded, expected, atol=1e-5, rtol=1e-5)


def test_strength_scales_the_change_and_0_is_the_base_exactly() -> None:
    torch.manual_seed(0)
    base = nn.Linear(6, 5)
    x = torch.randn(3, 6)
    with torch.no_grad():
        plain = base(x)
        adapter = Adapter(2, 1.0)
        adapter.attach("name", base, seed=0)
        for weight in adapter.parameters():
            nn.init.normal_(weight)
        trained = base(x)
        assert not torch.equal(trained, plain)
        with adapter.at(1):
            assert torch.equal(base(x), trained)
        with adapter.at(0.5):
            torch.testing.assert_close(base(x), (plain + trained) / 2)
            with adapter.off():
                assert torch.equal(base(x), plain)
            torch.testing.assert_close(base(x), (plain + trained) / 2)
        with adapter.at(0):
            assert torch.equal(base(x), plain)
        assert torch.equal(base(x), trained)


def test_a_file_goes_back_into_the_adapter_it_came_from(model: Path, tmp_path: Path) -> None:
    found = find_model(ModelSection(path=str(model)), Path())
    adapter = attach_lora(
        found.unet(), found.text_encoder(), dim=4, alpha=2, where="M00,TE", seed=0
    )
    for weight in adapter.parameters():
        nn.init.normal_(weight)
    path = tmp_path / "a.safetensors"
    write_adapter(path, adapter.tensors(), {}, "fp32")
    other = attach_lora(found.unet(), found.text_encoder(), dim=4, alpha=1, where="M00,TE", seed=1)
    other.load(load_file(path), str(path))
    assert all(torch.equal(adapter.tensors()[n], t) for n, t in other.tensors().items())
    wrong = attach_lora(found.unet(), found.text_encoder(), dim=8, alpha=1, where="M00,TE", seed=1)
    name = "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight"
    with pytest.raises(ModelError, match=re.escape(f"{path}: {name} is [4, 128], not [8, 128]")):
        wrong.load(load_file(path), str(path))
    less = attach_lora(found.unet(), found.text_encoder(), dim=4, alpha=1, where="M00", seed=1)
    message = (
        f"{path} has, and the recipe's adapter has not,"
        " lora_te_text_model_encoder_layers_0_mlp_fc1.alpha: it is another kind of adapter"
    )
    with pytest.raises(ModelError, match=f"^{re.escape(message)}$"):
        less.load(load_file(path), str(path))
