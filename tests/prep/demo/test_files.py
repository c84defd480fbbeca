"""The embedded booru's file host: md5s, ranges, another host, many threads."""

import hashlib
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests
from PIL import Image

from prep.demo.booru import running
from prep.demo.posts import Post
from prep.demo.site import Site
from prep.demo.world import World

Get = Callable[..., Any]  # (site, path, **query) -> the JSON answered
Find = Callable[..., Post]  # (site, **facts) -> a post that has them


def test_files_are_what_their_md5_says(site: Site, web: requests.Session, get: Get) -> None:
    for post in get(site, "/posts.json", tags="rating:g", limit=15):
        if "file_url" in post:
            data = web.get(post["file_url"]).content
            assert hashlib.md5(data).hexdigest() == post["md5"]
            assert len(data) == post["file_size"]
            for variant in post["media_asset"]["variants"]:
                answer = web.get(variant["url"])
                assert answer.status_code == 200
                if answer.headers["content-type"] in ("image/jpeg", "image/webp"):
                    image = Image.open(io.BytesIO(answer.content))
                    if variant["type"] != "original":
                        assert image.size == (variant["width"], variant["height"])


def test_files_come_in_ranges(site: Site, web: requests.Session, get: Get, a_post: Find) -> None:
    post = get(site, f"/posts/{a_post(site, encoding='jpg').id}.json")
    whole = web.get(post["file_url"])
    size = len(whole.content)
    assert whole.headers["accept-ranges"] == "bytes"
    for asked, piece in (
        ("bytes=0-9", slice(0, 10)),
        ("bytes=10-", slice(10, None)),
        ("bytes=-7", slice(size - 7, None)),
        (f"bytes=5-{size * 2}", slice(5, None)),
    ):
        part = web.get(post["file_url"], headers={"Range": asked})
        assert part.status_code == 206
        assert part.content == whole.content[piece]
        start, end, _ = piece.indices(size)
        assert part.headers["content-range"] == f"bytes {start}-{end - 1}/{size}"
    past = web.get(post["file_url"], headers={"Range": f"bytes={size}-"})
    assert (past.status_code, past.headers["content-range"]) == (416, f"bytes */{size}")
    other = {"Range": "bytes=0-9", "If-Range": '"something else"'}
    assert web.get(post["file_url"], headers=other).status_code == 200
    assert web.head(post["file_url"]).headers["content-length"] == str(size)


def test_hidden_files_of_banned_artists_are_not_there(
    site: Site, web: requests.Session, a_post: Find
) -> None:
    post = a_post(site, hidden="banned")
    md5 = site.world.file(post).md5
    url = f"{site.url}/original/{md5[:2]}/{md5[2:4]}/{md5}.{post.file_ext}"
    assert web.get(url).status_code == 404


def test_files_may_lie_on_another_host(web: requests.Session, get: Get) -> None:
    world = World(posts=12, seed=0, size=32)
    with running(world) as files, running(world, file_base=files.url) as site:
        web.get(site.url + "/posts.json", auth=("gold", "gold-key"))
        post = get(site, "/posts.json", login="gold", api_key="gold-key")[0]
        assert post["file_url"].startswith(files.url)
        assert web.get(post["file_url"]).status_code == 200
        assert site.count("/posts") == 2
        assert (site.count("/original"), files.count("/original")) == (0, 1)
        assert site.calls[0].headers["authorization"].startswith("Basic ")
        assert site.calls[1].query["api_key"] == "gold-key"
        assert "authorization" not in files.calls[0].headers
        assert (files.calls[0].method, files.calls[0].status) == ("GET", 200)


def test_many_threads_get_the_same_files(site: Site) -> None:
    world = World(posts=40, seed=0, size=64)
    expected = {p.id: site.world.file(p).md5 for p in world.newest_first()}
    with ThreadPoolExecutor(8) as threads:
        drawn = threads.map(lambda id: (id, world.file(world.post(id)).md5), world.ids)  # type: ignore[arg-type]
        assert dict(drawn) == expected
