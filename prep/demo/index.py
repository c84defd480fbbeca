"""What the embedded booru's database would do: find posts page by page, count them, find tags."""

import itertools
import re
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import TypeVar

from starlette.exceptions import HTTPException

from prep.demo.answers import CATEGORY_NUMBERS
from prep.demo.manners import Account
from prep.demo.metatags import integer_test
from prep.demo.posts import Post
from prep.demo.search import Query, parse
from prep.demo.vocabulary import ALIASES
from prep.demo.world import TagRow, World, tag_rows

KEPT_RESULTS = 64  # searches whose result is remembered until posts come, go or change
TIMED_OUT = "The database timed out running your query."
T = TypeVar("T")
_ALIASES = dict(ALIASES)
Relation = tuple[str, str, str]  # antecedent, consequent, status


@dataclass(frozen=True)
class Search:
    """A search as it was written, and as it was read."""

    text: str
    query: Query


class Listing:
    """Searches over the posts of a world. See `Site` for `now` and `heavy`."""

    def __init__(self, world: World, now: Callable[[], datetime], heavy: int | None) -> None:
        self.world, self.now, self.heavy = world, now, heavy
        self._results: OrderedDict[Hashable, list[int]] = OrderedDict()
        self._lock = threading.Lock()

    def search(self, tags: str, account: Account) -> Search:
        """Read a search; 422 where it has more tags than the account may use."""
        query = parse(tags, self.now(), _ALIASES)
        if query.counted > account.tag_limit:
            raise HTTPException(
                422,
                f"You cannot search for more than {account.tag_limit} tags at a time."
                " Upgrade your account to search for more tags at once.",
            )
        return Search(tags, query)

    def page(self, search: Search, page: str, limit: int, account: Account) -> list[Post]:
        """The posts of a page, newest first unless ordered; unlisted ones are taken out of it.

        page: a number from 1, "b<id>" (the next below) or "a<id>" (the next above); the last two go
        by id whatever the search's order. Past the last page there is an empty list, and nowhere
        else: where all of a page is unlisted, what comes after takes its place.
        """
        kind, number = (page[0], page[1:]) if page[0] in "ab" else ("", page)
        at = _page_number(page, number)
        if kind == "b":
            rows = self._matching(search, self.world.newest_first(below=at))
        elif kind == "a":
            rows = self._matching(search, self.world.oldest_first(above=at))
        else:
            start = _start_of(at, limit, account)
            rows = itertools.islice(self._ordered(search), start, None)
        found = _first_listed(rows, limit, account)
        return found[::-1] if kind == "a" else found

    def count(self, search: Search) -> int | None:
        """How many posts match, unlisted ones included; None where counting takes too long."""
        found = len(self._remembered(search, False))
        return None if self.heavy is not None and found > self.heavy else found

    def _matching(self, search: Search, posts: Iterable[Post]) -> Iterator[Post]:
        return (post for post in posts if search.query.matches(post, self.world))

    def _ordered(self, search: Search) -> Iterator[Post]:
        if not search.query.order:
            return self._matching(search, self.world.newest_first())
        ids = self._remembered(search, True)
        if self.heavy is not None and len(ids) > self.heavy:
            raise HTTPException(500, TIMED_OUT)
        return (post for id in ids if (post := self.world.post(id)))

    def _remembered(self, search: Search, ordered: bool) -> list[int]:
        """The ids that match, in order when `ordered`."""
        key = (search.text, ordered, self.now().date(), self.world.state())
        with self._lock:
            if key in self._results:
                self._results.move_to_end(key)
                return self._results[key]
        posts = list(self._matching(search, self.world.newest_first()))
        if ordered:
            posts = search.query.sorted(posts, self.world)
        with self._lock:
            self._results[key] = [post.id for post in posts]
            while len(self._results) > KEPT_RESULTS:
                self._results.popitem(last=False)
            return self._results[key]


def _first_listed(rows: Iterator[Post], limit: int, account: Account) -> list[Post]:
    while page := list(itertools.islice(rows, limit)):
        if listed := [post for post in page if post.listed_for(account.level)]:
            return listed
    return []


class TagIndex:
    """Tags, aliases and implications, found by the `search[...]` parameters of their indexes."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.rows: dict[int, TagRow] = {row.id: row for row in tag_rows()}
        self._counted: tuple[Hashable, Counter[str]] | None = None

    def counts(self) -> Counter[str]:
        """Posts by tag, counted anew when posts came or went."""
        state = frozenset(self.world.absent)
        if self._counted is None or self._counted[0] != state:
            self._counted = (state, self.world.tag_counts())
        return self._counted[1]

    def search(self, query: Mapping[str, str], limit: int, account: Account) -> list[TagRow]:
        """The tags that `search[...]` describes, newest first unless `search[order]` says so."""
        counts, asked = self.counts(), _asked(query)
        rows = [row for row in self.rows.values() if self._wanted(row, counts[row.name], asked)]
        order = asked.get("order", "")
        if order == "count":
            rows.sort(key=lambda row: (-counts[row.name], row.name))
        elif order == "name":
            rows.sort(key=lambda row: row.name)
        else:
            rows.sort(key=lambda row: -row.id)
        return _page(rows, lambda row: row.id, query.get("page") or "1", limit, account)

    def _wanted(self, row: TagRow, count: int, asked: Mapping[str, str]) -> bool:
        tests: dict[str, Callable[[str], bool]] = {
            "id": lambda text: integer_test(text, row.id),
            "name": lambda text: row.name in _names(text),
            "name_comma": lambda text: row.name in _names(text),
            "name_normalize": lambda text: row.name in _names(text.replace(" ", "_")),
            "name_matches": lambda text: _like(row.name, text),
            "name_or_alias_matches": lambda text: (
                _like(row.name, text)
                or any(new == row.name and _like(old, text) for old, new in ALIASES)
            ),
            "category": lambda text: str(CATEGORY_NUMBERS[row.category]) in text.split(","),
            "post_count": lambda text: integer_test(text, count),
            "hide_empty": lambda text: not _true(text) or count > 0,
            "is_empty": lambda text: _true(text) == (count == 0),
            "is_deprecated": lambda text: _true(text) == row.is_deprecated,
        }
        return all(tests[name](text) for name, text in asked.items() if text and name in tests)

    def relations(
        self, rows: tuple[Relation, ...], query: Mapping[str, str], limit: int, account: Account
    ) -> list[tuple[int, str, str, str]]:
        """Aliases or implications, each after its id, newest first."""
        asked = _asked(query)
        fields = ("antecedent_name", "consequent_name", "status")
        found = []
        for number, row in enumerate(rows, 1):
            values = dict(zip(fields, row, strict=True))
            if _relation_wanted(number, values, asked):
                found.append((number, *row))
        found.reverse()
        return _page(found, lambda row: row[0], query.get("page") or "1", limit, account)


def _relation_wanted(number: int, values: Mapping[str, str], asked: Mapping[str, str]) -> bool:
    for name, text in asked.items():
        key = name.removesuffix("_comma").removesuffix("_matches")
        if name == "id" and not integer_test(text, number):
            return False
        if name == "name_matches":
            if not any(
                _like(values[side], text) for side in ("antecedent_name", "consequent_name")
            ):
                return False
        elif key in values and text:
            like = name.endswith("_matches")
            names = _names(text)
            if not (_like(values[key], text) if like else values[key].lower() in names):
                return False
    return True


def _page(
    rows: list[T], id_of: Callable[[T], int], page: str, limit: int, account: Account
) -> list[T]:
    """A page of rows; the cursors a<id> and b<id> go by id, as for posts."""
    kind, number = (page[0], page[1:]) if page[0] in "ab" else ("", page)
    at = _page_number(page, number)
    if kind == "b":
        return sorted((row for row in rows if id_of(row) < at), key=id_of, reverse=True)[:limit]
    if kind == "a":
        return sorted((row for row in rows if id_of(row) > at), key=id_of)[:limit][::-1]
    start = _start_of(at, limit, account)
    return rows[start : start + limit]


def _page_number(page: str, number: str) -> int:
    if not re.fullmatch(r"\d{1,18}", number):
        raise HTTPException(400, f"Invalid page: {page}")
    return int(number)


def _start_of(number: int, limit: int, account: Account) -> int:
    """Where a numbered page begins; 410 past the last one the account may ask for."""
    if number > account.page_limit:
        raise HTTPException(410, f"You cannot go beyond page {account.page_limit}.")
    return (max(number, 1) - 1) * limit


def _asked(query: Mapping[str, str]) -> dict[str, str]:
    """`search[name]=x` as {"name": "x"}; also `search[name][]`, whose last value is taken."""
    return {
        key.removeprefix("search[").rstrip("[]"): value.strip()
        for key, value in query.items()
        if key.startswith("search[")
    }


def _names(text: str) -> list[str]:
    return [name.strip().lower() for name in text.split(",")]


def _like(name: str, pattern: str) -> bool:
    """Whether a name fits a pattern in which `*` stands for anything; nothing else is special."""
    return fnmatchcase(name, pattern.lower().replace("[", "[[]").replace("?", "[?]"))


def _true(text: str) -> bool:
    return text.lower() in ("yes", "true", "on", "1", "t", "y")
