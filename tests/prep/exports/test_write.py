"""`prep export` into real folders: what lies there, what is refused, what is never touched.

Interactions covered: export and the programs that read it; export again after the dataset or the
export changed; export and what a person keeps in the folder; links and the originals.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prep.cli import app
from prep.dataset import Dataset
from prep.exports.kinds import KINDS, Kind, fixed_tags
from prep.exports.write import GIVEN, LIST, export
from schemas.command import run
from schemas.errors import DatasetError
from schemas.files import md5_of
from schemas.tables import MANIFEST

AZUSA, GIRL, HAT = (
    ("my Azusa", "trigger", "head"),
    ("1girl", "general", "flex"),
    ("hat", "meta", "flex"),
)
ROWS: list[dict[str, Any]] = [
    {"tags": [AZUSA, GIRL], "repeats": 4, "score": 7, "rating": "g"},
    {"tags": [AZUSA, HAT, ("a, b", "general", "flex")], "repeats": 4},
    {"tags": [], "set": "plain", "is_reg": True, "shade": 9},
    {"tags": [GIRL], "set": "plain", "is_reg": True, "shade": 0},  # an image of main as well
]
Make = Callable[..., Dataset]


@pytest.fixture
def dataset(dataset_of: Make, tmp_path: Path) -> Dataset:
    return dataset_of(tmp_path / "set", *({**row} for row in ROWS))


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "out é"


@pytest.fixture
def told(told: Callable[[], list[str]]) -> Callable[[], list[str]]:
    """The lines that a person has seen, but for progress."""
    return lambda: [line for line in told() if " files, " not in line]


def files(folder: Path) -> list[str]:
    """What an export writes, but for the captions that `prep edit --from` compares with."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != GIVEN)
    return sorted(path.relative_to(folder).as_posix() for path in paths)


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in files(folder)}


def md5s(dataset: Dataset) -> list[str]:
    """Of the images of ROWS: two of main, then the one of plain alone."""
    rows = MANIFEST.read(dataset.manifest).to_pylist()
    both = {row["md5"] for row in rows if row["set"] == "main"}
    by_tags = {tuple(tag["tag"] for tag in row["tags"]): row["md5"] for row in rows}
    found = [by_tags["my Azusa", "1girl"], by_tags["my Azusa", "hat", "a, b"], by_tags[()]]
    assert {*found[:2]} == both
    return found


def refused(dataset: Dataset, target: Path, to: Kind = "txt") -> str:
    before = contents(target) if target.is_dir() else None
    with pytest.raises(DatasetError) as caught:
        export(dataset, target, to)
    assert (contents(target) if target.is_dir() else None) == before
    return str(caught.value)


def test_kohyas_folders_say_repeats_and_keep_regularization_apart(
    dataset: Dataset, target: Path
) -> None:
    a, b, c = md5s(dataset)
    found = export(dataset, target, "kohya")
    assert [(one.name, one.images, one.folder) for one in found] == [
        ("main", 2, target / "img/4_main"),
        ("plain", 2, target / "reg/1_plain"),
    ]
    assert files(target) == sorted(
        [
            LIST, f"img/4_main/{a}-main.png", f"img/4_main/{a}-main.txt", f"img/4_main/{b}.png",
            f"img/4_main/{b}.txt", "img/4_main/tag_categories.json", f"reg/1_plain/{a}-plain.png",
            f"reg/1_plain/{a}-plain.txt", f"reg/1_plain/{c}.png", f"reg/1_plain/{c}.txt",
            "reg/1_plain/tag_categories.json",
        ]
    )  # fmt: skip
    assert (target / f"img/4_main/{a}-main.txt").read_bytes() == b"my Azusa, 1girl\n"
    # sd-scripts stops at a caption file without a line
    assert (target / f"reg/1_plain/{c}.txt").read_bytes() == b"\n"
    categories = json.loads((target / "img/4_main/tag_categories.json").read_text())
    assert categories == {
        "1girl": "general",
        "a,_b": "general",
        "hat": "meta",
        "my_azusa": "trigger",
    }


def test_txt_is_images_and_texts(dataset: Dataset, target: Path) -> None:
    a, b, c = md5s(dataset)
    export(dataset, target, "txt")
    assert [name for name in files(target) if name.endswith(".txt")] == sorted(
        [f"{a}-main.txt", f"{b}.txt", f"reg/{a}-plain.txt", f"reg/{c}.txt"]
    )


def test_jsonl_has_all_facts_and_what_is_known_of_each_tag(dataset: Dataset, target: Path) -> None:
    a, b, _ = md5s(dataset)
    export(dataset, target, "jsonl")
    lines = (target / "dataset.jsonl").read_text(encoding="utf-8").splitlines()
    rows = {(row["set"], row["md5"]): row for row in map(json.loads, lines)}
    assert len(rows) == 4
    row = rows["main", a]
    assert md5_of(target / row["file_name"]) == a
    assert {key: row[key] for key in ("repeats", "score", "rating", "is_reg", "caption")} == {
        "repeats": 4, "score": 7, "rating": "g", "is_reg": False, "caption": "my Azusa, 1girl",
    }  # fmt: skip
    assert row["tags"][0] == {
        "tag": "my_azusa", "text": "my Azusa", "source": "", "rules": [], "category": "trigger",
        "part": "head",
    }  # fmt: skip
    assert rows["main", b]["score"] is None


def test_hugging_faces_datasets_reads_an_imagefolder(
    dataset: Dataset, target: Path, tmp_path: Path
) -> None:
    import datasets

    export(dataset, target, "imagefolder")
    loaded = datasets.load_dataset(
        "imagefolder", data_dir=str(target), cache_dir=str(tmp_path / "cache")
    )
    assert list(loaded) == ["train"]
    rows = {(row["set"], row["text"]): row for row in loaded["train"]}
    assert len(rows) == 4
    row = rows["main", "my Azusa, 1girl"]
    assert row["image"].size == (9, 7)
    assert row["image"].convert("RGB").getpixel((0, 0)) == (0, 0, 9)
    assert (row["score"], row["rating"], row["repeats"]) == (7, "g", 4)
    assert row["tags"][0] == {"tag": "my Azusa", "category": "trigger", "part": "head"}
    assert rows["plain", ""]["score"] is None


@pytest.mark.parametrize("kind", KINDS)
def test_images_are_links_and_the_dataset_stays_as_it_was(
    dataset: Dataset, target: Path, kind: Kind, told: Callable[[], list[str]]
) -> None:
    before = contents(dataset.root)
    export(dataset, target, kind)
    images = list(target.rglob("*.png"))
    assert len(images) == 4
    assert all(path.stat().st_nlink > 1 for path in images)
    assert (
        "export: 4 images are hard links to the dataset's own: to edit them in place,"
        " export with --copy"
    ) in told()
    assert contents(dataset.root) == before


def test_copies_may_be_written_into(
    dataset: Dataset, target: Path, told: Callable[[], list[str]]
) -> None:
    before = contents(dataset.root)
    export(dataset, target, "txt")
    export(dataset, target, "txt", copy=True)
    told()
    export(dataset, target, "txt", copy=True)
    assert not any("hard links" in line for line in told())
    for path in target.rglob("*.png"):
        path.write_bytes(b"painted over")
    assert contents(dataset.root) == before


def test_where_no_link_can_be_made_images_are_copied(
    dataset: Dataset, target: Path, monkeypatch: pytest.MonkeyPatch, told: Callable[[], list[str]]
) -> None:
    def another_drive(*names: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", another_drive)
    export(dataset, target, "txt")
    assert {md5_of(path) for path in target.rglob("*.png")} == set(md5s(dataset))
    assert not any("hard links" in line for line in told())


def test_what_a_text_cannot_say_is_told(
    dataset: Dataset, target: Path, told: Callable[[], list[str]]
) -> None:
    export(dataset, target, "kohya")
    lines = told()
    assert "export: what separates tags is part of one, and parts it in a text: “a, b”" in lines
    assert "export: the captions have a fixed head: sd-scripts wants --keep_tokens 1" in lines
    assert "export: manifest.parquet is not up to date; `prep run` does all that is wanted" in lines
    rows = [{"is_reg": False, "tags": [{"part": p}]} for p in ("head", "flex")]
    assert (fixed_tags(rows), fixed_tags(rows[:1])) == (None, 1)


def test_a_folder_with_other_things_is_refused_and_overwritten_when_told(
    dataset: Dataset, target: Path
) -> None:
    (target / "deep").mkdir(parents=True)
    (target / "deep" / "mine.txt").write_text("mine")
    told = (
        f"{target} is not empty (it holds deep/mine.txt): name another folder,"
        " or say --overwrite to write into it all the same"
    )
    assert refused(dataset, target) == told
    export(dataset, target, "txt", overwrite=True)
    assert (target / "deep" / "mine.txt").read_text() == "mine"
    assert len(list(target.rglob("*.png"))) == 4
    assert refused(dataset, target) == told


def test_an_export_is_brought_up_to_date_without_asking(dataset: Dataset, target: Path) -> None:
    export(dataset, target, "kohya")
    first = contents(target)
    assert contents(target) == first
    rows = MANIFEST.read(dataset.manifest)
    MANIFEST.write(dataset.manifest, rows.slice(0, 1))
    export(dataset, target, "kohya")
    assert len(files(target)) == 4
    assert not (target / "reg").exists()
    MANIFEST.write(dataset.manifest, rows)
    export(dataset, target, "txt")
    assert not (target / "img").exists()
    export(dataset, target, "kohya")
    assert contents(target) == first


def test_a_caption_or_copy_that_was_edited_in_the_export_is_not_lost(
    dataset: Dataset, target: Path
) -> None:
    _, b, _ = md5s(dataset)
    export(dataset, target, "txt", copy=True)
    (target / f"{b}.txt").write_text("my Azusa, hat, smile\n")
    told = "{} is not empty ({} was changed since it was exported): name another folder,"
    told += " or say --overwrite to write into it all the same"
    assert refused(dataset, target) == told.format(target, f"{b}.txt")
    export(dataset, target, "txt", copy=True, overwrite=True)
    assert (target / f"{b}.txt").read_text() == "my Azusa, hat, a, b\n"
    (target / f"{b}.png").write_bytes(b"cropped")
    assert refused(dataset, target) == told.format(target, f"{b}.png")


def test_an_export_that_was_killed_goes_on(
    dataset: Dataset, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link, made = os.link, []

    def killed(*names: Any) -> None:
        link(*names)
        made.append(names)
        if len(made) == 3:
            raise KeyboardInterrupt

    export(dataset, target, "txt")
    rows = MANIFEST.read(dataset.manifest)
    monkeypatch.setattr(os, "link", killed)
    with pytest.raises(KeyboardInterrupt):
        export(dataset, target, "kohya")
    monkeypatch.undo()
    MANIFEST.write(dataset.manifest, rows.slice(0, 3))
    export(dataset, target, "kohya")
    assert not any(name.endswith(".aside") for name in files(target))
    assert {name.split("/")[0] for name in files(target)} == {LIST, "img", "reg"}


def test_an_original_that_something_has_written_into_is_told(
    dataset: Dataset, target: Path
) -> None:
    path = dataset.root / MANIFEST.read(dataset.manifest)["path"][0].as_py()
    path.write_bytes(path.read_bytes() + b"more")
    assert refused(dataset, target) == (
        f"{path} is not the image that it was, something has written into it: remove it,"
        " then `prep fetch --restore` takes it again from where it came"
    )
    path.unlink()
    assert refused(dataset, target) == (
        f"{path} is not there: `prep run` makes the manifest without it"
    )


@pytest.mark.parametrize("inner", ["", "images", "tables/x", "runs/a"])
def test_what_the_dataset_is_made_of_is_no_target(dataset: Dataset, inner: str) -> None:
    target = dataset.root / inner
    assert refused(dataset, target) == (
        f"{target} is what {dataset.root} itself is made of: name a folder of its own to export"
    )


def test_a_list_that_names_files_elsewhere_removes_none(dataset: Dataset, target: Path) -> None:
    target.mkdir()
    outside = target.parent / "outside.txt"
    outside.write_text("mine")
    listed = {"files": {"../outside.txt": [1], outside.as_posix(): [1]}}
    (target / LIST).write_text(json.dumps(listed))
    export(dataset, target, "txt")
    assert outside.read_text() == "mine"


def test_the_command_says_what_lies_where(
    dataset: Dataset, target: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["export", str(target), str(dataset.root), "--to", "kohya"]
    assert run(app, words) == 0
    assert capfd.readouterr().out == (
        f"{target / 'img/4_main'}: 2 images of main\n{target / 'reg/1_plain'}: 2 images of plain\n"
    )
    (target / "x").write_text("")
    assert run(app, words) == 2
    assert capfd.readouterr().err.splitlines()[-1] == (
        f"prep: {target} is not empty (it holds x): name another folder,"
        " or say --overwrite to write into it all the same"
    )


def test_without_a_manifest_there_is_nothing_to_export(dataset: Dataset, target: Path) -> None:
    dataset.manifest.unlink()
    assert refused(dataset, target) == (
        f"{dataset.root} has no manifest.parquet: `prep run` makes it, and all that it needs"
    )
