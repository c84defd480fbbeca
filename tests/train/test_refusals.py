"""Bad recipes and broken inputs: the whole sentence, the exit status, and no file left behind."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from schemas.command import run
from schemas.recipes.load import load_train
from schemas.recipes.train import AdapterSection, TrainRecipe
from schemas.recipes.write import to_toml
from train.cli import app

Make = Callable[..., TrainRecipe]


@pytest.fixture
def file(dataset: Path, recipe: Make) -> Path:
    path = dataset / "train.toml"
    path.write_text(to_toml(recipe()), encoding="utf-8")
    return path


def refused(file: Path, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Train; return the exit status and what stderr ends in. No file may come of it."""
    before = sorted(file.parent.rglob("*"))
    status = run(app, [str(file), "--device", "cpu", *words])
    out, err = capsys.readouterr()
    assert out == ""
    assert sorted(file.parent.rglob("*")) == before
    said = err.removeprefix("training on the CPU\n")
    assert said.startswith("train: ")
    assert "bug in kiroku" not in said
    return status, said.removeprefix("train: ").rstrip("\n")


WHOLE, NUMBER, FLAG, TEXT = "a whole number", "a number", "true or false", "text in quotes"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        # a key that nobody knows
        ("steps.totl=3", 'unknown key "steps.totl"; did you mean "total"?'),
        ("adapter.rank=3", 'unknown key "adapter.rank"; known here: ADAPTER'),
        ("optimizer.lrs=1", 'unknown key "optimizer.lrs"; did you mean "lr"?'),
        ("modell.path=x", 'unknown key "modell"; did you mean "model"?'),
        ("latents.resolutoin=512", 'unknown key "latents.resolutoin"; did you mean "resolution"?'),
        # a value of another type
        ('steps.total="many"', f'"steps.total" is "many"; it must be {WHOLE}'),
        ("steps.total=1.5", f'"steps.total" is 1.5; it must be {WHOLE}'),
        ("steps.batch=true", f'"steps.batch" is True; it must be {WHOLE}'),
        ('optimizer.lr="fast"', f'"optimizer.lr" is "fast"; it must be {NUMBER}'),
        ("caption.shuffle=1", f'"caption.shuffle" is 1; it must be {FLAG}'),
        ("adapter.blocks=4", f'"adapter.blocks" is 4; it must be {TEXT}'),
        ("out=7", f'"out" is 7; it must be {TEXT}'),
        ("optimizer.args=3", '"optimizer.args" is 3; it must be a table in { }'),
        ("loss=3", '"loss" is 3; it must be a table'),
        ('sample.prompts="hat"', '"sample.prompts" is "hat"; it must be a list in [ ]'),
        # a number out of bounds
        ("adapter.dim=0", '"adapter.dim" is 0; it must be 1 or more'),
        ("adapter.alpha=0", '"adapter.alpha" is 0; it must be more than 0'),
        ("steps.batch=0", '"steps.batch" is 0; it must be 1 or more'),
        ("steps.accumulate=0", '"steps.accumulate" is 0; it must be 1 or more'),
        ("steps.total=-1", '"steps.total" is -1; it must be 0 or more'),
        ("optimizer.lr=-1.0", '"optimizer.lr" is -1.0; it must be 0 or more'),
        ("optimizer.ema=1.0", '"optimizer.ema" is 1.0; it must be less than 1'),
        ("optimizer.clip=-1.0", '"optimizer.clip" is -1.0; it must be 0 or more'),
        ("optimizer.warmup=-1", '"optimizer.warmup" is -1; it must be 0 or more'),
        ("optimizer.cycles=0", '"optimizer.cycles" is 0; it must be 1 or more'),
        ("optimizer.power=0", '"optimizer.power" is 0; it must be more than 0'),
        ("model.clip_skip=0", '"model.clip_skip" is 0; it must be 1 or more'),
        ("model.clip_skip=13", '"model.clip_skip" is 13; it must be 12 or less'),
        ("latents.step=12", '"latents.step" is 12; it must be a multiple of 8'),
        ("latents.step=4", '"latents.step" is 4; it must be a multiple of 8'),
        ("validate.share=1.0", '"validate.share" is 1.0; it must be less than 1'),
        ("validate.share=-0.1", '"validate.share" is -0.1; it must be 0 or more'),
        ("save.keep=0", '"save.keep" is 0; it must be 1 or more'),
        ("save.every=-1", '"save.every" is -1; it must be 0 or more'),
        ("sample.steps=0", '"sample.steps" is 0; it must be 1 or more'),
        ("sample.guidance=-1.0", '"sample.guidance" is -1.0; it must be 0 or more'),
        ("loss.min_snr=-1.0", '"loss.min_snr" is -1.0; it must be 0 or more'),
        ("loss.noise_offset=-0.1", '"loss.noise_offset" is -0.1; it must be 0 or more'),
        ("loss.prior_weight=-1.0", '"loss.prior_weight" is -1.0; it must be 0 or more'),
        ("loss.huber.c=2.0", '"loss.huber.c" is 2.0; it must be 1 or less'),
        # a word that is none of those known
        ("model.kind=sd3", '"model.kind" is "sd3"; it can be "", "sd15" or "sdxl"'),
        ("model.prediction=x", '"model.prediction" is "x"; it can be "epsilon" or "v"'),
        ("model.storage=fp4", '"model.storage" is "fp4"; it can be "same" or "fp8"'),
        ("latents.buckets=x", '"latents.buckets" is "x"; it can be "log" or "kohya"'),
        ("loss.kind=l1", '"loss.kind" is "l1"; it can be "l2", "huber" or "smooth_l1"'),
        ("save.precision=fp8", '"save.precision" is "fp8"; it can be "fp32", "fp16" or "bf16"'),
        ("caption.tokens=77", '"caption.tokens" is 77; it can be 75, 150 or 225'),
        # keys that do not go together
        (
            "steps.epochs=2",
            "steps: give one of total and epochs, the other stays 0",
        ),
        ("steps.total=0", "steps: give one of total and epochs, the other stays 0"),
        (
            "latents.min=512",
            "latents: min 512, resolution 80 and max 128 must stand in this order",
        ),
        (
            "loss.timesteps=[900, 100]",
            "loss: timesteps are [900, 100]: the first is 0 or more and below the second, which is"
            " 1000 or less",
        ),
        (
            "validate.timesteps=[]",
            "validate: timesteps are []: give at least one, from 0 to 999",
        ),
        (
            "validate.timesteps=[100, 1000]",
            "validate: timesteps are [100, 1000]: give at least one, from 0 to 999",
        ),
        (
            "validate.timesteps=[100, 100]",
            "validate: timesteps are [100, 100]: give each of them once",
        ),
    ],
)
def test_a_recipe_that_does_not_read(
    file: Path, capsys: pytest.CaptureFixture[str], change: str, sentence: str
) -> None:
    status, said = refused(file, capsys, "--set", change)
    source, _, told = said.partition(": ")
    assert status == 2
    assert told == sentence.replace("ADAPTER", ", ".join(AdapterSection.model_fields))
    assert source == f"--set {change}" or source.startswith(str(file))


def test_a_change_that_is_none(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(file, capsys, "--set", "modelpath") == (
        2,
        '--set modelpath: write it as key=value, such as "adapter.dim=32"',
    )


KNOWN = 'known are "all", "unet", TE, IN00 to IN11, M00, OUT00 to OUT11, and ranges such as IN04-07'


@pytest.mark.parametrize(
    ("change", "status", "sentence"),
    [
        (
            "adapter.blocks=IN04-12",
            2,
            f'adapter.blocks = "IN04-12": "IN04-12" is no block (did you mean "IN04"?); {KNOWN}',
        ),
        ("adapter.blocks=", 2, f'adapter.blocks = "": "" is no block; {KNOWN}'),
        (
            "optimizer.lr=1.0",
            2,
            "optimizer.lr = 1 is no rate for AdamW, whose steps move every weight by it: 1e-4 is"
            " usual; 1 is for D-Adaptation and Prodigy",
        ),
        (
            "optimizer.name=AdamWW",
            2,
            'optimizer.name "AdamWW" is none of torch or pytorch-optimizer; did you mean "AdamW"?',
        ),
        ("out=train.toml", 2, "FOLDER/train.toml is a file: name another folder in `out`"),
        (
            "out=images",
            2,
            "FOLDER/images holds other things than a run: name another folder in `out`",
        ),
        (
            "model.kind=sdxl",
            1,
            'model.kind is "sdxl", but model.path MODEL is an SD1.5 model: correct model.kind, or'
            " leave it empty",
        ),
        (
            "model.vae=images",
            1,
            "model.vae images is no diffusers VAE: it has no config.json",
        ),
        (
            "model.tokenizer=images",
            1,
            "model.tokenizer images is no CLIP tokenizer: it lacks vocab.json and merges.txt",
        ),
        (
            "data=images",
            2,
            "data FOLDER/images is missing: `prep manifest` writes it, or name another in the"
            " recipe",
        ),
    ],
)
def test_a_recipe_that_cannot_work(
    file: Path,
    model: Path,
    capsys: pytest.CaptureFixture[str],
    change: str,
    status: int,
    sentence: str,
) -> None:
    expected = sentence.replace("FOLDER", str(file.parent)).replace("MODEL", str(model))
    assert refused(file, capsys, "--set", change) == (status, expected)


def test_sdxl_s_vae_on_an_sd15_model(
    file: Path, model: Path, sdxl: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(file, capsys, "--set", f"model.vae={sdxl}") == (
        1,
        f"model.vae {sdxl} is of another kind than model.path {model}: it scales latents by"
        " 0.13025, an SD1.5 model needs 0.18215",
    )


def test_pure_half_precision_is_refused_with_the_reason(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for key in ("full_fp16", "full_bf16"):
        status, said = refused(file, capsys, "--set", f"steps.{key}=true")
        source, _, told = said.partition(": ")
        assert (status, source.startswith(str(file))) == (2, True)
        assert told == (
            f"steps: {key} is never used: weights trained in half precision learn nothing; set"
            " precision, which is of computing alone"
        )


def test_a_manifest_that_lacks_a_column(
    file: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = dataset / "manifest.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["tags"]), path)
    assert refused(file, capsys) == (
        1,
        f'{path}: table manifest has no column "tags": make it again with this version of kiroku',
    )


Write = Callable[[Path, list[dict[str, Any]]], None]


def test_a_manifest_without_an_image(
    file: Path, capsys: pytest.CaptureFixture[str], write_manifest: Write
) -> None:
    write_manifest(file.parent, [])
    assert refused(file, capsys) == (
        2,
        f"data {file.parent / 'manifest.parquet'} holds no image: look at `prep status` for what"
        " dropped them",
    )


def test_images_that_are_all_held_out(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(file, capsys, "--set", "validate.share=0.99") == (
        2,
        f"data {file.parent / 'manifest.parquet'} holds no image to train on: all 6 are held out"
        " for validation or for regularization",
    )


def test_captions_that_are_all_missing(
    file: Path, capsys: pytest.CaptureFixture[str], write_manifest: Write
) -> None:
    rows = pq.read_table(file.parent / "manifest.parquet").to_pylist()
    bare = [row if row["is_reg"] else row | {"tags": [], "caption": ""} for row in rows]
    write_manifest(file.parent, bare)
    assert refused(file, capsys) == (
        2,
        f"data {file.parent / 'manifest.parquet'} holds no caption: `prep caption` and `prep"
        " manifest` write them; to train without, set caption.drop_caption = 1.0",
    )


def test_a_manifest_that_is_damaged(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = file.parent / "manifest.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    status, said = refused(file, capsys)
    assert status == 1
    assert said == f"{path} is no parquet file: remove it and run its stage again"


def test_a_vae_whose_latents_would_be_nan(
    file: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "vae"
    shutil.copytree(model / "vae", broken)
    weights = next(broken.glob("*.safetensors"))
    tensors = load_file(weights)
    tensors["encoder.conv_in.weight"][0] = float("nan")
    save_file(tensors, weights, metadata={"format": "pt"})
    assert refused(file, capsys, "--set", f"model.vae={broken}") == (
        1,
        f"model.vae {broken} holds a VAE whose weights are not finite: get it again, or name"
        " another in model.vae",
    )


def test_a_rank_above_the_layers_size(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(file, capsys, "--set", "adapter.dim=4096", "--set", "adapter.blocks=TE") == (
        2,
        "adapter.dim = 4096 is above the size of"
        " lora_te_text_model_encoder_layers_0_self_attn_k_proj, 128: a change of that weight has no"
        " higher rank than 128",
    )


@pytest.fixture
def started(tmp_path: Path, file: Path) -> Path:
    """An adapter of rank 2 where the recipe has 4, in the middle block alone."""
    from train.adapter_file import write_adapter
    from train.adapters.adapter import attach_adapter
    from train.blocks import SD15
    from train.model import find_model

    section = AdapterSection(dim=2, alpha=1.0, blocks="M00")
    model = find_model(load_train(file).model, file.parent)
    adapter = attach_adapter(SD15, model.unet(), model.text_encoders(), section, 0)
    write_adapter(tmp_path / "before.safetensors", adapter.tensors(), {}, "fp32")
    return tmp_path / "before.safetensors"


@pytest.mark.parametrize("what", ["missing", "cut", "no safetensors", "other rank", "other blocks"])
def test_an_adapter_to_start_from_that_does_not_fit(
    file: Path, started: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    size = started.stat().st_size
    words = ["--set", f"adapter.start={started}"]
    if what == "missing":
        started.unlink()
        sentence = f"adapter {started} is missing"
    elif what == "cut":
        started.write_bytes(started.read_bytes()[: size // 2])
        sentence = (
            f"adapter {started} is cut off: it has {size // 2:,} of {size:,} bytes; get it again"
        )
    elif what == "no safetensors":
        started.write_text("404: Not Found", encoding="utf-8")
        sentence = f"adapter {started} is no safetensors file (its header is cut): get it again"
    elif what == "other rank":
        words += ["--set", "adapter.blocks=M00"]
        name = "lora_unet_mid_block_attentions_0_proj_in.lora_down.weight"
        sentence = f"adapter.start: {started}: {name} is [2, 64, 1, 1], not [4, 64, 1, 1]"
    else:
        name = "lora_te_text_model_encoder_layers_0_mlp_fc1.alpha"
        sentence = f"adapter.start: {started} lacks {name}: it is another kind of adapter"
    assert refused(file, capsys, *words) == (1, sentence)


@pytest.mark.parametrize("what", ["missing", "no model", "cut", "text"])
def test_a_model_that_is_none(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    path = tmp_path / "model.safetensors"
    if what == "missing":
        sentence = (
            f"model.path {path} is missing: give a .safetensors or .ckpt file, a diffusers folder,"
            " or a Hub id (owner/name)"
        )
    elif what == "no model":
        save_file({"a": torch.zeros(3)}, path)
        sentence = (
            f"model.path {path} is no SD1.5 or SDXL checkpoint: none of its 1 tensors is one of"
            " theirs"
        )
    elif what == "cut":
        save_file({"a": torch.zeros(300)}, path)
        path.write_bytes(path.read_bytes()[:200])
        sentence = f"model.path {path} is cut off: it has 200 of 1,272 bytes; get it again"
    else:
        path.write_text("version https://git-lfs.github.com/spec/v1", encoding="utf-8")
        sentence = f"model.path {path} is no safetensors file (its header is cut): get it again"
    assert refused(file, capsys, "--set", f"model.path={path}") == (1, sentence)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_device_that_is_not_there(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(file.parent.rglob("*"))
    assert run(app, [str(file), "--device", "cuda"]) == 1
    assert capsys.readouterr().err == (
        f"train: there is no CUDA device for torch {torch.__version__} (built for CUDA:"
        f" {torch.version.cuda or 'none'}): install a CUDA build of torch"
        " (https://pytorch.org/get-started/locally), or use --device cpu\n"
    )
    assert sorted(file.parent.rglob("*")) == before


def test_ways_to_begin_that_exclude_each_other(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(file, capsys, "--resume", "--overwrite") == (
        2,
        "--resume goes on and --overwrite starts anew: give one of them",
    )
    assert refused(file, capsys, "--json") == (2, "--json prints a plan: give --dry-run with it")
    folder = file.parent / "runs/first"
    assert refused(file, capsys, "--resume") == (
        2,
        f"{folder} holds no state to resume: leave --resume out",
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "[model",
            "not TOML: Expected ']' at the end of a table declaration (at end of document)",
        ),
        ("", '"model" must be given'),
    ],
)
def test_a_recipe_file_that_is_none(
    file: Path, capsys: pytest.CaptureFixture[str], text: str, sentence: str
) -> None:
    file.write_text(text, encoding="utf-8")
    assert refused(file, capsys) == (2, f"{file}: {sentence}")


ON_A_DISK = """
mount -t tmpfs -o size={size}k disk {disk} || exit 77
cp -r {data}/. {disk}
cd {disk} && find . | sort > {before}
cd {tree} && "{python}" -m train {disk}/train.toml --device cpu
status=$?
cd {disk} && find . | sort | diff {before} - || exit 78
exit $status
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs a disk of the test's own")
def test_a_disk_that_is_full(file: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    script = ON_A_DISK.format(
        size=sum(-(-path.stat().st_size // 4096) * 4 for path in file.parent.rglob("*")) + 48,
        disk=disk,
        data=file.parent,
        before=tmp_path / "before",
        tree=Path(__file__).parents[2],
        python=sys.executable,
    )
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("this Linux lets nobody but root mount a disk")
    said = re.sub(r"[\d.,]+ MB", "SOME MB", done.stderr)
    assert (done.returncode, done.stdout) == (1, "")
    assert said == (
        f"training on the CPU\ntrain: {disk}/runs/first needs about SOME MB for the states of the"
        " run and SOME MB are free: free some, or name a folder elsewhere in `out`\n"
    )
