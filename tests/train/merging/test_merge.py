"""Adapters in a checkpoint: it computes as with the adapter beside it, in the layout it had."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from single_file_layout import as_single_file
from small_adapters import attached, opened

from schemas.errors import ModelError, UsageError
from train.adapters.adapter import Adapter
from train.blocks import TEXT, block_of_name
from train.merging.block_weights import block_weights, vectors
from train.merging.merge import RECORD, merge, plan
from train.merging.sources import Source
from train.model import Model

Tensors = dict[str, torch.Tensor]


def outputs(unet: Any, texts: tuple[Any, ...]) -> list[torch.Tensor]:
    """What the networks compute from fixed inputs."""
    generator = torch.Generator().manual_seed(5)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    ids = torch.randint(1, 40, (1, 77), generator=generator)
    added = {"text_embeds": noise(1, 128), "time_ids": torch.arange(6.0)[None]}
    with torch.no_grad():
        told = [text(ids).last_hidden_state for text in texts]
        context = noise(1, 77, unet.config.cross_attention_dim)
        return [unet(noise(1, 4, 8, 8), 7, context, added_cond_kwargs=added).sample, *told]


def same(found: Model, expected: list[torch.Tensor], tolerance: float = 1e-4) -> None:
    for ours, theirs in zip(outputs(found.unet(), found.text_encoders()), expected, strict=True):
        assert float((ours - theirs).abs().max()) <= tolerance * max(1, float(theirs.abs().max()))


@contextmanager
def weighed(adapter: Adapter, factors: Mapping[str, float]) -> Iterator[None]:
    """Let each layer count as much as its block does: its change is linear in alpha."""
    alphas = {name: layer.alpha for name, layer in adapter.layers.items()}
    for name, layer in adapter.layers.items():
        layer.alpha = alphas[name] * factors[block_of_name(name) or TEXT]
    yield
    for name, layer in adapter.layers.items():
        layer.alpha = alphas[name]


def out_beside(base: Path, folder: Path) -> Path:
    return folder / ("merged" if base.is_dir() else "merged.safetensors")


KINDS: dict[str, dict[str, Any]] = {
    "lora": {},
    "locon": {"kind": "locon", "conv_dim": 2, "conv_alpha": 3},
    # the others have few modules: where each lies is as for a LoCon
    "dora": {"kind": "dora", "conv_dim": 2, "blocks": "M00,OUT03,TE"},
    "loha": {"kind": "loha", "conv_dim": 2, "blocks": "M00,OUT03,TE"},
    "lokr": {"kind": "lokr", "conv_dim": 2, "blocks": "M00,OUT03,TE"},
    "dylora": {"kind": "dylora", "blocks": "M00,TE"},
    "full": {"kind": "full", "conv_dim": 2, "blocks": "M00,TE"},
}


@pytest.mark.parametrize(
    ("of", "length", "strength"),
    [
        ("sd15", 17, -0.7),
        ("sd15", 26, 1.5),
        ("sdxl", 12, 1.5),
        ("sdxl", 20, -0.7),
        ("demo", 17, -0.7),
        ("demo", 26, 1.5),
    ],
)
def test_a_merged_model_computes_what_the_adapter_beside_it_does(
    of: str,
    length: int,
    strength: float,
    bases: dict[str, Path],
    tmp_path: Path,
    make_adapter: Any,
) -> None:
    """In both layouts, each block at another factor of a vector as user interfaces write it."""
    folder, file = bases[f"{of} folder"], bases[f"{of} file"]
    path = make_adapter("a.safetensors", of, **KINDS["locon"])
    adapter, unet, texts = attached(folder, **KINDS["locon"])
    vector = ",".join(str(round(0.1 * number - 0.5, 1)) for number in range(length))
    factors = block_weights(vector, adapter.architecture)
    assert [factors[block] for block in vectors(adapter.architecture)[length]] == [
        float(value) for value in vector.split(",")
    ]
    plain = outputs(unet, texts)
    with weighed(adapter, factors), adapter.at(strength):
        expected = outputs(unet, texts)
    assert all((one - other).abs().max() > 1e-3 for one, other in zip(plain, expected, strict=True))
    merged, single = tmp_path / "merged", tmp_path / "merged.safetensors"
    for base, out in ((folder, merged), (file, single)):
        told = merge(base, [Source(path, strength, vector)], out, precision="fp32")
        assert told.matches[0].unmatched == {}
        assert told.matches[0].matched == len(adapter.layers)
    same(opened(merged), expected)
    if of != "demo":  # a single file tells no heads, so that all have SD1.5's
        same(opened(single), expected)
    there = as_single_file(merged, adapter.architecture.kind)
    assert all(torch.equal(there[name], tensor) for name, tensor in load_file(single).items())


@pytest.mark.parametrize(
    ("of", "layout", "kind", "strength"),
    [
        ("sdxl", "file", "lora", 0.6),
        ("sdxl", "file", "dora", -0.7),
        ("sd15", "folder", "dora", 0.6),
        ("sdxl", "folder", "loha", -0.7),
        ("sdxl", "file", "lokr", 0.6),
        ("sd15", "file", "dylora", 0.6),
        ("sd15", "folder", "full", -0.7),
    ],
)
def test_every_kind_is_merged_as_it_computes(
    of: str,
    layout: str,
    kind: str,
    strength: float,
    bases: dict[str, Path],
    tmp_path: Path,
    make_adapter: Any,
) -> None:
    base, folder = bases[f"{of} {layout}"], bases[f"{of} folder"]
    path = make_adapter("a.safetensors", of, **KINDS[kind])
    adapter, unet, texts = attached(folder, **KINDS[kind])
    out = out_beside(base, tmp_path)
    merge(base, [Source(path, strength)], out)
    with adapter.at(strength):
        same(opened(out), outputs(unet, texts))


def test_additive_kinds_are_taken_out_again_within_rounding(
    bases: dict[str, Path], tmp_path: Path, make_adapter: Any
) -> None:
    base = bases["sd15 file"]
    strengths = {"locon": 0.8, "loha": -1.0, "dylora": 0.5, "full": -0.3}
    several = [
        Source(make_adapter(f"{kind}.safetensors", "sd15", **KINDS[kind]), strength)
        for kind, strength in strengths.items()
    ]
    there, back = (out_beside(base, tmp_path / name) for name in ("there", "back"))
    merge(base, several, there)
    merge(there, [Source(one.path, -one.strength) for one in several], back)
    changed = 0
    for name, before, after in pairs(base, back):
        assert (before - after).abs().max() <= 1e-6 * max(1, float(before.abs().max())), name
    for _, before, between in pairs(base, there):
        changed += not torch.equal(before, between)
    assert changed > 100


def pairs(one: Path, other: Path) -> Any:
    files = [path.relative_to(one) for path in one.rglob("*.safetensors")] or [Path()]
    for file in files:
        ours, theirs = load_file(one / file), load_file(other / file)
        assert ours.keys() == theirs.keys()
        yield from ((name, tensor, theirs[name]) for name, tensor in ours.items())


def test_what_else_a_file_holds_stays(
    bases: dict[str, Path], tmp_path: Path, make_adapter: Any
) -> None:
    """Names, their order, shapes, precision, other tensors, metadata; what was merged is told."""
    tensors = load_file(bases["sdxl file"])
    half = {name: t if "first_stage" in name else t.half() for name, t in tensors.items()}
    half["ztsnr"] = torch.zeros(0)
    base, out = tmp_path / "half.safetensors", tmp_path / "out.safetensors"
    before = {"modelspec.title": "b", "sshs_model_hash": "old"}
    save_file(half, base, before | {"modelspec.hash_sha256": "old"})
    path = make_adapter("a.safetensors", "sdxl", blocks="M00")
    merge(base, [Source(path, 0.5, "M00")], out)
    merged = load_file(out)
    with safe_open(base, "pt") as old, safe_open(out, "pt") as new:
        assert old.offset_keys() == new.offset_keys()
        metadata = new.metadata()
    touched = {name for name, t in merged.items() if not torch.equal(t, half[name])}
    assert len(touched) == 22
    assert all("middle_block.1" in name for name in touched)
    assert all(t.dtype == half[name].dtype for name, t in merged.items())
    data = out.read_bytes()
    body = data[8 + int.from_bytes(data[:8], "little") :]
    assert metadata["modelspec.hash_sha256"] == f"0x{hashlib.sha256(body).hexdigest()}"
    assert "sshs_model_hash" not in metadata
    assert metadata["modelspec.title"] == "b"

    def named(file: Path) -> dict[str, str]:
        return {"name": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}

    first = {"base": named(base), "sources": [named(path) | {"strength": 0.5, "blocks": "M00"}]}
    assert json.loads(metadata[RECORD]) == [first]
    again = tmp_path / "again.safetensors"
    merge(out, [Source(path, -0.5)], again)
    with safe_open(again, "pt") as new:
        assert [record["base"] for record in json.loads(new.metadata()[RECORD])] == [
            named(base),
            named(out),
        ]


def test_what_else_a_folder_holds_stays(
    bases: dict[str, Path], tmp_path: Path, make_adapter: Any
) -> None:
    base, out = tmp_path / "base", tmp_path / "out"
    shutil.copytree(bases["sdxl folder"], base)
    (base / "unet/diffusion_pytorch_model.bin").write_bytes(b"the same, not merged")
    (base / "unet/README.md").write_text("kept", encoding="utf-8")
    path = make_adapter("a.safetensors", "sdxl", blocks="M00,TE")
    merge(base, [Source(path)], out, precision="bf16")
    files = {file.relative_to(base) for file in base.rglob("*") if file.is_file()}
    files.remove(Path("unet/diffusion_pytorch_model.bin"))
    assert {file.relative_to(out) for file in out.rglob("*") if file.is_file()} == files
    merged = {Path(part, name) for part, name in PARTS}
    assert all((out / f).read_bytes() == (base / f).read_bytes() for f in files - merged)
    for file in merged:
        assert {t.dtype for t in load_file(out / file).values()} == {torch.bfloat16}


PARTS = (
    ("unet", "diffusion_pytorch_model.safetensors"),
    ("text_encoder", "model.safetensors"),
    ("text_encoder_2", "model.safetensors"),
)


def test_a_ckpt_becomes_a_safetensors_file(
    bases: dict[str, Path], tmp_path: Path, make_adapter: Any
) -> None:
    tensors = load_file(bases["sd15 file"])
    torch.save({"state_dict": tensors}, tmp_path / "base.ckpt")
    path = make_adapter("a.safetensors", "sd15", blocks="M00")
    outs = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    for base, out in zip((tmp_path / "base.ckpt", bases["sd15 file"]), outs, strict=True):
        merge(base, [Source(path)], out)
    assert all(torch.equal(ours, theirs) for _, ours, theirs in pairs(*outs))


def test_sdxl_adapters_under_diffusers_names_are_found(
    bases: dict[str, Path], tmp_path: Path, make_adapter: Any
) -> None:
    path = make_adapter("a.safetensors", "sdxl", blocks="IN04,TE")
    renamed = {
        name.replace("input_blocks_4_1", "down_blocks_1_attentions_0"): tensor
        for name, tensor in load_file(path).items()
    }
    save_file(renamed, tmp_path / "b.safetensors")
    outs = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    for name, out in zip(("a", "b"), outs, strict=True):
        merge(bases["sdxl file"], [Source(tmp_path / f"{name}.safetensors")], out)
    assert all(torch.equal(ours, theirs) for _, ours, theirs in pairs(*outs))


def test_what_does_not_match_is_an_error_unless_allowed(
    bases: dict[str, Path], tmp_path: Path, make_adapter: Any
) -> None:
    base, out = bases["sd15 file"], tmp_path / "out.safetensors"
    path = make_adapter("a.safetensors", "sd15", blocks="M00")
    tensors = load_file(path)
    name = "lora_unet_mid_block_attentions_0_proj_in"
    tensors[f"{name}.lora_up.weight"] = torch.zeros(65, 4, 1, 1)
    tensors["lora_unet_nowhere.lora_down.weight"] = torch.zeros(4, 4)
    tensors["lora_unet_nowhere.lora_up.weight"] = torch.zeros(4, 4)
    tensors["lora_unet_conv_in.oft_blocks"] = torch.zeros(4, 4)
    save_file(tensors, path)
    _, _, found = plan_of(base, path)
    assert found == {
        "lora_unet_conv_in": "of a kind not known here (.oft_blocks)",
        name: "of another shape in the checkpoint",
        "lora_unet_nowhere": "not in the checkpoint",
    }
    assert refused(base, path, out) == (
        "3 of 14 modules of a.safetensors are not found (lora_unet_conv_in: of a kind not known"
        " here (.oft_blocks)): --dry-run lists them, --allow-unmatched leaves them out"
    )
    assert not out.exists()
    merge(base, [Source(path)], out, allow_unmatched=True)
    assert sum(not torch.equal(a, b) for _, a, b in pairs(base, out)) == 11
    assert refused(bases["sdxl file"], path, out, overwrite=True, allow_unmatched=True) == (
        "nothing of a.safetensors is found in the checkpoint (lora_unet_conv_in: of a kind not"
        " known here (.oft_blocks)): it was made for another kind of model"
    )


def plan_of(base: Path, path: Path) -> tuple[int, int, dict[str, str]]:
    (match,) = plan(base, [Source(path)])[0].matches
    return match.matched, match.found, dict(match.unmatched)


def refused(base: Path, path: Path, out: Path, **options: Any) -> str:
    with pytest.raises((ModelError, UsageError)) as caught:
        merge(base, [Source(path)], out, **options)
    return str(caught.value)


def test_a_result_too_large_for_its_precision_is_refused(
    bases: dict[str, Path], tmp_path: Path, make_adapter: Any
) -> None:
    path = make_adapter("a.safetensors", "sd15", blocks="M00")
    save_file({n: t * 3e4 for n, t in load_file(path).items()}, tmp_path / "b.safetensors")
    out = tmp_path / "out.safetensors"
    text = refused(bases["sd15 file"], tmp_path / "b.safetensors", out, precision="fp16")
    assert text.endswith(
        " becomes too large for float16: lower the strengths, or write it with --precision bf16 or"
        " fp32"
    )
    assert [file.name for file in tmp_path.glob("out*")] == []


def test_where_the_result_goes_is_checked_first(
    bases: dict[str, Path], tmp_path: Path, make_adapter: Any
) -> None:
    base, folder = bases["sd15 file"], bases["sd15 folder"]
    path = make_adapter("a.safetensors", "sd15", blocks="M00")
    assert refused(base, path, base, overwrite=True) == (
        f"{base} is one of the files that are merged: give another name"
    )
    assert refused(base, path, tmp_path / "out.ckpt") == (
        f"the result is a .safetensors file: give {tmp_path / 'out.ckpt'} that ending"
    )
    assert refused(folder, path, tmp_path / "out.safetensors") == (
        f"{folder.name} is a folder, and so is the result: {tmp_path / 'out.safetensors'} names a"
        " file"
    )
    (tmp_path / "there.safetensors").write_bytes(b"kept")
    assert refused(base, path, tmp_path / "there.safetensors") == (
        f"{tmp_path / 'there.safetensors'} is there already: give another name, or --overwrite"
    )
    assert (tmp_path / "there.safetensors").read_bytes() == b"kept"
    assert refused(folder, path, folder / "new") == (
        f"{folder / 'new'} lies in {folder}, which is merged into: choose a place beside it"
    )
    (tmp_path / "old").mkdir()
    (tmp_path / "old/leftover.txt").touch()
    for place in (tmp_path, tmp_path / "old"):  # nothing else than a model is ever replaced
        assert refused(folder, path, place, overwrite=True) == (
            f"{place} holds other things than a model: give another name"
        )
    assert path.is_file()
    (tmp_path / "old/unet").mkdir()
    merge(folder, [Source(path)], tmp_path / "old", overwrite=True)
    assert not (tmp_path / "old/leftover.txt").exists()
    assert sorted(file.name for file in tmp_path.iterdir() if "old" in file.name) == ["old"]
