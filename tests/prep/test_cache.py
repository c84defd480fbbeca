"""The growing cache: it is a dict by key, its bytes follow from its rows, and a kill loses none."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prep import cache
from prep.cache import Cache, fill
from schemas.errors import DataError
from schemas.tables import EXCLUDED, Table

NUMBERED = Table(
    "numbered",
    pa.schema([pa.field("id", pa.int64(), nullable=False), pa.field("text", pa.string())]),
    key=("id",),
)
Rows = dict[Any, str]
Step = tuple[str, Any]

md5s = st.sampled_from([f"{n * 11:02x}{n:030x}" for n in range(24)])
ids = st.integers(1, 40) | st.sampled_from([10**9, 2**40])


def table(kind: Table, rows: Rows) -> pa.Table:
    columns = {kind.schema.names[0]: list(rows), kind.schema.names[1]: list(rows.values())}
    return pa.table(columns, schema=kind.schema)


def rows_of(held: Cache) -> Rows:
    read = held.read().to_pylist()
    key, value = held.table.schema.names
    assert [row[key] for row in read] == sorted(row[key] for row in read)
    return {row[key]: row[value] for row in read}


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*"))}


def steps(keys: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Step]]:
    appended = st.dictionaries(keys, st.sampled_from("abc"), max_size=8)
    one = st.one_of(
        st.tuples(st.just("append"), appended),
        st.tuples(st.just("append"), appended),
        st.tuples(st.just("fold"), st.none()),
        st.tuples(st.just("keep"), st.sets(keys)),
    )
    return st.lists(one, max_size=10)


def do(held: Cache, step: Step) -> None:
    match step:
        case "append", rows:
            held.append(table(held.table, rows))
        case "fold", _:
            held.fold()
        case "keep", wanted:
            held.keep(wanted)


def model_of(rows: Rows, step: Step) -> Rows:
    match step:
        case "append", more:
            return {**rows, **more}
        case "keep", wanted:
            return {key: value for key, value in rows.items() if key in wanted}
    return rows


KINDS = [(EXCLUDED, md5s), (NUMBERED, ids)]
both = st.sampled_from(KINDS).flatmap(lambda kind: st.tuples(st.just(kind[0]), steps(kind[1])))


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "ROWS_PER_PART", 3)
    monkeypatch.setattr(cache, "MOST_PENDING", 4)
    monkeypatch.setattr(cache, "MOST_PARTS", 8)


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@settings(deadline=None, max_examples=40)
@given(both)
def test_whatever_is_done_a_cache_holds_what_a_dict_would(
    tmp_path_factory: pytest.TempPathFactory, work: tuple[Table, list[Step]]
) -> None:
    kind, todo = work
    held, rows = Cache(tmp_path_factory.mktemp("cache"), kind), Rows()
    for step in todo:
        do(held, step)
        rows = model_of(rows, step)
        assert rows_of(held) == rows
        assert held.keys() == set(rows)
        assert len(files(held.folder)) <= 3 + 8


@settings(deadline=None, max_examples=40)
@given(both)
def test_the_bytes_follow_from_the_rows_alone(
    tmp_path_factory: pytest.TempPathFactory, work: tuple[Table, list[Step]]
) -> None:
    kind, todo = work
    held, rows = Cache(tmp_path_factory.mktemp("cache"), kind), Rows()
    for step in todo:
        do(held, step)
        rows = model_of(rows, step)
    at_once = Cache(tmp_path_factory.mktemp("cache"), kind)
    at_once.append(table(kind, dict(sorted(rows.items(), reverse=True))))
    assert held.digest() == at_once.digest()
    assert files(held.folder) == files(at_once.folder)


class Killed(Exception):
    pass


@contextlib.contextmanager
def killed_after(deeds: int) -> Iterator[None]:
    """The process ends before its nth write or removal of a file."""
    left = iter(range(deeds))

    def deed(real: Any) -> Any:
        def one(*arguments: Any, **options: Any) -> Any:
            if next(left, None) is None:
                raise Killed
            return real(*arguments, **options)

        return one

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "write_parquet", deed(cache.write_parquet))
        patch.setattr(Path, "unlink", deed(Path.unlink))
        with contextlib.suppress(Killed):
            yield


@settings(deadline=None, max_examples=60)
@given(both, st.lists(st.integers(0, 12), min_size=10, max_size=10))
def test_a_kill_at_any_write_or_removal_loses_no_row_and_makes_none_up(
    tmp_path_factory: pytest.TempPathFactory,
    work: tuple[Table, list[Step]],
    kills: list[int],
) -> None:
    kind, todo = work
    held, rows = Cache(tmp_path_factory.mktemp("cache"), kind), Rows()
    for step, deeds in zip(todo, kills, strict=False):
        with killed_after(deeds):
            do(held, step)
        found = rows_of(held)
        before, after = rows, model_of(rows, step)
        match step:
            case "append", _:  # in whole or not at all
                assert found in (before, after)
            case "fold", _:
                assert found == before
            case "keep", _:  # what is wanted stays; of the others any may have gone already
                assert after.items() <= found.items() <= before.items()
        rows = found
    at_once = Cache(tmp_path_factory.mktemp("cache"), kind)
    at_once.append(table(kind, rows))
    assert held.digest() == at_once.digest()
    assert rows_of(held) == rows


def test_nothing_kept_leaves_an_empty_cache(folder: Path) -> None:
    held = Cache(folder, EXCLUDED)
    held.append(table(EXCLUDED, {"00" * 16: "a"}))
    assert held.keep([]) == 1
    assert rows_of(held) == {}
    assert held.digest() == Cache(folder / "other", EXCLUDED).digest()


def test_an_append_of_nothing_writes_nothing(folder: Path) -> None:
    held = Cache(folder / "cache", EXCLUDED)
    held.append(EXCLUDED.empty())
    held.fold()
    assert not held.folder.exists()
    assert held.read().equals(EXCLUDED.empty())


def test_rows_that_break_the_schema_are_not_kept(folder: Path) -> None:
    held = Cache(folder, EXCLUDED)
    twice = pa.concat_tables([table(EXCLUDED, {"00" * 16: "a"})] * 2)
    with pytest.raises(DataError) as told:
        held.append(twice)
    assert str(told.value) == f"{folder}: table excluded: 1 rows break the rule “one row per key”"
    assert files(folder) == {}


def test_a_few_new_rows_rewrite_few_parts(folder: Path) -> None:
    held = Cache(folder, NUMBERED)
    held.append(table(NUMBERED, dict.fromkeys(range(1, 20), "a")))
    held.fold()
    assert sorted(files(folder)) == [f"part-{n:03d}-of-008.parquet" for n in range(8)]
    stamps = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    held.append(table(NUMBERED, {20: "a"}))
    held.fold()
    changed = [p.name for p in folder.iterdir() if p.stat().st_mtime_ns != stamps[p.name]]
    assert len(changed) == 1


def test_pending_files_are_folded_before_they_pile_up(folder: Path) -> None:
    held = Cache(folder, NUMBERED)
    for n in range(1, 12):
        held.append(table(NUMBERED, {n: "a"}))
        assert len(list(folder.glob("pending-*"))) < 4
    assert held.keys() == set(range(1, 12))


def test_a_damaged_part_is_named(folder: Path) -> None:
    held = Cache(folder, NUMBERED)
    held.append(table(NUMBERED, {1: "a"}))
    held.fold()
    path = folder / "part-000-of-001.parquet"
    path.write_bytes(b"PAR1")
    with pytest.raises(DataError) as told:
        held.read()
    assert str(told.value) == f"{path} is no parquet file: remove it and run its stage again"


def test_only_missing_keys_are_worked_on_and_a_kill_costs_one_batch(folder: Path) -> None:
    held = Cache(folder, EXCLUDED)
    wanted = [f"{n:02x}" * 16 for n in range(6)]
    asked: list[list[str]] = []

    def work(missing: Any, batches: int = 9) -> Iterator[pa.Table]:
        asked.append(list(missing))
        for start in range(0, len(missing), 2):
            if start // 2 == batches:
                raise Killed
            yield table(EXCLUDED, dict.fromkeys(missing[start : start + 2], "done"))

    with pytest.raises(Killed):
        fill(held, wanted, lambda missing: work(missing, 2), "working")
    assert held.keys() == set(wanted[:4])
    assert fill(held, wanted, work, "working") == 2
    assert fill(held, wanted, work, "working") == 0
    assert asked == [wanted, wanted[4:]]
    assert not list(folder.glob("pending-*"))


def test_some_rows_and_columns_are_read_without_the_others(tmp_path: Path) -> None:
    held = Cache(tmp_path, NUMBERED)
    held.append(table(NUMBERED, {n: f"text {n}" for n in range(12)}))
    held.append(table(NUMBERED, {3: "newer"}))
    taken = held.take(pa.array([9, 3, 77]), "text")
    assert taken.to_pylist() == [{"id": 3, "text": "newer"}, {"id": 9, "text": "text 9"}]
    assert held.take(pa.array([9]), "id").column_names == ["id"]
    assert held.columns("id").column_names == ["id"]
    assert held.columns("id")["id"].to_pylist() == list(range(12))
    assert Cache(tmp_path / "none", NUMBERED).take(pa.array([9]), "text").num_rows == 0
