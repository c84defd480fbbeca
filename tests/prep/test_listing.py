"""Sets listed on the embedded booru over HTTP: what a set gets is what its query means."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from prep.booru import client as client_module
from prep.booru.client import BooruClient
from prep.booru.credentials import Credentials
from prep.dataset import Dataset
from prep.demo.booru import running
from prep.demo.search import parse as site_parse
from prep.demo.site import Site
from prep.demo.vocabulary import ALIASES
from prep.demo.world import World
from prep.listing import Listing, changed, collect
from schemas.errors import QueryError

NOBODY = Credentials()
GOLD = Credentials("gold", "gold-key")
PLATINUM = Credentials("platinum", "platinum-key")
Make = Callable[..., Path]


@pytest.fixture(scope="module")
def small() -> Iterator[Site]:
    with running(World(posts=120, seed=5, size=24)) as site:
        yield site


@pytest.fixture(autouse=True)
def short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "PAGE", 30)


def listing(
    make_folder: Make, site: Site, account: Credentials = NOBODY, **sets: object
) -> Listing:
    dataset = Dataset.open(make_folder(site, **sets))
    site.calls.clear()
    return collect(dataset, BooruClient(site.url, account, 1e6, 1e6))


def ids(found: Listing, name: str = "main") -> list[int]:
    """All posts of a set, usable or not."""
    dropped = [int(drop.item.split()[1]) for drop in found.drops if drop.set == name]
    return sorted(dropped + [id for set_, _, id in found.members if set_ == name])


def meant(site: Site, text: str) -> list[int]:
    """What the site itself finds for an account that may ask for anything, unlisted posts aside."""
    query = site_parse(text, datetime.now(UTC), dict(ALIASES))
    world = site.world
    return sorted(
        post.id for post in world.newest_first()
        if query.matches(post, world) and post.listed_for(0)
    )  # fmt: skip


def asked(site: Site) -> list[str]:
    """The searches that were listed, each once."""
    return list(dict.fromkeys(c.query["tags"] for c in site.calls if c.path == "/posts.json"))


@pytest.mark.parametrize(
    "query",
    [
        "smile",
        "1girl solo smile -hat score:>=5",
        "smile or hat or glasses",
        "solo (red_hair or blue_eyes or hat) rating:g,s -is:deleted",
        "*_hair -bl* date:2010..",
        "-smile -red_hair",
        "blush -(1girl smile) gentags:>15",
        "-bunny_ears 1girl smile",  # an alias that is tested here
        "spectacles or smile solo blond_hair",
    ],
)
def test_a_member_gets_what_the_query_means(make_folder: Make, small: Site, query: str) -> None:
    found = listing(make_folder, small, main={"query": query})
    assert ids(found) == meant(small, query) != []
    assert found.rows_in == len(ids(found)) == sum(page.num_rows for page in found.pages)
    assert {call.status for call in small.calls} == {200}


def test_more_is_asked_for_an_account_that_may(make_folder: Make, small: Site) -> None:
    query = {"query": "1girl solo smile -hat"}
    listing(make_folder, small, main=query)
    assert len(asked(small)[0].split()) == 2
    assert small.count("/counts/") == 3
    found = listing(make_folder, small, GOLD, main=query)
    assert asked(small) == ["1girl solo smile -hat"]
    assert small.count("/counts/") == 0
    assert small.count("/profile") == 1
    assert small.count("/tag_aliases") == 0
    assert set(meant(small, query["query"])) <= set(ids(found))


@pytest.mark.parametrize("account", [NOBODY, GOLD, PLATINUM])
@pytest.mark.parametrize("order", ["score", "favcount_asc", "id", "mpixels"])
def test_an_order_and_a_limit_take_the_first_usable_posts(
    make_folder: Make, small: Site, order: str, account: Credentials
) -> None:
    query = f"smile solo order:{order}"
    found = listing(make_folder, small, account, main={"query": query, "limit": 7})
    site_order = site_parse(query, datetime.now(UTC), {})
    world, level = small.world, {"": 0, "gold": 30, "platinum": 31}[account.login]
    posts = [post for post in world.newest_first()
             if site_order.matches(post, world) and post.listed_for(level)]  # fmt: skip
    expected: list[int] = []
    for post in site_order.sorted(posts, world):
        still = post.duration is None and post.file_ext in ("jpg", "png", "webp", "avif")
        if still and not post.is_deleted and post.visible_to(level):
            expected.append(post.id)
        if len(expected) == 7:
            break
    assert [id for _, _, id in found.members] == expected
    assert all(("order:" in search) == bool(account) for search in asked(small))


def test_the_newest_of_several_listings_are_taken(make_folder: Make, small: Site) -> None:
    query = "solo (red_hair or blue_eyes or hat)"
    every = listing(make_folder, small, main={"query": query})
    assert len(asked(small)) == 3
    few = listing(make_folder, small, main={"query": query + " limit:9"})
    newest = sorted((id for _, _, id in every.members), reverse=True)[:9]
    assert [id for _, _, id in few.members] == newest
    assert few.rows_in == len(ids(few)) == sum(page.num_rows for page in few.pages)


def test_queries_are_read_before_anything_is_asked(make_folder: Make, small: Site) -> None:
    folder = make_folder(small, main={"query": "smile"}, other={"query": "smile scoer:>3"})
    dataset = Dataset.open(folder)
    small.calls.clear()
    with pytest.raises(QueryError) as told:
        collect(dataset, BooruClient(small.url, Credentials(), 1e6, 1e6))
    assert str(told.value) == (
        'set "other": query "smile scoer:>3": at character 7: there is no metatag "scoer:";'
        ' did you mean "score:"? (a tag of that name: unaliased:scoer:>3)'
    )
    assert small.calls == []


def test_what_the_account_may_not_ask_is_told(make_folder: Make, small: Site) -> None:
    with pytest.raises(QueryError) as told:
        listing(make_folder, small, main={"query": "user:a pool:b fav:c"})
    assert str(told.value) == (
        'set "main": query "user:a pool:b fav:c": 3 tags of it can be tested by the site alone'
        " (user:a pool:b fav:c), and this account may search for 2: use an account that may have"
        " more, or fewer of them"
    )


def test_a_query_that_nothing_answers_to_is_told(make_folder: Make, small: Site) -> None:
    with pytest.raises(QueryError) as told:
        listing(make_folder, small, main={"query": "smile no_such_tag"})
    assert str(told.value) == (
        f'set "main": no post answers to "smile no_such_tag" on {small.url}:'
        " check the spelling of its tags there"
    )


def test_a_second_listing_of_the_same_changes_nothing(make_folder: Make, small: Site) -> None:
    dataset = Dataset.open(make_folder(small, main={"query": "smile"}))
    client = BooruClient(small.url, Credentials(), 1e6, 1e6)
    pages = collect(dataset, client).pages
    new = changed(dataset, pages)
    assert new.num_rows == sum(page.num_rows for page in pages)
    dataset.posts.append(new)
    dataset.posts.fold()
    assert changed(dataset, collect(dataset, client).pages).num_rows == 0
    assert changed(dataset, [*pages, *pages]).num_rows == 0
