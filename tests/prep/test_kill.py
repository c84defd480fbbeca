"""A chain that is killed in the middle of a stage ends, run again, with the undisturbed tables."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from prep import chain
from prep.cli.gc import gc
from prep.cli.steps import ALL
from prep.dataset import Dataset
from prep.demo.booru import running
from prep.demo.site import Site
from prep.demo.world import World
from schemas.recipes.load import load_train
from schemas.tables import MANIFEST
from train import latents
from train.model import find_model

SETS = {
    "main": {"query": "1girl"},
    "plain": {"query": "solo rating:g", "role": "reg", "limit": 40},
}
TIMELESS = ("tables", "reports", "manifest.parquet", "images")  # logs hold times
HALFWAY: dict[str, Callable[[Path], bool]] = {
    "fetch": lambda folder: len(list((folder / "images").glob("*/*"))) > 40,
    "tag": lambda folder: any((folder / "tables" / "probs").glob("*/pending-*")),
    "latents": lambda folder: any((folder / "latents").glob("*/*.safetensors")),
}


@pytest.fixture(scope="module")
def busy_site() -> Iterator[Site]:
    """Enough posts that every stage lasts longer than it takes to be killed."""
    with running(World(posts=280, seed=5, size=96)) as site:
        yield site


def start(folder: Path) -> "subprocess.Popen[bytes]":
    """`prep run`, in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "prep", "run", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def kill_when(halfway: Callable[[Path], bool], folder: Path) -> bool:
    """Start, kill -9 as soon as the stage is under way; whether it was killed in time."""
    process = start(folder)
    deadline = time.monotonic() + 240
    while process.poll() is None and time.monotonic() < deadline:
        if halfway(folder):
            process.kill()
            break
        time.sleep(0.005)
    process.wait()
    assert process.stderr is not None
    process.stderr.close()
    return process.returncode not in (0, 1, 2)


@pytest.mark.slow
def test_killed_in_fetch_tag_and_latents_the_tables_are_those_of_an_undisturbed_run(
    busy_site: Site, make_dataset: Callable[..., Path]
) -> None:
    calm = make_dataset(busy_site, "calm", **SETS)
    chain.run(Dataset.open(calm), ALL)
    disturbed = make_dataset(busy_site, "disturbed", **SETS)
    killed = [stage for stage, there in HALFWAY.items() if kill_when(there, disturbed)]
    assert killed == ["fetch", "tag", "latents"]
    chain.run(Dataset.open(disturbed), ALL)
    assert chain.run(Dataset.open(disturbed), ALL) == []
    gc(Dataset.open(disturbed))  # frees the half-written files that kills leave behind

    assert timeless(disturbed) == timeless(calm)
    for path in timeless(calm):
        assert (disturbed / path).read_bytes() == (calm / path).read_bytes(), path
    assert_same_latents(disturbed, calm)


def timeless(folder: Path) -> list[str]:
    """The files that must be the same, without the seal of latents, whose shards may differ."""
    names = sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )
    return [name for name in names if name.startswith(TIMELESS)]


def assert_same_latents(one: Path, other: Path) -> None:
    stores = []
    for folder in (one, other):
        recipe = load_train(folder / "train.toml")
        manifest = MANIFEST.read(folder / "manifest.parquet")
        key = latents.vae_key(find_model(recipe.model, folder).vae_source)
        stores.append(latents.stored(manifest, folder, recipe, key))
    assert stores[0].problems == stores[1].problems
    assert (stores[0].buckets == stores[1].buckets).all()
    for row in range(len(stores[0].buckets)):
        if row not in stores[0].problems:
            rows = np.array([row])
            one_, other_ = (store.read(rows).numpy() for store in stores)
            assert np.abs(one_ - other_).max() <= 1e-4
