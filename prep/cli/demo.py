"""`prep demo`: the real commands, one after the other, on the embedded booru."""

import socket
from pathlib import Path
from urllib.parse import urlsplit

from prep import chain
from prep.cli.steps import ALL
from prep.dataset import Dataset
from prep.demo import recipes
from prep.demo.booru import running
from prep.demo.model import build_model
from prep.demo.world import World
from prep.init import write_recipes
from schemas.progress import say
from schemas.recipes.load import PREP_FILE, load_prep, load_train
from train.loop import RunResult, train

PORT = 8765  # always the same, so that `prep fetch` finds the booru when it is started again
STEPS = 120


def demo(folder: Path, *, steps: int = STEPS) -> RunResult:
    """Fetch, dedup, tag, caption, choose, encode and train in `folder`; go on where it stopped."""
    world = World(recipes.POSTS, recipes.SEED, recipes.SIZE)
    with running(world, _port(folder)) as site:
        if not (folder / PREP_FILE).is_file():
            write_recipes(folder, recipes.prep_recipe(site.url), recipes.train_recipe(steps))
        if not (folder / recipes.MODEL / "model_index.json").is_file():
            build_model(folder / recipes.MODEL)
        dataset = Dataset.open(folder)
        say(f"demo: a booru of drawings at {site.url}, a dataset in {folder}")
        chain.run(dataset, ALL)
    recipe = load_train(dataset.train_file)
    run = folder / recipe.out
    result = train(recipe, folder, resume=run.exists())
    say(f"demo: done. Look at {result.grid}, and at {folder / PREP_FILE}, then change it:")
    say(f"  prep status {folder}    prep run {folder}    train {dataset.train_file} --overwrite")
    say(f"  python -m prep.demo.booru --port {urlsplit(site.url).port} serves the booru again")
    return result


def _port(folder: Path) -> int:
    """The port that the dataset knows its booru by, else ours, else 0: any that is free."""
    if (folder / PREP_FILE).is_file():
        return urlsplit(load_prep(folder / PREP_FILE).fetch.site).port or PORT
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", PORT))
        except OSError:
            return 0
    return PORT
