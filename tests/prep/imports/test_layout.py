"""What a folder becomes: a set, or several by sd-scripts' names, and what leads its captions."""

from pathlib import Path

import pytest
from PIL import Image

from prep.imports.layout import Part, parts, set_name
from prep.imports.trigger import leading


def picture(path: Path, caption: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (len(str(path)) % 255, 0, 0)).save(path)
    if caption is not None:
        path.with_suffix(".txt").write_text(caption, encoding="utf-8")
    return path


def shape(found: list[Part], source: Path) -> list[tuple[str, str, str, int]]:
    return [
        (part.name, part.folder.relative_to(source).as_posix(), part.role, part.repeats)
        for part in found
    ]


def test_a_folder_of_pictures_is_one_set_called_by_its_name(tmp_path: Path) -> None:
    source = tmp_path / "My Pictures"
    picture(source / "deeper" / "a.png")
    assert shape(parts(source), source) == [("my-pictures", ".", "train", 1)]
    assert shape(parts(source, "main", "reg"), source) == [("main", ".", "reg", 1)]


def test_folders_named_as_sd_scripts_names_them_are_a_set_each(tmp_path: Path) -> None:
    for name in ("4_azusa 1girl", "10_azusa 1girl", "0_left out", "3_empty", "notes"):
        (tmp_path / name).mkdir()
    for name in ("4_azusa 1girl", "10_azusa 1girl", "0_left out", "notes"):
        picture(tmp_path / name / "a.png")
    picture(tmp_path / "reg" / "1_1girl" / "r.png")
    expected = [
        ("azusa", "10_azusa 1girl", "train", 10),
        ("azusa-2", "4_azusa 1girl", "train", 4),
        ("reg-1girl", "reg/1_1girl", "reg", 1),
    ]
    assert shape(parts(tmp_path), tmp_path) == expected
    assert [part.name for part in parts(tmp_path, "mine")] == [
        "mine-azusa",
        "mine-azusa-2",
        "mine-reg-1girl",
    ]


def test_tools_around_sd_scripts_put_them_into_img_and_reg(tmp_path: Path) -> None:
    picture(tmp_path / "img" / "2_hat" / "a.png")
    picture(tmp_path / "reg" / "r.png")
    (tmp_path / "log").mkdir()
    assert shape(parts(tmp_path), tmp_path) == [
        ("hat", "img/2_hat", "train", 2),
        ("reg", "reg", "reg", 1),
    ]
    assert shape(parts(tmp_path / "img" / "2_hat"), tmp_path) == [("hat", "img/2_hat", "train", 2)]


def test_a_folder_reg_in_a_plain_one_is_for_regularization(tmp_path: Path) -> None:
    source = tmp_path / "picks"
    picture(source / "a.png")
    picture(source / "reg" / "r.png")
    assert shape(parts(source), source) == [("picks", ".", "train", 1), ("reg", "reg", "reg", 1)]


@pytest.mark.parametrize(
    ("folder", "name"),
    [("My Pictures", "my-pictures"), ("Café_1", "cafe_1"), ("アズサ", "imported"), ("-x-", "x")],
)
def test_a_set_is_called_by_ascii_letters_and_digits(folder: str, name: str) -> None:
    assert set_name(folder) == name


@pytest.mark.parametrize(
    ("captions", "word"),
    [
        (["My_Char, 1girl, hat", "my char, smile", "My_Char"], "My_Char"),
        (["azusa \\(x\\), hat", "azusa \\(x\\), smile"], "azusa (x)"),
        (["1girl, hat", "1girl, smile"], ""),
        (["masterpiece, my_char", "masterpiece, my_char"], ""),
        (["my_char, hat", "smile, my_char"], ""),
        (["my_char, hat", ""], ""),
        (["my_char, hat"], ""),
        ([], ""),
    ],
)
def test_what_leads_every_caption_is_a_trigger_unless_it_is_no_name(
    tmp_path: Path, captions: list[str], word: str
) -> None:
    for number, caption in enumerate(captions):
        picture(tmp_path / f"{number}.png", caption)
    (tmp_path / "readme.txt").write_text("something else")
    assert leading([tmp_path]) == word
