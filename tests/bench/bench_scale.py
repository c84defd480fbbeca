"""Training at the size of a large dataset: start, memory, exposures, kill and resume.

    python tests/bench/bench_scale.py [--rows N] [--steps N] [--folder FOLDER]

Makes a manifest of `--rows` images with 30 tags each and their cached latents (there are no image
files: nothing may ask for one), and a Stable Diffusion 1.5 in very small. Runs `train` on it as a
program, twice: undisturbed, and killed (SIGKILL) in the midst and resumed. Prints one line of JSON:

first_step_s  from the program's start to the first step's line in the log; first_step_cpu_s: of it
              what was computed, as machines may be busy
bare_s        a program that only imports torch, diffusers and transformers, and loads the U-Net
steps_per_s   over all but the first tenth of the steps; step_cpu_s: of computing, for each
memory_mb     resident after a tenth of the steps, and the most from there to the end
exposures     whether each image's count is that of walking through all batches one by one
resumed       whether the killed run's weights, log and exposures equal the undisturbed one's
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import load_file

from schemas.recipes.train import TrainRecipe
from schemas.recipes.write import to_toml
from schemas.tables import MANIFEST
from train import latent_index, latents
from train.data import read_data
from train.latent_index import BUCKET, SHARD_ROWS, Encoded
from train.latent_shards import SHRINK
from train.model import find_model
from train.setup import batches_of

TAGS = 30  # of a caption
VOCABULARY = 6000
WORDS = 400  # that tags are made of


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=44_417)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    with TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch)
        found = measured(folder, given.rows, given.steps)
        print(json.dumps(found | {"bare_s": round(bare_start(folder), 1)}))


def measured(folder: Path, rows: int, steps: int) -> dict[str, Any]:
    """Make the dataset in `folder`, train on it twice, and return the figures."""
    recipe = make_dataset(folder, rows, steps)
    whole = trained(folder, recipe, "whole")
    killed = trained(folder, recipe, "torn", kill_at=steps * 6 // 10)
    resumed = trained(folder, recipe, "torn", resume=True)
    return {
        "rows": rows,
        "steps": steps,
        "first_step_s": round(whole["first"], 1),
        "first_step_cpu_s": round(whole["first_cpu"], 1),
        "steps_per_s": round(whole["rate"], 1),
        "step_cpu_s": round(whole["cpu"], 3),
        "memory_mb": whole["memory"],
        "exposures": exposures_are_exact(folder, recipe, steps),
        "killed_at": killed["steps"],
        "first_step_of_resumed_s": round(resumed["first"], 1),
        "resumed": ended(folder / "whole") == ended(folder / "torn"),
    }


BARE = """
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from torch.utils.tensorboard import SummaryWriter
from transformers import CLIPTextModel, CLIPTokenizer
UNet2DConditionModel.from_pretrained({folder!r}, low_cpu_mem_usage=False)
"""


def bare_start(folder: Path) -> float:
    """Seconds that a program takes which loads the libraries and the U-Net, and does no more."""
    begun = time.monotonic()
    subprocess.run(
        [sys.executable, "-c", BARE.format(folder=str(folder / "model/unet"))], check=True
    )
    return time.monotonic() - begun


def make_dataset(folder: Path, rows: int, steps: int) -> TrainRecipe:
    """Write model, manifest and latents, unless they are there."""
    recipe = TrainRecipe.model_validate(
        {
            "model": {"path": "model"},
            "latents": {"resolution": 128, "min": 64, "max": 256, "step": 64},
            "adapter": {"dim": 2, "alpha": 1.0, "blocks": "M00"},
            "optimizer": {"lr": 1e-3, "schedule": "constant"},
            "steps": {"total": steps, "batch": 5},
            "caption": {"tokens": 75, "drop_tag": {"general": 0.1}},
            "save": {"every": steps // 4, "precision": "fp32"},
        }
    )
    random = np.random.default_rng(0)
    words = [f"w{number:03}" for number in range(WORDS)]
    if not (folder / "model").is_dir():
        make_model(folder / "model", words)
    manifest = folder / "manifest.parquet"
    if not manifest.is_file() or pq.read_metadata(manifest).num_rows != rows:
        MANIFEST.write(manifest, make_manifest(rows, words, random))
    make_latents(folder, recipe)
    return recipe


def make_model(folder: Path, words: list[str]) -> None:
    """Write SD1.5's layout with 8 channels."""
    from diffusers import UNet2DConditionModel

    from prep.demo.model import new_networks, save_networks

    networks = new_networks(folder, 0, words)
    options = {"block_out_channels": (8,) * 4, "norm_num_groups": 4, "attention_head_dim": 2}
    config = {**networks.unet.config, **options}
    save_networks(folder, replace(networks, unet=UNet2DConditionModel.from_config(config)))


def make_manifest(rows: int, words: list[str], random: np.random.Generator) -> pa.Table:
    """Images of many sizes, a tenth of them twice; tags as often as their rank is high."""
    vocabulary = [" ".join(random.choice(words, 1 + n % 3)) for n in range(VOCABULARY)]
    categories = ["character" if n % 20 == 0 else "general" for n in range(VOCABULARY)]
    ranks = np.minimum(random.zipf(1.3, (rows, TAGS)) - 1, VOCABULARY - 1)
    shapes = random.integers(600, 2400, (rows, 2))
    listed = []
    for number in range(rows):
        md5 = hashlib.md5(str(number).encode()).hexdigest()
        tags = [
            {"tag": vocabulary[n], "category": categories[n], "part": "flex"}
            for n in dict.fromkeys(ranks[number].tolist())
        ]
        listed.append(
            {
                "md5": md5,
                "path": f"images/{md5[:2]}/{md5}.png",
                "width": int(shapes[number, 0]),
                "height": int(shapes[number, 1]),
                "set": "main",
                "split": "train",
                "group": md5,
                "is_reg": False,
                "repeats": 1 + (number % 10 == 0),
                "weight": 1.0,
                "rating": "g",
                "score": 1,
                "caption": ", ".join(tag["tag"] for tag in tags),
                "tags": tags,
            }
        )
    return pa.Table.from_pylist(listed, MANIFEST.schema)


def make_latents(folder: Path, recipe: TrainRecipe) -> None:
    """Write noise as the latents of every image, as if it had been encoded."""
    manifest = MANIFEST.sorted(MANIFEST.read(folder / "manifest.parquet"))
    place = folder / latents.LATENTS / latents.vae_key(find_model(recipe.model, folder).vae_source)
    if (place / latent_index.INDEX_FILE).is_file():
        return
    place.mkdir(parents=True)
    keys = latents.keys(manifest, recipe).sort_by([(name, "ascending") for name in BUCKET])
    shapes = np.stack([keys.column(name).to_numpy() for name in BUCKET], axis=1)
    edges = np.flatnonzero((shapes[1:] != shapes[:-1]).any(axis=1)) + 1
    random, index = np.random.default_rng(1), latent_index.INDEX.empty()
    for start, stop in zip([0, *edges], [*edges, len(shapes)], strict=True):
        width, height = (shapes[start] // SHRINK).tolist()
        for at in range(start, stop, SHARD_ROWS):
            rows = keys.slice(at, min(SHARD_ROWS, stop - at))
            noise = random.standard_normal((len(rows), 4, height, width), np.float32)
            made = Encoded(rows, list(noise), [None] * len(rows), [None] * len(rows))
            index = latent_index.add(place, index, made)


def trained(
    folder: Path, recipe: TrainRecipe, name: str, *, resume: bool = False, kill_at: int = 0
) -> dict[str, Any]:
    """Run `train` as a program, to its end or until `kill_at` steps are logged."""
    file, log = folder / f"{name}.toml", folder / name / "log.jsonl"
    file.write_text(to_toml(recipe.model_copy(update={"out": name})), encoding="utf-8")
    words = [sys.executable, "-m", "train", str(file), "--device", "cpu"]
    if resume:
        words.append("--resume")
    else:
        shutil.rmtree(folder / name, ignore_errors=True)
    saved = max((int(path.stem) for path in (folder / name / "state").glob("*.pt")), default=0)
    begun = time.time()
    seen: list[Seen] = []
    with (
        (folder / f"{name}.txt").open("w") as told,
        subprocess.Popen(words, stdout=told, stderr=told) as program,
    ):
        while program.poll() is None:
            time.sleep(0.05)
            step = last_step(log, begun)
            if step > saved and (not seen or step > seen[-1].step):
                seen.append(Seen.of(program.pid, step, time.time() - begun))
            if kill_at and step >= kill_at:
                program.kill()
        if program.returncode and not kill_at:
            raise SystemExit((folder / f"{name}.txt").read_text())
    later = [one for one in seen if one.step >= seen[-1].step // 10]
    steps = later[-1].step - later[0].step
    return {
        "first": seen[0].seconds,
        "first_cpu": seen[0].cpu,
        "rate": steps / (later[-1].seconds - later[0].seconds),
        "cpu": (later[-1].cpu - later[0].cpu) / steps,
        "memory": [later[0].resident, max(one.resident for one in later)],
        "steps": seen[-1].step,
    }


class Seen(NamedTuple):
    """A program as it was seen after a step (on Linux, from /proc)."""

    step: int
    seconds: float  # since it was started
    cpu: float  # seconds of computing
    resident: int  # MB

    @classmethod
    def of(cls, process: int, step: int, seconds: float) -> "Seen":
        folder = Path(f"/proc/{process}")
        if not folder.is_dir():
            return cls(step, seconds, 0.0, 0)
        ticks = folder.joinpath("stat").read_text().rpartition(")")[2].split()[11:13]
        pages = folder.joinpath("statm").read_text().split()[1]
        cpu = sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
        return cls(step, seconds, cpu, int(pages) * os.sysconf("SC_PAGESIZE") >> 20)


def last_step(log: Path, begun: float) -> int:
    """The last step in a log that is being written, if it was since `begun`."""
    if not log.is_file() or log.stat().st_mtime < begun:
        return 0
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 2000))
        steps = re.findall(rb'^{"step": (\d+), "loss"', file.read(), re.MULTILINE)
    return int(steps[-1]) if steps else 0


def exposures_are_exact(folder: Path, recipe: TrainRecipe, steps: int) -> bool:
    """Compare exposures.parquet with a walk through all batches, row by row."""
    data = read_data(recipe, folder / recipe.data)
    key = latents.vae_key(find_model(recipe.model, folder).vae_source)
    store = latents.stored(data.table, folder, recipe, key)
    image = store.placement.image
    batches, _ = batches_of(recipe, data, image, store.buckets, store.problems)
    shown = (image[batches[number].places].tolist() for number in range(steps))
    walked = Counter(row for rows in shown for row in rows)
    exposures = pq.read_table(folder / "whole" / "exposures.parquet")
    seen = exposures.column("seen").to_pylist()
    result = json.loads((folder / "whole" / "result.json").read_text())
    right = seen == [walked[row] for row in range(len(seen))]
    return right and sum(seen) == result["images"] == walked.total()


def ended(run: Path) -> tuple[Any, ...]:
    """What a run left that must repeat: weights, log without times, exposures."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    weights = load_file(run / f"{run.name}.safetensors")
    return (
        {name: tensor.tobytes() for name, tensor in weights.items()},
        [{key: value for key, value in line.items() if key != "seconds"} for line in lines],
        pq.read_table(run / "exposures.parquet").to_pylist(),
    )


if __name__ == "__main__":
    main()
