"""Adapters cut to smaller ranks: as near as any of that rank, of the size that was asked for."""

import json
import math
from collections import defaultdict
from math import prod
from pathlib import Path

import pytest
import torch
from adapter_formulas import changes
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from schemas.command import run
from schemas.errors import ModelError, UsageError
from train.adapter_file import write_adapter
from train.blocks import block_of_name
from train.cli import app
from train.merging.factors import spectrum
from train.merging.resize import resize
from train.merging.target import Target, parse_target, rank_by_values

RANK, SCALE = 12, 0.25
NAMES = {  # a module of each form, and the shape of its weight
    "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q": (48, 40),
    "lora_unet_up_blocks_1_attentions_0_proj_in": (40, 48, 1, 1),
    "lora_unet_up_blocks_1_resnets_0_conv1": (40, 24, 3, 3),
    "lora_unet_mid_block_attentions_0_transformer_blocks_0_ff_net_2": (8, 64),  # narrower than RANK
    "lora_te_text_model_encoder_layers_0_mlp_fc1": (64, 32),
}


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """A LoCon whose singular values fall off, differently in each module."""
    return written("locon", tmp_path / "a.safetensors")


def written(kind: str, path: Path) -> Path:
    """An adapter whose singular values fall off, differently in each module."""
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    tensors: dict[str, torch.Tensor] = {}
    for number, (name, (outputs, *inputs)) in enumerate(NAMES.items()):
        width, falling = prod(inputs), torch.exp(-torch.arange(RANK) * (0.2 + 0.1 * number))
        if kind == "locon":
            ups = (outputs, RANK, *(1 for _ in inputs[1:]))
            own = {
                "lora_up.weight": (noise(outputs, RANK) * falling).reshape(ups),
                "lora_down.weight": noise(RANK, *inputs),
            }
        elif kind == "loha":
            pairs = (("hada_w1", RANK), ("hada_w2", 3))  # above the narrow module's rank together
            own = {f"{w}_a": noise(outputs, r) * falling[:r] for w, r in pairs}
            own |= {f"{w}_b": noise(r, width) for w, r in pairs}
        elif kind == "full":
            full = (noise(outputs, RANK) * falling) @ noise(RANK, width)
            full += noise(outputs, width) / 50  # so that it has all the rank that its weight can
            own = {"diff": full.reshape(outputs, *inputs)}
        else:
            own = {"lokr_w1": noise(4, 2), "lokr_w2_b": noise(RANK, width // 2)}
            own["lokr_w2_a"] = noise(outputs // 4, RANK) * falling
        if kind != "full":
            own["alpha"] = torch.tensor(RANK * SCALE)
        tensors |= {f"{name}.{end}": tensor for end, tensor in own.items()}
    told = {"ss_network_dim": "12", "ss_network_alpha": "3.0", "sshs_model_hash": "old"}
    told["ss_network_args"] = json.dumps({"conv_dim": "12", "preset": "x"})
    if kind != "locon":
        told["ss_network_module"] = "lycoris.kohya"
    write_adapter(path, tensors, told, "fp32")
    return path


def ranks(path: Path) -> dict[str, int]:
    tensors = load_file(path)
    return {name: tensors[f"{name}.lora_down.weight"].shape[0] for name in NAMES}


@pytest.mark.parametrize("text", ["1", "4", "sv_ratio=5", "sv_cumulative=0.7", "sv_fro=0.9", "9KB"])
@pytest.mark.parametrize("kind", ["locon", "loha", "lokr", "full"])
def test_the_error_is_the_least_that_the_ranks_allow(kind: str, text: str, tmp_path: Path) -> None:
    adapter, out = written(kind, tmp_path / "a.safetensors"), tmp_path / "out.safetensors"
    (told,) = resize(adapter, [parse_target(text)], [out])
    before, after, kept = changes(adapter), changes(out), ranks(out)
    lost: dict[str, float] = defaultdict(float)
    whole: dict[str, float] = defaultdict(float)
    for name, product in before.items():
        values = torch.linalg.svdvals(product)  # of the full matrix
        best = float(values[kept[name] :].square().sum())
        own = float((product - after[name]).square().sum())
        norm = float(values.square().sum())
        assert abs(math.sqrt(own / norm) - math.sqrt(best / norm)) < 1e-5
        block = block_of_name(name) or ""
        lost[block] += best
        whole[block] += norm
    assert told.errors.keys() == lost.keys()
    for block, error in told.errors.items():
        assert abs(error - math.sqrt(lost[block] / whole[block])) < 1e-5
    total = math.sqrt(sum(lost.values()) / sum(whole.values()))
    assert abs(told.error - total) < 1e-5
    assert 0 < told.error < 1
    assert told.ranks == (min(kept.values()), max(kept.values()))


def test_shapes_alpha_and_metadata_follow_the_rank(adapter: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    resize(adapter, [parse_target("4")], [out], precision="fp16")
    tensors = load_file(out)
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    for name, (outputs, *inputs) in NAMES.items():
        up, down = (tensors[f"{name}.lora_{end}.weight"] for end in ("up", "down"))
        assert list(down.shape) == [4, *inputs]
        assert list(up.shape) == [outputs, 4, *(1 for _ in inputs[1:])]
        assert float(tensors[f"{name}.alpha"]) == 4 * SCALE
    with safe_open(out, "pt") as file:
        metadata = file.metadata()
    assert metadata["ss_network_dim"] == "4"
    assert metadata["ss_network_alpha"] == "1"
    arguments = {"conv_dim": "4", "conv_alpha": "1", "preset": "x"}
    assert json.loads(metadata["ss_network_args"]) == arguments
    assert metadata["sshs_model_hash"] not in ("", "old")
    record = json.loads(metadata["kiroku.resized"])
    assert (record["from"]["name"], record["to"]) == ("a.safetensors", "4")


@pytest.mark.parametrize("kind", ["loha", "lokr", "full"])
def test_what_comes_of_another_kind_is_a_lora(kind: str, tmp_path: Path) -> None:
    adapter, out = written(kind, tmp_path / "a.safetensors"), tmp_path / "out.safetensors"
    resize(adapter, [parse_target("2")], [out])
    tensors = load_file(out)
    for name, (outputs, *inputs) in NAMES.items():
        assert list(tensors[f"{name}.lora_down.weight"].shape) == [2, *inputs]
        assert list(tensors[f"{name}.lora_up.weight"].shape) == [outputs, 2, *[1] * len(inputs[1:])]
    assert len(tensors) == 3 * len(NAMES)
    with safe_open(out, "pt") as file:
        metadata = file.metadata()
    assert metadata["ss_network_module"] == "networks.lora"
    assert json.loads(metadata["ss_network_args"]) == {"conv_dim": "2", "conv_alpha": "2"}


def test_blocks_may_have_targets_of_their_own(adapter: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    own = {
        "OUT03": parse_target("9"),
        "M00,TE": parse_target("sv_fro=1"),
        "IN04": parse_target("1KB"),
    }
    resize(adapter, [parse_target("2")], [out], blocks=own)
    assert list(ranks(out).values()) == [2, 9, 9, 8, 12]  # 8 is all that the narrow one has
    with safe_open(out, "pt") as file:
        assert file.metadata()["ss_network_dim"] == "Dynamic"


@pytest.mark.parametrize("kilobytes", [8, 12, 15])
def test_a_size_is_that_of_the_file_and_is_used(
    kilobytes: int, adapter: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.safetensors"
    (told,) = resize(adapter, [parse_target(f"{kilobytes}KB")], [out], precision="fp16")
    assert told.size == out.stat().st_size <= kilobytes * 1000
    assert told.size > kilobytes * 1000 - 2_000  # a rank of the widest module, and what is spared


@given(
    values=st.lists(st.floats(0.01, 100), min_size=1, max_size=9),
    share=st.floats(0.01, 1),
    ratio=st.floats(1, 1000),
)
def test_ranks_are_the_least_that_do(values: list[float], share: float, ratio: float) -> None:
    found = torch.tensor(sorted(values, reverse=True), dtype=torch.float64)
    for measure, power in (("sv_cumulative", 1), ("sv_fro", 2)):
        target = Target("", measure, share)  # type: ignore[arg-type]
        rank = rank_by_values(target, found)
        parts = found**power / (found**power).sum()
        wanted = share**power
        assert float(parts[:rank].sum()) >= wanted - 1e-9
        assert rank == 1 or float(parts[: rank - 1].sum()) < wanted
    rank = rank_by_values(Target("", "sv_ratio", ratio), found)
    assert all(value * ratio >= found[0] for value in found[:rank].tolist())
    assert all(value < found[0] / ratio for value in found[rank:].tolist())


def test_a_change_of_nothing_is_kept_as_nothing() -> None:
    found = spectrum(torch.zeros(6, 3), torch.randn(3, 5))
    assert rank_by_values(parse_target("sv_fro=0.9"), found.values) == 1
    up, down = found.largest(1)
    assert not (up @ down).any()


def test_a_series_is_made_at_once(adapter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["resize", str(adapter), "--to", "2", "4", "sv_fro=0.9"]
    assert run(app, words) == 0
    out = capsys.readouterr().out
    paths = [adapter.parent / f"a-{name}.safetensors" for name in ("2", "4", "sv_fro0.9")]
    assert out.splitlines()[-3:] == [str(path) for path in paths]
    assert [set(ranks(path).values()) for path in paths[:2]] == [{2}, {4}]
    assert run(app, words) == 2
    assert capsys.readouterr().err == (
        f"train: {paths[0]} is there already: give another name, or --overwrite\n"
    )
    assert run(app, [*words, "--overwrite"]) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "two",
            '"two" is nothing to resize to: give a rank (8), sv_ratio=10, sv_cumulative=0.9,'
            " sv_fro=0.95 or a size (512KB, 12MB)",
        ),
        ("sv_fro=1.5", "sv_fro=1.5: a share is above 0 and at most 1"),
        (
            "sv_ratio=0.5",
            "sv_ratio=0.5: the largest value over the least that is kept, 1 or more",
        ),
    ],
)
def test_targets_that_are_none_are_told(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_target(text)
    assert str(caught.value) == message


def test_too_small_a_size_says_how_much_is_missing(adapter: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        resize(adapter, [parse_target("3KB")], [tmp_path / "out.safetensors"])
    assert str(caught.value) == (
        "3KB is too little for 5 modules: with rank 1 each it takes 3 KB more"
    )
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (
            "dora_scale",
            "is a DoRA, whose lengths were learnt with these very factors: what it changes depends"
            " on the weights it lies on, and the nearest factors do not give the nearest change;"
            " merge it into a checkpoint, or train it at the rank",
        ),
        ("oft_blocks", "is of a kind not known here, so that it can neither be cut nor joined"),
    ],
)
def test_kinds_that_are_no_sum_are_refused(
    end: str, said: str, adapter: Path, tmp_path: Path
) -> None:
    name, *_ = NAMES
    save_file({**load_file(adapter), f"{name}.{end}": torch.ones(48, 1)}, adapter)
    with pytest.raises(ModelError) as caught:
        resize(adapter, [parse_target("2")], [tmp_path / "out.safetensors"])
    assert str(caught.value) == f"adapter a.safetensors: {name} {said}"
