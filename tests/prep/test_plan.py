"""`prep fetch --plan` against the embedded booru: it comes true, and nothing is fetched."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from prep.cli import app
from prep.demo.site import Site
from prep.missing_files import RESERVE
from schemas.command import run
from schemas.tables import MEMBERS

Make = Callable[..., Path]


def planned(folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    capsys.readouterr()
    assert run(app, ["fetch", str(folder), "--plan", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert isinstance(answer, dict)
    return answer


def test_a_plan_says_what_a_fetch_then_does(
    make_folder: Make, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_folder(
        site,
        main={"query": "1girl solo smile -hat score:>=5"},
        few={"query": "smile order:score", "limit": 10, "role": "reg"},
    )
    site.calls.clear()
    plan = planned(folder, capsys)
    assert (plan["level"], plan["tag_limit"]) == ("anonymous", 2)
    main, few = plan["sets"]  # type: ignore[misc]
    (listing,) = main["listings"]
    assert listing["tested_here"]
    assert sorted(f"{listing['asked']} {listing['tested_here']}".split()) == sorted(
        ["1girl", "solo", "smile", "-hat", "score:>=5"]
    )
    assert few["listings"][0]["asked"] == "smile order:score"
    assert (few["sorted_by"], few["limit"], few["files"]) == ("the site", 10, 10)
    assert site.count("/original/") == 0
    assert not (folder / "images").exists()
    # small sets are seen whole in the sample page, so the plan is exact but for unlisted posts
    site.calls.clear()
    assert run(app, ["fetch", str(folder)]) == 0
    assert plan["requests"] == site.count("/posts.json")
    members = MEMBERS.read(folder / "tables" / "members.parquet")["set"].to_pylist()
    assert abs(main["files"] - members.count("main")) <= 2
    assert members.count("few") == 10
    again = planned(folder, capsys)
    assert again["sets"][1]["held"] == 10  # type: ignore[index]
    assert again["sets"][1]["files"] == 0  # type: ignore[index]


def test_the_plan_as_people_see_it(
    make_folder: Make, site: Site, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.setenv("COLUMNS", "200")
    folder = make_folder(
        site,
        main={"query": "hat *_hair order:favcount"},
        low={"query": "smile solo order:score", "limit": 5, "role": "reg"},
        pics={"from": tmp_path.as_posix(), "role": "reg"},
    )
    assert run(app, ["fetch", str(folder), "--plan"]) == 0
    shown = capsys.readouterr().out
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert lines[0] == "account: anonymous, 2 tags at a time"
    assert "main: hat *_hair order:favcount" in lines
    assert "tested here *_hair" in lines
    assert "note order:favcount changes nothing without a limit" in lines
    assert "at most 5 files" in lines
    assert "sorted by us" in lines
    assert (
        "note order:score does not go to the site with the rest: all is listed, then sorted here"
        in lines
    )
    assert f"pics: the folder {tmp_path.as_posix()}" in lines
    assert any(
        line.startswith("time ") and line.endswith("requests and 50 files/s") for line in lines
    )
    assert any(line.startswith("free on the disk ") for line in lines)


def test_a_listing_of_the_whole_site_is_told(
    make_folder: Make, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = planned(make_folder(site, main={"query": "*_hair"}), capsys)
    (main,) = plan["sets"]  # type: ignore[misc]
    assert main["listings"][0]["asked"] == ""
    assert main["listings"][0]["posts"] == len(site.world.ids)
    assert main["notes"] == [
        "every post of the site is listed: name a tag that all wanted posts have"
    ]


@pytest.mark.parametrize(
    ("query", "note"),
    [
        ("-smile *_hair", 'every post of the site but for "-smile" is listed:'),
        ("-smile -hat", 'every post of the site but for "-smile -hat" is listed:'),
        ("-rating:e", 'every post of the site but for "-rating:e" is listed:'),
        ("*_hair order:score limit:3", "every post of the site is listed:"),
        ("*_hair limit:3", None),  # the listing ends with the third
        ("hat -smile", None),
        ("score:>5 *_hair", None),
    ],
)
def test_a_query_that_names_nothing_that_posts_must_have_is_told(
    make_folder: Make, site: Site, capsys: pytest.CaptureFixture[str], query: str, note: str | None
) -> None:
    plan = planned(make_folder(site, main={"query": query}), capsys)
    (main,) = plan["sets"]  # type: ignore[misc]
    told = [one for one in main["notes"] if one.startswith("every post")]
    assert told == ([f"{note} name a tag that all wanted posts have"] if note else [])


def test_a_misspelt_tag_is_told(
    make_folder: Make, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = planned(make_folder(site, main={"query": "sollo"}), capsys)
    (main,) = plan["sets"]  # type: ignore[misc]
    assert main["notes"] == ['no post answers to "sollo": check the spelling of its tags there']


def test_a_plan_that_does_not_fit_is_told_by_the_room_that_a_fetch_leaves(
    make_folder: Make, site: Site, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("COLUMNS", "200")
    folder = make_folder(site, main={"query": "hat", "limit": 3})
    full = type(shutil.disk_usage(folder))(RESERVE, 0, RESERVE)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    assert run(app, ["fetch", str(folder), "--plan"]) == 0
    assert (
        "it will not fit, as 1.0 GB of the disk are kept free: free some space, or lower a limit"
        in capsys.readouterr().out.splitlines()
    )


def test_json_alone_is_the_plan_too(
    make_folder: Make, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_folder(site, main={"query": "hat"})
    assert run(app, ["fetch", str(folder), "--json"]) == 0
    assert "sets" in json.loads(capsys.readouterr().out)
    assert not (folder / "images").exists()
