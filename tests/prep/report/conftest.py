"""What the tests of the report share: how pages are read; a dataset, its page at each stage."""

from collections.abc import Callable
from dataclasses import dataclass
from html.parser import HTMLParser
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
from prep.report.html import VOID
from schemas.recipes.load import load_train
from schemas.recipes.prep import PrepRecipe
from schemas.recipes.train import TrainRecipe
from train.loop import train

PROMPT = f'{recipes.TRIGGER}, <b>"1girl"</b> & smile'


class Nesting(HTMLParser):
    """Fails at an end tag that closes nothing; collects ids, references and words."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.section = ""
        self.words: dict[str, str] = {}  # of each section

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        if "id" in given:
            self.ids.append(str(given["id"]))
        if tag == "section":
            self.section = str(given["id"])
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            if name in given:
                self.references.append(str(given[name]))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "section" in self.open and "style" not in self.open:
            self.words[self.section] = f"{self.words.get(self.section, '')}{data} "


@pytest.fixture
def read() -> Callable[[str], Nesting]:
    """`read(page)`: what a parser sees in it; fails where the page is not well-formed."""
    return _read


def _read(page: str) -> Nesting:
    seen = Nesting()
    seen.feed(page)
    seen.close()
    assert seen.open == []
    return seen


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
