"""What the tests of the chain share: a booru of small drawings, a model, dataset folders."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from prep.demo import recipes
from prep.demo.booru import running
from prep.demo.model import build_model
from prep.demo.site import Site
from prep.demo.world import World
from prep.init import write_recipes
from schemas import progress
from schemas.recipes.load import PREP_FILE

MakeDataset = Callable[..., Path]


@pytest.fixture
def told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[], list[str]]:
    """`told()`: the lines that a person running a command has seen since it was last asked."""
    monkeypatch.setattr(progress, "_console", None)
    progress.show()
    return lambda: capsys.readouterr().err.splitlines()


@pytest.fixture(scope="session")
def world() -> World:
    """240 posts of 96 pixels; a test that changes it takes its own."""
    return World(posts=240, seed=0, size=96)


@pytest.fixture(scope="session")
def site(world: World) -> Iterator[Site]:
    """The world, served without limits."""
    with running(world) as site:
        yield site


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's base model, built once."""
    return build_model(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture(scope="session")
def write_dataset(model: Path) -> MakeDataset:
    """`write_dataset(folder, site, **sets)`: a folder with the demo's recipes."""

    def write(folder: Path, site: Site, **sets: dict[str, object]) -> Path:
        prep = recipes.prep_recipe(site.url).model_dump(by_alias=True, exclude_defaults=True)
        prep["fetch"] |= {"requests_per_second": 10, "files_per_second": 50}
        prep["sets"] = sets or prep["sets"]
        train = recipes.train_recipe(steps=2).model_dump(by_alias=True)
        train["model"]["path"] = model.as_posix()
        train["latents"] |= {"min": 64, "max": 320, "step": 32}  # pictures of any shape, small too
        write_recipes(
            folder,
            type(recipes.prep_recipe(site.url)).model_validate(prep),
            type(recipes.train_recipe(steps=2)).model_validate(train),
        )
        return folder

    return write


@pytest.fixture
def make_dataset(tmp_path: Path, write_dataset: MakeDataset) -> MakeDataset:
    """`make_dataset(site, name="dataset", **sets)`: a folder with the demo's recipes."""

    def make(site: Site, name: str = "dataset", **sets: dict[str, object]) -> Path:
        return write_dataset(tmp_path / name, site, **sets)

    return make


@pytest.fixture
def folder_of(tmp_path: Path) -> MakeDataset:
    """`folder_of(site, name="dataset", *lines)`: all posts of the site; lines of [fetch]."""

    def folder_of(site: Site, name: str = "dataset", *lines: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        quickly = ("requests_per_second = 10", "files_per_second = 50")
        fetch = "\n".join([f'site = "{site.url}"', *quickly, *lines])
        recipe = f'sets = {{ main = {{ query = "status:any" }} }}\n[fetch]\n{fetch}\n'
        (folder / "prep.toml").write_text(recipe)
        return folder

    return folder_of


@pytest.fixture
def make_folder(tmp_path: Path) -> MakeDataset:
    """`make_folder(site, **sets)`: a folder with prep.toml alone: no model is needed."""

    def make(site: Site, **sets: dict[str, object]) -> Path:
        folder = tmp_path / f"folder {len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        lines = [f'[fetch]\nsite = "{site.url}"\nrequests_per_second = 10\nfiles_per_second = 50']
        for name, keys in sets.items():
            values = [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
            lines.append("\n".join([f"[sets.{name}]", *values]))
        (folder / PREP_FILE).write_text("\n\n".join(lines), encoding="utf-8")
        return folder

    return make
