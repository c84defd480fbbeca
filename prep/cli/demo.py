"""`prep demo`: the real commands, one after the other, on the embedded booru."""

import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from prep import chain
from prep.cli.report import report
from prep.cli.steps import ALL
from prep.dataset import Dataset
from prep.demo import recipes
from prep.demo.booru import running
from prep.init import write_recipes
from schemas.progress import say
from schemas.recipes.load import PREP_FILE, load_prep, load_train
from train.loop import train
from train.run_folder import RunFolder

PORT = 8765  # always the same, so that `prep fetch` finds the booru when it is started again
STEPS = 600


@dataclass(frozen=True)
class DemoResult:
    """What the demo ends with."""

    adapter: Path
    grid: Path
    report: Path


def demo(folder: Path, *, steps: int = STEPS) -> DemoResult:
    """Fetch, dedup, tag, caption, choose, encode and train in `folder`; go on where it stopped."""
    with running(recipes.world(), port_of(folder)) as site:
        if not (folder / PREP_FILE).is_file():
            write_recipes(folder, recipes.prep_recipe(site.url), recipes.train_recipe(steps))
        dataset = Dataset.open(folder)
        say(f"demo: a booru of drawings at {site.url}, a dataset in {folder}")
        chain.run(dataset, ALL)
    recipe = load_train(dataset.train_file)
    run = RunFolder((folder / recipe.out).resolve())
    if run.result.is_file():
        say(f"demo: trained already; `train {dataset.train_file} --overwrite` does it again")
    else:
        train(recipe, folder, resume=bool(run.states()), overwrite=not run.states())
    page = report(dataset)
    say(f"demo: done. See `prep status {folder}`, and the two recipes in {folder}")
    port = urlsplit(site.url).port
    say(
        f"demo: `python -m prep.demo.booru --small --size {recipes.SIZE} --port {port}` "
        "serves the booru again"
    )
    return DemoResult(run.adapter, max(run.samples.glob("*.png")), page)


def port_of(folder: Path) -> int:
    """Return the port that the dataset knows its booru by, else ours, else 0: any that is free."""
    if (folder / PREP_FILE).is_file():
        return urlsplit(load_prep(folder / PREP_FILE).fetch.site).port or PORT
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", PORT))
        except OSError:
            return 0
    return PORT
