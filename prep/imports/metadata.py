"""What booru downloaders write beside a file as JSON: tags by category, and a post's facts."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from prep.booru.posts import MD5
from prep.headers import Header
from prep.imports.texts import Caption, parse, spaced
from schemas.tags import CATEGORIES, MADE, SENTENCE, canonical

Entry = Mapping[str, Any]

# the categories of other sites, as Danbooru has them; what is not here is general
CATEGORY = {name: name for name in CATEGORIES} | {
    "metadata": "meta", "lore": "meta", "circle": "artist", "contributor": "artist",
}  # fmt: skip
OTHER = ("species", "model", "style", "faults", "genre", "medium")  # general tags of other sites
RATINGS = {"general": "g", "safe": "g", "sensitive": "s", "questionable": "q", "explicit": "e"}
URLS = ("file_url", "url_file", "url_original", "large_file_url", "sample_url", "url_page")
CAPTIONS = ("caption", "text", "prompt")
DATES = ("created_at", "date", "updated_at")
EPOCHS = ("%Y-%m-%d %H:%M:%S", "%a %b %d %H:%M:%S %z %Y")  # gallery-dl's, Gelbooru's


@dataclass(frozen=True)
class Metadata:
    """What one JSON object says of an image."""

    by_category: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # canonical tags
    tags: tuple[str, ...] = ()  # canonical, of no known category
    stated: Mapping[str, str] = field(default_factory=dict)  # each tag's category, in order
    caption: Caption = field(default_factory=Caption)
    post: Mapping[str, Any] | None = None  # a row of the table of posts; None where facts lack


def read(entry: Entry, site: str, md5: str, header: Header, size: int) -> Metadata:
    """Return what the object says. `site`: the dataset's own; the rest describes the file.

    Known are Danbooru's own JSON, gallery-dl's for its many sites, Grabber's, plain objects with
    `tags`, `caption` or `text`, and what `prep export` writes.
    """
    if stated := _stated(entry.get("tags")):
        # a caption beside them is these tags as text: what text cannot say is not read from it
        post = _post(entry, site, md5, header, size)
        if post is not None:
            post |= {name: [] for name in CATEGORIES}
        return Metadata(stated=stated, caption=_sentence(entry["tags"]), post=post)
    by_category = _by_category(entry)
    known = {tag for tags in by_category.values() for tag in tags}
    rest = [tag for tag in _tags(entry.get("tags") or entry.get("tag_string")) if tag not in known]
    captions = [parse(entry[key]) for key in CAPTIONS if isinstance(entry.get(key), str)]
    caption = Caption(
        tuple(tag for one in captions for tag in one.tags),
        " ".join(one.sentence for one in captions if one.sentence),
        any(one.weighted for one in captions),
    )
    post = _post(entry, site, md5, header, size)
    if post is not None:
        post |= {name: list(by_category.get(name, ())) for name in CATEGORIES}
    return Metadata(by_category, tuple(rest), caption=caption, post=post)


def _stated(tags: Any) -> dict[str, str]:
    """The categories of tags that are objects with a `tag` and a `category`."""
    if not isinstance(tags, list) or not all(isinstance(one, Mapping) for one in tags):
        return {}
    found: dict[str, str] = {}
    for one in tags:
        kind = str(one.get("category") or "")
        if kind == SENTENCE:
            continue
        if name := canonical(str(one.get("tag") or "")):
            found.setdefault(name, kind if kind in (*CATEGORIES, *MADE) else "")
    return found


def _sentence(tags: Iterable[Entry]) -> Caption:
    """What of tags that are objects is none: a sentence is a caption's part as well."""
    said = (one.get("text") or one.get("tag") for one in tags if one.get("category") == SENTENCE)
    return Caption(sentence=" ".join(map(str, filter(None, said))))


def _by_category(entry: Entry) -> dict[str, tuple[str, ...]]:
    """Tags by Danbooru's categories, from whichever of the known shapes the object has."""
    found: dict[str, list[str]] = {}
    for name in (*CATEGORY, *OTHER):
        for key in (f"tag_string_{name}", f"tags_{name}", name):
            value = entry.get(key)
            # a bare key ("artist": "someone") is a list in Grabber's JSON, and else no tags
            if value and (key != name or isinstance(value, list)):
                found.setdefault(CATEGORY.get(name, "general"), []).extend(_tags(value))
                break
    if isinstance(tags := entry.get("tags"), Mapping):
        for name, value in tags.items():
            found.setdefault(CATEGORY.get(str(name), "general"), []).extend(_tags(value))
    return {name: tuple(dict.fromkeys(tags)) for name, tags in found.items() if tags}


def _tags(value: Any) -> list[str]:
    """Canonical tags of a list, or of a booru's tag string."""
    if isinstance(value, str):
        value = spaced(value)
    if not isinstance(value, Iterable) or isinstance(value, Mapping):
        return []
    return list(dict.fromkeys(filter(None, map(canonical, map(str, value)))))


def _post(entry: Entry, site: str, md5: str, header: Header, size: int) -> dict[str, Any] | None:
    """The post's row but for its tags; None where it has no id, no score or no date."""
    number, score = _int(entry.get("id")), _score(entry.get("score"))
    created = next((at for key in DATES if (at := _when(entry.get(key)))), None)
    if not number or number < 0 or score is None or created is None:
        return None
    where = "" if _is_own(entry, site) else _site(entry)
    parent = _int(entry.get("parent_id") or entry.get("parentid"))
    said = str(entry.get("md5") or "")
    asset = entry.get("media_asset")
    return {
        "id": _id(where, number),
        "md5": said if MD5.fullmatch(said) else md5,
        "pixel_hash": asset.get("pixel_hash") if isinstance(asset, Mapping) else None,
        "file_ext": str(entry.get("file_ext") or entry.get("extension") or entry.get("ext") or ""),
        "file_size": _int(entry.get("file_size") or entry.get("filesize")) or size,
        "width": _int(entry.get("image_width") or entry.get("width")) or header.width,
        "height": _int(entry.get("image_height") or entry.get("height")) or header.height,
        "rating": _rating(entry.get("rating")),
        "score": score,
        "fav_count": _int(entry.get("fav_count") or entry.get("favorites_count")) or 0,
        "created_at": created,
        "updated_at": _when(entry.get("updated_at")) or created,
        "parent_id": _id(where, parent) if parent else None,
        "is_deleted": bool(entry.get("is_deleted", False)),
        "is_banned": bool(entry.get("is_banned", False)),
        "source": str(entry.get("source") or ""),
        "file_url": next((str(entry[key]) for key in URLS if entry.get(key)), None),
    }


def _id(where: str, number: int) -> int:
    """The site's own number; of another site a negative one, which no other post will have."""
    if not where:
        return number
    digest = hashlib.sha256(f"{where} {number}".encode()).digest()
    return -1 - (int.from_bytes(digest[:8], "big") >> 2)


def _is_own(entry: Entry, site: str) -> bool:
    """Whether the post is of the dataset's own site, by where its file lies or by its name."""
    own = urlsplit(site).netloc.lower()
    hosts = {urlsplit(str(entry[key])).netloc.lower() for key in URLS if entry.get(key)}
    hosts.add(str(entry.get("website") or "").lower())
    if any(host and _domain(host) == _domain(own) for host in hosts):
        return True
    return str(entry.get("category") or "").lower() in own.split(".")


def _site(entry: Entry) -> str:
    """A name of another site, the same for all its posts."""
    named = entry.get("category") or entry.get("website")
    hosts = (urlsplit(str(entry[key])).netloc for key in URLS if entry.get(key))
    return str(named or _domain(next(hosts, "")) or "unknown").lower()


def _domain(host: str) -> str:
    """What the hosts of one site share: cdn.donmai.us and danbooru.donmai.us; ports count."""
    if host.replace(".", "").replace(":", "").isdigit():
        return host
    return ".".join(host.split(".")[-2:])


def _rating(value: Any) -> str | None:
    word = str(value or "").lower()
    return RATINGS.get(word, word if word in ("g", "s", "q", "e") else None)


def _score(value: Any) -> int | None:
    return _int(value.get("total") if isinstance(value, Mapping) else value)


def _int(value: Any) -> int | None:
    try:
        return None if value is None or isinstance(value, bool) else int(value)
    except (TypeError, ValueError):
        return None


def _when(value: Any) -> datetime | None:
    """A moment in UTC, in whole seconds, from what sites and downloaders write."""
    if (seconds := _int(value)) is not None:
        return datetime.fromtimestamp(seconds, UTC) if 0 < seconds < 1 << 33 else None
    if not isinstance(value, str):
        return None
    for pattern in ("", *EPOCHS):
        try:
            moment = datetime.strptime(value, pattern) if pattern else datetime.fromisoformat(value)
        except ValueError:
            continue
        zoned = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return zoned.astimezone(UTC).replace(microsecond=0)
    return None
