"""`prep replace`: another picture in an image's place, through the chain, and back again."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import prep.fetch
from prep import chain, seals
from prep.cli import app
from prep.cli.gc import gc
from prep.dataset import REMOVED, Dataset
from prep.demo.booru import running
from prep.demo.site import Site
from prep.demo.world import World
from prep.replace import put_back, replace
from schemas.command import run as run_command
from schemas.errors import DatasetError
from schemas.files import md5_of
from schemas.tables import CAPTIONS, GROUPS, MANIFEST, REPLACED

STEPS = chain.STEPS  # all but latents, which need a base model


@pytest.fixture(scope="module")
def booru() -> Iterator[Site]:
    with running(World(posts=120, seed=6, size=64)) as site:
        yield site


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, booru: Site, write_dataset: Callable[..., Path]
) -> Path:
    """A dataset that has gone through the chain, to be copied."""
    folder = tmp_path_factory.mktemp("finished") / "dataset"
    write_dataset(folder, booru, main={"query": "1girl"})
    chain.run(Dataset.open(folder), STEPS)
    return folder


@pytest.fixture
def root(finished: Path, tmp_path: Path) -> Path:
    """A dataset that has gone through the chain."""
    return Path(shutil.copytree(finished, tmp_path / "dataset"))


def manifest(root: Path) -> dict[str, dict[str, Any]]:
    return {row["md5"]: row for row in MANIFEST.read(root / "manifest.parquet").to_pylist()}


def keeper_of_a_group(root: Path) -> str:
    """The keeper of an image that is a duplicate."""
    groups = Dataset.open(root).table(GROUPS).to_pylist()
    return str(next(row["keeper"] for row in groups if row["md5"] != row["keeper"]))


def cropped(root: Path, md5: str, name: str = "my crop.png", part: float = 0.5) -> Path:
    """A part of the image, near no other."""
    path = root.parent / name
    with Image.open(root / manifest(root)[md5]["path"]) as image:
        width, height = image.size
        image.convert("RGB").crop((0, 0, int(width * part), height // 3)).save(path)
    return path


def refused(root: Path, md5: str, file: Path) -> str:
    with pytest.raises(DatasetError) as told:
        replace(root, md5, file)
    assert Dataset.open(root).replacements() == {}
    return str(told.value)


def test_the_new_picture_takes_the_place_of_the_old_one_and_gives_it_back(
    booru: Site, root: Path
) -> None:
    before = manifest(root)
    groups = Dataset.open(root).table(GROUPS)
    old = keeper_of_a_group(root)
    file = cropped(root, old)
    new = md5_of(file)
    assert replace(root, old[:12], file) == root / f"images/{new[:2]}/{new}.png"
    assert file.is_file()

    booru.calls.clear()
    assert chain.run(Dataset.open(root), STEPS) == ["dedup", "tag", "caption", "reg", "manifest"]
    assert booru.calls == []
    after = manifest(root)
    assert after.keys() == before.keys() - {old} | {new}
    for key in ("set", "score", "rating", "group", "repeats", "weight"):
        assert after[new][key] == before[old][key]
    with Image.open(file) as image:
        assert (after[new]["width"], after[new]["height"]) == image.size
    assert (root / after[new]["path"]).read_bytes() == file.read_bytes()
    captions = {row["md5"]: row["tags"] for row in Dataset.open(root).table(CAPTIONS).to_pylist()}
    said = {tag["tag"] for tag in captions[new] if tag["source"] in ("booru", "both")}
    assert {"1girl"} <= said
    # its duplicates stay its duplicates, though they look like the old one
    standing = Dataset.open(root).table(GROUPS).to_pylist()
    assert [
        {**row, "md5": new if row["md5"] == old else row["md5"],
         "keeper": new if row["keeper"] == old else row["keeper"]}
        for row in groups.to_pylist()
    ] == sorted(standing, key=lambda row: old if row["md5"] == new else row["md5"])  # fmt: skip
    assert chain.run(Dataset.open(root), STEPS) == []

    assert put_back(root, new) == root / before[old]["path"]
    chain.run(Dataset.open(root), STEPS)
    assert manifest(root) == before
    assert Dataset.open(root).table(GROUPS).equals(groups)


def test_a_picture_is_replaced_again_by_any_of_its_names_and_back_by_its_first_bytes(
    root: Path,
) -> None:
    old = keeper_of_a_group(root)
    first, second = cropped(root, old), cropped(root, old, "second.png", 0.3)
    kept = root.parent / "kept.png"
    kept.write_bytes((root / manifest(root)[old]["path"]).read_bytes())
    replace(root, old, first)
    replace(root, str(root / "images" / "ab" / f"{md5_of(first)}.png"), second)
    assert Dataset.open(root).replacements() == {old: md5_of(second)}
    assert set(Dataset.open(root).originals().items()) == {
        (md5_of(first), old), (md5_of(second), old),
    }  # fmt: skip
    replace(root, md5_of(first), kept)
    assert Dataset.open(root).replacements() == {}
    replace(root, old, first)
    assert Dataset.open(root).replacements() == {old: md5_of(first)}


def test_fetch_does_not_download_the_replaced_image_and_its_file_may_go(
    booru: Site, root: Path
) -> None:
    old = keeper_of_a_group(root)
    path = root / manifest(root)[old]["path"]
    new = md5_of(cropped(root, old))
    replace(root, old, cropped(root, old))
    path.unlink()
    booru.calls.clear()
    prep.fetch.fetch(Dataset.open(root))
    prep.fetch.fetch(Dataset.open(root), restore=True)
    assert not any(old in call.path for call in booru.calls)
    chain.run(Dataset.open(root), STEPS)
    assert new in manifest(root)
    # taken back, it is wanted again
    put_back(root, old)
    prep.fetch.fetch(Dataset.open(root), restore=True)
    assert md5_of(path) == old
    chain.run(Dataset.open(root), STEPS)
    assert old in manifest(root)
    assert new not in manifest(root)


def test_the_new_picture_removed_by_hand_is_excluded(root: Path) -> None:
    old = keeper_of_a_group(root)
    replace(root, old, cropped(root, old)).unlink()
    chain.run(Dataset.open(root), STEPS)
    new = md5_of(cropped(root, old)) if old in manifest(root) else ""
    assert new == ""
    reasons = {row["item"]: row["reason"] for row in seals.read_drops(root, "dedup").to_pylist()}
    stands = Dataset.open(root).replacements()[old]
    assert reasons[stands] == REMOVED


def test_gc_frees_what_no_longer_stands_anywhere(root: Path) -> None:
    old = keeper_of_a_group(root)
    first, second = cropped(root, old), cropped(root, old, "second.png", 0.3)
    places = [replace(root, old, first), replace(root, old, second)]
    original = root / Dataset.open(root).image_path(old, manifest(root)[old]["path"][-3:])
    gc(Dataset.open(root), images=True)
    assert [place.is_file() for place in places] == [False, True]
    assert original.is_file()


def test_what_cannot_be_replaced_is_told(root: Path) -> None:
    known = sorted(manifest(root))
    file = cropped(root, known[0])
    assert refused(root, "0xyz", file) == (
        f'{root}: no image has an md5 that begins with "0xyz":'
        " the files below images/ are named by theirs"
    )
    first = known[0][0]
    images = sorted(md5 for md5 in set(Dataset.open(root).images.keys()) if md5.startswith(first))
    assert len(images) > 1
    more = ", ..." if len(images) > 4 else ""
    assert refused(root, first, file) == (
        f'{root}: {len(images)} images have an md5 that begins with "{first}"'
        f" ({', '.join(images[:4])}{more}): write more of it"
    )
    nowhere = root.parent / "nowhere.png"
    assert refused(root, known[0], nowhere) == (
        f"{nowhere} is not there: which picture is to stand for {known[0]}?"
    )
    broken = root.parent / "broken.png"
    broken.write_bytes(file.read_bytes()[:60])
    assert refused(root, known[0], broken).startswith(f"{broken}: ")
    assert refused(root, known[0], broken).endswith(f": it cannot stand for {known[0]}")
    same = root / manifest(root)[known[0]]["path"]
    assert refused(root, known[0], same) == (
        f"{same} has the same bytes as image {known[0]}: there is nothing to do"
    )
    other = root / manifest(root)[known[1]]["path"]
    assert refused(root, known[0], other) == (
        f"{other} is image {known[1]} of this dataset already: to keep that one alone,"
        f" remove the file of {known[0]} from images/"
    )
    with pytest.raises(DatasetError) as told:
        put_back(root, known[0])
    assert str(told.value) == f"{root}: nothing stands in the place of image {known[0]}"
    assert Dataset.open(root).table(REPLACED).num_rows == 0


def test_the_command_replaces_and_undoes(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    old = keeper_of_a_group(root)
    file = cropped(root, old)
    assert run_command(app, ["replace", old, str(file), str(root)]) == 0
    assert capfd.readouterr().out.strip().endswith(f"{md5_of(file)}.png")
    assert run_command(app, ["replace", old, "--undo", str(root)]) == 0
    assert Dataset.open(root).replacements() == {}
    assert run_command(app, ["replace", old]) == 2
    assert capfd.readouterr().err.splitlines()[-1] == (
        "prep: give the picture to put in its place, or --undo: prep replace MD5 FILE"
    )
