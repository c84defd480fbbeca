"""A query over a table of posts: which rows it finds, and in which order. No loop over rows."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import reduce

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from prep.query import metatags
from prep.query.ast import And, Metatag, Node, Not, Or, Query, Tag, Wildcard, terms
from prep.query.columns import Mask, Numbers, Posts, as_mask, like
from prep.query.render import text
from prep.query.values import Span
from schemas.errors import QueryError

_NUMBERS = {"id": "id", "score": "score", "favcount": "fav_count", "width": "width",
            "height": "height", "filesize": "file_size"}  # fmt: skip
_TIMES = {"created_at": "created_at", "change": "updated_at"}


def unanswerable(where: Node) -> list[Metatag]:
    """Return the metatags of which a table of posts says nothing: only the site can test them."""
    return [
        term for term in terms(where)
        if isinstance(term, Metatag) and not metatags.answerable(term)
    ]  # fmt: skip


def matches(where: Node, posts: Posts, now: datetime | None = None) -> Mask:
    """Return which rows the query finds, as booleans.

    now: aware, what `age:` and `date:today` count from. An empty cell (a hidden post's md5) equals
    nothing. Tags are taken as they are: aliases are the site's to resolve. Raises QueryError where
    only the site can answer.
    """
    for term in unanswerable(where):
        raise QueryError(
            f'"{text(term)}" cannot be tested here: a post\'s row says nothing of it;'
            " it can be asked of the site (`prep fetch`)"
        )
    return _mask(where, posts, now or datetime.now(UTC))


def select(query: Query, posts: Posts, now: datetime | None = None) -> Numbers:
    """Return the rows (int64) that a query finds, in its order, at most as many as its limit.

    Without an order the newest come first, as on the site.
    """
    rows = np.flatnonzero(matches(query.where, posts, now))
    rows = rows[ranks(query.order, posts)[rows].argsort(kind="stable")]
    return rows[: query.limit] if query.limit else rows


def ranks(order: str, posts: Posts) -> Numbers:
    """Return the place of each row (int64, from 0) when all are put in this order.

    Of equals the newer comes first, but in orders that rise the older one, as on the site.
    """
    ids = posts.numbers("id")
    keys: tuple[np.ndarray, ...]
    if order == "md5":  # an order by text: as numbers that fall
        keys = (-_text_rank(posts), -ids)
    elif order == "md5_asc":
        keys = (_text_rank(posts), ids)
    elif order in ("", "id_desc"):
        keys = (-ids,)
    elif order == "id":
        keys = (ids,)
    elif order in ("portrait", "landscape"):
        shape = posts.numbers("width") / posts.numbers("height")
        keys = (shape if order == "portrait" else -shape, -ids)
    else:
        name = order.removesuffix("_asc")
        sign = 1 if order.endswith("_asc") else -1
        keys = (sign * _sort_key(name, order, posts), sign * ids)
    places = np.empty(posts.count, np.int64)
    places[np.lexsort(keys[::-1])] = np.arange(posts.count)
    return places


def _sort_key(name: str, order: str, posts: Posts) -> Numbers:
    if name != "id" and name in _NUMBERS:
        return posts.numbers(_NUMBERS[name])
    if name in _TIMES:
        return posts.numbers(_TIMES[name])
    if name == "mpixels":
        return posts.numbers("width") * posts.numbers("height")
    if name in metatags.TAG_COUNTS:
        return posts.tag_counts(metatags.TAG_COUNTS[name])
    raise QueryError(
        f'"order:{order}" cannot be had here: a post\'s row says nothing of it;'
        " it can be asked of the site (`prep fetch`)"
    )


def _text_rank(posts: Posts) -> Numbers:
    """The place of each row's md5 in the alphabet; empty ones before all."""
    found = pc.rank(posts.texts("md5"), sort_keys="ascending", null_placement="at_start")
    return np.asarray(found).astype(np.int64)


def _mask(node: Node, posts: Posts, now: datetime) -> Mask:
    match node:
        case Tag(name):
            return posts.with_tag(name)
        case Wildcard(pattern):
            return posts.with_tags_like(pattern)
        case Metatag():
            return _metatag(node, posts, now)
        case Not(child):
            return ~_mask(child, posts, now)
        case And(children):
            every = np.ones(posts.count, bool)
            return reduce(np.logical_and, (_mask(c, posts, now) for c in children), every)
        case Or(children):
            none = np.zeros(posts.count, bool)
            return reduce(np.logical_or, (_mask(c, posts, now) for c in children), none)


def _metatag(node: Metatag, posts: Posts, now: datetime) -> Mask:
    name, value = node.name, node.value
    if name in metatags.RANGED:
        return within(_measured(name, posts, now), metatags.ranges(node, now))
    match name:
        case "rating":
            return posts.among("rating", metatags.ratings(value))
        case "filetype":
            return posts.among("file_ext", value.split(","))
        case "md5":
            return posts.among("md5", value.split(","))
        case "pixelhash":
            return posts.among("pixel_hash", value.split(","))
        case "unaliased":
            return posts.with_tag(value)
        case "source":
            return _source(node, posts)
        case "parent":
            if value in ("any", "none"):
                return posts.filled("parent_id") if value == "any" else ~posts.filled("parent_id")
            id = int(value)
            return posts.among("parent_id", [id]) | posts.among("id", [id])
        case "has":
            return posts.filled("parent_id") if value == "parent" else ~_empty(posts)
        case _:  # status and is
            return _state(value, posts)


def _measured(name: str, posts: Posts, now: datetime) -> Numbers | npt.NDArray[np.float64]:
    """What a ranged metatag compares, one number a row."""
    if name in _NUMBERS:
        return posts.numbers(_NUMBERS[name])
    if name in metatags.TAG_COUNTS:
        return posts.tag_counts(metatags.TAG_COUNTS[name])
    if name == "date":
        return posts.seconds("created_at")
    if name == "age":
        return np.float64(now.timestamp()) - posts.seconds("created_at").astype(np.float64)
    width, height = posts.numbers("width"), posts.numbers("height")
    if name == "mpixels":
        return width * height / 1e6
    # hundredths, rounded half up, in whole numbers: the site rounds decimals, not binary fractions
    hundredths: Numbers = (200 * width + height) // (2 * np.maximum(height, 1))
    return hundredths


def within(numbers: Numbers | npt.NDArray[np.float64], spans: Sequence[Span]) -> Mask:
    """Return which numbers lie in any of the spans."""
    single = [span.low for span in spans if span.low == span.high]
    mask: Mask = np.isin(numbers, np.array(single)) if single else np.zeros(len(numbers), bool)
    for span in spans:
        if span.low != span.high:
            above = numbers >= span.low if span.low_in else numbers > span.low
            below = numbers <= span.high if span.high_in else numbers < span.high
            mask |= above & below
    return mask


def _state(value: str, posts: Posts) -> Mask:
    """`is:` takes the words of `status:`, `rating:` and `filetype:`, and "child"."""
    if value in ("any", "all"):
        return np.ones(posts.count, bool)
    if value in ("deleted", "banned"):
        return as_mask(posts.table.column(f"is_{value}"))
    if value == "child":
        return posts.filled("parent_id")
    if value in metatags.FILE_TYPES:
        return posts.among("file_ext", [value])
    group = metatags.RATING_GROUPS.get(value) or metatags.ratings(value)
    return posts.among("rating", group)


def _source(node: Metatag, posts: Posts) -> Mask:
    """Sources that begin so; "*" stands for anything. A bare "none" and "": no source."""
    value = node.value.lower()
    if not value or (value == "none" and not node.quoted):
        return _empty(posts)
    return like(pc.utf8_lower(posts.texts("source")), f"{value}*")


def _empty(posts: Posts) -> Mask:
    return as_mask(pc.equal(posts.texts("source"), ""))
