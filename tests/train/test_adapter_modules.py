"""Foreign adapter files: every way in which LyCORIS writes a change, by the library's own code."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from schemas.errors import ModelError
from train.adapter_modules import build, open_adapter
from train.adapters import dora
from train.blocks import SDXL

BASES: dict[str, Any] = {
    "linear": lambda: nn.Linear(16, 24, bias=False),
    "conv3x3": lambda: nn.Conv2d(16, 24, 3, bias=False),
}
SIZES = {"linear": (2, 16), "conv3x3": (2, 16, 5, 5)}
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "locon with a core": ("LoConModule", {"use_tucker": True}),
    "loha": ("LohaModule", {}),
    "loha with a core": ("LohaModule", {"use_tucker": True}),
    "lokr": ("LokrModule", {"factor": 4}),
    "lokr with a core": ("LokrModule", {"factor": 4, "use_tucker": True}),
    "lokr, both sides cut": ("LokrModule", {"factor": 8, "decompose_both": True}),
    "lokr, both sides whole": ("LokrModule", {"factor": 4, "full_matrix": True}),
}


def made(way: str, shape: str, **more: Any) -> tuple[Any, Any]:
    """One of lycoris' modules with weights, and its base."""
    import lycoris

    name, options = WAYS[way]
    torch.manual_seed(0)
    base = BASES[shape]()
    module = getattr(lycoris, name)("", base, lora_dim=2, alpha=3.0, **options, **more)
    for weight in module.parameters():
        nn.init.normal_(weight, std=0.3)
    return module, base


@pytest.mark.parametrize("shape", BASES)
@pytest.mark.parametrize("way", WAYS)
def test_the_change_is_what_lycoris_makes_of_the_file(way: str, shape: str) -> None:
    module, base = made(way, shape)
    tensors = {name: t.detach() for name, t in module.custom_state_dict().items()}
    change = build(tensors)
    weight, x = base.weight.detach(), torch.randn(SIZES[shape])
    found = change.delta(weight, slice(0, 24))
    with torch.no_grad():
        theirs = module(x)  # their get_diff_weight multiplies by alpha / rank twice
        base.weight += found
        torch.testing.assert_close(base(x), theirs, atol=1e-4, rtol=1e-4)
        base.weight -= found
    some = change.delta(weight[5:17], slice(5, 17))
    torch.testing.assert_close(some, found[5:17])
    factors = change.plain.factors()
    torch.testing.assert_close(factors.rows(slice(None)), found.flatten(1))
    assert factors.down.shape[0] <= min(24, weight[0].numel())


@pytest.mark.parametrize("on_output", [True, False])
@pytest.mark.parametrize("way", ["locon with a core", "loha", "lokr"])
def test_lengths_may_stand_on_any_kind_and_on_inputs(way: str, on_output: bool) -> None:
    module, base = made(way, "conv3x3", weight_decompose=True, wd_on_out=on_output)
    tensors = {name: t.detach() for name, t in module.custom_state_dict().items()}
    change = build(tensors)
    weight = base.weight.detach()
    plain = build({end: t for end, t in tensors.items() if end != "dora_scale"})
    turned = weight + plain.delta(weight, slice(0, 24))
    with torch.no_grad():
        expected = module.apply_weight_decompose(turned) - weight
    found = change.delta(weight, slice(0, 24))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert change.needs_whole is not on_output


def test_lengths_of_inputs_are_columns() -> None:
    weight = torch.randn(5, 3, 2, 2)
    assert dora.lengths(weight, 1).shape == (1, 3, 1, 1)
    torch.testing.assert_close(dora.lengths(weight, 1)[0, 2], weight[:, 2].norm().reshape(1, 1))


@pytest.mark.parametrize("alpha_told", [True, False])
def test_files_of_diffusers_make_the_same_change(alpha_told: bool, tmp_path: Path) -> None:
    """Names with dots, and alpha in the metadata; without it the factors count as they are."""
    alpha = 1.0 if alpha_told else 2.0
    paths = {
        "unet.down_blocks.1.attentions.0.proj_in": "lora_unet_input_blocks_4_1_proj_in",
        "text_encoder.text_model.encoder.layers.0.mlp.fc1": (
            "lora_te1_text_model_encoder_layers_0_mlp_fc1"
        ),
    }
    theirs, ours = {}, {}
    for path, name in paths.items():
        down, up = torch.randn(2, 6), torch.randn(4, 2)
        theirs |= {f"{path}.lora_A.weight": down, f"{path}.lora_B.weight": up}
        ours |= {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up}
        ours[f"{name}.alpha"] = torch.tensor(alpha)
    told = {"unet.lora_alpha": 1, "text_encoder.lora_alpha": 1} if alpha_told else {}
    save_file(theirs, tmp_path / "a.safetensors", {"lora_adapter_metadata": json.dumps(told)})
    save_file(ours, tmp_path / "b.safetensors")
    one, other = (open_adapter(tmp_path / f"{name}.safetensors", SDXL) for name in "ab")
    assert [module.name for module in one.modules] == [module.name for module in other.modules]
    for first, second in zip(one.modules, other.modules, strict=True):
        changes = one.read(first), other.read(second)
        found = (change.delta(torch.zeros(4, 6), slice(0, 4)) for change in changes)
        torch.testing.assert_close(*found)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (
            {"lora_unet_x_attn2_to_k.lora_down.weight": (2, 1024)},
            "adapter a.safetensors is of another kind of model than SD1.5 and SDXL",
        ),
        (
            {"emb_params": (2, 4)},
            "a.safetensors holds no adapter that is known here (LoRA, LoHa, LoKr, full)",
        ),
    ],
)
def test_files_of_no_use_are_told(
    tensors: dict[str, tuple[int, ...]], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.safetensors"
    save_file({name: torch.zeros(shape) for name, shape in tensors.items()}, path)
    with pytest.raises(ModelError) as caught:
        open_adapter(path)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("lora_unet_middle_block_0_in_layers_2", (2, 3, 3)),
        ("lora_unet_input_blocks_4_0_skip_connection", (18, 1, 1)),
        ("lora_unet_middle_block_1_proj_in", (18,)),
    ],
)
def test_factors_have_the_form_of_their_modules_kernel(
    name: str, inputs: tuple[int, ...], tmp_path: Path
) -> None:
    """LyCORIS writes a LoHa's kernels as rows: what they are of is seen from the name."""
    ends = {"hada_w1_a": (4, 2), "hada_w1_b": (2, 18), "hada_w2_a": (4, 1), "hada_w2_b": (1, 18)}
    path = tmp_path / "a.safetensors"
    save_file({f"{name}.{end}": torch.randn(shape) for end, shape in ends.items()}, path)
    adapter = open_adapter(path, SDXL)
    assert adapter.factors(adapter.modules[0]).down.shape == (2, *inputs)


NO_CHANGE = "the tensors of lora_unet_x make no change (their shapes differ): get it again"


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"lora_down.weight": torch.ones(2, 4), "lora_up.weight": torch.ones(6, 3)}, NO_CHANGE),
        (
            {
                "hada_w1_a": torch.ones(6, 2),
                "hada_w1_b": torch.ones(2, 4),
                "hada_w2_a": torch.ones(6, 2),
                "hada_w2_b": torch.ones(1, 4),
            },
            NO_CHANGE,
        ),
        (
            {"lora_down.weight": torch.ones(2, 4), "lora_up.weight": torch.full((6, 2), torch.nan)},
            "lora_unet_x has weights that are not finite: the file is of no use",
        ),
    ],
)
def test_factors_that_are_none_are_told(
    tensors: dict[str, torch.Tensor], said: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.safetensors"
    save_file({f"lora_unet_x.{end}": tensor for end, tensor in tensors.items()}, path)
    adapter = open_adapter(path, SDXL)
    with pytest.raises(ModelError) as caught:
        adapter.factors(adapter.modules[0])
    assert str(caught.value) == f"adapter a.safetensors: {said}"


def test_a_module_that_lacks_a_tensor_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"lora_unet_x.lora_down.weight": torch.zeros(2, 4)}, path)
    adapter = open_adapter(path, SDXL)
    with pytest.raises(ModelError) as caught:
        adapter.read(adapter.modules[0])
    assert str(caught.value) == (
        "adapter a.safetensors: the tensors of lora_unet_x make no change (no lora_up.weight): get"
        " it again"
    )
    with pytest.raises(ModelError, match=r"^adapter .*b\.safetensors is missing"):
        open_adapter(tmp_path / "b.safetensors")
