"""Seals, drops and the log of the stages."""

from pathlib import Path

import pytest

from prep.seals import (
    Drop,
    Seal,
    drops_path,
    read_drops,
    read_seal,
    seconds_of,
    timed,
    write_seal,
)


def sealed(root: Path, *drops: Drop) -> Seal:
    return write_seal(
        root, "fetch", inputs="in", output="out", rows_in=9, rows_out=7, drops=list(drops),
        fitted="fit",
    )  # fmt: skip


def test_a_seal_reads_back(tmp_path: Path) -> None:
    seal = sealed(tmp_path, Drop("main", "post 1", "animated"))
    assert seal == Seal("in", "out", 9, 7, {"animated": 1}, "fit")
    assert read_seal(tmp_path, "fetch") == seal
    assert read_seal(tmp_path, "tag") is None


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", "{}", '{"inputs": "a", "more": 1}'])
def test_a_damaged_seal_is_none(tmp_path: Path, text: str) -> None:
    sealed(tmp_path)
    (tmp_path / "tables" / "fetch.seal.json").write_text(text)
    assert read_seal(tmp_path, "fetch") is None


def test_drops_are_listed_and_counted_by_reason_each_once(tmp_path: Path) -> None:
    seal = sealed(
        tmp_path,
        Drop("main", "post 2", "animated", "gif"),
        Drop("main", "post 1", "deleted on the site"),
        Drop("main", "post 1", "deleted on the site", "seen again"),
        Drop("plain", "post 2", "animated", "gif"),
    )
    assert seal.dropped == {"animated": 2, "deleted on the site": 1}
    rows = read_drops(tmp_path, "fetch").to_pylist()
    assert [(r["set"], r["item"], r["reason"], r["detail"]) for r in rows] == [
        ("main", "post 1", "deleted on the site", "seen again"),
        ("main", "post 2", "animated", "gif"),
        ("plain", "post 2", "animated", "gif"),
    ]
    assert {row["stage"] for row in rows} == {"fetch"}


def test_a_stage_that_never_ran_dropped_nothing(tmp_path: Path) -> None:
    assert read_drops(tmp_path, "tag").num_rows == 0


def test_the_same_work_leaves_the_same_bytes(tmp_path: Path) -> None:
    drops = [Drop("main", f"post {n}", "animated") for n in range(5)]
    sealed(tmp_path / "a", *drops)
    sealed(tmp_path / "b", *drops[::-1])
    for path in (drops_path(tmp_path / "a", "fetch"), tmp_path / "a/tables/fetch.seal.json"):
        twin = tmp_path / "b" / path.relative_to(tmp_path / "a")
        assert path.read_bytes() == twin.read_bytes()


def test_the_log_tells_how_long_each_stage_took_last(tmp_path: Path) -> None:
    assert seconds_of(tmp_path) == {}
    with timed(tmp_path, "fetch"):
        pass
    with timed(tmp_path, "tag"):
        pass
    assert set(seconds_of(tmp_path)) == {"fetch", "tag"}
    log = tmp_path / "logs" / "stages.jsonl"
    with log.open("a") as file:
        file.write('{"stage": "fetch", "seconds": 7.5, "ended": ""}\n')
        file.write('[]\n{"stage": "tag"}\n\n{"stage": "tag", "sec')
    assert seconds_of(tmp_path)["fetch"] == 7.5
    assert 0 <= seconds_of(tmp_path)["tag"] < 7


def test_a_stage_that_fails_is_not_logged(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), timed(tmp_path, "fetch"):
        raise RuntimeError
    assert seconds_of(tmp_path) == {}
