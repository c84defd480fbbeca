"""Posts as the site's JSON has them, as rows of the table of posts; and which we cannot use."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from prep.booru.client import Post
from schemas.errors import SiteError
from schemas.recipes.prep import FetchSection
from schemas.tables import POSTS
from schemas.tags import canonical

MD5 = re.compile(r"[0-9a-f]{32}")
KIND = re.compile(r"[0-9a-z]{1,16}")


def rows(posts: Sequence[Post]) -> pa.Table:
    """Return one row per post. Raises SiteError naming the post whose JSON is not as it should be.

    Of a post listed twice (pages shift while one reads) the last answer counts.
    """
    by_id = {post["id"]: post for post in posts}
    return pa.Table.from_pylist([_row(post) for post in by_id.values()], schema=POSTS.schema)


def unusable(post: Post, options: FetchSection) -> tuple[str, str] | None:
    """Why this post's file will not be fetched, as (reason, detail); None when it will."""
    extension = str(post["file_ext"])
    if post["id"] in options.blocked:
        return "blocked", ""
    if artists := _opted_out(post, options):
        return "artist opted out", artists
    if post["is_deleted"]:
        return "deleted on the site", ""
    if not post.get("md5") or not post.get("file_url"):
        return "hidden from this account", "banned artist" if post["is_banned"] else ""
    if extension not in options.formats:
        return "file type not wanted", extension
    if (post.get("media_asset") or {}).get("duration") and options.animated == "drop":
        return "animated", extension
    return None


def _opted_out(post: Post, options: FetchSection) -> str:
    """The artists of this post who want no post of theirs to be fetched."""
    if not options.opt_out:
        return ""
    unwilling = {canonical(name) for name in options.opt_out}
    return " ".join(a for a in str(post["tag_string_artist"]).split() if a in unwilling)


def _row(post: Post) -> dict[str, Any]:
    try:
        asset = post.get("media_asset") or {}
        return {
            "id": int(post["id"]),
            "md5": _md5(post.get("md5")),
            "pixel_hash": asset.get("pixel_hash"),
            "file_ext": str(post["file_ext"]),
            "file_size": int(post["file_size"]),
            "width": int(post["image_width"]),
            "height": int(post["image_height"]),
            "rating": post.get("rating"),
            "score": int(post["score"]),
            "fav_count": int(post["fav_count"]),
            "created_at": _utc(post["created_at"]),
            "updated_at": _utc(post["updated_at"]),
            "parent_id": post.get("parent_id"),
            "is_deleted": bool(post["is_deleted"]),
            "is_banned": bool(post["is_banned"]),
            "source": str(post.get("source") or ""),
            "file_url": post.get("file_url"),
            **{
                category: str(post[f"tag_string_{category}"]).split()
                for category in ("general", "character", "copyright", "artist", "meta")
            },
            "duration": asset.get("duration"),
            "variants": _variants(asset),
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SiteError(
            f"post {post.get('id')}: the site's answer is not as Danbooru's ({error!r}):"
            " is it a site with Danbooru's API?"
        ) from None


def _variants(asset: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The versions that the site holds of the file, where it was asked for them."""
    if "variants" not in asset:
        return None
    return [
        {
            "kind": _kind(variant["type"]),
            "url": str(variant["url"]),
            "width": int(variant["width"]),
            "height": int(variant["height"]),
            "ext": _kind(variant["file_ext"]),
        }
        for variant in asset["variants"]
    ]


def _kind(value: Any) -> str:
    """A version's name and extension become parts of a file's name: letters and digits alone."""
    if not KIND.fullmatch(value):
        raise ValueError(f"variant {value!r}")
    return str(value)


def _md5(value: Any) -> str | None:
    """An md5 becomes a file's name: nothing else may."""
    if value is None:
        return None
    if not MD5.fullmatch(value):
        raise ValueError(f"md5 {value!r}")
    return str(value)


def _utc(stamp: str) -> datetime:
    """The account's zone shapes the offset; the table keeps UTC, in whole seconds."""
    return datetime.fromisoformat(stamp).astimezone(UTC).replace(microsecond=0)
