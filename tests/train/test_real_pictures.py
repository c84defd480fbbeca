"""A dataset's own pictures as the measure: their tags, their probabilities, the signature."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import train.real_pictures
from prep.cache import Cache
from prep.demo.characters import CHARACTERS
from prep.demo.recipes import CHARACTER, TAGGER
from schemas.errors import DatasetError
from schemas.files import write_json
from schemas.tables import IMPORTED, MANIFEST, MEMBERS, POSTS, PROBABILITIES
from schemas.tags import split
from taggers.wd14 import Tagger, load
from train.read_back import EVIDENCE
from train.real_pictures import (
    RealPictures,
    find_signature,
    find_tagger,
    read_pictures,
    read_prep,
)


@pytest.fixture(scope="module")
def tagger() -> Tagger:
    return load(TAGGER, "cpu")


@pytest.fixture
def folder(drawings: Path, tmp_path: Path) -> Path:
    return shutil.copytree(drawings, tmp_path / "set")


def read(folder: Path, tagger: Tagger) -> RealPictures:
    return read_pictures(folder / "manifest.parquet", read_prep(folder), tagger)


def post(number: int, md5: str, **tags: list[str]) -> dict[str, Any]:
    row: dict[str, Any] = {field.name: None for field in POSTS.schema}
    row |= {"id": number, "md5": md5, "file_ext": "png", "file_size": 1, "width": 96, "height": 96}
    row |= {"score": 0, "fav_count": 0, "created_at": 0, "updated_at": 0, "source": ""}
    row |= {"is_deleted": False, "is_banned": False}
    row |= {name: [] for name in ("general", "character", "copyright", "artist", "meta")}
    return row | tags


def test_pictures_have_their_captions_words_where_nothing_better_is_known(
    folder: Path, tagger: Tagger
) -> None:
    found = read(folder, tagger)
    rows = {row["md5"]: row for row in MANIFEST.read(folder / "manifest.parquet").to_pylist()}
    assert len(found.real.truth) == len(rows) == 48
    assert found.trigger == "akari"
    assert found.taught.sum() == 28
    for row, md5 in enumerate(sorted(rows)):
        tags = {tag["tag"].replace(" ", "_") for tag in rows[md5]["tags"]} - {"akari"}
        shown = {found.real.names[label] for label in np.flatnonzero(found.real.truth[row])}
        assert shown == tags & set(found.real.names)
        assert found.taught[row] == (not rows[md5]["is_reg"])
    assert found.texts[found.real.columns["1girl"]] == "1girl"
    assert found.texts[found.real.columns["looking_at_viewer"]] == "looking at viewer"


def test_thresholds_are_the_recipes_but_where_pictures_are_evidence(
    folder: Path, tagger: Tagger
) -> None:
    prep = folder / "prep.toml"
    prep.write_text(prep.read_text().replace("[tag]", "[tag]\ngeneral = 0.42"), encoding="utf-8")
    found = read(folder, tagger)
    shown = found.real.truth.sum(axis=0)
    evidence = np.minimum(shown, len(found.real.truth) - shown) >= EVIDENCE
    assert evidence.any()
    general = found.general & ~evidence
    assert set(found.thresholds[general].tolist()) == {np.float32(0.42)}
    assert (found.thresholds[evidence] != np.float32(0.42)).any()
    ratings = [label.category == "rating" for label in tagger.labels]
    assert np.isinf(found.thresholds[ratings]).all()
    assert not found.real.read[:, ratings].any()
    # drawings are what this tagger was made for
    ceilings = [found.real.ceiling(found.real.names[n]) or 0 for n in np.flatnonzero(evidence)]
    assert np.mean(ceilings) > 0.9


def test_the_boorus_word_goes_before_the_captions_and_the_first_post_speaks(
    folder: Path, tagger: Tagger
) -> None:
    one, two, three, *_ = sorted(MANIFEST.read(folder / "manifest.parquet")["md5"].to_pylist())
    members = [
        {"set": "main", "md5": md5, "post_id": number} for number, md5 in ((7, one), (9, one))
    ]
    MEMBERS.write(folder / "tables/members.parquet", pa.Table.from_pylist(members, MEMBERS.schema))
    posts = [post(7, one, general=["hat"], character=[CHARACTER]), post(9, one, general=["smile"])]
    Cache(folder / "tables/posts", POSTS).append(pa.Table.from_pylist(posts, POSTS.schema))
    usual = {"set": "main", "categories": [], "sentence": "", "post_id": 0, "gone": False}
    imports = [
        {**usual, "md5": two, "file": "a.png", "tags": ["red_hair"], "categories": [""]},
        {**usual, "md5": three, "file": "b.png", "tags": []},
    ]
    path = folder / "tables/imported.parquet"
    IMPORTED.write(path, pa.Table.from_pylist(imports, IMPORTED.schema))
    real = read(folder, tagger).real
    shown = [{real.names[n] for n in np.flatnonzero(row)} for row in real.truth[:3]]
    assert shown[:2] == [{"hat", CHARACTER}, {"red_hair"}]
    assert "1girl" in shown[2]


def test_probabilities_that_prep_tag_has_kept_are_not_made_again(
    folder: Path, tagger: Tagger, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    stream = train.real_pictures.stream

    def counted(tagger: Tagger, items: list[tuple[int, Path]]) -> Any:
        asked.append(len(items))
        return stream(tagger, items)

    monkeypatch.setattr(train.real_pictures, "stream", counted)
    fresh = read(folder, tagger)
    md5s = sorted(MANIFEST.read(folder / "manifest.parquet")["md5"].to_pylist())
    rows = [{"md5": md5, "labels": [5], "values": [0.75], "problem": None} for md5 in md5s[:-1]]
    cache = Cache(folder / "tables/probs" / tagger.key, PROBABILITIES)
    cache.append(pa.Table.from_pylist(rows, PROBABILITIES.schema))
    kept = read(folder, tagger)
    assert asked == [48, 1]
    assert kept.real.read[:-1, 5].all()
    assert kept.real.read[:-1].sum() == 47
    assert fresh.real.read[:-1].sum() > 47


def test_images_that_cannot_be_read_are_left_out_until_none_is_left(
    folder: Path, tagger: Tagger
) -> None:
    images = sorted((folder / "images").iterdir())
    images[0].write_bytes(b"no image")
    images[1].unlink()
    assert len(read(folder, tagger).real.read) == 46
    for image in images[2:]:
        image.unlink()
    manifest = folder / "manifest.parquet"
    message = (
        f"none of the images that {manifest} names can be read: there is nothing real to measure"
        " against"
    )
    with pytest.raises(DatasetError, match=f"^{re.escape(message)}$"):
        read(folder, tagger)
    manifest.unlink()
    message = (
        f"data {manifest} is missing: `prep manifest` writes it, or name the folder that the"
        " recipe's paths start at with --data"
    )
    with pytest.raises(DatasetError, match=f"^{re.escape(message)}$"):
        read(folder, tagger)


def test_the_signature_is_given_or_declared_or_found_or_seen(folder: Path, tagger: Tagger) -> None:
    found = read(folder, tagger)
    fixed = set(CHARACTERS[CHARACTER].signature)

    def signature(given: str = "", collapse: str = "") -> set[str]:
        text = (folder / "prep.toml").read_text(encoding="utf-8").partition("[caption.coll")[0]
        if collapse:
            text += f"[caption.collapse]\ntags = {collapse}\n"
        (folder / "prep.toml").write_text(text, encoding="utf-8")
        return set(find_signature(folder, read_prep(folder), found, split(given)))

    seen = signature()  # nothing says it: what is read in most of the trigger's pictures
    assert len(seen & fixed) >= len(fixed) - 1
    assert not {"1girl", "solo"} & seen
    assert signature(collapse='["Red Hair", "a tag of nobody"]') == {"red_hair"}
    assert signature(collapse='"found"') == seen
    write_json(folder / "tables/found_features.json", {"share": 0.8, "tags": ["hat", "smile"]})
    assert signature(collapse='"found"') == {"hat", "smile"}
    assert signature("Blue Eyes, hat", collapse='"found"') == {"blue_eyes", "hat"}
    message = '--signature: the tagger knows no tag "huge_hat"'
    with pytest.raises(DatasetError, match=f"^{re.escape(message)}$"):
        signature("hat, huge hat")


def test_without_a_trigger_there_is_no_signature(folder: Path, tagger: Tagger) -> None:
    path = folder / "manifest.parquet"
    rows = MANIFEST.read(path).to_pylist()
    for row in rows:
        row["tags"] = [tag for tag in row["tags"] if tag["category"] != "trigger"]
    MANIFEST.write(path, pa.Table.from_pylist(rows, MANIFEST.schema))
    found = read(folder, tagger)
    assert found.trigger == ""
    assert not found.taught.any()
    assert find_signature(folder, read_prep(folder), found, ["hat"]) == ()


def test_the_tagger_is_the_given_one_or_the_datasets_first(folder: Path, tmp_path: Path) -> None:
    assert find_tagger(folder, read_prep(folder), "").model == TAGGER / "model.onnx"
    shutil.copytree(TAGGER, folder / "mine")
    prep = (folder / "prep.toml").read_text(encoding="utf-8")
    named = prep.replace(json.dumps(TAGGER.as_posix()), '"mine", "other/tagger"')
    (folder / "prep.toml").write_text(named, encoding="utf-8")
    assert find_tagger(folder, read_prep(folder), "").model == folder / "mine/model.onnx"
    assert find_tagger(folder, read_prep(folder), str(TAGGER)).model == TAGGER / "model.onnx"
    message = (
        f"{tmp_path} has no prep.toml, which names the dataset's tagger: name one with --tagger"
    )
    with pytest.raises(DatasetError, match=f"^{re.escape(message)}$"):
        find_tagger(tmp_path, read_prep(tmp_path), "")
