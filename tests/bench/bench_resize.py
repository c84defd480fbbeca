"""What the demo's adapter loses when it is cut to smaller ranks: a part of docs/experiments.md.

    prep demo demo && python tests/bench/bench_resize.py demo/runs/demo/demo.safetensors

Writes docs/rank_series.json; `python docs/make_experiments.py` then writes the page anew.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch

from prep.demo.model import ASSETS, SIDE
from prep.demo.vocabulary import VOCABULARY
from schemas.files import write_json
from schemas.recipes.train import ModelSection
from schemas.tags import rendered
from train.adapter_file import read_adapter
from train.merging.merge import merge
from train.merging.resize import Resized, resize
from train.merging.sources import Source
from train.merging.target import parse_target
from train.model import Model, find_model
from train.text import Tokens, encode

TARGET = Path(__file__).parents[2] / "docs" / "rank_series.json"
TARGETS = ("16", "8", "4", "2", "1", "sv_fro=0.95", "sv_fro=0.9", "512KB", "256KB")
TRIGGER = "akari (hoshizora academy)"
INPUTS = 24


def main() -> None:
    """Cut, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("adapter", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plain = predicted(opened(ASSETS))
        whole = predicted(merged(given.adapter, folder / "whole"))
        rows = []
        for number, text in enumerate(TARGETS):
            out = folder / f"{number}.safetensors"
            (made,) = resize(given.adapter, [parse_target(text)], [out])
            cut = predicted(merged(out, folder / f"merged-{number}"))
            moved = float((cut - whole).square().mean() / (whole - plain).square().mean())
            rows.append(row(made, moved**0.5))
    _, told = read_adapter(given.adapter)
    facts = (
        f"LoRA of rank {told['ss_network_dim']} (alpha {told['ss_network_alpha']}) on all blocks,"
        f" {told['ss_steps']} steps of {told['ss_optimizer']} at {told['ss_learning_rate']}, saved"
        f" in {told['ss_mixed_precision'].replace('no', 'fp16')}; torch {torch.__version__}."
    )
    found = {"rows": rows, "inputs": INPUTS, "made": facts}
    write_json(TARGET, found)


def opened(path: Path) -> Model:
    """The model in a folder."""
    return find_model(ModelSection(path=str(path)), Path())


def merged(adapter: Path, out: Path) -> Model:
    """The demo's model with an adapter merged into it, fp32."""
    merge(ASSETS, [Source(adapter)], out, precision="fp32")
    return opened(out)


@torch.no_grad()
def predicted(model: Model) -> torch.Tensor:
    """The noise that a model predicts in noise, with prompts of the trigger and a tag each."""
    unet, texts, tokens = model.unet(), model.text_encoders(), Tokens(model.tokenizer())
    generator = torch.Generator().manual_seed(0)
    side = SIDE // 8
    found = []
    for number in range(INPUTS):
        tag = rendered(VOCABULARY[number * len(VOCABULARY) // INPUTS].name, escape=False)
        ids = tokens.stacked([tokens.prompt(f"{TRIGGER}, {tag}")])
        x = torch.randn(1, 4, side, side, generator=generator)
        step = int((number + 0.5) / INPUTS * 1000)
        found.append(unet(x, step, encode(texts, ids, 1).context).sample)
    return torch.cat(found)


def row(made: Resized, moved: float) -> dict[str, Any]:
    """What the table says of a cut adapter."""
    least, most = made.ranks
    block = max(made.errors, key=lambda name: made.errors[name])
    return {
        "target": made.target,
        "ranks": str(least) if least == most else f"{least}-{most}",
        "size": made.size,
        "error": round(made.error, 5),
        "worst": round(made.errors[block], 5),
        "block": block,
        "noise": round(moved, 5),
    }


if __name__ == "__main__":
    main()
