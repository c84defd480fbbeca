"""A folder of images as a set: by content, with the tags beside, originals untouched."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image

from prep.dataset import Dataset
from prep.folder import Found, folder_state, import_folder
from prep.init import init
from schemas.errors import DatasetError
from schemas.files import md5_of
from schemas.recipes.prep import SetSection
from schemas.tables import EXCLUDED, IMAGES, IMPORTED

PICKS = SetSection.model_validate({"from": "../picks"})


@pytest.fixture
def picks(tmp_path: Path) -> Path:
    folder = tmp_path / "picks"
    (folder / "deep er").mkdir(parents=True)
    for name, colour in (("b.png", "red"), ("A.JPG", "blue"), ("deep er/c.webp", "green")):
        Image.new("RGB", (7, 4), colour).save(folder / name)
    return folder


@pytest.fixture
def dataset(picks: Path) -> Dataset:
    root = picks.parent / "set"
    init(root, source=picks)
    return Dataset.open(root)


def imported(dataset: Dataset, **options: Any) -> Found:
    return import_folder(dataset, "main", PICKS.model_copy(update=options))


def dropped(found: Found) -> list[tuple[str, str, str]]:
    return [(drop.item, drop.reason, drop.detail) for drop in found.drops]


def test_images_are_copied_by_content_and_stay_where_they_were(
    dataset: Dataset, picks: Path
) -> None:
    before = {path: path.read_bytes() for path in picks.rglob("*") if path.is_file()}
    found = imported(dataset)
    assert found.count == 3
    assert [row["file"] for row in found.rows] == ["A.JPG", "b.png", "deep er/c.webp"]
    rows = {row["md5"]: row for row in dataset.images.read().to_pylist()}
    for path, data in before.items():
        md5 = md5_of(path)
        extension = path.suffix.lower().lstrip(".")
        assert rows[md5]["path"] == f"images/{md5[:2]}/{md5}.{extension}"
        assert (rows[md5]["width"], rows[md5]["height"]) == (7, 4)
        assert (dataset.root / rows[md5]["path"]).read_bytes() == data
    assert {path: path.read_bytes() for path in picks.rglob("*") if path.is_file()} == before
    IMPORTED.check(pa.Table.from_pylist(found.rows, schema=IMPORTED.schema))


def test_tags_are_read_from_the_text_beside(dataset: Dataset, picks: Path) -> None:
    (picks / "b.txt").write_text("\ufeffLooking at Viewer, azusa \\(x\\), hat,hat\n", "utf-8")
    (picks / "deep er" / "c.webp.txt").write_bytes(b"smile, caf\xe9")
    tags = {row["file"]: row["tags"] for row in imported(dataset).rows}
    assert tags == {
        "A.JPG": [],
        "b.png": ["looking_at_viewer", "azusa_(x)", "hat"],
        "deep er/c.webp": ["smile", "café"],
    }


def test_the_same_bytes_count_once(dataset: Dataset, picks: Path) -> None:
    (picks / "z.webp").write_bytes((picks / "deep er" / "c.webp").read_bytes())
    found = imported(dataset)
    assert len(found.rows) == 3
    assert dropped(found) == [("z.webp", "same bytes", "deep er/c.webp")]


def test_what_is_over_the_limit_is_a_drop(dataset: Dataset) -> None:
    found = imported(dataset, limit=2)
    assert [row["file"] for row in found.rows] == ["A.JPG", "b.png"]
    assert dropped(found) == [("deep er/c.webp", "over the limit", "")]


def test_a_second_import_copies_nothing_anew(dataset: Dataset) -> None:
    imported(dataset)
    files = sorted((dataset.root / "images").rglob("*.*"))
    stamps = [path.stat().st_mtime_ns for path in files]
    again = imported(dataset)
    assert len(again.rows) == 3
    assert [path.stat().st_mtime_ns for path in files] == stamps
    assert sorted((dataset.root / "images").rglob("*.*")) == files


@pytest.mark.parametrize("content", [b"", b"no image"])
def test_a_bad_image_stops_nothing(dataset: Dataset, picks: Path, content: bytes) -> None:
    (picks / "bad.png").write_bytes(content)
    assert len(imported(dataset).rows) == 4
    problems = {row["bytes"]: row["problem"] for row in dataset.images.read().to_pylist()}
    assert problems[len(content)] == "no image that can be read (UnidentifiedImageError)"
    assert sum(problem is not None for problem in problems.values()) == 1
    IMAGES.check(dataset.images.read())


def test_what_was_removed_by_hand_stays_away(dataset: Dataset, picks: Path) -> None:
    imported(dataset)
    md5 = md5_of(picks / "b.png")
    (dataset.root / dataset.image_path(md5, "png")).unlink()
    assert dataset.note_removed() == 1
    assert dataset.table(EXCLUDED).column("md5").to_pylist() == [md5]
    imported(dataset)
    assert not (dataset.root / dataset.image_path(md5, "png")).exists()
    assert dataset.restore() == 1
    imported(dataset)
    assert (dataset.root / dataset.image_path(md5, "png")).is_file()


def test_all_images_removed_by_hand_can_be_restored(dataset: Dataset) -> None:
    imported(dataset)
    for path in (dataset.root / "images").rglob("*.*"):
        path.unlink()
    assert dataset.note_removed() == 3
    assert dataset.restore() == 3
    imported(dataset)
    assert len(list((dataset.root / "images").rglob("*.*"))) == 3


def test_the_state_of_a_folder_changes_with_its_files(dataset: Dataset, picks: Path) -> None:
    state = folder_state(dataset.root, PICKS)
    assert folder_state(dataset.root, PICKS) == state
    (picks / "b.txt").write_text("hat")
    assert folder_state(dataset.root, PICKS) != state


def test_a_folder_that_is_none_is_told(dataset: Dataset) -> None:
    with pytest.raises(DatasetError) as told:
        imported(dataset, folder="nowhere")
    assert str(told.value) == (
        f"{dataset.root / 'nowhere'} is no folder: `from` names a folder of images"
    )


def test_a_folder_without_images_is_told(dataset: Dataset) -> None:
    (dataset.root / "empty").mkdir()
    (dataset.root / "empty" / "notes.txt").write_text("hat")
    with pytest.raises(DatasetError) as told:
        imported(dataset, folder="empty")
    assert str(told.value) == (
        f'set "main": no image in {dataset.root / "empty"} (looked for jpg, png, webp, avif)'
    )
