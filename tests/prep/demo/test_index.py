"""The embedded booru's listings, counts, tags, aliases and implications, over HTTP."""

from collections.abc import Callable
from typing import Any

import pytest
import requests

from prep.demo.booru import running
from prep.demo.posts import POPULAR
from prep.demo.site import Site
from prep.demo.world import World

Get = Callable[..., Any]  # (site, path, **query) -> the JSON answered
Walk = Callable[..., list[list[int]]]  # (site, **query) -> pages of ids


def test_a_cursor_lists_every_post_once(site: Site, walk: Walk) -> None:
    listed = [post.id for post in site.world.newest_first() if not post.unlisted]
    for limit in (1, 7, 200):
        pages = walk(site, limit=limit) if limit > 1 else walk(site, limit=1, tags="id:<1100")
        ids = [id for page in pages for id in page]
        assert ids == [id for id in listed if limit > 1 or id < 1100]
    assert any(len(page) < 200 for page in walk(site, limit=200)[:-1])


def test_a_cursor_upwards_gives_the_next_ones(site: Site, get: Get) -> None:
    at = site.world.ids[100]
    above = get(site, "/posts.json", page=f"a{at}", limit=20, only="id")
    ids = [post["id"] for post in above]
    expected = [i for i in site.world.ids[101:121] if not site.world.post(i).unlisted]  # type: ignore[union-attr]
    assert sorted(ids) == expected
    assert ids == sorted(ids, reverse=True)
    assert get(site, "/posts.json", page=f"a{site.world.ids[-1]}") == []


def test_cursors_ignore_the_order(site: Site, get: Get) -> None:
    top = site.world.ids[-1] + 1
    plain = get(site, "/posts.json", page=f"b{top}", only="id")
    assert get(site, "/posts.json", page=f"b{top}", tags="order:score", only="id") == plain
    scores = [p["score"] for p in get(site, "/posts.json", tags="order:score", only="score")]
    assert scores == sorted(scores, reverse=True)
    oldest = get(site, "/posts.json", tags="order:id", only="id")[0]["id"]
    assert oldest == min(post.id for post in site.world.newest_first() if not post.unlisted)


def test_numbered_pages_end_with_an_empty_one(site: Site, get: Get) -> None:
    first, second, fourth = (
        get(site, "/posts.json", limit=200, page=page, only="id") for page in (1, 2, 4)
    )
    assert {post["id"] for post in first}.isdisjoint(post["id"] for post in second)
    assert fourth == []
    assert get(site, "/posts.json", page=1000) == []


@pytest.mark.parametrize(
    ("limit", "given"), [(None, 20), (1, 1), (50, 50), (200, 200), (5000, 200), ("x", 20), (0, 0)]
)
def test_limits_clamp(site: Site, get: Get, limit: Any, given: int) -> None:
    query = {} if limit is None else {"limit": limit}
    posts = get(site, "/posts.json", tags="-status:banned id:>1500", only="id", **query)
    assert given - 6 <= len(posts) <= given


def test_limit_is_a_metatag_too(site: Site, get: Get) -> None:
    assert len(get(site, "/posts.json", tags="limit:3 solo", only="id")) == 3


@pytest.mark.parametrize(
    ("account", "most"), [(None, 2), ("member", 2), ("gold", 6), ("platinum", 40)]
)
def test_accounts_may_search_for_so_many_tags(
    site: Site, web: requests.Session, get: Get, account: str | None, most: int
) -> None:
    login = {"login": account, "api_key": f"{account}-key"} if account else {}
    tags = " ".join(["solo"] * most) + " score:>0 rating:g,s -status:deleted"
    for path in ("/posts.json", "/counts/posts.json"):
        get(site, path, tags=tags, only="id", **login)
        if most < 40:
            refused = web.get(site.url + path, params={"tags": f"1girl {tags}", **login})
            assert refused.status_code == 422
            assert refused.json() == {
                "success": False,
                "error": "PostQuery::TagLimitError",
                "message": f"You cannot search for more than {most} tags at a time."
                " Upgrade your account to search for more tags at once.",
                "backtrace": refused.json()["backtrace"],
            }
            assert isinstance(refused.json()["backtrace"], list)


def test_counts_agree_with_searches_and_tags(site: Site, get: Get, walk: Walk) -> None:
    tags = get(site, "/tags.json", limit=1000, **{"search[hide_empty]": "yes"})
    assert len(tags) > 150
    for tag in tags[::20]:
        counted = get(site, "/counts/posts.json", tags=tag["name"])
        assert counted == {"counts": {"posts": tag["post_count"]}}
        listed = sum(map(len, walk(site, tags=tag["name"], limit=200)))
        unlisted = sum(p.unlisted and tag["name"] in p.tags for p in site.world.newest_first())
        assert listed == tag["post_count"] - unlisted
    assert get(site, "/counts/posts.json") == {"counts": {"posts": 600}}


def test_heavy_searches_time_out(web: requests.Session, get: Get) -> None:
    with running(World(posts=60, seed=0, size=32), heavy=20) as site:
        answer = web.get(site.url + "/posts.json", params={"tags": "order:score"})
        assert (answer.status_code, answer.json()["error"]) == (500, "ActiveRecord::QueryCanceled")
        assert answer.json()["message"] == "The database timed out running your query."
        assert get(site, "/counts/posts.json", tags="solo") == {"counts": {"posts": None}}
        assert get(site, "/posts.json", tags="solo", only="id")


def test_tags_are_found_by_their_parameters(site: Site, get: Get) -> None:
    def names(**search: str) -> list[str]:
        query = {f"search[{key}]": value for key, value in search.items()}
        return [tag["name"] for tag in get(site, "/tags.json", limit=1000, **query)]

    (tag,) = get(site, "/tags.json", **{"search[name]": POPULAR[0]})
    assert {"id", "name", "post_count", "category", "is_deprecated"} <= set(tag)
    assert (tag["category"], tag["is_deprecated"]) == (4, False)
    assert names(name="blue_hair,red_hair") == names(name_comma="blue_hair,red_hair")
    assert set(names(name_matches="*_(lantern_isle)")) >= {POPULAR[1]}
    assert names(name_matches="BLUE_HAIR") == ["blue_hair"]
    assert set(names(category="3")) == {"hoshizora_academy", "lantern_isle", "original"}
    assert set(names(category="1", post_count=">100")) < set(names(category="1"))
    assert names(is_deprecated="true") == ["cute"]
    assert names(order="name", category="4") == sorted(names(category="4"))
    assert names(order="count")[:2] == ["1girl", "solo"]
    assert get(site, f"/tags/{tag['id']}.json") == tag
    everything = names()
    first = get(site, "/tags.json", limit=50, only="id,name")
    assert [t["name"] for t in first] == everything[:50]
    below = get(site, "/tags.json", limit=50, page=f"b{first[-1]['id']}", only="name")
    assert [t["name"] for t in below] == everything[50:100]


def test_aliases_and_implications_have_a_status(site: Site, get: Get) -> None:
    for path, old, new in (
        ("/tag_aliases.json", "nekomimi", "cat_ears"),
        ("/tag_implications.json", "cat_ears", "animal_ears"),
    ):
        rows = get(site, path, limit=1000)
        active = get(site, path, limit=1000, **{"search[status]": "active"})
        assert {row["status"] for row in rows} == {"active", "deleted"}
        assert active == [row for row in rows if row["status"] == "active"]
        (row,) = get(site, path, **{"search[antecedent_name]": old})
        assert {"antecedent_name", "consequent_name", "status"} <= set(row)
        assert (row["consequent_name"], row["status"]) == (new, "active")
        assert row in get(site, path, **{"search[name_matches]": new})
        assert len(get(site, path)) == 20


def test_aliases_work_in_searches(site: Site, get: Get) -> None:
    old = get(site, "/counts/posts.json", tags="nekomimi")
    assert old == get(site, "/counts/posts.json", tags="cat_ears")
    assert old["counts"]["posts"] > 0


def test_posts_that_appear_are_scattered_among_the_old(get: Get, walk: Walk) -> None:
    world = World(posts=60, seed=0, size=32)
    late = {world.ids[5], world.ids[30], world.ids[59]}
    world.absent |= late
    with running(world) as site:
        before = [id for page in walk(site, limit=9) for id in page]
        assert late.isdisjoint(before)
        count = get(site, "/counts/posts.json")["counts"]["posts"]
        world.absent.clear()
        after = [id for page in walk(site, limit=9) for id in page]
        assert sorted(set(after) - set(before)) == sorted(
            id
            for id in late
            if not world.post(id).unlisted  # type: ignore[union-attr]
        )
        assert get(site, "/counts/posts.json")["counts"]["posts"] == count + 3
        world.rescored[after[0]] = 999
        assert get(site, "/posts.json", tags="order:score", only="id")[0]["id"] == after[0]
