"""How well the demo's base model draws what it is asked for, as the demo's tagger reads it.

    python tests/bench/bench_base_model.py [--model FOLDER] [--pictures N] [--pairs N] [--steps N]
                                           [--guidance G] [--seed N]

Every general tag that the model was taught is asked for by itself, and as many pairs as wanted that
stand on one drawing. Thresholds are fitted to fresh drawings first; the ceiling is what the tagger
reads in drawings of the very same prompts. Prints one line of JSON; the table goes to stderr.
"""

import argparse
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

from prep.cli.demo_measure import judged, read_all
from prep.demo.drawing import draw
from prep.demo.drawings import drawn
from prep.demo.held_out import UNSEEN, portrait
from prep.demo.model import ASSETS, SIDE
from prep.demo.portrait import Portrait, from_tags
from prep.demo.recipes import TAGGER
from prep.demo.train_vae import psnr
from prep.demo.vocabulary import VOCABULARY, closed
from schemas import progress
from schemas.recipes.train import ModelSection
from schemas.tags import rendered
from taggers.wd14 import Tagger, load
from train.model import find_model
from train.read_back import Bools, Floats, Prompt, Real, figures, mean, shares
from train.sample import Painter
from train.text import Tokens

SEED = 1_000  # of drawings that neither the tagger nor the model has seen
FRESH = 2_000  # drawings that thresholds are fitted to
ALWAYS = {"1girl", "solo"}  # on every drawing: asking for them tells nothing


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, default=ASSETS)
    parser.add_argument("--pictures", type=int, default=4, help="of each prompt")
    parser.add_argument("--pairs", type=int, default=150)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=4.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sheet", type=Path, help="write a sheet of some pictures to this PNG")
    given = parser.parse_args()
    progress.show()
    tagger = load(TAGGER, "cpu")
    real, thresholds = fresh_drawings(tagger)
    prompts = asked_prompts(given.pairs)
    truly = read(tagger, [portraits(p, given.pictures) for p in prompts], thresholds, "read back")
    painter = opened(given.model)
    seeds = range(given.seed, given.seed + given.pictures)
    pictures = painted(painter, prompts, seeds, given.steps, given.guidance)
    found = read(tagger, pictures, thresholds, "read")
    of_real, of_model = figures(real, prompts, truly, ()), figures(real, prompts, found, ())
    unseen = drawn(portrait, SEED, range(200), SIDE, SIDE)
    if given.sheet:
        sheet(pictures).save(given.sheet)
    table(real, prompts, truly, found)
    assert of_real.recall is not None
    assert of_model.recall is not None
    assert of_real.unasked is not None
    assert of_model.unasked is not None
    result = {
        "recall": of_model.recall,
        "ceiling": of_real.recall,
        "recall / ceiling": of_model.recall / of_real.recall,
        "unasked": of_model.unasked,
        "unasked on drawings": of_real.unasked,
        "unasked / drawings": of_model.unasked / of_real.unasked,
        "psnr": psnr(painter.vae, unseen),
    }
    settings = {"prompts": len(prompts), **{k: v for k, v in vars(given).items() if k != "sheet"}}
    print(json.dumps(settings | {k: round(v, 4) for k, v in result.items()}, default=str))


def asked_prompts(pairs: int) -> list[Prompt]:
    """Each tag of the small world by itself, then pairs seen on one drawing."""
    rng = random.Random("pairs")
    taught = [
        word.name
        for word in VOCABULARY
        if word.category == "general" and not (closed([word.name]) & UNSEEN)
    ]
    shown = set().union(*(portrait(SEED, index).tags() for index in range(FRESH)))
    singles = [(name,) for name in taught if name in shown - ALWAYS]
    doubles = []
    while len(doubles) < pairs:
        tags = sorted(set(portrait(SEED, rng.randrange(10**6)).tags()) - ALWAYS)
        one, other = rng.sample(tags, 2)
        if one not in closed([other]) and other not in closed([one]):
            doubles.append((one, other))
    return [
        Prompt(", ".join(rendered(tag, escape=False) for tag in tags), tags)
        for tags in (*singles, *doubles)
    ]


def fresh_drawings(tagger: Tagger) -> tuple[Real, Floats]:
    """Drawings of the world the model was taught, read by thresholds fitted to them."""
    pictures = [Image.fromarray(p) for p in drawn(portrait, SEED, range(FRESH), SIDE, SIDE)]
    probabilities = read_all(tagger, pictures, "fit thresholds")
    return judged(tagger, [portrait(SEED, index) for index in range(FRESH)], probabilities)


def portraits(prompt: Prompt, count: int) -> list[Image.Image]:
    """Drawings that truly show a prompt: met by chance, as the model was taught, else made for it.

    Most of what is not asked for differs from one to the next, as it does in the model's pictures.
    """
    rng = random.Random(prompt.text)
    met: list[Portrait] = []
    for _ in range(4_000):
        one = portrait(SEED, rng.randrange(10**6))
        if len(met) < count and set(prompt.asked) <= set(one.tags()):
            met.append(one)
    while len(met) < count:
        met.append(from_tags(prompt.asked, rng))
    return [draw(one, SIDE, SIDE) for one in met]


def read(
    tagger: Tagger, groups: Sequence[Sequence[Image.Image]], thresholds: Floats, label: str
) -> list[Bools]:
    """What is read in each group of pictures, [pictures, labels]."""
    found = read_all(tagger, [one for group in groups for one in group], label) >= thresholds
    return list(found.reshape(len(groups), -1, found.shape[1]))


def opened(folder: Path) -> Painter:
    """The model as kiroku opens any other."""
    model = find_model(ModelSection(path=str(folder), clip_skip=1), Path())
    tokens = Tokens(model.tokenizer())
    parts = (model.unet(), model.text_encoders(), tokens, model.vae(), model.scheduler())
    return Painter(*parts, 1, torch.device("cpu"))


def painted(
    painter: Painter, prompts: Sequence[Prompt], seeds: range, steps: int, guidance: float
) -> list[list[Image.Image]]:
    """Pictures of each prompt at each seed."""
    texts = [prompt.text for prompt in prompts for _ in seeds]
    every = [seed for _ in prompts for seed in seeds]
    made: list[Image.Image] = []
    with progress.task("draw", len(texts), "pictures") as advance:
        for start in range(0, len(texts), 16):
            part = slice(start, start + 16)
            size = (SIDE, SIDE)
            made += painter.draw_batch(texts[part], "", every[part], size, steps, guidance)
            advance(len(texts[part]))
    return [made[start : start + len(seeds)] for start in range(0, len(made), len(seeds))]


def table(
    real: Real, prompts: Sequence[Prompt], truly: Sequence[Bools], found: Sequence[Bools]
) -> None:
    """Say the tags that fall furthest below their ceiling."""
    rows = []
    for tag in sorted({tag for prompt in prompts for tag in prompt.asked}):
        own = [place for place, prompt in enumerate(prompts) if tag in prompt.asked]
        ceiling, recall = (
            mean(share for place in own for share in shares(real, [tag], source[place])) or 0.0
            for source in (truly, found)
        )
        rows.append((recall - ceiling, tag, recall, ceiling))
    for _, tag, recall, ceiling in sorted(rows)[:40]:
        print(f"  {tag:28} {recall:.2f} of {ceiling:.2f}", file=sys.stderr)


def sheet(pictures: Sequence[Sequence[Image.Image]], columns: int = 20) -> Image.Image:
    """The first picture of each prompt, row by row."""
    rows = -(-len(pictures) // columns)
    paper = Image.new("RGB", (columns * SIDE, rows * SIDE), "white")
    for place, group in enumerate(pictures):
        paper.paste(group[0], (place % columns * SIDE, place // columns * SIDE))
    return paper


if __name__ == "__main__":
    main()
