"""Tables: what breaks a schema is told by column or rule; the same rows are the same bytes."""

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import tables
from schemas.errors import DataError
from schemas.tables import EXCLUDED, IMAGES, MANIFEST, Table, among, at_least

ALL = {name: value for name, value in vars(tables).items() if isinstance(value, Table)}


def image(md5: str = "0" * 32, **facts: object) -> dict[str, object]:
    row = {"md5": md5, "path": f"images/{md5}.png", "bytes": 9, "width": 4, "height": 3}
    return {**row, "problem": None, **facts}


def images(*rows: dict[str, object]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=IMAGES.schema)


def manifest(**facts: object) -> pa.Table:
    row = {
        "md5": "0" * 32, "path": "images/a.png", "width": 4, "height": 3, "set": "main",
        "split": "train", "group": "0" * 32, "is_reg": False, "repeats": 1, "weight": 1.0,
        "rating": None, "score": None, "caption": "", "tags": [],
    }  # fmt: skip
    return pa.Table.from_pylist([{**row, **facts}], schema=MANIFEST.schema)


@pytest.mark.parametrize("table", ALL.values(), ids=ALL)
def test_an_empty_table_is_sound_and_reads_back(table: Table, tmp_path: Path) -> None:
    table.write(tmp_path / "t.parquet", table.empty())
    assert table.read(tmp_path / "t.parquet").equals(table.empty())


@pytest.mark.parametrize("table", ALL.values(), ids=ALL)
def test_a_key_is_made_of_columns_that_are_never_empty(table: Table) -> None:
    assert table.key
    assert not any(table.schema.field(name).nullable for name in table.key)


def test_names_are_each_used_once() -> None:
    assert len({table.name for table in ALL.values()}) == len(ALL)


def test_a_missing_column_is_named() -> None:
    with pytest.raises(DataError) as told:
        IMAGES.check(images(image()).drop_columns(["bytes"]), "here.parquet")
    assert str(told.value) == (
        'here.parquet: table images has no column "bytes":'
        " make it again with this version of kiroku"
    )


def test_a_column_that_came_later_is_empty_in_rows_of_an_earlier_version() -> None:
    earlier = images(image()).drop_columns(["problem"])
    assert IMAGES.check(earlier).equals(images(image()))


def test_a_column_of_another_type_is_named() -> None:
    wrong = images(image()).set_column(3, "width", pa.array([4], pa.int64()))
    with pytest.raises(DataError) as told:
        IMAGES.check(wrong)
    assert str(told.value) == (
        'table images: column "width" is int64, not int32:'
        " make it again with this version of kiroku"
    )


def test_an_empty_cell_is_told() -> None:
    with pytest.raises(DataError) as told:
        IMAGES.check(images(image(path=None)), "a")
    assert str(told.value) == 'a: table images: column "path" has empty cells'


def test_rows_that_share_a_key_are_counted() -> None:
    with pytest.raises(DataError) as told:
        IMAGES.check(images(image(), image(width=5), image("1" * 32)), "a")
    assert str(told.value) == "a: table images: 1 rows break the rule “one row per key”"


def test_a_key_of_several_columns_is_one_key() -> None:
    both = pa.concat_tables([manifest(), manifest(set="plain")])
    assert MANIFEST.check(both).num_rows == 2
    with pytest.raises(DataError) as told:
        MANIFEST.check(pa.concat_tables([manifest(), manifest()]))
    assert str(told.value) == "table manifest: 1 rows break the rule “one row per key”"


@pytest.mark.parametrize(
    ("facts", "rule"),
    [
        ({"split": "test"}, "known split"),
        ({"width": 0}, "width is positive"),
        ({"height": 0}, "height is positive"),
        ({"repeats": 0}, "repeats is positive"),
        ({"weight": -0.5}, "weight is not negative"),
        ({"weight": float("nan")}, "weight is not negative"),
    ],
)
def test_each_rule_of_the_manifest_is_named_when_broken(
    facts: dict[str, object], rule: str
) -> None:
    with pytest.raises(DataError) as told:
        MANIFEST.check(manifest(**facts))
    assert str(told.value) == f"table manifest: 1 rows break the rule “{rule}”"


def test_an_empty_file_is_a_row_like_others() -> None:
    assert IMAGES.check(images(image(bytes=0, problem="no image"))).num_rows == 1
    with pytest.raises(DataError) as told:
        IMAGES.check(images(image(bytes=-1)))
    assert str(told.value) == "table images: 1 rows break the rule “bytes are not negative”"


def test_a_rule_counts_every_row_that_breaks_it() -> None:
    table = Table(
        "t",
        pa.schema([pa.field("n", pa.int32(), nullable=False), pa.field("c", pa.string())]),
        key=("n",),
        rules={"few": at_least("n", 2), "known": among("c", ("x",))},
    )
    with pytest.raises(DataError) as told:
        table.check(pa.table({"n": [0, 1, 2], "c": ["x"] * 3}, schema=table.schema))
    assert str(told.value) == "table t: 2 rows break the rule “few”"
    with pytest.raises(DataError) as told:
        table.check(pa.table({"n": [3, 4], "c": ["x", None]}, schema=table.schema))
    assert str(told.value) == "table t: 1 rows break the rule “known”"


def test_columns_are_brought_to_their_order_and_others_left_out() -> None:
    rows = images(image()).select(IMAGES.schema.names[::-1]).append_column("more", pa.array([1]))
    assert IMAGES.check(rows).equals(images(image()))


def test_what_breaks_a_rule_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        IMAGES.write(tmp_path / "t.parquet", images(image(bytes=-1)))
    assert list(tmp_path.iterdir()) == []


@settings(deadline=None, max_examples=25)
@given(st.permutations([image(f"{n:032x}", width=n + 1) for n in range(6)]))
def test_the_same_rows_are_the_same_bytes_in_whatever_order_they_came(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, object]]
) -> None:
    folder = tmp_path_factory.mktemp("order")
    whole = images(*sorted(rows, key=lambda row: str(row["md5"])))
    pieces = pa.concat_tables([images(*rows[:2]), images(*rows[2:])])
    IMAGES.write(folder / "whole.parquet", whole)
    IMAGES.write(folder / "pieces.parquet", pieces)
    assert (folder / "whole.parquet").read_bytes() == (folder / "pieces.parquet").read_bytes()
    assert IMAGES.read(folder / "pieces.parquet").equals(whole)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "excluded.parquet"
    with pytest.raises(DataError) as told:
        EXCLUDED.read(path)
    assert str(told.value) == f"{path} is missing: run the stage that makes it"


@pytest.mark.parametrize("harm", ["emptied", "text", "cut", "footer", "page"])
def test_a_damaged_file_is_told(tmp_path: Path, harm: str) -> None:
    path = tmp_path / "excluded.parquet"
    EXCLUDED.write(path, pa.table({"md5": ["a"], "reason": ["b"]}, schema=EXCLUDED.schema))
    data = path.read_bytes()
    harmed = {
        "emptied": b"",
        "text": b"hello",
        "cut": data[:-20],
        "footer": data[:-60] + b"\xff" * 40 + data[-20:],
        "page": data[:4] + b"\xff" * 30 + data[34:],
    }
    path.write_bytes(harmed[harm])
    with pytest.raises(DataError) as told:
        EXCLUDED.read(path)
    assert str(told.value) == f"{path} is no parquet file: remove it and run its stage again"
