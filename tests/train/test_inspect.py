"""Adapter files looked into: figures against the layers' own, names of other trainers."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from schemas.command import run
from schemas.errors import ModelError
from tests.train.small_adapters import attached
from train.adapter_file import write_adapter
from train.adapter_names import kohya_name
from train.adapters import lora
from train.adapters.dora import DoRA
from train.blocks import block_of_name
from train.cli import app
from train.inspect import inspect

LAST = "lora_unet_mid_block_attentions_0_proj_in"
DOWN = {f"{LAST}.lora_down.weight": torch.ones(2, 4)}


@pytest.mark.parametrize(
    ("section", "kind", "wide"),
    [
        ({}, "lora", 0),
        ({"kind": "locon", "conv_dim": 2, "conv_alpha": 1.0}, "locon", 50),
        ({"kind": "dora"}, "dora", 0),
        ({"kind": "loha"}, "loha", 0),
        ({"kind": "lokr"}, "lokr", 0),
    ],
)
def test_figures_are_those_of_the_layers(
    model: Path, tmp_path: Path, section: dict[str, Any], kind: str, wide: int
) -> None:
    adapter, _, _ = attached(model, **section)
    path = tmp_path / "a.safetensors"
    write_adapter(path, adapter.tensors(), {}, "fp32")
    found = inspect(path)
    assert (found.kind, found.model, found.naming, found.precision) == (
        kind,
        "sd15",
        "kohya",
        "fp32",
    )
    assert found.whole.modules == len(adapter.layers)
    assert (found.wide.modules > 0) is (wide > 0)
    squared: dict[str, float] = {}
    for name, layer in adapter.layers.items():
        if isinstance(layer, lora.LoRA | DoRA):
            change = lora.delta(layer.down, layer.up, layer.alpha)
        else:
            change = layer.delta(torch.empty(layer_shape(layer)))
        block = str(block_of_name(name))
        squared[block] = squared.get(block, 0.0) + float(change.detach().double().square().sum())
    assert list(found.blocks) == sorted(found.blocks, key=adapter.architecture.blocks.index)
    norms = {block: part.norm for block, part in found.blocks.items()}
    assert norms == pytest.approx({b: math.sqrt(n) for b, n in squared.items()}, rel=1e-4)
    assert found.whole.norm == pytest.approx(math.sqrt(sum(squared.values())), rel=1e-4)
    if kind in ("lora", "dora", "loha"):
        assert (found.whole.dims, found.whole.alphas) == ({4: 204}, {2.0: 204})
    assert found.problems == []


def layer_shape(layer: Any) -> tuple[int, ...]:
    return tuple(layer.weights.shape)


def test_real_names_of_other_trainers_are_kohyas() -> None:
    mid = "mid_block.attentions.0.transformer_blocks.0.attn1"
    flat = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1"
    text = "text_model.encoder.layers.0.self_attn.q_proj"
    for name, module, end in (
        (f"{flat}_to_q.lora_down.weight", f"{flat}_to_q", "lora_down.weight"),
        (f"{flat}_to_q.alpha", f"{flat}_to_q", "alpha"),
        (f"{flat}_to_q.hada_w1_a", f"{flat}_to_q", "hada_w1_a"),
        (f"unet.{mid}.to_q.lora_A.weight", f"{flat}_to_q", "lora_down.weight"),
        (f"unet.{mid}.to_q.alpha", f"{flat}_to_q", "alpha"),
        (f"unet.{mid}.to_q.lora.up.weight", f"{flat}_to_q", "lora_up.weight"),
        (f"unet.{mid}.processor.to_out_lora.up.weight", f"{flat}_to_out_0", "lora_up.weight"),
        (f"{mid}.processor.to_v_lora.down.weight", f"{flat}_to_v", "lora_down.weight"),
        (
            f"base_model.model.{mid}.to_out.0.lora_B.default.weight",
            f"{flat}_to_out_0",
            "lora_up.weight",
        ),
        (
            f"unet.{mid}.to_q.lora_magnitude_vector",
            f"{flat}_to_q",
            "dora_scale",
        ),
        (
            f"text_encoder.{text}.lora_linear_layer.down.weight",
            "lora_te_text_model_encoder_layers_0_self_attn_q_proj",
            "lora_down.weight",
        ),
        (
            f"text_encoder_2.{text}.lora_A.weight",
            "lora_te2_text_model_encoder_layers_0_self_attn_q_proj",
            "lora_down.weight",
        ),
        (
            f"base_model.model.{text}.lora_A.weight",
            "lora_te_text_model_encoder_layers_0_self_attn_q_proj",
            "lora_down.weight",
        ),
    ):
        assert kohya_name(name) == (module, end), name


def test_what_diffusers_and_peft_write_is_read(model: Path, tmp_path: Path) -> None:
    """The same weights under peft's names, with alpha in peft's own file, are the same adapter."""
    from diffusers import StableDiffusionPipeline, UNet2DConditionModel
    from peft import LoraConfig, get_peft_model

    unet = UNet2DConditionModel.from_pretrained(model / "unet", low_cpu_mem_usage=False)
    config = LoraConfig(r=4, lora_alpha=2, target_modules=["to_q", "to_k"])
    wrapped = get_peft_model(unet, config)
    torch.manual_seed(0)
    for name, weight in wrapped.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    folder = tmp_path / "peft"
    wrapped.save_pretrained(str(folder))
    by_peft = inspect(folder)
    layers = [m for m in unet.modules() if hasattr(m, "lora_A")]
    with torch.no_grad():
        squared = sum(
            float((m.lora_B["default"].weight @ m.lora_A["default"].weight * 0.5).square().sum())
            for m in layers
        )
    assert (by_peft.kind, by_peft.naming, by_peft.model) == ("lora", "diffusers", "sd15")
    assert (by_peft.whole.dims, by_peft.whole.alphas) == ({4: 64}, {2.0: 64})
    assert by_peft.whole.modules == len(layers) == 64
    assert by_peft.whole.norm == pytest.approx(math.sqrt(squared), rel=1e-5)
    state = {
        f"{name.removeprefix('base_model.model.').replace('.default', '')}": weight.detach()
        for name, weight in wrapped.named_parameters()
        if "lora_" in name
    }
    StableDiffusionPipeline.save_lora_weights(str(tmp_path / "diffusers"), unet_lora_layers=state)
    by_diffusers = inspect(tmp_path / "diffusers")
    assert list(by_diffusers.blocks) == list(by_peft.blocks)
    # nothing beside this file tells alpha: the factors count as they are
    assert by_diffusers.whole.norm == pytest.approx(2 * math.sqrt(squared), rel=1e-5)


def test_the_kind_of_model_is_seen_from_shapes(tmp_path: Path) -> None:
    places = {
        "sd15": ("lora_unet_down_blocks_1_attentions_0_transformer_blocks_0", 768, "IN04"),
        "sd2": ("lora_unet_mid_block_attentions_0_transformer_blocks_0", 1024, "M00"),
        "sdxl": ("lora_unet_input_blocks_4_1_transformer_blocks_1", 2048, "IN04"),
    }
    for kind, (name, width, block) in places.items():
        path = tmp_path / f"{kind}.safetensors"
        save_file(
            {
                f"{name}_attn2_to_k.lora_down.weight": torch.ones(2, width),
                f"{name}_attn2_to_k.lora_up.weight": torch.ones(3, 2),
            },
            path,
        )
        found = inspect(path)
        assert (found.model, list(found.blocks)) == (kind, [block])
        assert found.whole.norm == pytest.approx(2 * math.sqrt(3 * width))
        assert found.parameters == 2 * width + 6


def test_metadata_tags_and_what_is_amiss_are_told(model: Path, tmp_path: Path) -> None:
    adapter, _, _ = attached(model, blocks="M00")
    names = list(adapter.layers)
    tensors = {name: tensor.clone() for name, tensor in adapter.tensors().items()}
    tensors[f"{names[0]}.lora_up.weight"].zero_()
    tensors[f"{names[1]}.lora_down.weight"][0, 0] = float("nan")
    tensors["strange.weight"] = torch.ones(2)
    metadata = {
        "ss_sd_model_name": "animefull.safetensors",
        "ss_sd_model_hash": "None",
        "ss_new_sd_model_hash": "abc",
        "ss_tag_frequency": json.dumps({"4_a": {"hat": 3, " smile": 5}, "b": {"smile": 1}}),
    }
    path = tmp_path / "a.safetensors"
    write_adapter(path, tensors, metadata, "fp16")
    found = inspect(path)
    assert found.tags == {"smile": 6, "hat": 3}
    assert list(found.tags) == ["smile", "hat"]
    assert (found.base_model, found.base_model_hash) == ("animefull.safetensors", "abc")
    assert found.precision == "fp16"
    assert found.metadata.items() >= metadata.items()
    assert found.problems == [
        f"1 modules have weights that are not finite: the file is of no use: {names[1]}",
        f"1 modules change nothing: {names[0]}",
        "1 modules belong to no adapter: strange",
    ]


def test_tags_that_are_no_json_are_none(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    tensors = {
        f"{LAST}.lora_down.weight": torch.ones(1, 2),
        f"{LAST}.lora_up.weight": torch.ones(2, 1),
    }
    save_file(tensors, path, metadata={"ss_tag_frequency": "{"})
    assert inspect(path).tags == {}


Make = Callable[[Path], None]


def cut(path: Path) -> None:
    save_file({**DOWN, f"{LAST}.lora_up.weight": torch.ones(4, 2)}, path)
    path.write_bytes(path.read_bytes()[:-8])


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda path: None, "adapter FILE is missing: name a .safetensors file"),
        (
            lambda path: path.mkdir(),
            "FILE holds neither adapter_model.safetensors nor pytorch_lora_weights.safetensors:"
            " name a file",
        ),
        (
            lambda path: path.write_text("404: Not Found"),
            "adapter FILE is no safetensors file (its header is cut): get it again",
        ),
        (cut, "adapter FILE is cut off: it has 288 of 296 bytes; get it again"),
        (
            lambda path: save_file(DOWN, path),
            f"adapter FILE: the tensors of {LAST} make no change (no lora_up.weight): get it again",
        ),
        (
            lambda path: save_file({**DOWN, f"{LAST}.lora_up.weight": torch.ones(4, 3)}, path),
            f"adapter FILE: the tensors of {LAST} make no change (their shapes differ): get it"
            " again",
        ),
        (
            lambda path: save_file({"model.diffusion_model.out.2.bias": torch.ones(2)}, path),
            "adapter FILE is a whole model: an adapter is a smaller file beside one",
        ),
        (
            lambda path: save_file({"emb_params": torch.ones(2)}, path),
            "adapter FILE is a textual inversion, new words for a model, and no adapter",
        ),
        (
            lambda path: save_file({"a": torch.ones(2), "b": torch.ones(2)}, path),
            "adapter FILE holds no adapter that is known here: none of its 2 tensors is of lora,"
            " loha, lokr, oft, glora, ia3, full",
        ),
    ],
)
def test_what_is_no_adapter_is_said(tmp_path: Path, make: Make, sentence: str) -> None:
    path = tmp_path / "a.safetensors"
    make(path)
    with pytest.raises(ModelError) as caught:
        inspect(path)
    assert str(caught.value) == sentence.replace("FILE", str(path))


def test_the_command_shows_blocks_and_json(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter, _, _ = attached(model, blocks="IN04,M00", block={"M00": {"dim": 2}})
    path = tmp_path / "a.safetensors"
    metadata = {"ss_steps": "600", "ss_tag_frequency": '{"a": {"hat": 3}}'}
    write_adapter(path, adapter.tensors(), metadata, "fp16")
    monkeypatch.setenv("COLUMNS", "80")
    assert run(app, ["inspect", str(path)]) == 0
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines[:7] == [
        str(path),
        "kind     lora of SD1.5; kohya's names, fp16",
        f"modules  24, {inspect(path).parameters:,} parameters",
        "dim      2 in 12, 4 in 12",
        "alpha    2",
        "trained  600 steps",
        "tags     hat 3",
    ]
    assert lines[8].split() == ["block", "modules", "dim", "alpha", "norm"]
    assert [line.split()[:4] for line in lines[9:]] == [
        ["IN04", "12", "4", "2"],
        ["M00", "12", "2", "2"],
    ]
    assert any(line.endswith("█" * 20) for line in lines[9:])
    assert run(app, ["inspect", "--json", str(path)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["blocks"]["M00"]["dims"] == {"2": 12}
    assert told["metadata"]["ss_steps"] == "600"
    assert told["tags"] == {"hat": 3}
