"""Checkpoints in a checkpoint: weighted sums and differences, by blocks."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from schemas.errors import ModelError, UsageError
from train.merging.merge import merge, plan
from train.merging.sources import Source

Tensors = dict[str, torch.Tensor]
BLOCKS = {  # a tensor of each, by its name in the file
    "TE": "conditioner.embedders.1.model.transformer.resblocks.1.attn.in_proj_weight",
    "IN01": "model.diffusion_model.input_blocks.1.0.in_layers.2.weight",
    "M00": "model.diffusion_model.middle_block.1.norm.bias",
    "OUT02": "model.diffusion_model.output_blocks.2.2.conv.weight",
}


@pytest.fixture(scope="module")
def three(bases: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The small SDXL file, and two whose tensors are others."""
    folder = tmp_path_factory.mktemp("three")
    paths = [folder / f"{name}.safetensors" for name in "abc"]
    for number, path in enumerate(paths):
        generator = torch.Generator().manual_seed(number)
        save_file(
            {
                name: t + torch.randn(t.shape, generator=generator) if t.is_floating_point() else t
                for name, t in load_file(bases["sdxl file"]).items()
            },
            path,
        )
    return paths


def loaded(*paths: Path) -> list[Tensors]:
    return [load_file(path) for path in paths]


def test_a_weighted_sum_takes_each_block_at_its_factor(three: list[Path], tmp_path: Path) -> None:
    factors = {"TE": 0.25, "IN01": 1.0, "M00": 0.0, "OUT02": -0.5}
    text = ",".join(f"{block}={factor}" for block, factor in factors.items())
    out = tmp_path / "out.safetensors"
    merge(three[0], [Source(three[1], 1.0, text)], out)
    a, b, merged = loaded(*three[:2], out)
    for block, name in BLOCKS.items():
        expected = (1 - factors[block]) * a[name] + factors[block] * b[name]
        torch.testing.assert_close(merged[name], expected, atol=1e-6, rtol=1e-5)
    vae = "first_stage_model.encoder.conv_in.weight"
    assert torch.equal(merged[vae], a[vae])
    outside = "model.diffusion_model.time_embed.0.weight"  # counts with the text encoders
    torch.testing.assert_close(merged[outside], 0.75 * a[outside] + 0.25 * b[outside])


def test_three_are_summed_or_a_difference_is_added(three: list[Path], tmp_path: Path) -> None:
    summed, added = tmp_path / "summed.safetensors", tmp_path / "added.safetensors"
    some = ",".join(BLOCKS)
    merge(three[0], [Source(three[1], 0.5, some), Source(three[2], 0.2, some)], summed)
    merge(three[0], [Source(three[1], 0.5, some)], added, less=three[2])
    a, b, c, first, second = loaded(*three, summed, added)
    for name in BLOCKS.values():
        torch.testing.assert_close(first[name], 0.3 * a[name] + 0.5 * b[name] + 0.2 * c[name])
        torch.testing.assert_close(second[name], a[name] + 0.5 * (b[name] - c[name]))


def test_a_folder_takes_a_folder(bases: dict[str, Path], tmp_path: Path, make_adapter: Any) -> None:
    base, other, out = bases["sd15 folder"], tmp_path / "other", tmp_path / "out"
    merge(base, [Source(make_adapter("a.safetensors", "sd15", blocks="M00,TE"))], other)
    told = merge(base, [Source(other, 1.0)], out)
    assert told.matches[0].unmatched == {}
    for part in ("unet/diffusion_pytorch_model", "text_encoder/model"):
        ours, theirs = loaded(out / f"{part}.safetensors", other / f"{part}.safetensors")
        for name, tensor in theirs.items():
            torch.testing.assert_close(ours[name], tensor)


def test_what_cannot_be_compared_is_told(
    three: list[Path], bases: dict[str, Path], tmp_path: Path, make_adapter: Any
) -> None:
    def refused(base: Path, source: Path, less: Path | None = None) -> str:
        with pytest.raises((ModelError, UsageError)) as caught:
            merge(base, [Source(source)], tmp_path / "out.safetensors", less=less)
        return str(caught.value)

    assert (
        refused(three[0], bases["sd15 file"])
        == "a.safetensors is SDXL and sd15.safetensors is SD1.5"
    )
    assert refused(three[0], bases["sdxl folder"]) == (
        f"a.safetensors and {bases['sdxl folder'].name} are of two layouts, a single file and a"
        " folder: give both in one"
    )
    path = make_adapter("d.safetensors", "sdxl", blocks="M00")
    assert refused(three[0], path, three[1]) == (
        "--less is what checkpoints are compared with, and none is merged here"
    )
    lacking = load_file(three[1])
    del lacking[BLOCKS["M00"]]
    lacking[BLOCKS["IN01"]] = torch.zeros(3)
    save_file(lacking, tmp_path / "e.safetensors")
    (match,) = plan(three[0], [Source(tmp_path / "e.safetensors")])[0].matches
    assert match.unmatched == {
        BLOCKS["IN01"]: "of another shape in e.safetensors",
        BLOCKS["M00"]: "not in e.safetensors",
    }
