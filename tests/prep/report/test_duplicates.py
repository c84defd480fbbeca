"""The sheet of duplicates, from a folder of planted copies: what it shows and says."""

import random
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from prep import chain
from prep.cli import app
from prep.cli.gc import gc
from prep.cli.steps import ALL
from prep.dataset import Dataset
from prep.demo.drawing import draw
from prep.demo.portrait import sample
from prep.init import init
from prep.report.duplicates import duplicates
from schemas.tables import GROUPS, write_parquet


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawing as PNG, as JPEG and smaller; another alone; two plain pictures."""
    root = tmp_path_factory.mktemp("copies")
    pictures = root / "pictures"
    pictures.mkdir()
    drawing = draw(sample(random.Random(3)), 192, 256)
    drawing.save(pictures / "whole.png")
    drawing.save(pictures / "whole.jpg", quality=90)
    drawing.resize((144, 192), Image.Resampling.LANCZOS).save(pictures / "small.jpg", quality=90)
    draw(sample(random.Random(8)), 192, 256).save(pictures / "other.png")
    for colour in ("navy", "khaki"):
        Image.new("RGB", (64, 64), colour).save(pictures / f"{colour}.png")
    init(root / "dataset", source=pictures, base="none", trigger="her")
    dataset = Dataset.open(root / "dataset")
    for step in ALL[:2]:
        chain.run_one(dataset, step)
    return root / "dataset"


def test_copies_are_one_group_and_plain_pictures_are_not(folder: Path) -> None:
    groups = Dataset.open(folder).table(GROUPS)
    assert groups.num_rows == 6
    assert len(set(groups["keeper"].to_pylist())) == 4


def test_the_sheet_marks_the_keeper_and_says_why(folder: Path) -> None:
    page = duplicates(Dataset.open(folder)).read_text(encoding="utf-8")
    assert page.count('<figure class="keeper">') == 1
    assert page.count("<figure") == 3
    assert "lossless: png before jpg" in page
    assert "pixels: 0.05 megapixels before 0.03 megapixels" in page
    assert "phash: " in page
    assert "2 images of 6 stood back for another." in page


def test_the_sheet_asks_nobody_for_anything(folder: Path) -> None:
    page = duplicates(Dataset.open(folder)).read_text(encoding="utf-8")
    assert re.findall(r'(?:src|href)="(?!data:)[^"]*"', page) == []
    assert "<script" not in page


def test_the_command_writes_the_sheet_and_prints_where(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet = folder / "reports" / "duplicates.html"
    sheet.unlink(missing_ok=True)
    app(["dedup", str(folder), "--show"], result_action="return_value")
    assert capsys.readouterr().out == f"{sheet}\n"
    assert sheet.is_file()


def test_a_sheet_before_dedup_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "prep.toml").write_text('[sets]\nmain = { query = "hat" }\n')
    page = duplicates(Dataset.open(tmp_path)).read_text(encoding="utf-8")
    assert "Nothing is grouped yet: <code>prep dedup</code> does it." in page


def test_tables_of_an_earlier_version_are_made_anew_and_freed(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "dataset"
    shutil.copytree(folder, copy)
    dataset = Dataset.open(copy)
    made = dataset.hashes.read()
    old = copy / "tables" / "hashes" / "part-000-of-001.parquet"
    write_parquet(old, made.select(["md5", "phash", "problem"]))
    shutil.rmtree(dataset.hashes.folder)
    groups = dataset.table(GROUPS)
    write_parquet(dataset.path_of(GROUPS), groups.drop_columns(["family"]))
    (copy / "tables" / "dedup.seal.json").write_text('{"fitted": "of an earlier version"}')
    chain.run_one(dataset, ALL[1])
    assert dataset.hashes.read().equals(made)
    assert dataset.table(GROUPS).equals(groups)
    gc(dataset)
    assert not old.exists()
    assert dataset.hashes.read().equals(made)
