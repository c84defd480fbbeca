"""Posts of the same pixels: one file comes, the best; the others are noted, and nothing is lost."""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prep import seals
from prep.booru import session
from prep.dataset import Dataset
from prep.dedup import dedup
from prep.demo.booru import running
from prep.demo.posts import Post
from prep.demo.site import Site
from prep.demo.world import File, World
from prep.fetch import fetch
from prep.listing import Listing
from prep.twins import SAME, Twins
from schemas.tables import GROUPS, MEMBERS, TWINS

Make = Callable[..., Path]
BASE, TWIN = 1203, 1211  # a jpg of score 88, a png of score 5 with the same pixels
OTHERS = {1162: 1149}  # another twin, and the better post


class Changed(World):
    """A world in which some files are others than were drawn.

    spoilt: the bytes that come in place of a post's; other: files that have their own md5.
    """

    def __init__(self) -> None:
        super().__init__(posts=71, seed=4, size=24)
        self.spoilt: dict[int, bytes] = {}
        self.other: dict[int, bytes] = {}
        for post in self.newest_first():
            super().bytes_of(post)  # drawn now: twins are made of what was drawn

    def bytes_of(self, post: Post) -> bytes:
        data = super().bytes_of(post)
        return self.spoilt.get(post.id) or self.other.get(post.id) or data

    def file(self, post: Post) -> File:
        file, data = super().file(post), self.other.get(post.id)
        return file if data is None else replace(file, md5=md5_of(data), size=len(data))

    def with_md5(self, md5: str) -> Post | None:
        own = (id for id, data in self.other.items() if md5_of(data) == md5)
        return next((self.post(id) for id in own), None) or super().with_md5(md5)


def md5_of(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


@pytest.fixture(scope="module")
def drawn() -> Changed:
    return Changed()


@pytest.fixture
def world(drawn: Changed) -> Iterator[Changed]:
    yield drawn
    drawn.spoilt.clear()
    drawn.other.clear()


@pytest.fixture
def site(world: Changed, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(session, "BACK_OFF", 0.01)
    with running(world) as site:
        yield site


def md5(site: Site, id: int) -> str:
    post = site.world.post(id)
    assert post is not None
    return site.world.file(post).md5


def both(make_folder: Make, site: Site, *changes: str) -> Dataset:
    """A dataset of the two posts alone."""
    return Dataset.open(make_folder(site, main={"query": f"id:{BASE},{TWIN}"}), changes)


def rows(dataset: Dataset, table: object = MEMBERS) -> list[tuple[str, str, int]]:
    read = dataset.table(table).to_pylist()  # type: ignore[arg-type]
    return [(row["set"], row["md5"], row["post_id"]) for row in read]


def drops(dataset: Dataset) -> list[tuple[str, str, str, str]]:
    return [
        (one.set, one.item, one.reason, one.detail) for one in seals.drops_of(dataset.root, "fetch")
    ]


def files(dataset: Dataset) -> set[str]:
    return {path.stem for path in (dataset.root / "images").glob("*/*")}


def test_of_posts_of_the_same_pixels_the_best_is_fetched_once_and_for_all(
    make_folder: Make, site: Site
) -> None:
    dataset = Dataset.open(make_folder(site, main={"query": "status:any"}))
    seal = fetch(dataset)
    assert seal.dropped[SAME] == 2
    assert seal.rows_in == seal.rows_out + sum(seal.dropped.values())
    pairs = {TWIN: BASE, **OTHERS}
    told = [one for one in drops(dataset) if one[2] == SAME]
    assert told == [
        ("main", f"post {twin}", SAME, f"as post {base}, image {md5(site, base)}")
        for twin, base in sorted(pairs.items())
    ]
    assert rows(dataset, TWINS) == [
        ("main", md5(site, base), twin) for twin, base in sorted(pairs.items())
    ]
    assert not files(dataset) & {md5(site, twin) for twin in pairs}
    assert files(dataset) >= {md5(site, base) for base in pairs.values()}
    ids = {id for _, _, id in rows(dataset)}
    assert ids.isdisjoint(pairs)
    assert ids >= set(pairs.values())
    posts = dataset.posts.columns("id")["id"].to_pylist()
    assert set(pairs) <= set(posts)

    site.calls.clear()
    assert fetch(dataset) == seal
    assert {call.path for call in site.calls} == {"/posts.json"}


@pytest.mark.parametrize(
    ("keep", "kept"),
    [
        ('["score"]', BASE),
        ('["lossless", "score"]', TWIN),
        ('["oldest"]', BASE),
        ('["pixels", "bytes"]', TWIN),
    ],
)
def test_the_best_is_the_one_that_the_recipe_keeps(
    make_folder: Make, site: Site, keep: str, kept: int
) -> None:
    dataset = both(make_folder, site, f"dedup.keep={keep}")
    fetch(dataset)
    assert files(dataset) == {md5(site, kept)}
    # another policy later fetches nothing: what is here stays
    again = both(make_folder, site)
    shutil.copytree(dataset.root, again.root, dirs_exist_ok=True)
    fetch(again)
    assert files(again) == {md5(site, kept)}
    assert rows(again) == [("main", md5(site, kept), kept)]


def test_a_smaller_version_stands_for_all_as_well(make_folder: Make, site: Site) -> None:
    dataset = both(make_folder, site, 'fetch.size="sample"')
    fetch(dataset)
    assert len(files(dataset)) == 1
    assert [id for _, _, id in rows(dataset)] == [BASE]


@pytest.mark.parametrize("how", ["wrong bytes", "no picture"])
def test_where_the_best_cannot_be_had_the_next_comes_in_the_same_fetch(
    make_folder: Make, world: Changed, site: Site, how: str
) -> None:
    other = world.spoilt if how == "wrong bytes" else world.other
    other[BASE] = b"no picture"
    dataset = both(make_folder, site)
    seal = fetch(dataset)
    assert rows(dataset) == [("main", md5(site, TWIN), TWIN)]
    assert seal.rows_in == seal.rows_out + sum(seal.dropped.values()) == 2
    if how == "wrong bytes":
        image = md5(site, TWIN)
        assert drops(dataset) == [("main", f"post {BASE}", SAME, f"as post {TWIN}, image {image}")]
        assert rows(dataset, TWINS) == [("main", image, BASE)]
    else:
        told = "no image that can be read (UnidentifiedImageError)"
        assert drops(dataset) == [("main", f"post {BASE}", "unreadable image", told)]

    # killed before a table was written, or run again: the same, and the broken one is let be
    for lost in ([], ["tables/*.parquet", "tables/*.json", "reports/drops/*"]):
        tables = {
            path: path.read_bytes()
            for path in [*dataset.root.rglob("*.parquet"), *dataset.root.rglob("*.json")]
        }
        for path in [path for pattern in lost for path in dataset.root.glob(pattern)]:
            path.unlink()
        site.calls.clear()
        assert fetch(dataset) == seal
        assert site.count("/original/") == 0
        assert {path: path.read_bytes() for path in tables} == tables


def test_where_none_can_be_had_each_tells_its_own_reason(
    make_folder: Make, world: Changed, site: Site
) -> None:
    world.spoilt |= {BASE: b"one", TWIN: b"another"}
    dataset = both(make_folder, site)
    fetch(dataset)
    assert rows(dataset) == rows(dataset, TWINS) == []
    size = len(World.bytes_of(world, world.post(BASE)))  # type: ignore[arg-type]
    told = dict(zip((BASE, TWIN), drops(dataset), strict=True))
    assert told[BASE] == ("main", f"post {BASE}", "wrong size", f"3 bytes instead of {size}")
    assert told[TWIN][:3] == ("main", f"post {TWIN}", "wrong size")


def test_a_picture_that_only_decoding_finds_broken_is_made_up_for_by_the_next_fetch(
    make_folder: Make, world: Changed, site: Site
) -> None:
    post = world.post(BASE)
    assert post is not None
    whole = World.bytes_of(world, post)
    world.other[BASE] = whole[:-100]  # its header is sound
    dataset = both(make_folder, site)
    fetch(dataset)
    assert files(dataset) == {md5(site, BASE)}
    assert dedup(dataset).dropped == {"unreadable image": 1}
    fetch(dataset)
    assert files(dataset) == {md5(site, BASE), md5(site, TWIN)}
    dedup(dataset)
    assert dataset.table(GROUPS)["md5"].to_pylist() == [md5(site, TWIN)]


def test_one_file_serves_two_sets_each_with_its_own_post(make_folder: Make, site: Site) -> None:
    sets = {"main": {"query": f"id:{BASE}"}, "other": {"query": f"id:{TWIN}", "role": "reg"}}
    dataset = Dataset.open(make_folder(site, **sets))
    seal = fetch(dataset)
    image = md5(site, BASE)
    assert files(dataset) == {image}
    assert rows(dataset) == [("main", image, BASE), ("other", image, TWIN)]
    assert (rows(dataset, TWINS), drops(dataset)) == ([], [])
    assert fetch(dataset) == seal
    assert site.count("/original/") == 1


def test_an_image_of_an_earlier_query_is_not_fetched_again_as_another_file(
    make_folder: Make, site: Site
) -> None:
    folder = make_folder(site, main={"query": f"id:{TWIN}"})
    fetch(Dataset.open(folder))
    for query, expected in ((BASE, [BASE]), (f"{BASE},{TWIN}", [TWIN])):
        dataset = Dataset.open(folder, [f'sets.main.query="id:{query}"'])
        fetch(dataset)
        assert rows(dataset) == [("main", md5(site, TWIN), id) for id in expected]
    assert site.count("/original/") == 1
    # a post that the recipe blocks stands for none
    dataset = Dataset.open(folder, [f'sets.main.query="id:{BASE}"', f"fetch.blocked=[{TWIN}]"])
    fetch(dataset)
    assert rows(dataset) == [("main", md5(site, BASE), BASE)]


def test_a_picture_removed_by_hand_does_not_come_back_as_another_file(
    make_folder: Make, site: Site
) -> None:
    dataset = both(make_folder, site)
    fetch(dataset)
    (image,) = (dataset.root / "images").glob("*/*")
    image.unlink()
    fetch(dataset)
    assert files(dataset) == set()
    assert dedup(dataset).dropped == {"removed by hand": 1}
    fetch(dataset, restore=True)
    assert image.is_file()
    assert dedup(dataset).rows_out == 1


def test_a_post_whose_file_was_not_fetched_keeps_its_family(make_folder: Make, site: Site) -> None:
    dataset = both(make_folder, site, 'dedup.keep=["lossless"]')
    fetch(dataset)
    dedup(dataset)
    assert dataset.table(GROUPS).select(["md5", "family"]).to_pylist() == [
        {"md5": md5(site, TWIN), "family": BASE}
    ]


SETS = ("one", "two")
MOST = 8  # posts
FATES = st.sampled_from(["whole", "broken", "gone"])


@dataclass(frozen=True)
class Case:
    """Posts 0, 1 ... by rank: the picture, the sets and the fate of each; and which are here."""

    pictures: list[int]
    sets: list[set[str]]
    fates: list[str]
    here: set[int]

    def twins(self, held: dict[int, str]) -> Twins:
        shared = {n: str(p) for n, p in enumerate(self.pictures) if self.pictures.count(p) > 1}
        unsound = {str(post) for post in held if self.fates[post] == "broken"}
        rank = dict(enumerate(range(len(self.pictures))))
        return Twins(shared, rank, {}, frozenset(), unsound)

    def fetched(self, held: dict[int, str], most: int) -> tuple[dict[int, str], list[int]]:
        """What is here after at most so many downloads, and what was asked for."""
        twins, asked, held = self.twins(held), list[int](), dict(held)
        missing = [post for post in range(len(self.pictures)) if post not in held]
        while wanted := twins.wanted(missing, held)[: most - len(asked)]:
            asked += wanted
            held |= {post: str(post) for post in wanted if self.fates[post] != "gone"}
            twins.unsound |= {str(post) for post in wanted if self.fates[post] == "broken"}
            missing = [post for post in missing if post not in asked]
        return held, asked

    def settled(self, held: dict[int, str]) -> tuple[dict[tuple[str, int], str], Listing]:
        members = [(name, "", n) for n in range(len(self.pictures)) for name in self.sets[n]]
        listing = Listing(members=sorted(members))
        return self.twins(held).settle(listing, held, SETS), listing


@st.composite
def cases(draw: st.DrawFn) -> Case:
    size = draw(st.integers(1, MOST))

    def each(values: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(values, min_size=size, max_size=size))

    sets = each(st.sets(st.sampled_from(SETS), min_size=1))
    pictures, fates = each(st.integers(0, 3)), each(FATES)
    here = draw(st.sets(st.sampled_from(range(size))))
    return Case(pictures, sets, fates, {post for post in here if fates[post] != "gone"})


@given(case=cases(), killed=st.integers(0, MOST))
@settings(max_examples=60)
def test_whatever_fails_a_picture_that_can_be_had_comes_once_and_a_kill_changes_nothing(
    case: Case, killed: int
) -> None:
    start = {post: str(post) for post in case.here}
    held, asked = case.fetched(start, MOST)
    assert len(asked) == len(set(asked))
    for picture in set(case.pictures):
        own = [post for post, one in enumerate(case.pictures) if one == picture]
        whole = [post for post in own if case.fates[post] == "whole"]
        came = [post for post in asked if post in whole]
        assert len(came) == (bool(whole) and case.here.isdisjoint(whole))
    lent, listing = case.settled(held)
    given_way = {(name, post) for name, _, post in listing.twins}
    assert {(drop.set, drop.item) for drop in listing.drops} == {
        (name, f"post {post}") for name, post in given_way
    }
    for name, _, post in listing.members:
        ways = [post in held, (name, post) in lent, (name, post) in given_way]
        failed = post in asked and case.fates[post] == "gone"
        assert sum(ways) == 1 or (failed and not any(ways))

    cut, _ = case.fetched(start, killed)
    again, _ = case.fetched(cut, MOST)
    assert again == held
    assert case.settled(again) == (lent, listing)
