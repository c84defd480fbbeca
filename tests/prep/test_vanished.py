"""Posts that a listing no longer shows: those that are gone are marked, those that changed not."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from prep import seals
from prep.booru import client as client_module
from prep.dataset import Dataset
from prep.demo.booru import running
from prep.demo.posts import Post
from prep.demo.site import Site
from prep.demo.world import World
from prep.fetch import fetch, refresh
from prep.vanished import GONE
from schemas.tables import MEMBERS, SHOWN, VANISHED

Make = Callable[..., Path]
QUERY = "1girl score:>=3"  # all of it is the site's to test


@pytest.fixture(scope="module")
def world() -> World:
    return World(posts=40, seed=8, size=16)


@pytest.fixture
def site(world: World) -> Iterator[Site]:
    world.absent.clear()
    world.rescored.clear()
    with running(world) as site:
        yield site


@pytest.fixture
def dataset(make_folder: Make, site: Site) -> Dataset:
    """Fetched once."""
    dataset = Dataset.open(make_folder(site, main={"query": QUERY}))
    fetch(dataset)
    site.calls.clear()
    return dataset


def members(dataset: Dataset) -> list[int]:
    return sorted(dataset.table(MEMBERS)["post_id"].to_pylist())


def vanished(dataset: Dataset) -> list[int]:
    return list(dataset.table(VANISHED)["post_id"].to_pylist())


def dropped(dataset: Dataset) -> list[tuple[str, str, str]]:
    return [(d.set, d.item, d.detail) for d in seals.drops_of(dataset.root, "fetch")
            if d.reason == GONE]  # fmt: skip


def asked_by_id(site: Site) -> list[str]:
    """The searches by id, each once: `id:1,2`."""
    searches = (call.query.get("tags", "") for call in site.calls)
    return list(dict.fromkeys(text for text in searches if text.startswith("id:")))


def post(site: Site, id: int) -> Post:
    found = site.world.post(id)
    assert found is not None
    return found


def timeless(dataset: Dataset) -> dict[str, bytes]:
    return {
        path.relative_to(dataset.root).as_posix(): path.read_bytes()
        for name in ("tables", "reports")
        for path in sorted((dataset.root / name).rglob("*"))
        if path.is_file()
    }


def test_a_post_that_is_gone_is_marked_and_one_that_changed_is_not(
    dataset: Dataset, site: Site
) -> None:
    gone, changed, kept, *_ = members(dataset)
    md5 = site.world.file(post(site, gone)).md5
    site.world.absent.add(gone)
    site.world.rescored |= {changed: 1, kept: 4321}
    seal = fetch(dataset)
    assert asked_by_id(site) == [f"id:{gone},{changed}"]
    assert site.count("/original/") == 0
    assert dataset.table(VANISHED).to_pylist() == [{"post_id": gone, "md5": md5}]
    assert dropped(dataset) == [("main", f"post {gone}", "")]
    assert seal.rows_in == seal.rows_out + sum(seal.dropped.values())
    assert kept in members(dataset)
    assert {gone, changed}.isdisjoint(members(dataset))
    # rows and images stay, and the row of the one that changed says how
    posts = {row["id"]: row["score"] for row in dataset.posts.columns("score").to_pylist()}
    assert (posts[changed], posts[kept], gone in posts) == (1, 4321, True)
    assert list((dataset.root / "images").glob(f"*/{md5}.*"))


def test_what_is_known_to_be_gone_is_remembered_and_not_asked_for_again(
    dataset: Dataset, site: Site
) -> None:
    gone, changed, *_ = members(dataset)
    site.world.absent.add(gone)
    site.world.rescored[changed] = 1
    seal = fetch(dataset)
    before = timeless(dataset)
    site.calls.clear()
    assert fetch(dataset) == seal
    assert asked_by_id(site) == []
    assert timeless(dataset) == before

    site.world.absent.clear()
    fetch(dataset)
    assert gone in members(dataset)
    assert (vanished(dataset), dropped(dataset)) == ([], [])
    assert site.count("/original/") == 0


def test_a_fetch_killed_on_the_way_marks_the_same(
    dataset: Dataset, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, *_ = members(dataset)
    site.world.absent.add(gone)
    with monkeypatch.context() as patched:
        patched.setattr("prep.fetch._write", stop)
        with pytest.raises(KeyboardInterrupt):
            fetch(dataset)
    (dataset.root / "tables" / "members.parquet").unlink()  # as good as written anew
    site.calls.clear()
    fetch(dataset)
    assert asked_by_id(site) == []
    assert (vanished(dataset), dropped(dataset)) == ([gone], [("main", f"post {gone}", "")])


def stop(*arguments: object) -> None:
    raise KeyboardInterrupt


def test_posts_are_asked_for_a_page_at_a_time(
    dataset: Dataset, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "PAGE", 5)
    lost = members(dataset)[:7]
    site.world.absent.update(lost)
    fetch(dataset)
    assert [len(text.split(",")) for text in asked_by_id(site)] == [5, 2]
    assert vanished(dataset) == lost


def test_of_another_query_nothing_is_missed(dataset: Dataset, site: Site) -> None:
    gone, *_ = members(dataset)
    site.world.absent.add(gone)
    other = Dataset.open(dataset.root, ['sets.main.query="1girl score:>=9"'])
    fetch(other)
    assert (asked_by_id(site), vanished(other), dropped(other)) == ([], [], [])
    assert set(other.table(SHOWN)["query"].to_pylist()) == {"1girl score:>=9"}


def test_what_a_page_shows_is_there_though_it_is_tested_here_and_fails(
    make_folder: Make, site: Site
) -> None:
    dataset = Dataset.open(make_folder(site, main={"query": "score:>=3 or *_nothing"}))
    fetch(dataset)
    gone, changed, *_ = members(dataset)
    site.world.absent.add(gone)
    site.world.rescored[changed] = 1
    site.calls.clear()
    fetch(dataset)
    assert asked_by_id(site) == [f"id:{gone}"]
    assert vanished(dataset) == [gone]
    assert changed not in members(dataset)


def test_posts_that_others_pushed_out_of_a_limit_are_there(make_folder: Make, site: Site) -> None:
    dataset = Dataset.open(make_folder(site, main={"query": "1girl order:score", "limit": 4}))
    fetch(dataset)
    first = members(dataset)
    outside = next(
        one.id
        for one in site.world.newest_first()
        if "1girl" in one.tags and one.file_ext == "jpg" and one.id not in first
        and not (one.hidden or one.is_deleted)
    )  # fmt: skip
    site.world.rescored[outside] = 9999
    fetch(dataset)
    assert len(set(first) - set(members(dataset))) == 1
    assert (vanished(dataset), dropped(dataset)) == ([], [])


def test_a_refresh_and_a_fetch_mark_alike_and_leave_other_sites_posts_alone(
    dataset: Dataset, site: Site
) -> None:
    row = dataset.posts.read().slice(0, 1).to_pylist()[0]
    other = {**row, "id": -5}  # a post of another site, from what lay beside an imported file
    dataset.posts.append(pa.Table.from_pylist([other], schema=dataset.posts.table.schema))
    gone, *_ = members(dataset)
    site.world.absent.add(gone)
    refresh(dataset)
    assert vanished(dataset) == [gone]
    assert not any("-5" in text for text in asked_by_id(site))
    assert gone in members(dataset)  # a refresh lists nothing anew
    site.calls.clear()
    fetch(dataset)
    assert asked_by_id(site) == []
    assert (vanished(dataset), dropped(dataset)) == ([gone], [("main", f"post {gone}", "")])
