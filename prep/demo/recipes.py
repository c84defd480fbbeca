"""The demo's two recipes, a character with regularization images, and the world they draw on."""

from pathlib import Path

from prep.demo.model import ASSETS, SIDE
from prep.demo.world import World
from schemas.recipes.prep import PrepRecipe
from schemas.recipes.train import TrainRecipe

CHARACTER = "akari_(hoshizora_academy)"
COPYRIGHT = "hoshizora_academy"
TRIGGER = "akari (hoshizora academy)"
POSTS, SEED, SIZE = 600, 0, 384  # of the world that the demo's booru serves
TAGGER = Path(__file__).parent / "assets" / "tagger"


def world() -> World:
    """What the demo's booru serves: a world that the demo's base model knows."""
    return World(POSTS, SEED, SIZE, small=True)


def prep_recipe(site: str) -> PrepRecipe:
    """One character to learn, and others of the site as regularization."""
    return PrepRecipe.model_validate(
        {
            "sets": {
                "main": {"query": CHARACTER, "repeats": 2},
                "plain": {"query": f"1girl -{COPYRIGHT}", "role": "reg", "limit": 60},
            },
            # a booru on this very machine: faster than is polite elsewhere
            "fetch": {"site": site, "requests_per_second": 8.0, "files_per_second": 40.0},
            "dedup": {"bits": 4},  # portraits in one pose differ in fewer bits than photographs
            "tag": {"taggers": [TAGGER.as_posix()]},
            "caption": {
                "trigger": TRIGGER,
                # four images in five show some shirt: clothes are to stay as tags
                "collapse": {"tags": "found", "share": 0.9},
                "rename": {"looking at viewer": "lav"},
                "quality": {"masterpiece": 60, "best quality": 18, "high quality": 6},
            },
        }
    )


def train_recipe(steps: int) -> TrainRecipe:
    """A small LoRA on the demo's base model: minutes on two cores."""
    return TrainRecipe.model_validate(
        {
            "out": "runs/demo",
            "model": {"path": ASSETS.as_posix(), "clip_skip": 1},
            # squares alone: the base model has learnt from nothing else
            "latents": {"resolution": SIDE, "min": SIDE, "max": SIDE, "step": SIDE},
            "adapter": {"dim": 16, "alpha": 16, "blocks": "all"},
            "optimizer": {"lr": 3e-3, "warmup": 10},
            "steps": {"total": steps, "batch": 4},
            "caption": {"tokens": 75},  # the base model has learnt from one chunk
            "save": {"every": max(1, steps // 2), "keep": 2},
            "sample": {
                "every": max(1, steps // 2),
                "prompts": [f"{TRIGGER}, 1girl, smile", "1girl, solo, outdoors"],
                "seeds": [1, 2, 3],
                "size": [SIDE, SIDE],
                "steps": 15,
                "guidance": 4.0,
            },
        }
    )
