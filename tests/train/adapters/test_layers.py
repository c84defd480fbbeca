"""Every kind of layer: starts as the base, adds its delta, learns, comes back from a file."""

import sys
from typing import Any

import pytest
import torch
from torch import nn

from schemas.errors import RecipeError
from train.adapters import dora
from train.adapters.dora import DoRA
from train.adapters.full import Full
from train.adapters.layer import Base, Layer
from train.adapters.lora import LoRA
from train.adapters.of_lycoris import OfLycoris

KINDS = ("lora", "dora", "loha", "lokr", "dylora", "full")
BASES: dict[str, tuple[Any, tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(12, 8), (2, 5, 12)),
    "conv1x1": (lambda: nn.Conv2d(12, 8, 1, bias=False), (2, 12, 4, 4)),
    "conv3x3": (lambda: nn.Conv2d(12, 8, 3, stride=2, padding=1), (2, 12, 6, 6)),
}


def layer_of(kind: Any, base: Base, seed: int = 7) -> Layer:
    made: Layer
    match kind:
        case "lora":
            made = LoRA(base, 3, 1.5)
        case "dora":
            made = DoRA(base, 3, 1.5)
        case "full":
            made = Full(base)
        case _:
            made = OfLycoris(kind, base, 3, 1.5)
    made.start(base, seed, "name")
    return made.eval()


def woken(kind: str, base: Base) -> Layer:
    layer = layer_of(kind, base)
    generator = torch.Generator().manual_seed(1)
    for weight in layer.parameters():
        weight.data += torch.randn(weight.shape, generator=generator) * 0.2
    return layer


@pytest.mark.parametrize("shape", BASES)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_added_to_the_output_is_the_delta(kind: str, shape: str) -> None:
    torch.manual_seed(0)
    make, size = BASES[shape]
    base, x = make(), torch.randn(size)
    untouched = layer_of(kind, base)
    layer = woken(kind, base)
    with torch.no_grad():
        plain = base(x)
        start = untouched.change(base, x, plain)
        torch.testing.assert_close(start, torch.zeros_like(plain), atol=1e-6, rtol=0)
        apart = plain + layer.change(base, x, plain)
        change = layer.delta(base.weight)
        assert change.shape == base.weight.shape
        base.weight += change
        torch.testing.assert_close(apart, base(x), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(apart, plain, atol=1e-3)


@pytest.mark.parametrize("shape", BASES)
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_the_delta(kind: str, shape: str) -> None:
    torch.manual_seed(0)
    make, size = BASES[shape]
    base, x = make().requires_grad_(False), torch.randn(size)
    layer = woken(kind, base)
    plain = base(x)
    weights = list(layer.parameters())
    ways = (
        layer.change(base, x, plain),
        torch.func.functional_call(base, {"weight": base.weight + layer.delta(base.weight)}, x)
        - plain,
    )
    found, expected = (
        torch.autograd.grad(way.pow(2).sum(), weights, allow_unused=True) for way in ways
    )
    assert any(gradient is not None and gradient.any() for gradient in found)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_tensors_go_back_into_another_layer_under_the_names_of_the_ecosystem(kind: str) -> None:
    ends = {
        "lora": {"lora_down.weight", "lora_up.weight"},
        "dora": {"lora_down.weight", "lora_up.weight", "dora_scale"},
        "loha": {"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"},
        "lokr": {"lokr_w1", "lokr_w2"},
        "dylora": {"lora_down.weight", "lora_up.weight"},
        "full": {"diff"},
    }
    base = nn.Conv2d(12, 8, 3)
    layer, other = woken(kind, base), layer_of(kind, base, seed=8)
    tensors = layer.tensors()
    assert tensors.keys() == ends[kind] | ({"alpha"} if kind != "full" else set())
    other.load(tensors)
    assert torch.equal(other.delta(base.weight), layer.delta(base.weight))
    if kind == "dora":
        assert tensors["dora_scale"].shape == (8, 1, 1, 1)
    if kind == "dylora":
        assert tensors["lora_down.weight"].shape == (3, 12, 3, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_drawn_follows_from_seed_and_name_alone(kind: str) -> None:
    base = nn.Linear(12, 8)
    first = layer_of(kind, base).tensors()
    torch.manual_seed(99)
    again, another = layer_of(kind, base).tensors(), layer_of(kind, base, seed=8).tensors()
    assert all(torch.equal(first[end], again[end]) for end in first)
    drawn = any(not torch.equal(first[end], another[end]) for end in first)
    assert drawn == (kind != "full")  # which starts at zero


@pytest.mark.parametrize(("kind", "their_class"), [("loha", "LohaModule"), ("lokr", "LokrModule")])
def test_the_output_is_what_lycoris_computes(kind: str, their_class: str) -> None:
    import lycoris

    torch.manual_seed(0)
    base, x = nn.Conv2d(12, 8, 3, padding=1), torch.randn(2, 12, 4, 4)
    layer = woken(kind, base)
    theirs = getattr(lycoris, their_class)("name", base, lora_dim=3, alpha=1.5)
    with torch.no_grad():
        for end, weight in theirs.named_parameters():
            weight.copy_(layer.tensors()[end])
        plain = base(x)
        ours = plain + layer.change(base, x, plain)
        torch.testing.assert_close(theirs(x), ours, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", BASES)
def test_dora_equals_lycoris(shape: str) -> None:
    import lycoris

    torch.manual_seed(0)
    make, size = BASES[shape]
    base, x = make(), torch.randn(size)
    layer = woken("dora", base)
    theirs = lycoris.LoConModule("name", base, lora_dim=3, alpha=1.5, weight_decompose=True)
    held = layer.tensors()
    assert {f"{end}" for end in held} == set(theirs.custom_state_dict())
    with torch.no_grad():
        theirs.lora_down.weight.copy_(held["lora_down.weight"])
        theirs.lora_up.weight.copy_(held["lora_up.weight"])
        theirs.dora_scale.copy_(held["dora_scale"])
        plain = base(x)
        ours = plain + layer.change(base, x, plain)
        torch.testing.assert_close(theirs(x), ours, atol=1e-5, rtol=1e-5)


def test_dora_of_a_weight_of_zeros_is_finite() -> None:
    down, up = torch.randn(2, 4), torch.zeros(3, 2)
    zeros = torch.zeros(3, 4)
    assert torch.equal(dora.delta(zeros, down, up, 1.0, dora.lengths(zeros)), zeros)


def test_dylora_uses_the_first_ranks_and_learns_the_last_of_them() -> None:
    base = nn.Linear(12, 8).requires_grad_(False)
    layer = woken("dylora", base)
    assert isinstance(layer, OfLycoris)
    held = layer.tensors()
    down, up = held["lora_down.weight"], held["lora_up.weight"]
    torch.testing.assert_close(layer.delta(base.weight), up @ down * 0.5)
    layer.rank = 2
    torch.testing.assert_close(layer.delta(base.weight), up[:, :2] @ down[:2] * (1.5 / 2))
    layer.delta(base.weight).sum().backward()
    assert [w.grad is not None for w in layer.weights.down_list] == [False, True, False]


def test_without_lycoris_its_kinds_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lycoris", None)
    with pytest.raises(RecipeError) as caught:
        OfLycoris("loha", nn.Linear(2, 2), 1, 1.0)
    assert str(caught.value) == (
        "adapter.kind = \"loha\" needs lycoris-lora: pip install 'kiroku[lycoris]'"
    )
