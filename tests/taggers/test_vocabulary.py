"""selected_tags.csv as published and as broken."""

from pathlib import Path

import pytest

from schemas.errors import ModelError
from taggers.vocabulary import Label, read_labels

PUBLISHED = """tag_id,name,category,count
9999999,general,9,807858
9999998,sensitive,9,3771700
470575.0,1girl,0,4225150
13197,long_hair,0.0,2982517
1,wlop,1,10
2,blue_archive,3,10
3,azusa_(blue_archive),4,10
4,highres,5,10
"""
WANTED = "but a csv with the columns tag_id, name, category and count is wanted"


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "selected_tags.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def message(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        read_labels(path)
    return str(caught.value)


def test_labels_come_in_file_order_by_category_number_float_ids_accepted(tmp_path: Path) -> None:
    assert read_labels(written(tmp_path, PUBLISHED)) == (
        Label("general", "rating"),
        Label("sensitive", "rating"),
        Label("1girl", "general"),
        Label("long_hair", "general"),
        Label("wlop", "artist"),
        Label("blue_archive", "copyright"),
        Label("azusa_(blue_archive)", "character"),
        Label("highres", "meta"),
    )


def test_an_early_vocabulary_loads_with_its_kaomoji_quotes_and_an_empty_row(tmp_path: Path) -> None:
    rows = (
        "9999999,general,9,807858", "9999998,sensitive,9,3771700", "470575,1girl,0,4225150",
        "10960,>_<,0,16254", "614235,|_|,0,1103", ",,,", '612924,don\'t_say_"lazy",0,1048',
        "421663,^_^,0,55215", "1414486,red_mittens,0,625",
    )  # fmt: skip
    path = written(tmp_path, "\r\n".join(["tag_id,name,category,count", *rows]))
    names = ("general", "sensitive", "1girl", ">_<", "|_|", "", 'don\'t_say_"lazy"', "^_^")
    labels = read_labels(path)
    assert tuple(label.name for label in labels) == (*names, "red_mittens")
    kinds = ["rating", "rating", "general", "general", "general", "", *["general"] * 3]
    assert [label.category for label in labels] == kinds


def test_windows_line_ends_a_byte_order_mark_and_quoted_names_are_read(tmp_path: Path) -> None:
    text = '\ufefftag_id,name,category,count\r\n1,"a,b",0,2\r\n2,"say_""hi""",0,2\r\n'
    assert [label.name for label in read_labels(written(tmp_path, text))] == ["a,b", 'say_"hi"']


def test_a_csv_without_counts_or_with_columns_in_another_order_is_read(tmp_path: Path) -> None:
    path = written(tmp_path, "name,category,tag_id\nsolo,0,5\n")
    assert read_labels(path) == (Label("solo", "general"),)


def test_missing_columns_are_named(tmp_path: Path) -> None:
    path = written(tmp_path, "tag_id,tag,count\n1,solo,2\n")
    assert message(path) == (
        f"{path} is no list of tags: its first line lacks name and category, {WANTED}"
    )


def test_a_web_page_is_no_csv(tmp_path: Path) -> None:
    path = written(tmp_path, "<!doctype html>\n<html></html>\n")
    assert message(path) == (
        f"{path} is no list of tags: its first line lacks tag_id and name and category, {WANTED}"
    )


def test_an_empty_file_is_no_csv(tmp_path: Path) -> None:
    path = written(tmp_path, "")
    assert message(path) == (
        f"{path} is no list of tags: its first line lacks tag_id and name and category, {WANTED}"
    )


def test_bytes_that_are_no_text_say_so(tmp_path: Path) -> None:
    path = written(tmp_path, b"\x89PNG\r\n\x1a\n\xff\xfe")
    assert message(path) == f"{path} is no list of tags: it is not UTF-8 text, {WANTED}"


def test_a_header_alone_lists_no_tags(tmp_path: Path) -> None:
    path = written(tmp_path, "tag_id,name,category,count\n")
    assert message(path) == f"{path} lists no tags: download it again from the model's repository"


def test_an_unknown_category_names_line_and_value(tmp_path: Path) -> None:
    path = written(tmp_path, "tag_id,name,category,count\n1,solo,0,2\n2,fox,7,2\n")
    assert message(path) == (
        f"{path}, line 3: category '7' is none of "
        "9 rating, 0 general, 1 artist, 3 copyright, 4 character, 5 meta"
    )


@pytest.mark.parametrize("value", ["", "general", "nan", "inf"])
def test_a_category_that_is_no_number_names_line_and_value(tmp_path: Path, value: str) -> None:
    path = written(tmp_path, f"tag_id,name,category,count\n1,solo,{value},2\n")
    assert message(path) == (
        f"{path}, line 2: category {value!r} is none of "
        "9 rating, 0 general, 1 artist, 3 copyright, 4 character, 5 meta"
    )


def test_a_short_row_names_its_line(tmp_path: Path) -> None:
    path = written(tmp_path, "tag_id,name,category,count\n1\n")
    assert message(path) == f"{path}, line 2: the tag has no name"


def test_an_id_that_is_no_number_names_its_line(tmp_path: Path) -> None:
    path = written(tmp_path, "tag_id,name,category,count\nx,solo,0,1\n")
    assert message(path) == f"{path}, line 2: tag_id 'x' is not a number"
