"""The embedded booru's posts, held against what Danbooru's own look like.

Keys, types and relations are typed out here by hand from the site's documentation, not taken from
the code under test.
"""

import io
import json
import re
import zipfile
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
import requests
from PIL import Image

from prep.demo.booru import running
from prep.demo.posts import Post
from prep.demo.site import Site
from prep.demo.world import World

Get = Callable[..., Any]  # (site, path, **query) -> the JSON answered
Find = Callable[..., Post]  # (site, **facts) -> a post that has them
MAYBE_INT = (int, type(None))
MAYBE_STR = (str, type(None))
INT_KEYS = """id uploader_id score up_score down_score fav_count tag_count tag_count_general
    tag_count_artist tag_count_character tag_count_copyright tag_count_meta file_size image_width
    image_height bit_flags"""
STR_KEYS = """source tag_string tag_string_general tag_string_character tag_string_copyright
    tag_string_artist tag_string_meta file_ext rating created_at updated_at"""
BOOL_KEYS = """is_pending is_flagged is_deleted is_banned has_children has_active_children
    has_visible_children has_large"""
POST_KEYS: dict[str, Any] = {
    **dict.fromkeys(INT_KEYS.split(), int),
    **dict.fromkeys(STR_KEYS.split(), str),
    **dict.fromkeys(BOOL_KEYS.split(), bool),
    **dict.fromkeys(["approver_id", "parent_id", "pixiv_id"], MAYBE_INT),
    **dict.fromkeys(["last_noted_at", "last_comment_bumped_at", "last_commented_at"], MAYBE_STR),
    "media_asset": dict,
}
VISIBLE_POST_KEYS = dict.fromkeys(["md5", "file_url", "large_file_url", "preview_file_url"], str)
ASSET_KEYS: dict[str, Any] = {
    **dict.fromkeys(["id", "file_size", "image_width", "image_height"], int),
    **dict.fromkeys(["created_at", "updated_at", "file_ext", "status", "pixel_hash"], str),
    "duration": (float, type(None)),
    "is_public": bool,
}
VISIBLE_ASSET_KEYS = {"md5": str, "file_key": str, "variants": list}
VARIANT_KEYS = {"type": str, "url": str, "width": int, "height": int, "file_ext": str}
HEX = re.compile(r"[0-9a-f]{32}")


def check_types(answer: dict[str, Any], keys: dict[str, Any]) -> None:
    assert set(answer) == set(keys)
    for name, kind in keys.items():
        kinds = kind if isinstance(kind, tuple) else (kind,)
        assert type(answer[name]) in kinds, name


def check_relations(post: dict[str, Any]) -> None:
    """What holds between the fields of every post."""
    assert post["score"] == post["up_score"] + post["down_score"]
    assert post["down_score"] <= 0
    assert post["rating"] in ("g", "s", "q", "e")
    total = 0
    for category in ("general", "artist", "character", "copyright", "meta"):
        tags = post[f"tag_string_{category}"].split()
        assert len(tags) == post[f"tag_count_{category}"]
        assert set(tags) <= set(post["tag_string"].split())
        total += len(tags)
    assert total == post["tag_count"] == len(post["tag_string"].split())
    assert datetime.fromisoformat(post["created_at"]).utcoffset() is not None
    asset = post["media_asset"]
    for name in ("file_ext", "file_size", "image_width", "image_height"):
        assert asset[name] == post[name]
    assert HEX.fullmatch(asset["pixel_hash"])


def test_a_plain_post_has_every_field_with_its_type(site: Site, get: Get, a_post: Find) -> None:
    id = a_post(site, encoding="png").id
    post = get(site, f"/posts/{id}.json")
    check_types(post, POST_KEYS | VISIBLE_POST_KEYS)
    check_types(post["media_asset"], ASSET_KEYS | VISIBLE_ASSET_KEYS)
    check_relations(post)
    md5 = post["md5"]
    where = f"{md5[:2]}/{md5[2:4]}/{md5}"
    assert post["file_url"] == post["large_file_url"] == f"{site.url}/original/{where}.png"
    assert post["preview_file_url"] == f"{site.url}/180x180/{where}.jpg"
    assert post["has_large"] is False
    assert post["media_asset"]["md5"] == md5
    assert post["media_asset"]["duration"] is None
    assert post["media_asset"]["status"] == "active"
    assert len(post["media_asset"]["file_key"]) == 9
    variants = post["media_asset"]["variants"]
    for variant in variants:
        check_types(variant, VARIANT_KEYS)
    assert [(variant["type"], variant["file_ext"]) for variant in variants] == [
        ("180x180", "jpg"),
        ("360x360", "jpg"),
        ("720x720", "webp"),
        ("original", "png"),
    ]
    assert (variants[-1]["width"], variants[-1]["height"]) == (
        post["image_width"],
        post["image_height"],
    )


@pytest.mark.parametrize("hidden", ["banned", "gold"])
def test_a_hidden_post_keeps_its_file_to_itself(
    site: Site, get: Get, a_post: Find, hidden: str
) -> None:
    post = get(site, f"/posts/{a_post(site, hidden=hidden).id}.json")
    check_types(post, POST_KEYS)
    check_types(post["media_asset"], ASSET_KEYS)
    check_relations(post)
    assert post["is_banned"] == (hidden == "banned")
    md5 = site.world.file(a_post(site, hidden=hidden)).md5
    assert md5 not in json.dumps(post)


def test_gold_sees_what_needs_gold(site: Site, get: Get, a_post: Find) -> None:
    gold = {"login": "gold", "api_key": "gold-key"}
    seen = get(site, f"/posts/{a_post(site, hidden='gold').id}.json", **gold)
    check_types(seen, POST_KEYS | VISIBLE_POST_KEYS)
    unlisted = a_post(site, hidden="gold", unlisted=True).id
    assert get(site, "/posts.json", tags=f"id:{unlisted}") == []
    assert get(site, "/posts.json", tags=f"id:{unlisted}", **gold)[0]["id"] == unlisted
    banned = get(site, f"/posts/{a_post(site, hidden='banned').id}.json", **gold)
    check_types(banned, POST_KEYS)


def test_a_ugoira_is_a_zip_with_a_video_for_sample(
    site: Site, web: requests.Session, get: Get, a_post: Find
) -> None:
    post = get(site, f"/posts/{a_post(site, encoding='ugoira').id}.json")
    check_types(post, POST_KEYS | VISIBLE_POST_KEYS)
    check_relations(post)
    assert post["file_ext"] == "zip"
    assert post["has_large"] is True
    assert post["file_url"].endswith(".zip")
    md5 = post["md5"]
    sample = f"{site.url}/sample/{md5[:2]}/{md5[2:4]}/sample-{md5}.webm"
    assert post["large_file_url"] == sample
    assert [variant["type"] for variant in post["media_asset"]["variants"]] == [
        *("180x180", "360x360", "720x720", "sample", "original"),
    ]
    assert post["media_asset"]["duration"] == 0.36
    assert "ugoira" in post["tag_string_meta"].split()
    only = get(site, f"/posts/{post['id']}.json", only="media_metadata[metadata]")
    assert only["media_metadata"]["metadata"]["Ugoira:FrameDelays"] == [120, 120, 120]
    with zipfile.ZipFile(io.BytesIO(web.get(post["file_url"]).content)) as frames:
        assert len(frames.namelist()) == 3
    assert web.get(sample).headers["content-type"] == "video/webm"


def test_flash_has_no_smaller_versions(
    site: Site, web: requests.Session, get: Get, a_post: Find
) -> None:
    post = get(site, f"/posts/{a_post(site, encoding='swf').id}.json")
    check_types(post, POST_KEYS | VISIBLE_POST_KEYS)
    assert post["media_asset"]["variants"] == []
    assert web.get(post["file_url"]).content.startswith(b"FWS")


def test_a_deleted_post_is_listed_and_says_so(site: Site, get: Get, a_post: Find) -> None:
    id = a_post(site, is_deleted=True).id
    (post,) = get(site, "/posts.json", tags=f"id:{id}")
    check_types(post, POST_KEYS | VISIBLE_POST_KEYS)
    assert post["is_deleted"] is True
    assert get(site, "/posts.json", tags=f"id:{id} status:active") == []


def test_parents_and_children_name_each_other(site: Site, get: Get, a_post: Find) -> None:
    child = get(site, f"/posts/{a_post(site, declared=True).id}.json")
    parent = get(site, f"/posts/{child['parent_id']}.json", only="id,has_children,children[id]")
    assert parent["has_children"] is True
    assert {"id": child["id"]} in parent["children"]


def test_every_post_of_a_listing_is_whole(site: Site, get: Get) -> None:
    posts = get(site, "/posts.json", limit=200)
    assert len(posts) > 150
    for post in posts:
        check_types(post, POST_KEYS | (VISIBLE_POST_KEYS if "md5" in post else {}))
        check_types(post["media_asset"], ASSET_KEYS | (VISIBLE_ASSET_KEYS if "md5" in post else {}))
        check_relations(post)
    assert any("md5" not in post for post in posts)


def test_wide_posts_have_a_sample(web: requests.Session, get: Get) -> None:
    with running(World(posts=4, seed=2, size=1300)) as site:
        post = next(p for p in get(site, "/posts.json") if p["image_width"] > 850)
        assert post["has_large"] is True
        assert f"/sample/{post['md5'][:2]}/" in post["large_file_url"]
        image = Image.open(io.BytesIO(web.get(post["large_file_url"]).content))
        assert (image.width, image.format) == (850, "JPEG")


def test_timestamps_follow_the_accounts_zone(site: Site, get: Get) -> None:
    id = site.world.ids[0]
    here = get(site, f"/posts/{id}.json")["created_at"]
    there = get(site, f"/posts/{id}.json", login="gold", api_key="gold-key")["created_at"]
    assert datetime.fromisoformat(here) == datetime.fromisoformat(there)
    assert datetime.fromisoformat(there).utcoffset() == timedelta(hours=9)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}-05:00", here)


def test_only_trims_to_any_depth(site: Site, get: Get, a_post: Find) -> None:
    (post,) = get(site, "/posts.json", tags=f"id:{a_post(site, encoding='jpg').id}",
        only="id,md5,nonsense,media_asset[id,variants[url]]",
    )  # fmt: skip
    assert set(post) == {"id", "md5", "media_asset"}
    assert set(post["media_asset"]) == {"id", "variants"}
    assert {key for variant in post["media_asset"]["variants"] for key in variant} == {"url"}


def test_only_facts_are_given_without_drawing(get: Get) -> None:
    with running(World(posts=300, seed=1, size=2000)) as site:
        assert len(get(site, "/posts.json", limit=200, only="id,tag_string,score")) > 150
        assert site.world._files == {}
