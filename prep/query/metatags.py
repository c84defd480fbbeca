"""The metatags of Danbooru: which cost a tag, which the table of posts can answer, what they mean.

A metatag that the table cannot answer (`user:`, `pool:`, votes, comments) is known by name only:
it has to go to the site.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from prep.query import values
from prep.query.ast import Metatag
from prep.query.values import Span

FILE_TYPES = ("jpg", "png", "gif", "webp", "avif", "mp4", "webm", "swf", "zip")
RATINGS = {"general": "g", "sensitive": "s", "questionable": "q", "explicit": "e"}
RATING_GROUPS = {"sfw": ("g", "s"), "nsfw": ("q", "e")}
STATUSES_HERE = ("deleted", "banned", "any", "all")
STATUSES = (*STATUSES_HERE, "active", "pending", "flagged", "appealed", "modqueue", "unmoderated")
STATES = tuple(status for status in STATUSES if status not in ("any", "all"))
IS_SITE = ("parent", *(status for status in STATES if status not in STATUSES_HERE))
HAS_HERE = ("parent", "source")
HAS = (*HAS_HERE, "child", "children", "appeals", "flags", "replacements", "comments",
       "commentary", "notes", "pools")  # fmt: skip
TAG_COUNTS = {
    **{"tagcount": ("general", "character", "copyright", "artist", "meta")},
    **{"gentags": ("general",), "arttags": ("artist",), "chartags": ("character",)},
    **{"copytags": ("copyright",), "metatags": ("meta",)},
}
MD5_DIGITS = frozenset("0123456789abcdef")

# named otherwise on the site in the past
SYNONYMS = {"pixiv": "pixiv_id", "comm": "commenter"}

# metatags that cost no tag of a search, as the site has them
FREE = frozenset(
    (
        *("status", "rating", "limit", "is", "id", "date", "age", "filesize", "filetype", "parent"),
        *("child", "md5", "width", "height", "duration", "mpixels", "ratio", "score", "upvote"),
        *("downvotes", "favcount", "embedded", "tagcount", "pixiv_id"),
    )
)

_OF = ("comment_count", "deleted_comment_count", "active_comment_count", "note_count",
       "deleted_note_count", "active_note_count", "flag_count", "child_count",
       "deleted_child_count", "active_child_count", "pool_count", "deleted_pool_count",
       "active_pool_count", "series_pool_count", "collection_pool_count", "appeal_count",
       "approval_count", "replacement_count")  # fmt: skip
SITE_ONLY = frozenset(
    (
        *("user", "approver", "commenter", "noter", "noteupdater", "artcomm", "updater"),
        *("commentaryupdater", "flagger", "appealer", "upvote", "upvoter", "downvote", "downvoter"),
        *("fav", "ordfav", "favgroup", "ordfavgroup", "pool", "ordpool", "note", "comment"),
        *("commentary", "disapproved", "child", "search", "embedded", "upvotes", "downvotes"),
        *("views", "pixiv_id", "exif", "duration", "ai", "random", *_OF),
        *(name.removesuffix("_count") + "s" for name in _OF),
    )
)
ORDERING = ("ordfav", "ordfavgroup", "ordpool")  # these come in an order of their own


@dataclass(frozen=True)
class Ranged:
    """A metatag whose value is a range: how one value is read, and an example for messages."""

    read: Callable[[datetime], values.Read]
    example: str
    alone: values.Read | None = None


RANGED: Mapping[str, Ranged] = {
    **{
        name: Ranged(lambda now: values.integer, example)
        for name, example in {
            **{"id": "id:>5000000", "score": "score:>=6", "favcount": "favcount:10..100"},
            **{"width": "width:>=1024", "height": "height:>=1024"},
            **{name: f"{name}:>=10" for name in TAG_COUNTS},
        }.items()
    },
    "mpixels": Ranged(lambda now: values.decimal, "mpixels:>=1.5", values.about),
    "ratio": Ranged(lambda now: values.ratio, "ratio:3:4..4:3"),
    "filesize": Ranged(lambda now: values.size, "filesize:200kb..5mb", values.about_size),
    "date": Ranged(values.dates, "date:2020-01-01..2021-06"),
    "age": Ranged(lambda now: values.age, "age:2days..1week", values.age_alone),
}

_WORDED = ("rating", "filetype", "status", "is", "has", "parent", "md5", "pixelhash", "source",
           "unaliased")  # fmt: skip
NAMES = frozenset((*RANGED, *_WORDED, *SITE_ONLY, *SYNONYMS, "order", "limit"))


def known(name: str) -> bool:
    """Whether the site has a metatag of this name (in lower case)."""
    return name in NAMES


def nearest(name: str, names: Sequence[str]) -> str:
    """Return '; did you mean "..."?' where one of `names` is near."""
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f': did you mean "{near[0]}"?' if near else ""


def misspelt(name: str, value: str) -> str:
    """Return the metatag that was meant, or "" where `name:value` may be a tag (nier:automata).

    Tags with a colon go on with "_" or a long word; short names are near to anything.
    """
    if len(name) < 4 or value.startswith("_") or not value:
        return ""
    near = difflib.get_close_matches(name, sorted(NAMES), n=1, cutoff=0.75)
    return near[0] if near else ""


def folded(name: str, value: str) -> str:
    """The value in the case that it is compared in; sources, names of people stay as written."""
    worded = name in RANGED or name in _WORDED
    return value.lower() if worded and name != "source" else value


def is_keyword(name: str, value: str) -> bool:
    """Whether the value means something else when it is quoted."""
    return name == "source" and value.lower() == "none"


def is_free(node: Metatag) -> bool:
    """Whether the site lets it go along with any number of tags."""
    return node.name in FREE


def answerable(node: Metatag) -> bool:
    """Whether the table of posts tells whether it holds."""
    match node.name:
        case "status":
            return node.value in STATUSES_HERE
        case "is":
            return node.value not in IS_SITE
        case "has":
            return node.value in HAS_HERE
        case name:
            return name not in SITE_ONLY


def ranges(node: Metatag, now: datetime) -> tuple[Span, ...]:
    """Return the spans of a ranged metatag's value. Raises ValueError."""
    how = RANGED[node.name]
    return values.spans(node.value, how.read(now), how.alone)


def ratings(value: str) -> tuple[str, ...]:
    """Return the letters of a list of ratings. Raises ValueError."""
    found = []
    for part in value.split(","):
        letter = RATINGS.get(part.strip(), part.strip())
        if letter not in RATINGS.values():
            raise ValueError(f'"{part}" is no rating')
        found.append(letter)
    return tuple(found)


def problem(node: Metatag, now: datetime) -> str:
    """Return what is wrong with a metatag's value, and what to write; "" where it can be read."""
    name, value = node.name, node.value
    if name == "random":
        return "random: gives other posts each time: order:md5 limit:100 does not, and is as good"
    try:
        if name in RANGED:
            ranges(node, now)
        elif name == "rating":
            ratings(value)
    except ValueError as error:
        example = "rating:g,s (of g, s, q, e)" if name == "rating" else RANGED[name].example
        return f"{error}: write for example {example}"
    words: dict[str, Sequence[str]] = {
        "filetype": FILE_TYPES,
        "status": STATUSES,
        "is": ("child", "parent", *STATES, *FILE_TYPES, *RATINGS, *RATING_GROUPS),
        "has": HAS,
    }
    if name in words:
        given = value.split(",") if name == "filetype" else [value]
        wrong = next((word for word in given if word not in words[name]), None)
        if wrong is not None:
            near = nearest(wrong, words[name]) or f": it takes {', '.join(words[name])}"
            return f'"{wrong}" does not go with {name}{near}'
    elif name == "parent" and value not in ("any", "none") and not _is_id(value):
        return f'"{value}" is no post: write parent:any, parent:none or parent:123'
    elif name in ("md5", "pixelhash") and not all(map(_is_md5, value.split(","))):
        return f'"{value}" is no md5: it has 32 digits of 0-9 and a-f'
    elif not value and name != "source":
        return f'nothing follows "{name}:"'
    return ""


def _is_id(value: str) -> bool:
    return value.isascii() and value.isdecimal() and len(value) <= 18


def _is_md5(value: str) -> bool:
    return len(value) == 32 and MD5_DIGITS.issuperset(value)
