"""Posts of the site as rows, hand-written as the site's documentation shows them."""

from datetime import UTC, datetime
from typing import Any

import pytest

from prep.booru.posts import rows, unusable
from schemas.errors import SiteError
from schemas.recipes.prep import FetchSection
from schemas.tables import POSTS

POST: dict[str, Any] = {
    "id": 5000000,
    "created_at": "2021-12-10T18:03:17.512-05:00",
    "updated_at": "2024-02-01T00:00:00.000Z",
    "score": 31,
    "fav_count": 40,
    "source": "https://example.org/1",
    "md5": "0123456789abcdef0123456789abcdef",
    "rating": "g",
    "image_width": 900,
    "image_height": 1200,
    "file_ext": "png",
    "file_size": 1234567,
    "parent_id": None,
    "is_deleted": False,
    "is_banned": False,
    "file_url": "https://cdn.example.org/original/01/23/0123456789abcdef0123456789abcdef.png",
    "tag_string_general": "1girl long_hair",
    "tag_string_character": "azusa_(blue_archive)",
    "tag_string_copyright": "blue_archive",
    "tag_string_artist": "",
    "tag_string_meta": "highres",
    "media_asset": {"pixel_hash": "fedcba98", "duration": None},
}
FORMATS = ("jpg", "png")


def without(*names: str, **facts: Any) -> dict[str, Any]:
    return {name: value for name, value in {**POST, **facts}.items() if name not in names}


def test_a_post_becomes_a_row() -> None:
    table = POSTS.check(rows([POST]))
    assert table.to_pylist() == [
        {
            "id": 5000000,
            "md5": "0123456789abcdef0123456789abcdef",
            "pixel_hash": "fedcba98",
            "file_ext": "png",
            "file_size": 1234567,
            "width": 900,
            "height": 1200,
            "rating": "g",
            "score": 31,
            "fav_count": 40,
            "created_at": datetime(2021, 12, 10, 23, 3, 17, tzinfo=UTC),
            "updated_at": datetime(2024, 2, 1, tzinfo=UTC),
            "parent_id": None,
            "is_deleted": False,
            "is_banned": False,
            "source": "https://example.org/1",
            "file_url": POST["file_url"],
            "general": ["1girl", "long_hair"],
            "character": ["azusa_(blue_archive)"],
            "copyright": ["blue_archive"],
            "artist": [],
            "meta": ["highres"],
            "duration": None,
            "variants": None,
        }
    ]


def test_a_hidden_post_keeps_what_is_told_of_it() -> None:
    table = POSTS.check(rows([without("md5", "file_url", is_banned=True)]))
    (row,) = table.to_pylist()
    assert (row["md5"], row["file_url"], row["pixel_hash"]) == (None, None, "fedcba98")


def test_of_a_post_listed_twice_the_last_answer_counts() -> None:
    table = rows([POST, without(id=7), without(score=99)])
    assert dict(zip(table["id"].to_pylist(), table["score"].to_pylist(), strict=True)) == {
        5000000: 99,
        7: 31,
    }


def test_no_posts_are_no_rows() -> None:
    assert rows([]).equals(POSTS.empty())


@pytest.mark.parametrize(
    ("post", "fault"),
    [
        (without("file_ext"), "KeyError('file_ext')"),
        (without("tag_string_meta"), "KeyError('tag_string_meta')"),
        (without(file_size="big"), "ValueError(\"invalid literal for int() with base 10: 'big'\")"),
        (without(created_at="then"), "ValueError(\"Invalid isoformat string: 'then'\")"),
        (without(media_asset=[1]), "AttributeError(\"'list' object has no attribute 'get'\")"),
    ],
)
def test_a_post_that_is_not_as_it_should_be_is_named(post: dict[str, Any], fault: str) -> None:
    with pytest.raises(SiteError) as told:
        rows([without(id=1), post])
    assert str(told.value) == (
        f"post 5000000: the site's answer is not as Danbooru's ({fault}):"
        " is it a site with Danbooru's API?"
    )


@pytest.mark.parametrize(
    ("post", "reason"),
    [
        (POST, None),
        (without("media_asset"), None),
        (without(is_deleted=True, file_ext="mp4"), ("deleted on the site", "")),
        (without("md5"), ("hidden from this account", "")),
        (without("file_url"), ("hidden from this account", "")),
        (without("md5", is_banned=True), ("hidden from this account", "banned artist")),
        (without(file_ext="mp4"), ("file type not wanted", "mp4")),
        (without(file_ext="webp"), ("file type not wanted", "webp")),
        (without(media_asset={"duration": 1.5}), ("animated", "png")),
    ],
)
def test_which_posts_cannot_be_used_and_why(post: dict[str, Any], reason: Any) -> None:
    assert unusable(post, FetchSection(formats=FORMATS)) == reason


def test_whose_posts_and_which_ones_are_never_fetched() -> None:
    theirs = without(tag_string_artist="a_b c_d")
    unwilling = FetchSection(opt_out=("nobody", "C D"))
    assert unusable(theirs, unwilling) == ("artist opted out", "c_d")
    assert unusable(POST, FetchSection(blocked=(1, POST["id"]))) == ("blocked", "")
    assert unusable(POST, FetchSection(opt_out=("nobody",), blocked=(1,))) is None


def test_what_moves_is_wanted_where_its_first_frame_is() -> None:
    options = FetchSection(animated="first-frame")
    assert unusable(without(media_asset={"duration": 1.5}), options) is None
    assert unusable(without(media_asset={"duration": 1.5}, file_ext="zip"), options) == (
        "file type not wanted", "zip"
    )  # fmt: skip


def test_versions_of_a_file_are_kept_where_they_were_asked_for() -> None:
    variant = {
        "type": "720x720", "url": "http://f/a.webp", "width": 480, "height": 720, "file_ext": "webp"
    }  # fmt: skip
    asset = {"duration": None, "variants": [variant]}
    table = rows([{**POST, "media_asset": asset}, without(id=7)])
    assert table["variants"].to_pylist() == [
        [{"kind": "720x720", "url": "http://f/a.webp", "width": 480, "height": 720, "ext": "webp"}],
        None,
    ]
    with pytest.raises(SiteError, match=r"variant '\.\./x'"):
        rows([{**POST, "media_asset": {"variants": [{**variant, "type": "../x"}]}}])


def test_an_md5_that_is_none_never_becomes_a_files_name() -> None:
    with pytest.raises(SiteError) as told:
        rows([{**POST, "md5": "../../../somewhere"}])
    assert str(told.value) == (
        "post 5000000: the site's answer is not as Danbooru's"
        " (ValueError(\"md5 '../../../somewhere'\")): is it a site with Danbooru's API?"
    )
