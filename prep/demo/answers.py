"""The embedded booru's JSON: posts, assets, tags and accounts, with Danbooru's fields."""

import hashlib
import random
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from prep.demo.manners import LEVEL_NAMES, Account
from prep.demo.oddities import FRAME_MS, FRAMES
from prep.demo.posts import CATEGORIES, Post
from prep.demo.world import TagRow, World, variant_ext, variant_kinds, variant_size

CATEGORY_NUMBERS = {"general": 0, "artist": 1, "copyright": 3, "character": 4, "meta": 5}
_LISTED_AT = datetime(2020, 1, 1, tzinfo=UTC)  # when tags, aliases, implications were made
_NAMES = string.ascii_letters + string.digits

Only = Mapping[str, "Only"]  # wanted keys; an empty mapping under a key means all of it


@dataclass(frozen=True)
class Reader:
    """For whom a post is put down: the account, and where the files are said to lie."""

    account: Account
    file_base: str

    def time(self, moment: datetime | None) -> str | None:
        """ISO 8601 with milliseconds, in the account's zone."""
        if moment is None:
            return None
        zone = timezone(timedelta(hours=self.account.zone))
        return moment.astimezone(zone).isoformat(timespec="milliseconds")


def parse_only(text: str) -> Only:
    """Read `id,md5,media_asset[variants[url]]`; unclosed brackets are closed at the end."""
    wanted: dict[str, Any] = {}
    stack, name = [wanted], ""
    for letter in text + ",":
        if letter in ",[]":
            key = name.strip()
            inside = stack[-1].setdefault(key, {}) if key else None
            name = ""
            if letter == "[" and inside is not None:
                stack.append(inside)
            elif letter == "]" and len(stack) > 1:
                stack.pop()
        else:
            name += letter
    return wanted


def trimmed(value: Any, only: Only) -> Any:
    """`value` with only the wanted keys, at every depth; keys that are not there are left out."""
    if not only:
        return value
    if isinstance(value, list):
        return [trimmed(item, only) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: trimmed(value[key], inside) for key, inside in only.items() if key in value}


def post_json(post: Post, world: World, reader: Reader, only: Only | None = None) -> dict[str, Any]:
    """A post as this reader may see it. Nothing is drawn for fields that `only` does not want."""
    fields = _fields(post, world, reader)
    wanted = [name for name in fields if name not in _EXTRA] if not only else list(only)
    answer = {name: fields[name]() for name in wanted if name in fields}
    return trimmed(answer, only or {}) if only else answer


_EXTRA = ("media_metadata", "uploader", "parent", "children")  # given only when asked for

_Fields = dict[str, Callable[[], Any]]


def _fields(post: Post, world: World, reader: Reader) -> _Fields:
    """Every field of a post by name, each computed when called."""
    fields: _Fields = {
        "id": lambda: post.id,
        "created_at": lambda: reader.time(post.created_at),
        "updated_at": lambda: reader.time(post.updated_at),
        **_people_fields(post, world),
        **_tag_fields(post),
        **_state_fields(post, world),
        **_file_fields(post, world, reader),
        "last_comment_bumped_at": lambda: reader.time(post.commented_at),
        "last_commented_at": lambda: reader.time(post.commented_at),
        "last_noted_at": lambda: reader.time(post.noted_at),
        "media_asset": lambda: asset_json(post, world, reader),
        "media_metadata": lambda: {"id": post.id, "metadata": _metadata(post)},
        "uploader": lambda: {"id": post.uploader_id, "name": f"uploader_{post.uploader_id}"},
        "parent": lambda: _parent(post, world, reader),
        "children": lambda: [post_json(c, world, reader) for c in world.children_of(post)],
    }
    return fields


def _people_fields(post: Post, world: World) -> _Fields:
    return {
        "uploader_id": lambda: post.uploader_id,
        "approver_id": lambda: post.approver_id,
        "score": lambda: world.score(post),
        "up_score": lambda: world.up_score(post),
        "down_score": lambda: post.down_score,
        "fav_count": lambda: post.fav_count,
        "rating": lambda: post.rating,
        "source": lambda: post.source,
        "pixiv_id": lambda: post.pixiv_id,
    }


def _tag_fields(post: Post) -> _Fields:
    fields: _Fields = {
        "tag_string": lambda: " ".join(sorted(post.tags)),
        "tag_count": lambda: len(post.tags),
    }
    for category in CATEGORIES:
        names = post.by_category[category]
        fields[f"tag_string_{category}"] = lambda names=names: " ".join(names)  # type: ignore[misc]
        fields[f"tag_count_{category}"] = lambda names=names: len(names)  # type: ignore[misc]
    return fields


def _state_fields(post: Post, world: World) -> _Fields:
    children = world.children_of
    return {
        "parent_id": lambda: world.parent_of(post),
        "has_children": lambda: bool(children(post)),
        "has_active_children": lambda: any(not child.is_deleted for child in children(post)),
        "has_visible_children": lambda: bool(children(post)),
        "is_pending": lambda: post.is_pending,
        "is_flagged": lambda: post.is_flagged,
        "is_deleted": lambda: post.is_deleted,
        "is_banned": lambda: post.is_banned,
        "bit_flags": lambda: 0,
    }


def _file_fields(post: Post, world: World, reader: Reader) -> _Fields:
    kinds = variant_kinds(post)
    large = "sample" if "sample" in kinds else "original"
    fields: _Fields = {
        "file_ext": lambda: post.file_ext,
        "file_size": lambda: world.file(post).size,
        "image_width": lambda: post.width,
        "image_height": lambda: post.height,
        "has_large": lambda: "sample" in kinds,
    }
    if post.visible_to(reader.account.level):
        preview = "180x180" if kinds else "original"
        fields |= {
            "md5": lambda: world.file(post).md5,
            "file_url": lambda: file_url(post, world, reader, "original"),
            "large_file_url": lambda: file_url(post, world, reader, large),
            "preview_file_url": lambda: file_url(post, world, reader, preview),
        }
    return fields


def asset_json(post: Post, world: World, reader: Reader) -> dict[str, Any]:
    """A post's media asset; md5, file_key and variants only where the reader may see the file."""
    file = world.file(post)
    asset: dict[str, Any] = {
        "id": _asset_id(post),
        "created_at": reader.time(post.created_at),
        "updated_at": reader.time(post.created_at),
        "file_ext": post.file_ext,
        "file_size": file.size,
        "image_width": post.width,
        "image_height": post.height,
        "duration": post.duration,
        "status": "active",
        "is_public": True,
        "pixel_hash": file.pixel_hash,
    }
    if post.visible_to(reader.account.level):
        asset["md5"] = file.md5
        asset["file_key"] = "".join(random.Random(f"key {post.id}").choices(_NAMES, k=9))
        asset["variants"] = [_variant(post, world, reader, kind) for kind in variant_kinds(post)]
    return asset


def file_url(post: Post, world: World, reader: Reader, kind: str) -> str:
    """Where a post's file of this kind lies."""
    md5 = world.file(post).md5
    name = f"{'sample-' if kind == 'sample' else ''}{md5}.{variant_ext(post, kind)}"
    return f"{reader.file_base}/{kind}/{md5[:2]}/{md5[2:4]}/{name}"


def _variant(post: Post, world: World, reader: Reader, kind: str) -> dict[str, Any]:
    width, height = variant_size(post, kind)
    return {
        "type": kind,
        "url": file_url(post, world, reader, kind),
        "width": width,
        "height": height,
        "file_ext": variant_ext(post, kind),
    }


def _asset_id(post: Post) -> int:
    return post.id + 700  # assets that never became posts take ids too


def _metadata(post: Post) -> dict[str, Any]:
    facts: dict[str, Any] = {"File:ImageWidth": post.width, "File:ImageHeight": post.height}
    if post.file_ext == "zip":
        facts |= {
            "ZIP:ZipFileName": "000000.jpg",
            "Ugoira:FrameCount": FRAMES,
            "Ugoira:FrameDelays": [FRAME_MS] * FRAMES,
            "Ugoira:FrameMimeType": "image/jpeg",
        }
    return facts


def _parent(post: Post, world: World, reader: Reader) -> dict[str, Any] | None:
    id = world.parent_of(post)
    parent = world.post(id) if id is not None else None
    return post_json(parent, world, reader) if parent else None


def tag_json(row: TagRow, count: int, reader: Reader) -> dict[str, Any]:
    """A tag as `/tags.json` has it."""
    return {
        "id": row.id,
        "name": row.name,
        "post_count": count,
        "category": CATEGORY_NUMBERS[row.category],
        "created_at": reader.time(_LISTED_AT),
        "updated_at": reader.time(_LISTED_AT),
        "is_deprecated": row.is_deprecated,
        "words": [word for word in row.name.replace("(", "").replace(")", "").split("_") if word],
    }


def relation_json(
    number: int, antecedent: str, consequent: str, status: str, reader: Reader
) -> dict[str, Any]:
    """An alias or implication."""
    return {
        "id": number,
        "antecedent_name": antecedent,
        "consequent_name": consequent,
        "status": status,
        "reason": "",
        "creator_id": 1,
        "approver_id": 1 if status == "active" else None,
        "forum_topic_id": None,
        "forum_post_id": None,
        "created_at": reader.time(_LISTED_AT),
        "updated_at": reader.time(_LISTED_AT),
    }


def profile_json(account: Account, reader: Reader) -> dict[str, Any]:
    """An account's own page."""
    return {
        "id": int(hashlib.md5(account.name.encode(), usedforsecurity=False).hexdigest()[:6], 16),
        "name": account.name,
        "level": account.level,
        "level_string": LEVEL_NAMES[account.level],
        "created_at": reader.time(_LISTED_AT),
        "is_banned": False,
        "per_page": 20,
        "blacklisted_tags": "",
        "time_zone": "Eastern Time (US & Canada)",
        "tag_query_limit": account.tag_limit,
        "hide_deleted_posts": False,
    }
