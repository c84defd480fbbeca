"""What the site knows of tags in use: fetched once in few requests, kept, offline afterwards."""

import datetime
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from prep import knowledge
from prep.caption import caption, inputs, known, snapshot
from prep.dataset import Dataset
from prep.dedup import dedup
from prep.demo.booru import running
from prep.demo.site import Site
from prep.demo.vocabulary import ALIASES, IMPLICATIONS
from prep.demo.world import World
from prep.fetch import fetch, refresh
from prep.tag import tag
from schemas.errors import SiteError
from schemas.tables import CAPTIONS, SITE_TAGS

TAGGER = Path(knowledge.__file__).parent / "demo" / "assets" / "tagger"
Folder = Callable[..., Path]


@pytest.fixture(scope="module")
def small() -> Iterator[Site]:
    with running(World(posts=30, seed=3, size=64)) as site:
        yield site


def asked(site: Site) -> dict[str, int]:
    """How often the site was asked of what, files aside, since the last time."""
    paths = Counter(call.path.strip("/") for call in site.calls)
    site.calls.clear()
    return {path: count for path, count in paths.items() if path.startswith("tag")}


def shown(dataset: Dataset) -> list[set[str]]:
    return [{tag["tag"] for tag in row["tags"]} for row in dataset.table(CAPTIONS).to_pylist()]


def test_tags_in_use_are_asked_about_once(small: Site, make_folder: Folder) -> None:
    dataset = Dataset.open(make_folder(small, main={"query": "status:any"}))
    asked(small)
    fetch(dataset)
    # both names of an alias, implications; what they lead to is known already
    assert asked(small) == {"tag_aliases.json": 2, "tag_implications.json": 1}
    told, used = known(dataset), knowledge.in_use(dataset)
    above = dict(ALIASES)
    assert told.aliases == {old: new for old, new in above.items() if {old, new} & used.keys()}
    assert {(name, one) for name, all in told.implications.items() for one in all} == {
        pair for pair in IMPLICATIONS if pair[0] in used
    }
    assert set(snapshot(dataset)["asked"].to_pylist()) <= {
        datetime.datetime.now(datetime.UTC).date() - datetime.timedelta(days) for days in (0, 1)
    }
    before = dataset.path_of(SITE_TAGS).read_bytes()
    fetch(dataset)
    assert asked(small) == {}
    assert dataset.path_of(SITE_TAGS).read_bytes() == before


def test_captions_leave_out_what_the_sites_graph_implies(small: Site, make_folder: Folder) -> None:
    dataset = Dataset.open(make_folder(small, main={"query": "status:any"}))
    fetch(dataset)
    dedup(dataset)
    caption(Dataset.open(dataset.root, ["caption.source='booru'"]))
    direct = set(IMPLICATIONS)
    found = shown(dataset)
    assert not [pair for names in found for pair in direct if set(pair) <= names]
    without = [rule for rule in dataset.recipe.caption.rules if rule != "implied"]
    caption(Dataset.open(dataset.root, ["caption.source='booru'", f"caption.rules={without}"]))
    assert [pair for names in shown(dataset) for pair in direct if set(pair) <= names]


def test_a_tagger_is_asked_about_when_it_has_run(small: Site, make_folder: Folder) -> None:
    folder = make_folder(small, main={"query": "status:any", "limit": 4})
    dataset = Dataset.open(folder, [f"tag.taggers=['{TAGGER.as_posix()}']"])
    fetch(dataset)
    posts = set(snapshot(dataset)["name"].to_pylist())
    asked(small)
    tag(dataset)
    assert asked(small)["tag_implications.json"] >= 1
    assert set(snapshot(dataset)["name"].to_pylist()) > posts
    assert knowledge.in_use(dataset).keys() <= set(snapshot(dataset)["name"].to_pylist())
    tag(dataset)
    assert asked(small) == {}


def test_refresh_asks_anew_and_forgets_what_is_in_use_no_more(
    small: Site, make_folder: Folder
) -> None:
    dataset = Dataset.open(make_folder(small, main={"query": "status:any"}))
    fetch(dataset)
    rows = SITE_TAGS.read(dataset.path_of(SITE_TAGS)).to_pylist()
    day = datetime.date(2020, 1, 1)
    old = [{**row, "implies": ["nothing"], "asked": day} for row in rows]
    stale = {**rows[0], "name": "not_in_use", "asked": day}
    path = dataset.path_of(SITE_TAGS)
    SITE_TAGS.write(path, pa.Table.from_pylist([*old, stale], schema=SITE_TAGS.schema))
    before = inputs(dataset)
    refresh(dataset)
    today = snapshot(dataset)["asked"].to_pylist()[0]
    assert [{**row, "asked": today} for row in rows] == snapshot(dataset).to_pylist()
    assert inputs(dataset) != before


def test_the_day_of_asking_changes_no_caption(small: Site, make_folder: Folder) -> None:
    dataset = Dataset.open(make_folder(small, main={"query": "status:any", "limit": 3}))
    fetch(dataset)
    before = inputs(dataset)
    rows = snapshot(dataset).to_pylist()
    other = [{**row, "asked": datetime.date(2020, 1, 1)} for row in rows]
    path = dataset.path_of(SITE_TAGS)
    SITE_TAGS.write(path, pa.Table.from_pylist(other, schema=SITE_TAGS.schema))
    assert inputs(dataset) == before


def test_a_site_that_tells_nothing_of_tags_costs_no_download(
    small: Site,
    make_folder: Folder,
    monkeypatch: pytest.MonkeyPatch,
    told: Callable[[], list[str]],
) -> None:
    dataset = Dataset.open(make_folder(small, main={"query": "status:any", "limit": 3}))

    def refuse(*_: object) -> None:
        raise SiteError("the site has no such page")

    with monkeypatch.context() as patch:
        patch.setattr(knowledge.BooruClient, "implications", refuse)
        assert fetch(dataset).rows_out > 0
    count = len(knowledge.in_use(dataset))
    assert (
        f"aliases and implications of {count} tags could not be had (the site has no such page):"
        " captions go by those that are known, the next `prep fetch` asks again"
    ) in " ".join(told())
    assert snapshot(dataset).num_rows == 0
    fetch(dataset)
    assert snapshot(dataset).num_rows >= count


def test_folders_alone_ask_no_site(make_folder: Folder, small: Site, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    dataset = Dataset.open(make_folder(small, main={"from": (tmp_path / "pictures").as_posix()}))
    asked(small)
    knowledge.learn(dataset, None)  # type: ignore[arg-type]
    assert not dataset.path_of(SITE_TAGS).exists()
    assert known(dataset).aliases == {}
