"""The embedded booru's query language: parsed, counted, and tested against one post at a time.

Written apart from the client's own reading of a query, so that the two can be held against each
other. Grammar and meaning: danbooru `app/logical/post_query/parser.rb` and the site's cheatsheet.

    root   = or {or}                 written side by side: all must hold
    or     = and ["or" or]
    and    = factor {factor} ["and" and]
    factor = "-" expr | "~" expr | expr
    expr   = "(" or ")" | metatag | tag | wildcard
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from fnmatch import translate

from prep.demo.metatags import METATAGS, ORDERS, Test
from prep.demo.posts import Post
from prep.demo.world import World

FREE = frozenset(
    (
        *("status", "rating", "limit", "is", "id", "date", "age", "filesize", "filetype", "parent"),
        *("child", "md5", "width", "height", "duration", "mpixels", "ratio", "score", "upvote"),
        *("downvotes", "favcount", "embedded", "tagcount", "pixiv_id", "pixiv"),
    )
)
WITHOUT_TEST = ("order", "limit")
_METATAG = re.compile(rf"({'|'.join([*METATAGS, *WITHOUT_TEST])}):", re.IGNORECASE)
_WORD = re.compile(r"[^ )~-][^ ]*")
_VALUE = re.compile(r"\"((?:[^\"\\]|\\.)*)\"|'((?:[^'\\]|\\.)*)'|([^ ]*)")


@dataclass(frozen=True)
class Query:
    """A search as the site understands it. `counted` is how many tags it costs the account."""

    test: Test
    counted: int
    order: str = ""
    limit: int | None = None

    def matches(self, post: Post, world: World) -> bool:
        return self.test(post, world)

    def sorted(self, posts: list[Post], world: World) -> list[Post]:
        """Posts in this query's order; newest id first where none, or an unknown one, is named."""
        key = ORDERS.get(self.order)
        newest_first = sorted(posts, key=lambda post: -post.id)
        return sorted(newest_first, key=lambda post: key(post, world)) if key else newest_first


def parse(text: str, now: datetime, aliases: Mapping[str, str]) -> Query:
    """Read a search; what cannot be parsed matches nothing, as on the site.

    now: aware, what `age:` and `date:today` count from. aliases: tag -> tag that took its place.
    """
    parser = _Parser(" ".join(text.split()), now, aliases)
    try:
        test = parser.root()
    except _Unreadable:
        test = _nothing
    return Query(test, parser.counted, parser.order, parser.limit)


class _Unreadable(Exception):
    """The search breaks the grammar."""


@dataclass
class _Parser:
    text: str
    now: datetime
    aliases: Mapping[str, str]
    at: int = 0
    open: int = 0  # parentheses not yet closed: decides whose a trailing ")" is
    counted: int = 0
    order: str = ""
    limit: int | None = None

    def root(self) -> Test:
        parts = []
        while self._skip_space():
            parts.append(self._or())
        return _every(parts)

    def _or(self) -> Test:
        first = self._and()
        if self._accept("or "):
            rest = self._or()
            return lambda post, world: first(post, world) or rest(post, world)
        return first

    def _and(self) -> Test:
        required, optional = [], []
        while self._at_factor():
            if self._accept("~"):
                optional.append(self._expr())
            elif self._accept("-"):
                required.append(_negated(self._expr()))
            else:
                required.append(self._expr())
        if not required and not optional:
            raise _Unreadable(self.text[self.at :])
        if optional:
            required.append(_some(optional))
        if self._accept("and "):
            required.append(self._and())
        return _every(required)

    def _expr(self) -> Test:
        self._skip_space()
        if self._accept("("):
            self.open += 1
            inside = self._or()
            self._skip_space()
            if not self._accept(")"):
                raise _Unreadable(self.text[self.at :])
            self.open -= 1
            return inside
        metatag = _METATAG.match(self.text, self.at)
        return self._metatag(metatag) if metatag else self._tag()

    def _metatag(self, found: re.Match[str]) -> Test:
        name = found[1].lower()
        self.at = found.end()
        value = _VALUE.match(self.text, self.at)
        assert value is not None  # the last alternative takes anything, even nothing
        bare = self._without_closing(value[3]) if value[3] is not None else None
        self.at = value.end() if bare is None else self.at + len(bare)
        given = bare if bare is not None else re.sub(r"\\(.)", r"\1", value[1] or value[2] or "")
        self.counted += name not in FREE
        if name == "order":
            self.order = given.lower()
        elif name == "limit":
            self.limit = int(given) if re.fullmatch(r"\d{1,9}", given) else self.limit
        else:
            return METATAGS[name](given, self.now)
        return _everything

    def _tag(self) -> Test:
        word = _WORD.match(self.text, self.at)
        if word is None:
            raise _Unreadable(self.text[self.at :])
        tag = word[0]
        if not _balanced(tag):
            tag = self._without_closing(tag)
        if not tag or tag.lower() in ("or", "and"):
            raise _Unreadable(self.text[self.at :])
        self.at += len(tag)
        self.counted += 1
        name = tag.lower()
        if "*" in name:
            pattern = re.compile(translate(re.sub(r"([\[?])", r"[\1]", name)))
            return lambda post, world: any(map(pattern.fullmatch, post.tags))
        wanted = self.aliases.get(name, name)
        return lambda post, world: wanted in post.tags

    def _without_closing(self, word: str) -> str:
        """Give back the ")" at the end that close parentheses of the query, not of the word."""
        spare = self.open
        while spare and word.endswith(")") and not _balanced(word):
            word, spare = word[:-1], spare - 1
        return word

    def _at_factor(self) -> bool:
        left = self._skip_space()
        return bool(left) and not left.startswith(")") and not re.match(r"(or|and) ", left, re.I)

    def _skip_space(self) -> str:
        while self.text.startswith(" ", self.at):
            self.at += 1
        return self.text[self.at :]

    def _accept(self, word: str) -> bool:
        found = self._skip_space()[: len(word)].lower() == word
        self.at += len(word) * found
        return found


def _balanced(word: str) -> bool:
    depth = 0
    for letter in word:
        depth += (letter == "(") - (letter == ")")
        if depth < 0:
            return False
    return depth == 0


def _everything(post: Post, world: World) -> bool:
    return True


def _nothing(post: Post, world: World) -> bool:
    return False


def _negated(test: Test) -> Test:
    return lambda post, world: not test(post, world)


def _every(tests: list[Test]) -> Test:
    return lambda post, world: all(test(post, world) for test in tests)


def _some(tests: list[Test]) -> Test:
    return lambda post, world: any(test(post, world) for test in tests)
