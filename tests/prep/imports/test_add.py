"""`prep import` on a real dataset: recipe, tables, and the chain from there to the manifest."""

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from prep import chain, fetch, seals
from prep.cli import app
from prep.dataset import Dataset
from prep.demo.booru import running
from prep.demo.recipes import CHARACTER, TAGGER
from prep.demo.site import Site
from prep.demo.world import World
from prep.imports.add import Imported, add
from prep.init import init
from schemas import progress
from schemas.command import run as run_command
from schemas.errors import DatasetError, KirokuError, UsageError
from schemas.files import md5_of
from schemas.recipes.load import load_prep
from schemas.tables import IMPORTED, MANIFEST, MEMBERS

STEPS = chain.STEPS  # all but latents, which need a base model


@pytest.fixture(scope="module")
def booru() -> Iterator[Site]:
    with running(World(posts=160, seed=4, size=64)) as site:
        yield site


def picture(path: Path, colour: str | tuple[int, int, int], caption: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30), colour).save(path)
    if caption:
        path.with_suffix(".txt").write_text(caption, encoding="utf-8")
    return path


def a_dataset(folder: Path, **source: Any) -> Path:
    """A dataset with the demo's tagger, and a word of its owner's in the recipe."""
    init(folder, **source)
    file = folder / "prep.toml"
    text = file.read_text(encoding="utf-8")
    text = text.replace("requests_per_second = 1.0", "requests_per_second = 10")
    text = text.replace('"SmilingWolf/wd-swinv2-tagger-v3"', f"'{TAGGER.as_posix()}'")
    file.write_text(text + "\n# my own words\n", encoding="utf-8")
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A dataset of a query that nothing was fetched for."""
    return a_dataset(tmp_path / "set", query=CHARACTER)


def refused(
    root: Path, source: Path, kind: type[KirokuError] = DatasetError, **options: Any
) -> str:
    before = (root / "prep.toml").read_bytes()
    with pytest.raises(KirokuError) as told:
        add(root, source, **options)
    assert type(told.value) is kind
    assert (root / "prep.toml").read_bytes() == before
    return str(told.value)


def test_a_set_is_added_and_no_word_of_the_recipe_is_lost(root: Path, tmp_path: Path) -> None:
    before = (root / "prep.toml").read_text(encoding="utf-8")
    picture(tmp_path / "My Picks" / "a.png", "red", "hat, smile")
    picture(tmp_path / "My Picks" / "b.png", "blue")
    assert add(root, tmp_path / "My Picks") == [Imported("my-picks", 2, 2)]
    after = (root / "prep.toml").read_text(encoding="utf-8")
    assert set(before.splitlines()) <= set(after.splitlines())
    section = load_prep(root / "prep.toml").sets["my-picks"]
    assert (section.folder, section.role, section.repeats) == ("../My Picks", "train", 1)
    dataset = Dataset.open(root)
    assert {row["md5"] for row in dataset.table(MEMBERS).to_pylist()} == {
        md5_of(path) for path in (tmp_path / "My Picks").glob("*.png")
    }
    # the query has not been asked yet: the stage is not up to date
    seal = seals.read_seal(root, "fetch")
    assert seal is not None
    assert seal.inputs != fetch.inputs(dataset)


def test_importing_again_takes_what_is_new(root: Path, tmp_path: Path) -> None:
    source = tmp_path / "picks"
    picture(source / "a.png", "red", "hat")
    add(root, source)
    recipe = (root / "prep.toml").read_bytes()
    picture(source / "b.png", "blue", "hat")
    (source / "a.txt").write_text("smile")
    assert add(root, source) == [Imported("picks", 2, 1)]
    assert add(root, source, name="picks") == [Imported("picks", 2, 0)]
    assert (root / "prep.toml").read_bytes() == recipe
    tags = {row["file"]: row["tags"] for row in Dataset.open(root).table(IMPORTED).to_pylist()}
    assert tags == {"a.png": ["smile"], "b.png": ["hat"]}


def test_a_folder_inside_the_dataset_is_named_from_there(root: Path) -> None:
    picture(root / "mine" / "a.png", "red")
    assert add(root, root / "mine", name="own", role="reg", repeats=3) == [Imported("own", 1, 1)]
    values = tomllib.loads((root / "prep.toml").read_text(encoding="utf-8"))["sets"]["own"]
    assert values == {"from": "mine", "role": "reg", "repeats": 3}


def test_a_further_folder_of_kohyas_is_a_further_set(root: Path, tmp_path: Path) -> None:
    picture(tmp_path / "k" / "2_azusa 1girl" / "a.png", "red")
    assert add(root, tmp_path / "k") == [Imported("azusa", 1, 1)]
    picture(tmp_path / "k" / "3_hat" / "b.png", "blue")
    assert add(root, tmp_path / "k") == [Imported("azusa", 1, 0), Imported("hat", 1, 1)]
    sets = load_prep(root / "prep.toml").sets
    assert {name: part.repeats for name, part in sets.items()} == {
        "main": 1, "azusa": 2, "hat": 3,
    }  # fmt: skip


def test_what_is_asked_for_in_vain_is_told_and_changes_nothing(root: Path, tmp_path: Path) -> None:
    source = tmp_path / "picks"
    picture(source / "a.png", "red")
    file = root / "prep.toml"
    assert refused(root, source, name="main") == (
        f'{file} has a set "main" already (query = "{CHARACTER}"):'
        " give these pictures another name with --set"
    )
    assert refused(root, source, UsageError, name="My Set") == (
        '--set My Set: names are lower-case letters, digits, "-" and "_"'
    )
    assert refused(root, source, UsageError, repeats=-1) == (
        "--repeats -1: an image is seen once or more often in an epoch"
    )
    nowhere = tmp_path / "nowhere"
    assert refused(root, nowhere) == (
        f"{nowhere} is no folder: `prep import` takes a folder of images"
    )
    (tmp_path / "empty").mkdir()
    assert refused(root, tmp_path / "empty") == (
        f"no image in {tmp_path / 'empty'} (looked for jpg, png, webp, avif)"
    )
    picture(root / "images" / "ab" / "x.png", "red")
    assert refused(root, root / "images") == (
        f"{root / 'images'} is what {root} itself is made of: import a folder of your own pictures"
    )
    add(root, source)
    assert refused(root, source, repeats=4) == (
        f'set "picks" has repeats = 1 in {file}: change it there'
    )
    picture(tmp_path / "other" / "b.png", "blue")
    assert refused(root, tmp_path / "other", name="picks") == (
        f'{file} has a set "picks" already (from = "../picks"):'
        " give these pictures another name with --set"
    )


def test_init_finds_sets_and_the_trigger_that_leads_the_captions(tmp_path: Path) -> None:
    source = tmp_path / "kohya"
    picture(source / "4_azusa 1girl" / "a.png", "red", "My_Azusa, hat")
    picture(source / "4_azusa 1girl" / "b.png", "blue", "my azusa, smile")
    picture(source / "reg" / "1_1girl" / "r.png", "green", "1girl")
    init(tmp_path / "set", source=source)
    recipe = load_prep(tmp_path / "set" / "prep.toml")
    assert {name: (p.folder, p.role, p.repeats) for name, p in recipe.sets.items()} == {
        "main": ("../kohya/4_azusa 1girl", "train", 4),
        "reg-1girl": ("../kohya/reg/1_1girl", "reg", 1),
    }
    assert recipe.caption.trigger.lower().replace("_", " ") == "my azusa"


def test_a_trigger_that_the_recipe_does_not_know_is_suggested(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, colour in enumerate(("red", "blue")):
        picture(tmp_path / "picks" / f"{number}.png", colour, "My_Friend, hat")
    monkeypatch.setattr(progress, "_console", None)
    status = run_command(app, ["import", str(root), str(tmp_path / "picks"), "--set", "mine"])
    out, err = capsys.readouterr()
    assert (status, out) == (0, "mine: 2 images, 2 of them new\n")
    assert (
        'import mine: "My_Friend" leads every caption: if the adapter is called by it,'
        ' set caption.trigger = "My_Friend" in prep.toml'
    ) in err.splitlines()


def gallery_dl(site: Site, folder: Path, out: Path, count: int) -> None:
    """Download posts and their JSON with gallery-dl as installed."""
    config = folder / "gallery-dl.json"
    known = {"Danbooru": {"kiroku": {"root": site.url}}, "kiroku": {"sleep-request": 0}}
    config.write_text(json.dumps({"extractor": known, "cache": {"file": None}}))
    address = f"{site.url}/posts?tags={CHARACTER}+status:active"
    command = [sys.executable, "-m", "gallery_dl", "--config-ignore", "--config", str(config)]
    options = ["--filter", "extension == 'png'", "--range", f"1-{count}", "--write-metadata"]
    ran = subprocess.run(
        [*command, *options, "-D", str(out), address], capture_output=True, text=True, timeout=300
    )
    assert ran.returncode == 0, ran.stderr


def test_a_kohya_folder_with_gallery_dls_json_goes_through_the_chain(
    booru: Site, tmp_path: Path
) -> None:
    source = tmp_path / "4_akari 1girl"
    gallery_dl(booru, tmp_path, source, 5)
    drawn = sorted(source.glob("*.png"))
    assert len(drawn) == 5
    posts = {md5_of(path): json.loads(Path(f"{path}.json").read_text()) for path in drawn}
    # one's own picture, with nothing but the folder's name to speak of it
    own = md5_of(picture(source / "ünï cöde.png", "red"))
    picture(tmp_path / "other" / "o.png", "blue", "hat")
    root = a_dataset(tmp_path / "set", source=tmp_path / "other", site=booru.url)
    add(root, source)
    chain.run(Dataset.open(root), STEPS)
    rows = {
        row["md5"]: row
        for row in MANIFEST.read(root / "manifest.parquet").to_pylist()
        if row["set"] == "akari"
    }
    assert own in rows
    assert set(rows) <= {own, *posts}
    assert len(rows) >= 4  # near-duplicates have one keeper
    for md5, row in rows.items():
        assert row["repeats"] == 4
        tags = {tag["tag"]: tag["category"] for tag in row["tags"]}
        if md5 == own:
            assert (row["score"], row["rating"]) == (None, None)
            assert {"akari", "1girl"} <= tags.keys()
            continue
        post = posts[md5]
        assert (row["score"], row["rating"]) == (post["score"], post["rating"])
        assert row["group"] == f"post {post['parent_id'] or post['id']}"
        assert ("masterpiece" in tags) == (post["score"] >= 60)
        assert all(tags[copyright.replace("_", " ")] == "copyright"
                   for copyright in post["tags_copyright"])  # fmt: skip
        assert not {tag.replace("_", " ") for tag in post["tags_artist"]} & tags.keys()
    assert chain.run(Dataset.open(root), STEPS) == []


def test_importing_into_a_fetched_dataset_asks_the_site_for_no_post(
    booru: Site, tmp_path: Path
) -> None:
    root = a_dataset(tmp_path / "set", query=CHARACTER, site=booru.url)
    chain.run(Dataset.open(root), STEPS)
    before = MANIFEST.read(root / "manifest.parquet")
    booru.calls.clear()
    # a copy of an image of the site's, with nothing beside it, belongs to its post
    first = before.to_pylist()[0]
    copy = tmp_path / "picks" / f"copy{Path(first['path']).suffix}"
    picture(tmp_path / "picks" / "own.png", "red", "hat, smile")
    copy.write_bytes((root / first["path"]).read_bytes())
    assert add(root, tmp_path / "picks") == [Imported("picks", 2, 2)]
    assert booru.calls == []
    assert chain.run(Dataset.open(root), STEPS)[0] == "dedup"
    # what the tagger sees in them may be tags that the site was never asked about
    assert {call.path for call in booru.calls} <= {"/tag_aliases.json", "/tag_implications.json"}
    rows = MANIFEST.read(root / "manifest.parquet").to_pylist()
    assert len(rows) == before.num_rows + 2
    found = {row["md5"]: row for row in rows if row["set"] == "picks"}
    assert (found[first["md5"]]["score"], found[first["md5"]]["group"]) == (
        first["score"], first["group"],
    )  # fmt: skip
    seal = seals.read_seal(root, "fetch")
    assert seal is not None
    assert seal.rows_in == seal.rows_out + sum(seal.dropped.values())
    # and what the site said is not lost by it
    fetched = [row for row in rows if row["set"] == "main"]
    assert fetched == before.to_pylist()
