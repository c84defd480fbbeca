"""A dataset beside another that differs in its recipe: what is there already is not made again.

Interactions covered: captions, sets, thresholds and taggers changed; the site, inference, encoding;
fits that are touched and those that are not; new posts, edits, removals and `prep gc` in the
original; a folder that is left half made; file systems without hard links.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import prep.tag
import prep.variant
import train.latent_encoding
from prep import chain, reg
from prep.caption_fits import features_path, stored_features
from prep.cli.gc import gc
from prep.cli.steps import ALL
from prep.dataset import Dataset
from prep.demo import recipes
from prep.demo.booru import running
from prep.demo.model import build_model
from prep.demo.recipes import CHARACTER
from prep.demo.site import Site
from prep.demo.world import World
from prep.edits.edit import Wanted, edit
from prep.init import write_recipes
from prep.variant import Variants, key_of, laid_over, variant
from schemas.errors import RecipeError
from schemas.recipes.prep import PrepRecipe
from schemas.recipes.train import TrainRecipe
from schemas.tables import CHOSEN, MANIFEST, MEMBERS

PLAIN = {"query": "1girl -hoshizora_academy", "role": "reg", "limit": 8}


@pytest.fixture(scope="module")
def world() -> World:
    return World(posts=60, seed=0, size=64)


@pytest.fixture(scope="module")
def site(world: World) -> Iterator[Site]:
    with running(world) as site:
        yield site


@pytest.fixture(scope="module")
def done(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with all stages done, a folder of one's own pictures among its sets."""
    folder = tmp_path_factory.mktemp("done") / "dataset"
    picks = folder / "picks"
    picks.mkdir(parents=True)
    Image.effect_mandelbrot((64, 64), (-2.0, -1.5, 1.0, 1.5), 20).save(picks / "own.png")
    (picks / "own.txt").write_text("hat, smile")
    shutil.copytree(recipes.TAGGER, folder / "tagger")
    base = recipes.prep_recipe(site.url).model_dump(mode="json", by_alias=True)
    base["fetch"] |= {"requests_per_second": 10, "files_per_second": 50}
    base["tag"]["taggers"] = ["tagger"]
    base["sets"] = {
        "main": {"query": CHARACTER, "repeats": 2},
        "own": {"from": "picks"},
    }
    train = recipes.train_recipe(steps=2).model_dump(by_alias=True)
    train["model"]["path"] = build_model(folder.parent / "model").as_posix()
    train["latents"] |= {"min": 64, "max": 64, "step": 64, "resolution": 64}
    write_recipes(folder, PrepRecipe.model_validate(base), TrainRecipe.model_validate(train))
    chain.run(Dataset.open(folder), ALL)
    return folder


@pytest.fixture
def dataset(done: Path, tmp_path: Path) -> Dataset:
    folder = tmp_path / "dataset"
    shutil.copytree(done, folder)
    return Dataset.open(folder)


def refuse_models(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: Any, **options: Any) -> Any:
        raise AssertionError("a model was run")

    monkeypatch.setattr(prep.tag, "load", refused)
    monkeypatch.setattr(train.latent_encoding, "encode_missing", refused)


@pytest.fixture
def no_inference(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_models(monkeypatch)


def bytes_of(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    files = ((path, path.stat()) for path in folder.rglob("*") if path.is_file())
    return {str(path): (s.st_mtime_ns, s.st_ino) for path, s in files}


def run(folder: Path) -> list[str]:
    """All stages, latents by the original's train.toml."""
    original = folder.parents[2] / "train.toml"
    shutil.copyfile(original, folder / "train.toml")
    return chain.run(Dataset.open(folder), ALL)


def made(dataset: Dataset, changes: Mapping[str, Any]) -> Path:
    return variant(dataset, changes, dataset.root / "experiments" / "data" / "one")


def captions(folder: Path) -> dict[str, str]:
    table = MANIFEST.read(folder / "manifest.parquet")
    return dict(zip(table["md5"].to_pylist(), table["caption"].to_pylist(), strict=True))


@pytest.mark.usefixtures("no_inference")
def test_other_captions_cost_no_request_no_inference_and_no_encoding(
    dataset: Dataset, site: Site
) -> None:
    before = bytes_of(dataset.root)
    site.calls.clear()
    folder = made(dataset, {"caption": {"collapse": {"tags": []}}})
    assert run(folder) == ["caption", "manifest"]
    assert site.calls == []
    own = captions(folder)
    assert own.keys() == captions(dataset.root).keys()
    assert own != captions(dataset.root)
    assert {path: data for path, data in bytes_of(dataset.root).items() if path in before} == before
    for path in [*dataset.root.glob("images/*/*"), *dataset.root.glob("latents/*/*.safetensors")]:
        assert path.samefile(folder / path.relative_to(dataset.root))
    assert not (folder / "runs").exists()
    assert not (folder / "report.html").exists()

    still = stamps(folder)
    assert made(dataset, {"caption": {"collapse": {"tags": []}}}) == folder
    assert run(folder) == []
    still |= {str(folder / "train.toml"): stamps(folder)[str(folder / "train.toml")]}
    assert stamps(folder) == still


@pytest.mark.usefixtures("no_inference")
def test_variants_are_made_to_their_manifest(dataset: Dataset) -> None:
    variants = Variants(dataset, dataset.root / "experiments" / "data")
    assert variants.made({}) == dataset.root
    folder = variants.made({"caption": {"trigger": "red girl"}})
    assert folder.parent == variants.folder
    assert any("red girl" in caption for caption in captions(folder).values())
    still = stamps(folder)
    assert variants.made({"caption": {"trigger": "red girl"}}) == folder
    assert stamps(folder) == still


def test_a_set_more_is_fetched_and_chosen_from_and_the_others_stay(
    dataset: Dataset, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.calls.clear()
    folder = made(dataset, {"sets": {"plain": PLAIN}})
    assert run(folder)[:2] == ["fetch", "dedup"]
    searches = {call.query.get("tags") for call in site.calls if call.path == "/posts.json"}
    assert searches == {PLAIN["query"]}
    rows = MANIFEST.read(folder / "manifest.parquet").to_pylist()
    learnt = {row["md5"]: row["caption"] for row in rows if not row["is_reg"]}
    assert learnt == captions(dataset.root)
    choice = reg.choices_of(Dataset.open(folder))["plain"]
    assert 0 < choice.chosen == sum(row["is_reg"] for row in rows)

    # an edit in the original reaches the variant: nothing is asked for or computed again
    site.calls.clear()
    refuse_models(monkeypatch)
    edit(dataset.root, "", Wanted(add=["sunset"]), command="edit")
    chain.run(dataset, ALL)
    assert made(dataset, {"sets": {"plain": PLAIN}}) == folder
    run(folder)
    assert site.calls == []
    after = MANIFEST.read(folder / "manifest.parquet").to_pylist()
    assert {row["md5"] for row in after if row["is_reg"]} == {
        row["md5"] for row in rows if row["is_reg"]
    }
    assert all("sunset" in row["caption"] for row in after if not row["is_reg"])

    # a set that is left out again
    assert variant(dataset, {"sets": {"own": False}}, folder) == folder
    run(folder)
    assert set(Dataset.open(folder).table(MEMBERS)["set"].to_pylist()) == {"main"}
    assert site.calls == []


@pytest.mark.usefixtures("no_inference")
def test_what_is_found_anew_is_what_the_changes_touch(dataset: Dataset) -> None:
    found = stored_features(dataset)
    original = features_path(dataset).read_bytes()
    same = variant(
        dataset, {"caption": {"rename": {"hat": "cap"}}}, dataset.root.parent / "a" / "b" / "same"
    )
    chain.run(Dataset.open(same))
    assert features_path(Dataset.open(same)).read_bytes() == original
    other = made(dataset, {"caption": {"collapse": {"share": 0.3}}})
    run(other)
    assert set(stored_features(Dataset.open(other))) > set(found)
    fitted = features_path(Dataset.open(other)).read_bytes()

    edit(dataset.root, "", Wanted(add=["sunset"]), command="edit")
    made(dataset, {"caption": {"collapse": {"share": 0.3}}})
    run(other)
    assert features_path(Dataset.open(other)).read_bytes() == fitted
    assert features_path(dataset).read_bytes() == original


def test_an_image_that_is_removed_in_the_original_is_out_and_a_restored_one_is_back(
    dataset: Dataset,
) -> None:
    changes = {"caption": {"trigger": "red girl"}}
    folder = made(dataset, changes)
    run(folder)
    gone = sorted(captions(dataset.root))[0]
    (path,) = dataset.root.glob(f"images/*/{gone}.*")
    content = path.read_bytes()
    path.unlink()
    made(dataset, changes)
    run(folder)
    assert gone not in captions(folder)
    path.write_bytes(content)
    made(dataset, changes)
    run(folder)
    assert gone in captions(folder)


def test_gc_in_the_original_takes_nothing_from_a_variant(dataset: Dataset, site: Site) -> None:
    folder = made(dataset, {"caption": {"trigger": "red girl"}})
    run(folder)
    recipe = (dataset.root / "prep.toml").read_text(encoding="utf-8")
    lines = recipe.replace(f'query = "{CHARACTER}"', f'query = "{CHARACTER}", limit = 3')
    assert lines != recipe
    (dataset.root / "prep.toml").write_text(lines, encoding="utf-8")
    small = Dataset.open(dataset.root)
    chain.run(small, ALL)
    before = bytes_of(folder)
    assert gc(small, images=True) > 0
    assert len(list((dataset.root / "images").glob("*/*"))) == 4
    assert bytes_of(folder) == before
    assert chain.run(Dataset.open(folder), ALL) == []


class Killed(BaseException):
    """As a kill: nothing of ours catches it."""


@pytest.mark.parametrize("after", [0, 3, 12, 20, 30])
def test_killed_anywhere_it_goes_on(
    dataset: Dataset, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = bytes_of(dataset.root)
    changes = {"caption": {"collapse": {"share": 0.3}}}
    calm = variant(dataset, changes, dataset.root.parent / "calm")
    folder = dataset.root.parent / "torn"
    count = 0
    put = prep.variant.put

    def dying(*arguments: Any) -> None:
        nonlocal count
        count += 1
        if count > after:
            raise Killed
        put(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(prep.variant, "put", dying)
        patch.setattr(prep.variant, "link", lambda source, place: False)
        with pytest.raises(Killed):
            variant(dataset, changes, folder)
    assert bytes_of(dataset.root) == before
    variant(dataset, changes, folder)
    assert bytes_of(folder) == bytes_of(calm)


def test_without_hard_links_files_are_copied(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*arguments: Any) -> None:
        raise OSError("this file system has none")

    monkeypatch.setattr(os, "link", refused)
    folder = made(dataset, {"caption": {"collapse": {"tags": []}}})
    for path in dataset.root.glob("images/*/*"):
        copy = folder / path.relative_to(dataset.root)
        assert copy.read_bytes() == path.read_bytes()
        assert not copy.samefile(path)


def test_a_name_follows_from_what_is_different(dataset: Dataset) -> None:
    one = key_of(dataset, {"caption": {"trigger": "red girl"}})
    assert len(one) == 16
    usual = dataset.recipe.caption.source
    same = {"caption": {"trigger": "red girl", "source": usual}}
    assert key_of(dataset, same) == one
    assert key_of(dataset, {"caption": {"trigger": "blue girl"}}) != one
    assert key_of(dataset, {"caption": {"source": usual}}) == ""
    assert key_of(dataset, {"sets": {"own": False}}) != ""


def test_a_set_that_is_given_another_source_loses_its_own(dataset: Dataset) -> None:
    changes = {"sets": {"main": {"from": "picks"}, "plain": PLAIN}}
    sets = laid_over(dataset, changes).sets
    assert (sets["main"].query, sets["main"].folder, sets["main"].repeats) == ("", "picks", 2)
    assert sets["plain"].role == "reg"
    folder = made(dataset, {"sets": {"main": {"from": "picks"}, "own": False}})
    assert Dataset.open(folder).recipe.sets["main"].folder == "../../../picks"


def test_a_change_that_is_none_is_told(dataset: Dataset) -> None:
    with pytest.raises(RecipeError) as told:
        made(dataset, {"caption": {"tirgger": "x"}})
    assert str(told.value) == (
        f'over {dataset.root / "prep.toml"}: unknown key "caption.tirgger"; did you mean "trigger"?'
    )
    assert not (dataset.root / "experiments").exists()


def test_a_folder_set_that_is_the_dataset_itself_holds_no_variant(tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    root.mkdir()
    Image.new("RGB", (64, 64), "red").save(root / "red.png")
    (root / "prep.toml").write_text('sets = { main = { from = "." } }\n', encoding="utf-8")
    dataset = Dataset.open(root)
    chain.run(dataset, ALL[:2])
    folder = variant(dataset, {"caption": {"trigger": "x"}}, root / "experiments" / "data" / "one")
    assert chain.run(Dataset.open(folder), ALL[:2]) == []
    assert chain.run(dataset, ALL[:2]) == []
    assert dataset.table(CHOSEN).num_rows == 0
