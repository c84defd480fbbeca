"""JSON beside files: Danbooru's through gallery-dl, other boorus', Grabber's, plain objects."""

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from prep.headers import Header
from prep.imports.metadata import Metadata, read
from schemas.tables import POSTS

SITE = "https://danbooru.donmai.us"
MD5 = "0123456789abcdef0123456789abcdef"
DANBOORU = {
    "id": 77, "created_at": "2024-05-06T07:08:09.123-04:00",
    "updated_at": "2024-06-06T07:08:09.000-04:00", "score": 61, "fav_count": 70, "rating": "s",
    "source": "https://example.com/1", "md5": MD5, "parent_id": 70, "is_deleted": False,
    "is_banned": False, "file_ext": "png", "file_size": 900, "image_width": 30,
    "image_height": 40, "file_url": "https://cdn.donmai.us/original/01/23/x.png",
    "tag_string": "1girl hat azusa_(x) me", "tag_string_general": "1girl hat",
    "tag_string_character": "azusa_(x)", "tag_string_copyright": "", "tag_string_artist": "me",
    "tag_string_meta": "", "media_asset": {"pixel_hash": "f" * 32},
    "category": "danbooru", "subcategory": "tag", "date": "2024-05-06 11:08:09",
    "tags": ["1girl", "hat", "azusa_(x)", "me"], "tags_general": ["1girl", "hat"],
    "tags_character": ["azusa_(x)"], "tags_artist": ["me"],
}  # fmt: skip


def said(entry: dict[str, Any], site: str = SITE) -> Metadata:
    return read(entry, site, MD5, Header(3, 4), 55)


def post(entry: dict[str, Any], site: str = SITE) -> dict[str, Any]:
    found = said(entry, site).post
    assert found is not None
    row = {**found, "file_ext": found["file_ext"] or "png"}
    return dict(POSTS.check(pa.Table.from_pylist([row], schema=POSTS.schema)).to_pylist()[0])


def test_gallery_dls_danbooru_post_is_what_the_site_would_tell() -> None:
    row = post(DANBOORU)
    assert (row["id"], row["score"], row["rating"], row["parent_id"]) == (77, 61, "s", 70)
    assert row["created_at"] == datetime(2024, 5, 6, 11, 8, 9, tzinfo=UTC)
    assert (row["general"], row["character"], row["artist"]) == (
        ["1girl", "hat"], ["azusa_(x)"], ["me"],
    )  # fmt: skip
    assert (row["md5"], row["pixel_hash"], row["file_size"]) == (MD5, "f" * 32, 900)
    assert said(DANBOORU).tags == ()


def test_gelboorus_post_has_an_id_that_no_post_of_the_own_site_has() -> None:
    entry = {
        "id": "77", "created_at": "Mon May 06 07:08:09 -0500 2024", "score": 9, "width": 30,
        "height": 40, "md5": MD5, "rating": "general", "source": "", "parent_id": 0,
        "tags": "1girl hat", "file_url": "https://img3.gelbooru.com/x.png", "category": "gelbooru",
    }  # fmt: skip
    row = post(entry)
    assert row["id"] < 0
    assert row["id"] == post(entry)["id"] != post({**entry, "id": 78})["id"]
    assert (row["rating"], row["parent_id"]) == ("g", None)
    assert row["created_at"] == datetime(2024, 5, 6, 12, 8, 9, tzinfo=UTC)
    assert said(entry).tags == ("1girl", "hat")
    assert post(entry, "https://gelbooru.com")["id"] == 77


def test_grabbers_object_is_read() -> None:
    entry = {
        "id": "77", "md5": MD5, "score": 9, "rating": "explicit", "date": 1714993689,
        "website": "danbooru.donmai.us", "filesize": "900", "width": 30, "height": 40,
        "general": ["1girl", "blue hat"], "character": ["azusa (x)"], "species": ["cat"],
        "meta": ["highres"], "ext": "png", "tags": "", "isVideo": False,
    }  # fmt: skip
    row = post(entry)
    assert (row["id"], row["rating"], row["file_size"], row["file_ext"]) == (77, "e", 900, "png")
    assert row["general"] == ["1girl", "blue_hat", "cat"]
    assert (row["character"], row["meta"]) == (["azusa_(x)"], ["highres"])


def test_e621s_tags_lie_by_category_and_its_score_is_a_total() -> None:
    entry = {
        "id": 5, "created_at": 1714993689, "score": {"up": 9, "down": -2, "total": 7},
        "tags": {"general": ["hat"], "species": ["fox"], "artist": ["me"], "lore": ["x"]},
        "rating": "q", "category": "e621",
    }  # fmt: skip
    row = post(entry)
    assert (row["score"], row["general"], row["artist"], row["meta"]) == (
        7, ["hat", "fox"], ["me"], ["x"],
    )  # fmt: skip
    assert (row["width"], row["height"], row["file_size"], row["md5"]) == (3, 4, 55, MD5)


@pytest.mark.parametrize("tags", ["1girl, Blue Hat", ["1girl", "blue_hat"], "1girl blue_hat"])
def test_a_plain_object_has_tags_and_no_post(tags: Any) -> None:
    assert said({"tags": tags}) == Metadata(tags=("1girl", "blue_hat"))


def test_captions_of_objects_are_read_like_texts() -> None:
    found = said({"caption": "a girl in a hat, 1girl", "text": "smile"})
    assert found.caption.tags == ("1girl", "smile")
    assert found.caption.sentence == "a girl in a hat"


@pytest.mark.parametrize("lacking", ["id", "score"])
def test_without_id_or_score_only_the_tags_count(lacking: str) -> None:
    entry = {key: value for key, value in DANBOORU.items() if key != lacking}
    found = said(entry)
    assert found.post is None
    assert found.by_category["character"] == ("azusa_(x)",)


def test_what_is_no_md5_names_no_file() -> None:
    assert post({**DANBOORU, "md5": "../../etc"})["md5"] == MD5
