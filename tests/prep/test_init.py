"""`prep init`: two commented recipes that read back, set for what is to be learnt."""

from pathlib import Path
from typing import Any, get_args

import pytest

from prep.cli.base import kind_of
from prep.init import KINDS, Like, init
from schemas.errors import DatasetError, KirokuError, QueryError, UsageError
from schemas.recipes.load import load_prep, load_train
from schemas.recipes.shipped import shipped
from schemas.recipes.train import TrainRecipe


@pytest.mark.parametrize("like", get_args(Like))
def test_both_recipes_read_back_for_every_kind(tmp_path: Path, like: Any) -> None:
    prep_file, train_file = init(tmp_path / "azusa", query="azusa_(blue_archive)", like=like)
    prep, train = load_prep(prep_file), load_train(train_file)
    assert prep.sets["main"].query == "azusa_(blue_archive)"
    assert prep.caption.trigger == ("" if like == "style" else "azusa (blue archive)")
    assert train.out == "runs/azusa"
    settings = shipped("character-sd15" if like == "character" else like)
    assert train.model.path == settings["model"]["path"]
    kept = TrainRecipe.model_validate(settings)
    assert train.adapter == kept.adapter
    assert train.optimizer == kept.optimizer
    assert train.steps == kept.steps
    assert train.latents == kept.latents


def test_every_kind_has_its_figures() -> None:
    assert set(KINDS) == set(get_args(Like))


def test_a_character_on_sdxl_is_trained_as_sdxl_wants(tmp_path: Path) -> None:
    _, file = init(tmp_path, query="azusa_(blue_archive)", base="a/b", model="sdxl")
    train = load_train(file)
    assert train.model.path == "a/b"
    assert train.latents.resolution == 1024
    assert (train.sample.size, train.optimizer.name) == ((1024, 1024), "Lion")


def test_a_base_that_is_not_here_is_told_by_its_name() -> None:
    assert kind_of("somebody/animagine-XL-3.1") == "sdxl"
    assert kind_of("somebody/animefull") == "sd15"


def test_a_character_has_its_features_collapsed_into_its_trigger(tmp_path: Path) -> None:
    prep_file, _ = init(tmp_path / "a", query="azusa_(blue_archive)")
    assert load_prep(prep_file).caption.collapse.tags == "found"
    prep_file, _ = init(tmp_path / "b", query="score:>=10 -hat")  # no tag to be called by
    assert load_prep(prep_file).caption.collapse.tags == ()


def test_what_is_given_is_written(tmp_path: Path) -> None:
    prep_file, train_file = init(
        tmp_path, query='hat "x"', site="http://booru:3000/", base="model", trigger='a "b"\\'
    )
    assert load_prep(prep_file).fetch.site == "http://booru:3000"
    assert load_prep(prep_file).caption.trigger == 'a "b"\\'
    assert load_train(train_file).model.path == "model"
    assert load_train(train_file).sample.prompts == ('1girl, a "b"\\, smile, outdoors',)


def test_a_folder_of_images_is_named_from_the_dataset(tmp_path: Path) -> None:
    (tmp_path / "picks").mkdir()
    prep_file, _ = init(tmp_path / "set", source=tmp_path / "picks")
    assert load_prep(prep_file).sets["main"].folder == "../picks"
    assert load_prep(prep_file).sets["main"].query == ""


@pytest.mark.parametrize(
    ("query", "trigger"),
    [
        ("azusa_(blue_archive) -comic score:>=3", "azusa (blue archive)"),
        ("-comic hat", "hat"),
        ("~a ~b or *_hat rating:g", ""),
        ("(re:zero a) hat", "re:zero"),
        ("-(a b) Fate_(series) hat", "fate (series)"),
    ],
)
def test_the_first_plain_tag_of_a_query_is_the_trigger(
    tmp_path: Path, query: str, trigger: str
) -> None:
    prep_file, _ = init(tmp_path, query=query)
    assert load_prep(prep_file).caption.trigger == trigger


def test_the_files_explain_themselves(tmp_path: Path) -> None:
    prep_file, train_file = init(tmp_path, query="hat")
    for file, about in (
        (prep_file, "where images come from, and how they are captioned"),
        (train_file, "what is trained, on what, and how long"),
    ):
        head = f"# {file.name}: {about}.\n# A key that is not here has its default;"
        assert file.read_text(encoding="utf-8").startswith(head)


def refused(folder: Path, **options: Any) -> KirokuError:
    with pytest.raises(KirokuError) as told:
        init(folder, **options)
    return told.value


@pytest.mark.parametrize("existing", ["prep.toml", "train.toml"])
def test_an_existing_recipe_stays_as_it_is(tmp_path: Path, existing: str) -> None:
    (tmp_path / existing).write_text("mine")
    told = refused(tmp_path, query="hat")
    assert type(told) is DatasetError
    assert str(told) == (
        f"{tmp_path / existing} is there already: edit it, or choose another folder"
    )
    assert [path.name for path in tmp_path.iterdir()] == [existing]
    assert (tmp_path / existing).read_text() == "mine"


@pytest.mark.parametrize("options", [{}, {"query": " "}, {"query": "hat", "source": Path()}])
def test_one_place_for_the_images_must_be_given(tmp_path: Path, options: Any) -> None:
    told = refused(tmp_path / "set", **options)
    assert type(told) is UsageError
    assert str(told) == "give one of --query and --from: where should the images come from?"
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        (
            "hat scoer:>3",
            'query "hat scoer:>3": at character 5: there is no metatag "scoer:";'
            ' did you mean "score:"? (a tag of that name: unaliased:scoer:>3)',
        ),
        (
            "or (a b) hat",
            'query "or (a b) hat": at character 1: "or" stands between two things:'
            " write one on each side",
        ),
    ],
)
def test_a_query_that_cannot_be_read_is_refused_before_anything_is_written(
    tmp_path: Path, query: str, sentence: str
) -> None:
    told = refused(tmp_path / "set", query=query)
    assert type(told) is QueryError
    assert str(told) == sentence
    assert not (tmp_path / "set").exists()


def test_a_folder_that_is_none_is_told(tmp_path: Path) -> None:
    told = refused(tmp_path / "set", source=tmp_path / "nowhere")
    assert str(told) == f"{tmp_path / 'nowhere'} is no folder: --from takes a folder of images"
    assert not (tmp_path / "set").exists()
