"""Step time on SD1.5 at its real size, against diffusers' own loop with peft, on the CPU.

    python tests/bench/bench_step.py [--pairs N] [--threads N] [--side PIXELS] [--small]

Random weights, one image a step, 256 px, rank 16 on all 192 + 72 modules, AdamW, clipping, cached
latents, gradient checkpointing, fp32. Both arms have the same base weights in memory, the same
attention (torch's scaled_dot_product_attention) and threads. They take turns, one step each, so
that whatever else the machine does falls on both; which goes first changes every time. Needs about
8 GB. `--small` tries the script on the demo's model. Prints one line of JSON: the median over the
pairs of ours / theirs, with the quartiles, by the clock and by seconds of computing.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "train"))

from real_models import sd15

from schemas.files import md5_of
from schemas.recipes.train import TrainRecipe
from schemas.tables import MANIFEST
from train.adapters.adapter import attach_adapter
from train.averaging import Average
from train.blocks import SD15
from train.captions import COUNTED
from train.optimizer import make_optimizer
from train.setup import Setup, setup
from train.step import train_step

IMAGES = 8
WARM = 2  # pairs that are not counted
RATE = 1e-4
RANK, ALPHA = 16, 4
ATTENTION = r".*attentions.*(to_q|to_k|to_v|to_out\.0|proj_in|proj_out|net\.0\.proj|net\.2)"
LAYERS = r".*encoder\.layers.*(q_proj|k_proj|v_proj|out_proj|fc1|fc2)"
Step = Callable[[int], float]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--small", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    with TemporaryDirectory() as scratch:
        run = prepared(Path(scratch), given.side)
        if given.small:
            unet, text = twins(run.unet, run.text_encoders[0])
        else:
            unet, text = real_size(len(run.model.tokenizer()))
        theirs, weights = loop_of_diffusers(run, *twins(unet, text))
        ours = loop_of_kiroku(run, unet, text, weights)
        print(json.dumps(compared(ours, theirs, given.pairs)))


def compared(ours: Step, theirs: Step, pairs: int) -> dict[str, Any]:
    """Take turns; return the ratios and the seconds of a step."""
    taken: dict[str, list[tuple[float, float]]] = {"ours": [], "theirs": []}
    for number in range(WARM + pairs):
        arms = [("ours", ours), ("theirs", theirs)]
        for name, step in arms if number % 2 else arms[::-1]:
            clock, cpu = time.perf_counter(), time.process_time()
            step(number)
            taken[name].append((time.perf_counter() - clock, time.process_time() - cpu))
        shown = ", ".join(f"{name} {times[-1][1]:.1f} s" for name, times in taken.items())
        print(f"pair {number + 1} of {WARM + pairs}: {shown} of computing", file=sys.stderr)
    mine, others = (np.array(taken[name])[WARM:] for name in ("ours", "theirs"))
    quartiles = np.percentile(mine / others, [25, 50, 75], axis=0).round(3)
    return {
        "pairs": pairs,
        "threads": torch.get_num_threads(),
        "clock": dict(zip(("q1", "median", "q3"), quartiles[:, 0].tolist(), strict=True)),
        "cpu": dict(zip(("q1", "median", "q3"), quartiles[:, 1].tolist(), strict=True)),
        "ours_cpu_s": round(float(np.median(mine[:, 1])), 2),
        "theirs_cpu_s": round(float(np.median(others[:, 1])), 2),
    }


def prepared(folder: Path, side: int) -> Setup:
    """A run on the demo's model, for its latents, captions and batches."""
    from prep.demo.model import build_model

    words = [f"word{number}" for number in range(40)]
    build_model(folder / "model", words=words)
    rows = []
    (folder / "images").mkdir()
    for number in range(IMAGES):
        path = folder / f"images/{number}.png"
        pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), np.uint8)
        Image.fromarray(pixels).save(path)
        tags = [
            {"tag": word, "category": "general", "part": "flex"} for word in words[number:][:30]
        ]
        rows.append(
            {
                "md5": md5_of(path),
                "path": f"images/{number}.png",
                "width": side,
                "height": side,
                "set": "main",
                "split": "train",
                "group": str(number),
                "is_reg": False,
                "repeats": 1,
                "weight": 1.0,
                "caption": ", ".join(tag["tag"] for tag in tags),
                "tags": tags,
            }
        )
    MANIFEST.write(folder / "manifest.parquet", pa.Table.from_pylist(rows, MANIFEST.schema))
    recipe = TrainRecipe.model_validate(
        {
            "model": {"path": "model", "clip_skip": 1},
            "latents": {"resolution": side, "min": 64, "max": 2 * side},
            "adapter": {"dim": RANK, "alpha": ALPHA},
            "optimizer": {"lr": RATE, "schedule": "cosine"},
            "steps": {"total": 1000, "checkpointing": True},
            "caption": {"tokens": 75},
        }
    )
    return setup(recipe, folder, resume=False, overwrite=False, device="cpu")


def real_size(vocabulary: int) -> tuple[Any, Any]:
    """SD1.5's U-Net and text encoder with random weights, fp32, frozen."""
    unet, (text,) = sd15(bos_token_id=vocabulary - 2, eos_token_id=vocabulary - 1)
    return unet.requires_grad_(False), text.requires_grad_(False)


def twins(*models: Any) -> tuple[Any, ...]:
    """The same models once more, over the same memory."""
    made = []
    for model in models:
        with torch.device("meta"):
            twin = type(model)(model.config) if hasattr(model.config, "to_dict") else None
            twin = twin or type(model).from_config(model.config)
        held = dict(model.state_dict())
        twin.load_state_dict(held, assign=True, strict=False)
        for name, buffer in model.named_buffers():
            owner, _, last = name.rpartition(".")
            setattr(twin.get_submodule(owner), last, buffer)
        made.append(twin.requires_grad_(False))
    return tuple(made)


def loop_of_kiroku(run: Setup, unet: Any, text: Any, weights: int) -> Step:
    """Our step, on these models, with as many weights trained as theirs."""
    adapter = attach_adapter(SD15, unet, [text], run.recipe.adapter, seed=0)
    assert sum(1 for _ in adapter.parameters()) == weights
    checkpointing(unet, text)
    made = replace(
        run,
        unet=unet,
        text_encoders=(text,),
        adapter=adapter,
        optimizer=make_optimizer(run.recipe.optimizer, adapter.groups()),
        average=Average([], 0.0),
    )
    counts = np.zeros((IMAGES, len(COUNTED)), dtype=np.int64)
    return lambda number: train_step(made, number, counts).loss or 0.0


def loop_of_diffusers(run: Setup, unet: Any, text: Any) -> tuple[Step, int]:
    """The step of diffusers' train_text_to_image_lora.py, text encoder included; its weights."""
    from diffusers import DDPMScheduler
    from diffusers.optimization import get_scheduler
    from peft import LoraConfig, inject_adapter_in_model

    for base, modules in ((unet, ATTENTION), (text, LAYERS)):
        config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=modules)
        inject_adapter_in_model(config, base)
    checkpointing(unet, text)
    weights = [w for base in (unet, text) for w in base.parameters() if w.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=RATE)
    rates = get_scheduler("cosine", optimizer, num_warmup_steps=0, num_training_steps=1000)
    scheduler = DDPMScheduler.from_config(run.model.scheduler().config)
    tokenizer = run.model.tokenizer()
    latents = run.store.read(np.arange(IMAGES)) * run.vae.config.scaling_factor
    texts = run.data.table.column("caption").to_pylist()

    def step(number: int) -> float:
        x0, caption = latents[number % IMAGES][None], texts[number % IMAGES]
        noise = torch.randn_like(x0)
        t = torch.randint(0, scheduler.config.num_train_timesteps, (1,))
        ids = tokenizer(caption, padding="max_length", max_length=77, truncation=True)
        states = text(torch.tensor([ids.input_ids]), return_dict=False)[0]
        predicted = unet(scheduler.add_noise(x0, noise, t), t, states, return_dict=False)[0]
        loss = torch.nn.functional.mse_loss(predicted.float(), noise.float(), reduction="mean")
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        rates.step()
        optimizer.zero_grad()
        return float(loss.detach())

    return step, len(weights)


def checkpointing(unet: Any, text: Any) -> None:
    unet.enable_gradient_checkpointing()
    unet.train()
    text.gradient_checkpointing_enable({"use_reentrant": False})
    text.train()


if __name__ == "__main__":
    main()
