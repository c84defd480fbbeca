"""Adapters joined into one: their sum exactly, or the nearest of a rank."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from adapter_formulas import Tensors, changes
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from schemas.command import run
from schemas.errors import ModelError, UsageError
from train.blocks import TEXT, block_of_name
from train.cli import app
from train.merging.join import join
from train.merging.sources import Source


def summed(parts: Iterable[tuple[Path, dict[str, float]]]) -> Tensors:
    """The sum of adapters, each module times the factor of its block."""
    found: Tensors = {}
    for path, factors in parts:
        for name, change in changes(path).items():
            if factor := factors.get(block_of_name(name) or TEXT, 0.0):
                found[name] = found.get(name, torch.zeros(())) + factor * change
    return found


@pytest.fixture
def two(make_adapter: Any) -> list[Path]:
    """A LoCon and a LoRA of other ranks and alphas, on partly the same blocks."""
    first = make_adapter("a.safetensors", "sd15", kind="locon", conv_dim=3, blocks="M00,OUT03,TE")
    return [first, make_adapter("b.safetensors", "sd15", dim=6, alpha=9, blocks="M00,OUT04,TE")]


def test_the_joined_adapter_is_the_sum(two: list[Path], tmp_path: Path) -> None:
    """Half the strength is half, and no adapter's up meets another's down."""
    out = tmp_path / "out.safetensors"
    told = join([Source(two[0], 0.5), Source(two[1], -2.0, "TE,M00=0.25")], out)
    first = dict.fromkeys(("M00", "OUT03", "TE"), 0.5)
    expected = summed([(two[0], first), (two[1], {"TE": -2.0, "M00": -0.5})])
    found = changes(out)
    assert found.keys() == expected.keys()
    for name, change in expected.items():
        torch.testing.assert_close(found[name], change, atol=1e-6, rtol=1e-5)
    assert (told.ranks, told.error, told.modules) == ((3, 10), 0.0, len(found))
    with safe_open(out, "pt") as file:
        metadata = file.metadata()
    assert metadata["ss_network_dim"] == "Dynamic"
    assert json.loads(metadata["ss_network_args"]) == {"conv_dim": "3", "conv_alpha": "3"}
    assert metadata["ss_base_model_version"] == "sd_v1"
    (record,) = json.loads(metadata["kiroku.merged"])
    assert [(one["strength"], one["blocks"]) for one in record["sources"]] == [
        (0.5, ""),
        (-2.0, "TE,M00=0.25"),
    ]


def test_kinds_may_be_mixed(tmp_path: Path, make_adapter: Any) -> None:
    """A LoHa counts with the product of its ranks, a full change as what its weight has."""
    kinds: list[dict[str, Any]] = [
        {"kind": "lora", "dim": 4, "blocks": "OUT02"},
        {"kind": "loha", "dim": 3, "conv_dim": 3, "blocks": "M00,OUT02"},
        {"kind": "full", "conv_dim": 1, "blocks": "M00"},
    ]
    paths = [make_adapter(f"{one['kind']}.safetensors", "sdxl", **one) for one in kinds]
    out, cut = tmp_path / "out.safetensors", tmp_path / "cut.safetensors"
    told = join([Source(path, 0.5) for path in paths], out)
    expected = summed((path, {"M00": 0.5, "OUT02": 0.5}) for path in paths)
    found, shapes = changes(out), {name: t.shape for name, t in load_file(out).items()}
    assert found.keys() == expected.keys()
    for name, change in expected.items():
        assert (found[name] - change).norm() < 1e-5 * change.norm()
    inner = "1_transformer_blocks_0_attn1_to_q.lora_down.weight"
    assert shapes[f"lora_unet_output_blocks_2_{inner}"] == (4 + 3 * 3, 128)
    assert shapes[f"lora_unet_middle_block_{inner}"] == (128, 128)
    assert shapes["lora_unet_output_blocks_2_2_conv.lora_down.weight"] == (9, 128, 3, 3)
    assert told.ranks == (9, 128)
    told = join([Source(path, 0.5) for path in paths], cut, rank=8, precision="fp16")
    after = changes(cut)
    lost = sum(float((after[name] - change).square().sum()) for name, change in expected.items())
    whole = sum(float(change.square().sum()) for change in expected.values())
    assert told.error == pytest.approx((lost / whole) ** 0.5, rel=1e-3)
    assert told.ranks == (8, 8)


def test_at_a_rank_it_is_the_nearest_to_the_sum(two: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    told = join([Source(path) for path in two], out, rank=4)
    ones = dict.fromkeys(("M00", "OUT03", "OUT04", "TE"), 1.0)
    expected = summed([(path, ones) for path in two])
    lost = whole = 0.0
    for name, change in changes(out).items():
        energy = torch.linalg.svdvals(expected[name]).square()
        assert abs(float((change - expected[name]).square().sum()) - float(energy[4:].sum())) < 1e-5
        lost, whole = lost + float(energy[4:].sum()), whole + float(energy.sum())
    assert told.ranks == (3, 4)
    assert abs(told.error - (lost / whole) ** 0.5) < 1e-5


def test_what_cannot_be_joined_is_told(
    two: list[Path], bases: dict[str, Path], tmp_path: Path, make_adapter: Any
) -> None:
    def refused(*sources: Source, out: Path | None = None) -> str:
        with pytest.raises((ModelError, UsageError)) as caught:
            join(sources, out)
        return str(caught.value)

    sdxl = make_adapter("x.safetensors", "sdxl", blocks="M00,TE")
    assert refused(Source(two[0]), Source(sdxl)) == (
        "adapter a.safetensors is of SD1.5 and adapter x.safetensors of SDXL: only adapters of one"
        " kind of model can be joined"
    )
    assert refused(Source(two[0], 0.0)) == (
        "nothing is left: every block of every adapter counts 0"
    )
    other = {name: t[..., :8, :] if t.dim() == 2 else t for name, t in load_file(two[1]).items()}
    name = "lora_te_text_model_encoder_layers_0_mlp_fc1"
    other[f"{name}.lora_up.weight"] = torch.zeros(8, 6)
    save_file({key: other[key].clone() for key in other if key.startswith(name)}, two[1])
    assert refused(Source(two[0]), Source(two[1])) == (
        f"adapter b.safetensors: {name} is of another shape than in the adapters before it: they"
        " were made for different models"
    )
    assert refused(Source(two[0]), out=two[0]) == (
        f"{two[0]} is one of the files that are merged: give another name"
    )


def test_the_command_joins_where_the_first_is_an_adapter(
    two: list[Path], bases: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.safetensors"
    words = ["merge", f"{two[0]}:0.5", str(two[1]), "--rank", "2", "--out", str(out)]
    assert run(app, [*words, "--dry-run"]) == 0
    assert not out.exists()
    assert capsys.readouterr().out.startswith("SD1.5, ")
    assert run(app, words) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(out)
    for more, message in (
        (
            [str(two[0]), str(bases["sd15 file"])],
            f"{two[0]} is an adapter: name the checkpoint first",
        ),
        (
            [str(bases["sd15 file"]), str(two[0]), "--rank", "2"],
            "--rank is for adapters joined into one, and the first is a checkpoint",
        ),
    ):
        assert run(app, ["merge", *more, "--dry-run"]) == 2
        assert capsys.readouterr().err == f"train: {message}\n"
