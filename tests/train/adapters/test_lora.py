"""LoRA and LoCon: the change they make, and what other programs read."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from schemas.errors import ModelError
from schemas.recipes.train import AdapterSection, ModelSection
from train.adapter_file import write_adapter
from train.adapters.adapter import Adapter, attach_adapter
from train.adapters.lora import LoRA, delta
from train.blocks import SD15
from train.model import find_model
from train.text import Tokens, encode


def test_delta_is_the_formula_of_the_paper() -> None:
    down, up = torch.randn(3, 6), torch.randn(5, 3)
    torch.testing.assert_close(delta(down, up, 1.5), up @ down * 0.5)


def test_an_untouched_adapter_changes_nothing_and_is_drawn_by_name(model: Path) -> None:
    found = find_model(ModelSection(path=str(model)), Path())
    parts: list[Adapter] = []
    for where in ("all", "M00"):
        section = AdapterSection(dim=4, blocks=where)
        parts.append(attach_adapter(SD15, found.unet(), found.text_encoders(), section, seed=3))
    everything, middle = (part.tensors() for part in parts)
    assert all(not t.any() for name, t in everything.items() if name.endswith("lora_up.weight"))
    assert all(torch.equal(everything[name], middle[name]) for name in middle)


@pytest.mark.parametrize("of_kind", [{}, {"kind": "locon", "conv_dim": 3, "conv_alpha": 1}])
def test_the_file_loads_in_diffusers_with_equal_outputs(
    model: Path, tmp_path: Path, of_kind: dict[str, Any]
) -> None:
    from diffusers import StableDiffusionPipeline

    found = find_model(ModelSection(path=str(model)), Path())
    unet, text_encoders = found.unet(), found.text_encoders()
    section = AdapterSection(dim=4, alpha=2, **of_kind)
    adapter = attach_adapter(SD15, unet, text_encoders, section, seed=0)
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
        embedded = encode(text_encoders, ids, clip_skip=1).context
        expected, _ = theirs.encode_prompt(prompt, "cpu", 1, False)
        torch.testing.assert_close(embedded, expected, atol=1e-5, rtol=1e-5)


def test_strength_scales_the_change_and_0_is_the_base_exactly() -> None:
    torch.manual_seed(0)
    base = nn.Linear(6, 5)
    x = torch.randn(3, 6)
    with torch.no_grad():
        plain = base(x)
        adapter = Adapter(SD15)
        adapter.attach("name", base, LoRA(base, 2, 1.0))
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

    def attached(where: str, dim: int, alpha: float) -> Adapter:
        parts = (SD15, found.unet(), found.text_encoders())
        section = AdapterSection(dim=dim, alpha=alpha, blocks=where)
        return attach_adapter(*parts, section, seed=0)

    adapter = attached("M00,TE", 4, 2)
    for weight in adapter.parameters():
        nn.init.normal_(weight)
    path = tmp_path / "a.safetensors"
    write_adapter(path, adapter.tensors(), {}, "fp32")
    other = attached("M00,TE", 4, 1)
    other.load(load_file(path), str(path))
    assert all(torch.equal(adapter.tensors()[n], t) for n, t in other.tensors().items())
    wrong = attached("M00,TE", 8, 1)
    name = "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight"
    with pytest.raises(ModelError, match=re.escape(f"{path}: {name} is [4, 128], not [8, 128]")):
        wrong.load(load_file(path), str(path))
    less = attached("M00", 4, 1)
    message = (
        f"{path} has, and the recipe's adapter has not,"
        " lora_te_text_model_encoder_layers_0_mlp_fc1.alpha: it is another kind of adapter"
    )
    with pytest.raises(ModelError, match=f"^{re.escape(message)}$"):
        less.load(load_file(path), str(path))
