"""What each metatag of the embedded booru tests, and what each `order:` sorts by.

Ranges (`5`, `>=5`, `5..9`, `5...9`, `..9`, `5,7`), units and synonyms are those of danbooru's
`app/logical/post_query_builder.rb`. A value that cannot be read matches no post.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from fnmatch import translate
from fractions import Fraction
from math import floor
from typing import Any, Generic, TypeVar

from prep.demo.posts import Post
from prep.demo.world import World

Test = Callable[[Post, World], bool]
Field = Callable[[Post, World], Any]
T = TypeVar("T")

FUDGE = 0.05  # a size given in kb, mb or megapixels without an operator means "about"
TAG_COUNTS = {
    **{"gentags": "general", "arttags": "artist", "chartags": "character"},
    **{"copytags": "copyright", "metatags": "meta"},
}
_COMPARED = ((">=", True, True), ("<=", False, True), (">", True, False), ("<", False, False))
_UNITS = {  # seconds; a month and a year are those of the Gregorian calendar on average
    **{"s": 1, "sec": 1, "second": 1, "mi": 60, "min": 60, "minute": 60, "h": 3600, "hour": 3600},
    **{"d": 86400, "day": 86400, "w": 604800, "week": 604800},
    **{"mo": 2629746, "month": 2629746, "y": 31556952, "year": 31556952},
}


@dataclass(frozen=True)
class _Span(Generic[T]):
    """The values from `low` to `high` (None: no bound); the ends belong to it where `*_in`."""

    low: T | None
    high: T | None
    low_in: bool = True
    high_in: bool = True

    def holds(self, value: Any) -> bool:
        if value is None:
            return False
        above = self.low is None or (value >= self.low if self.low_in else value > self.low)
        below = self.high is None or (value <= self.high if self.high_in else value < self.high)
        return above and below


# How one written value is read: the values it stands for, e.g. a day for a date.
_Read = Callable[[str], _Span[Any]]


def _spans(text: str, read: _Read) -> list[_Span[Any]]:
    if "," in text:
        return [span for part in text.split(",") for span in _spans(part, read)]
    for sign, above, inclusive in _COMPARED:
        if text.startswith(sign):
            bound = read(text[len(sign) :])
            if above:
                return [_Span(bound.low if inclusive else bound.high, None, inclusive)]
            return [_Span(None, bound.high if inclusive else bound.low, True, inclusive)]
    for dots, inclusive in (("...", False), ("..", True)):
        if dots in text:
            low, _, high = text.partition(dots)
            if not low and not high:
                raise ValueError(text)
            first, last = (read(low).low if low else None), (read(high) if high else None)
            end = None if last is None else last.high if inclusive else last.low
            if first is not None and end is not None and first > end:
                first, end = end, first
            return [_Span(first, end, True, inclusive)]
    return [read(text)]


def _in_range(value_of: Field, read: _Read, exact: _Read | None = None) -> "_Metatag":
    """Test `value_of` against a range; `exact` reads values that stand alone, without operator."""

    def metatag(text: str, now: datetime) -> Test:
        alone = exact is not None and not re.search(r"[<>,]|\.\.", text)
        try:
            spans = _spans(text, exact if alone and exact else read)
        except (ValueError, OverflowError):
            return lambda post, world: False
        return lambda post, world: any(span.holds(value_of(post, world)) for span in spans)

    return metatag


_Metatag = Callable[[str, datetime], Test]


def integer_test(text: str, value: int) -> bool:
    """Whether `value` lies in the range written (`5`, `>=5`, `5..9`, `5,7`)."""
    try:
        return any(span.holds(value) for span in _spans(text, _integer))
    except ValueError:
        return False


def _integer(text: str) -> _Span[int]:
    number = int(text)
    return _Span(number, number)


def _decimal(text: str) -> _Span[float]:
    number = float(text)
    return _Span(number, number)


def _about(read: _Read) -> _Read:
    def fudged(text: str) -> _Span[Any]:
        number: Any = read(text).low
        if read is _bytes and re.fullmatch(r"\d+b?", text.lower()):
            return _Span(number, number)
        return _Span(number * (1 - FUDGE), number * (1 + FUDGE))

    return fudged


def _bytes(text: str) -> _Span[int]:
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\d*\.\d+)([km]?)b?", text.lower())
    if found is None:
        raise ValueError(text)
    number = int(float(found[1]) * {"": 1, "k": 1024, "m": 1024 * 1024}[found[2]])
    return _Span(number, number)


def _ratio(text: str) -> _Span[float]:
    wide, parted, high = text.replace("/", ":").partition(":")
    if parted and Fraction(high) == 0:
        raise ValueError(text)
    shape = Fraction(wide) / Fraction(high) if parted else Fraction(text)
    number = _half_up(shape)
    return _Span(number, number)


def _dates(text: str, now: datetime) -> _Span[datetime]:
    """A day, month or year as the span of its moments, in UTC."""
    midnight = datetime.combine(now.date(), time(), now.tzinfo)
    day = timedelta(days=1)
    if text in ("today", "yesterday"):
        low = midnight - day * (text == "yesterday")
        return _Span(low, low + day, True, False)
    found = re.fullmatch(r"(\d{4})(?:[-/](\d{1,2})(?:[-/](\d{1,2}))?)?", text)
    if found is None:
        raise ValueError(text)
    year, month, number = int(found[1]), int(found[2] or 1), int(found[3] or 1)
    low = datetime(year, month, number, tzinfo=now.tzinfo)
    if found[3]:
        high = low + day
    elif found[2]:
        high = low.replace(year=year + month // 12, month=month % 12 + 1)
    else:
        high = low.replace(year=year + 1)
    return _Span(low, high - timedelta(microseconds=1))


def _date(text: str, now: datetime) -> Test:
    return _in_range(lambda post, world: post.created_at, lambda part: _dates(part, now))(text, now)


def _age(text: str, now: datetime) -> Test:
    """Seconds since the post was made; a value that stands alone means one unit's width."""

    def read(part: str) -> _Span[float]:
        found = re.fullmatch(r"(\d+)([a-z]+?)s?", part.lower())
        unit = found and (_UNITS.get(found[2]) or _UNITS.get(found[2].rstrip("s")))
        if not found or not unit:
            raise ValueError(part)
        return _Span(int(found[1]) * float(unit), int(found[1]) * float(unit))

    def alone(part: str) -> _Span[float]:
        low = read(part).low or 0.0
        unit = low / max(int(re.sub(r"\D", "", part)), 1)
        return _Span(low, low + unit, True, False)

    def seconds(post: Post, world: World) -> float:
        return (now - post.created_at).total_seconds()

    return _in_range(seconds, read, alone)(text, now)


def _rating(text: str, now: datetime) -> Test:
    wanted = {part.strip().lower()[:1] for part in text.split(",")}
    return lambda post, world: post.rating in wanted


def _filetype(text: str, now: datetime) -> Test:
    wanted = set(text.lower().split(","))
    return lambda post, world: post.file_ext in wanted


def _status(text: str, now: datetime) -> Test:
    wanted = [part.strip() for part in text.lower().split(",")]
    tests: dict[str, Callable[[Post], bool]] = {
        "any": lambda post: True,
        "all": lambda post: True,
        "active": lambda post: not (post.is_deleted or post.is_pending or post.is_flagged),
        "deleted": lambda post: post.is_deleted,
        "pending": lambda post: post.is_pending,
        "flagged": lambda post: post.is_flagged,
        "modqueue": lambda post: post.is_pending or post.is_flagged,
        "banned": lambda post: post.is_banned,
    }
    chosen = [tests[part] for part in wanted if part in tests]
    return lambda post, world: any(test(post) for test in chosen)


def _is(text: str, now: datetime) -> Test:
    """`is:` takes what `status:` and `filetype:` take, the ratings by name, parent and child."""
    word = text.lower()
    if word in ("parent", "child"):
        return (_child if word == "parent" else _parent)("any", now)
    if word in ("general", "sensitive", "questionable", "explicit"):
        return _rating(word, now)
    if word == "sfw" or word == "nsfw":
        return _rating("g,s" if word == "sfw" else "q,e", now)
    status, filetype = _status(word, now), _filetype(word, now)
    return lambda post, world: status(post, world) or filetype(post, world)


def _parent(text: str, now: datetime) -> Test:
    if text.lower() in ("any", "none"):
        wanted = text.lower() == "any"
        return lambda post, world: (world.parent_of(post) is not None) == wanted
    ids = {int(part) for part in text.split(",") if part.isdecimal()}
    return lambda post, world: post.id in ids or world.parent_of(post) in ids


def _child(text: str, now: datetime) -> Test:
    if text.lower() in ("any", "none"):
        wanted = text.lower() == "any"
        return lambda post, world: bool(world.children_of(post)) == wanted
    ids = {int(part) for part in text.split(",") if part.isdecimal()}
    return lambda post, world: any(child.id in ids for child in world.children_of(post))


def _md5(text: str, now: datetime) -> Test:
    wanted = text.lower().split(",")

    def test(post: Post, world: World) -> bool:
        return any((found := world.with_md5(md5)) and found.id == post.id for md5 in wanted)

    return test


def _pixel_hash(text: str, now: datetime) -> Test:
    return lambda post, world: world.file(post).pixel_hash == text.lower()


def _pixiv(text: str, now: datetime) -> Test:
    if text.lower() in ("any", "none"):
        wanted = text.lower() == "any"
        return lambda post, world: (post.pixiv_id is not None) == wanted
    return _in_range(lambda post, world: post.pixiv_id, _integer)(text, now)


def _source(text: str, now: datetime) -> Test:
    if text.lower() == "none":
        return lambda post, world: not post.source
    pattern = re.compile(translate(text.lower().rstrip("*") + "*"))
    return lambda post, world: pattern.fullmatch(post.source.lower()) is not None


def _embedded(text: str, now: datetime) -> Test:
    return lambda post, world: text.lower() in ("false", "no", "off", "f", "n", "0")


def _user(text: str, now: datetime) -> Test:
    return lambda post, world: f"uploader_{post.uploader_id}" == text.lower()


def _mpixels(post: Post, world: World) -> float:
    return post.width * post.height / 1e6


def _shape(post: Post, world: World) -> float:
    return _half_up(Fraction(post.width, post.height))


def _half_up(number: Fraction) -> float:
    """To two places as the database rounds: halves go up, and no binary fraction intervenes."""
    return floor(number * 100 + Fraction(1, 2)) / 100


METATAGS: dict[str, _Metatag] = {
    "id": _in_range(lambda post, world: post.id, _integer),
    "score": _in_range(lambda post, world: world.score(post), _integer),
    "upvotes": _in_range(lambda post, world: world.up_score(post), _integer),
    "upvote": _in_range(lambda post, world: world.up_score(post), _integer),
    "downvotes": _in_range(lambda post, world: -post.down_score, _integer),
    "downvote": _in_range(lambda post, world: -post.down_score, _integer),
    "favcount": _in_range(lambda post, world: post.fav_count, _integer),
    "width": _in_range(lambda post, world: post.width, _integer),
    "height": _in_range(lambda post, world: post.height, _integer),
    "mpixels": _in_range(_mpixels, _decimal, _about(_decimal)),
    "ratio": _in_range(_shape, _ratio),
    "filesize": _in_range(lambda post, world: world.file(post).size, _bytes, _about(_bytes)),
    "duration": _in_range(lambda post, world: post.duration, _decimal),
    "tagcount": _in_range(lambda post, world: len(post.tags), _integer),
    **{
        name: _in_range(lambda post, world, c=category: len(post.by_category[c]), _integer)  # type: ignore[misc]
        for name, category in TAG_COUNTS.items()
    },
    "date": _date,
    "age": _age,
    "rating": _rating,
    "status": _status,
    "is": _is,
    "filetype": _filetype,
    "parent": _parent,
    "child": _child,
    "md5": _md5,
    "pixelhash": _pixel_hash,
    "pixiv_id": _pixiv,
    "pixiv": _pixiv,
    "source": _source,
    "embedded": _embedded,
    "user": _user,
}


def _both_ways(name: str, key: Field) -> dict[str, Field]:
    """Falling, ties by falling id; and rising, ties by rising id."""
    return {
        name: lambda post, world: (-key(post, world), -post.id),
        f"{name}_asc": lambda post, world: (key(post, world), post.id),
    }


# `order:id` is oldest first on the site; every other name sorts largest first.
ORDERS: dict[str, Field] = {
    "id": lambda post, world: post.id,
    "id_asc": lambda post, world: post.id,
    "id_desc": lambda post, world: -post.id,
    **_both_ways("score", lambda post, world: world.score(post)),
    **_both_ways("upvotes", lambda post, world: world.up_score(post)),
    **_both_ways("downvotes", lambda post, world: -post.down_score),
    **_both_ways("favcount", lambda post, world: post.fav_count),
    **_both_ways("created_at", lambda post, world: post.created_at.timestamp()),
    **_both_ways("change", lambda post, world: post.updated_at.timestamp()),
    **_both_ways("mpixels", _mpixels),
    **_both_ways("filesize", lambda post, world: world.file(post).size),
    **_both_ways("tagcount", lambda post, world: len(post.tags)),
    "landscape": lambda post, world: -post.width / post.height,
    "portrait": lambda post, world: post.width / post.height,
}
