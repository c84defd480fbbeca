"""A small dataset with recipes of its own, and experiments over it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from schemas.command import run as run_command
from schemas.tables import MANIFEST
from train.cli import app

TRAIN = """
[model]
path = "model"
clip_skip = 1
[latents]
resolution = 64
min = 32
max = 128
step = 32
[adapter]
dim = 2
alpha = 2
blocks = "OUT03-06"
[optimizer]
lr = 1e-3
[steps]
total = 2
[save]
every = 1
[sample]
size = [64, 64]
steps = 1
guidance = 1
[relora]
cycles = 2
steps = 1
"""
ASK = """
question = "Which?"
figures = ["signature", "recall"]
seeds = [1]
ask = { pictures = 1, prompts = ["akari, smile", "hat"], watch = "hat" }
"""
PAIR = "[arms.all]\n[arms.weak]\ndraw.strength = 0.5\n"


@pytest.fixture
def folder(drawings: Path, model: Path, tmp_path: Path) -> Path:
    """24 drawings, 14 of them of a character, with both recipes and a model of random weights."""
    return _dataset(tmp_path / "set", drawings, model)


@pytest.fixture(scope="module")
def compared(drawings: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Such a folder in which PAIR has been compared, to be copied."""
    folder = _dataset(tmp_path_factory.mktemp("compared") / "set", drawings, model)
    path = _experiment(folder.parent / "x.toml", PAIR, {})
    words = ["compare", str(path), "--data", str(folder), "--device", "cpu"]
    assert run_command(app, words) == 0
    return folder


def _dataset(folder: Path, drawings: Path, model: Path) -> Path:
    shutil.copytree(drawings, folder)
    shutil.copytree(model, folder / "model")
    rows = MANIFEST.read(folder / "manifest.parquet").to_pylist()[::2]
    MANIFEST.write(folder / "manifest.parquet", pa.Table.from_pylist(rows, MANIFEST.schema))
    (folder / "train.toml").write_text(TRAIN, encoding="utf-8")
    return folder


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """`write(arms, name="x", **replaced)`: an experiment's file; `replaced` are whole lines."""

    def write(arms: str, name: str = "x", **replaced: str) -> Path:
        return _experiment(tmp_path / f"{name}.toml", arms, replaced)

    return write


def _experiment(path: Path, arms: str, replaced: dict[str, str]) -> Path:
    lines = [replaced.pop(line.partition(" =")[0], line) for line in ASK.splitlines()]
    path.write_text("\n".join([*lines, *replaced.values(), arms]) + "\n", encoding="utf-8")
    return path
