"""One embedded booru for the tests of its parts, and the ways they ask it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from prep.demo.booru import running
from prep.demo.posts import Post
from prep.demo.site import Site
from prep.demo.world import World


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    """A small world, served without limits."""
    with running(World(posts=600, seed=0, size=64)) as site:
        yield site


@pytest.fixture(scope="session")
def web() -> Iterator[requests.Session]:
    """A client that says who it is."""
    with requests.Session() as session:
        session.headers["User-Agent"] = "kiroku-tests/1 (by somebody)"
        yield session


@pytest.fixture(scope="session")
def get(web: requests.Session) -> Callable[..., Any]:
    """`get(site, path, **query)`: the JSON answered; anything but 200 fails the test."""

    def get(site: Site, path: str, **query: Any) -> Any:
        answer = web.get(site.url + path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    return get


@pytest.fixture(scope="session")
def walk(get: Callable[..., Any]) -> Callable[..., list[list[int]]]:
    """`walk(site, **query)`: page after page of ids, down the cursor, until the empty page."""

    def walk(site: Site, **query: Any) -> list[list[int]]:
        pages: list[list[int]] = []
        page = "1"
        while posts := get(site, "/posts.json", page=page, only="id", **query):
            pages.append([post["id"] for post in posts])
            page = f"b{min(pages[-1])}"
        return pages

    return walk


@pytest.fixture(scope="session")
def a_post() -> Callable[..., Post]:
    """`a_post(site, **facts)`: the newest with them; visible, active, no copy unless asked for."""

    def a_post(site: Site, **facts: Any) -> Post:
        wanted = {"unlisted": False, "is_deleted": False, "is_copy": False, "hidden": "", **facts}
        return next(
            post
            for post in site.world.newest_first()
            if all(getattr(post, name) == value for name, value in wanted.items())
        )

    return a_post
