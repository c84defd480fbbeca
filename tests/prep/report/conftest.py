"""What the tests of the report share: a dataset built stage by stage, its page kept after each."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from prep import chain
from prep.cli.report import report
from prep.cli.steps import ALL
from prep.dataset import Dataset
from prep.demo import recipes
from prep.demo.site import Site
from prep.init import write_recipes
from schemas.recipes.load import load_train
from schemas.recipes.prep import PrepRecipe
from schemas.recipes.train import TrainRecipe
from train.loop import train

PROMPT = f'{recipes.TRIGGER}, <b>"1girl"</b> & smile'


@dataclass(frozen=True)
class Built:
    """A finished dataset with a run, and its page as it was after each stage."""

    folder: Path
    pages: dict[str, str]  # by the stage that ran last; "init" before any, "train" at the end


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, site: Site, model: Path) -> Built:
    folder = tmp_path_factory.mktemp("report") / "akari & <friends>"
    prep = recipes.prep_recipe(site.url).model_dump(by_alias=True, exclude_defaults=True)
    prep["fetch"] |= {"requests_per_second": 10, "files_per_second": 50}
    prep["sets"]["plain"]["limit"] = 12
    settings = recipes.train_recipe(steps=2).model_dump(by_alias=True)
    settings["model"]["path"] = model.as_posix()
    settings["latents"] |= {"resolution": 64, "min": 32, "max": 96, "step": 32}
    settings["steps"] |= {"batch": 1}
    settings["save"] |= {"every": 1, "keep": 2}
    settings["sample"] |= {
        "every": 0, "prompts": [PROMPT], "seeds": [1, 2], "size": [32, 48], "steps": 1,
    }  # fmt: skip
    write_recipes(folder, PrepRecipe.model_validate(prep), TrainRecipe.model_validate(settings))
    dataset = Dataset.open(folder)
    pages = {"init": report(dataset).read_text(encoding="utf-8")}
    for step in ALL:
        chain.run_one(dataset, step)
        pages[step.name] = report(dataset).read_text(encoding="utf-8")
    torch.set_num_threads(1)
    train(load_train(dataset.train_file), folder)
    pages["train"] = report(dataset).read_text(encoding="utf-8")
    return Built(folder, pages)
