"""Programs that know Danbooru, and nothing of this project, get on with the embedded booru."""

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from pybooru import Danbooru
from pybooru.exceptions import PybooruHTTPError

from prep.demo.booru import running
from prep.demo.posts import POPULAR
from prep.demo.site import Site
from prep.demo.world import World

DUMPED_URL = 3  # gallery-dl's number for "here is a file" in what `-j` prints


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with running(World(posts=500, seed=0, size=48)) as site:
        yield site


@pytest.fixture
def client(site: Site) -> Iterator[Danbooru]:
    client = Danbooru(site_url=site.url)
    yield client
    client.client.close()


def test_pybooru_lists_posts_by_tag(client: Danbooru, site: Site) -> None:
    posts = client.post_list(tags=f"{POPULAR[0]} rating:g", limit=30)
    assert len(posts) > 20
    for post in posts:
        assert POPULAR[0] in post["tag_string"].split()
        assert post["rating"] == "g"
    assert client.last_call["status_code"] == 200
    assert site.calls[-1].headers["user-agent"].startswith("Pybooru/")


def test_pybooru_shows_a_post_and_its_file(client: Danbooru) -> None:
    listed = next(post for post in client.post_list(limit=5) if "file_url" in post)
    shown = client.post_show(listed["id"])
    assert shown == listed
    data = client.client.get(shown["file_url"]).content
    assert hashlib.md5(data).hexdigest() == shown["md5"]


def test_pybooru_counts_and_lists_tags(client: Danbooru) -> None:
    (tag,) = client.tag_list(name=POPULAR[1])
    counted = client.count_posts(POPULAR[1])
    assert counted == {"counts": {"posts": tag["post_count"]}}
    assert tag["category"] == 4
    assert all(tag["category"] == 1 for tag in client.tag_list(category=1, hide_empty="yes"))
    found = client.tag_aliases(name_matches="nekomimi")
    assert [row["consequent_name"] for row in found] == ["cat_ears"]


def test_pybooru_walks_to_the_empty_page(client: Danbooru, site: Site) -> None:
    ids: list[int] = []
    page = "1"
    while posts := client.post_list(page=page, limit=200):
        ids += [post["id"] for post in posts]
        page = f"b{ids[-1]}"
    assert ids == [post.id for post in site.world.newest_first() if not post.unlisted]


def test_pybooru_sees_the_refusals_it_knows(client: Danbooru, site: Site) -> None:
    with pytest.raises(PybooruHTTPError, match="404"):
        client.post_show(1)
    with pytest.raises(PybooruHTTPError, match="422"):
        client.post_list(tags="a b c")
    gold = Danbooru(site_url=site.url, username="gold", api_key="gold-key")
    assert gold.post_list(tags="1girl solo smile", limit=1)
    gold.client.close()
    stranger = Danbooru(site_url=site.url, username="gold", api_key="wrong")
    with pytest.raises(PybooruHTTPError, match="401"):
        stranger.post_list()
    stranger.client.close()


def gallery_dl(site: Site, folder: Path, address: str, *options: str) -> str:
    """Run gallery-dl as installed; it knows the site by its address alone."""
    config = folder / "gallery-dl.json"
    known = {"Danbooru": {"kiroku": {"root": site.url}}, "kiroku": {"sleep-request": 0}}
    config.write_text(json.dumps({"extractor": known, "cache": {"file": None}}))
    command = [sys.executable, "-m", "gallery_dl", "--config-ignore", "--config", str(config)]
    ran = subprocess.run(
        [*command, *options, site.url + address], capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_gallery_dl_pages_through_a_search(site: Site, tmp_path: Path) -> None:
    before = len(site.calls)
    dumped: list[list[Any]] = json.loads(gallery_dl(site, tmp_path, "/posts?tags=solo", "-j"))
    posts = {entry[2]["id"]: entry[2] for entry in dumped if entry[0] == DUMPED_URL}
    visible = [p for p in site.world.newest_first() if p.visible_to(0) and "solo" in p.tags]
    assert list(posts) == [post.id for post in visible]
    for post in visible:
        assert posts[post.id]["md5"] == site.world.file(post).md5
        assert set(posts[post.id]["tags_character"]) == set(post.by_category["character"])
    calls = site.calls[before:]
    assert len(calls) >= 3
    assert all(call.status == 200 for call in calls)
    assert all(call.headers["user-agent"].startswith("gallery-dl/") for call in calls)
    assert all(re.fullmatch(r"b\d+", call.query["page"]) for call in calls[1:])


def test_gallery_dl_downloads_files_and_their_metadata(site: Site, tmp_path: Path) -> None:
    out = tmp_path / "out"
    gallery_dl(
        site, tmp_path, f"/posts?tags={POPULAR[0]}+status:active",
        *("--range", "1-6", "--write-metadata", "-D", str(out)),
    )  # fmt: skip
    metadata = [json.loads(path.read_text()) for path in out.glob("*.json")]
    assert len(metadata) == 6
    for post in metadata:
        (file,) = [
            path for path in out.iterdir() if post["md5"] in path.name and path.suffix != ".json"
        ]
        if post["file_ext"] != "zip":  # of ugoira it takes the sample
            assert hashlib.md5(file.read_bytes()).hexdigest() == post["md5"]


def test_gallery_dl_shows_one_post(site: Site, tmp_path: Path) -> None:
    post = next(p for p in site.world.newest_first() if p.visible_to(0) and p.file_ext == "png")
    urls = gallery_dl(site, tmp_path, f"/posts/{post.id}", "-g").split()
    md5 = site.world.file(post).md5
    assert urls == [f"{site.url}/original/{md5[:2]}/{md5[2:4]}/{md5}.png"]


def test_the_server_runs_by_itself(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "prep.demo.booru", "--port", "0"]
    with subprocess.Popen(
        [*command, "--posts", "40", "--seed", "7", "--size", "48"],
        stdout=subprocess.PIPE, text=True,
    ) as server:  # fmt: skip
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            told = re.fullmatch(r"booru of 40 posts at (http://127.0.0.1:\d+) \(.*\)\n", line)
            assert told, line
            agent = {"User-Agent": "kiroku-tests/1 (by somebody)"}
            answers = [
                requests.get(f"{told[1]}/posts.json?limit=5", headers=agent) for _ in range(14)
            ]
            posts = answers[0].json()
            world = World(posts=40, seed=7, size=48)
            assert [post["id"] for post in posts] == [
                post.id for post in list(world.newest_first())[:5] if not post.unlisted
            ]
            assert {answer.status_code for answer in answers} <= {200, 429}
            assert json.loads(answers[0].headers["X-Rate-Limit"])["rate"] == 10
        finally:
            server.terminate()
