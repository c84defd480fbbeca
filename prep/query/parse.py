"""A query from text. Grammar and meaning are Danbooru's (its search parser and its cheatsheet).

    query  = {or}                    written side by side: all must hold
    or     = and ["or" or]
    and    = factor {factor} ["and" and]
    factor = "-" expr | "~" expr | expr
    expr   = "(" or ")" | metatag | wildcard | tag

"or" binds looser than writing side by side. Of `~` terms in one "and" at least one must hold.
Where the site answers a query that it cannot read with no posts, this parser says what is wrong.
"""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime

from prep.query import metatags
from prep.query.ast import (
    EVERYTHING,
    Metatag,
    Node,
    Query,
    Tag,
    Wildcard,
    all_of,
    any_of,
    negated,
)
from prep.query.orders import ORDERS, SITE_ORDERS
from schemas.errors import QueryError

DEEPEST = 50  # parentheses within each other
UNBALANCED = (":)", ":(", ";)", ";(", ">:)", ">:(")  # tags whose ")" opens nowhere
# any moment: whether a value can be read does not depend on it
_MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
_WORD = re.compile(r"[^\s)~-]\S*")
_QUOTED = re.compile(r"\"((?:[^\"\\]|\\.)*)\"|'((?:[^'\\]|\\.)*)'")
_NAMED = re.compile(r"([A-Za-z_][A-Za-z0-9_]*):")


def parse(text: str) -> Query:
    """Read a query. Raises QueryError naming the character where it cannot be understood."""
    parser = _Parser(text)
    where = parser.root()
    return Query(where, parser.order, parser.limit, text)


@dataclass
class _Parser:
    text: str
    at: int = 0
    open: list[int] = field(default_factory=list)  # where the unclosed parentheses stand
    order: str = ""
    limit: int = 0
    ordered: bool = False  # an order was read, be it order:none
    _taken: int = -1  # where the last order or limit stands

    def root(self) -> Node:
        parts = []
        while not self._ended():
            if self.text[self.at] == ")":
                self._fail(self.at, 'this ")" closes nothing: take it away, or open it with "("')
            parts.append(self._or())
        return all_of(parts)

    def _or(self) -> Node:
        parts = [self._and()]
        while (word := self._accept_word("or")) is not None:
            if self._ended() or self.text[self.at] == ")":
                self._fail(word, '"or" stands between two things: write one on each side')
            parts.append(self._and())
        if len(parts) > 1 and EVERYTHING in parts:  # an order or a limit was all there was
            self._fail_taken("or")
        return any_of(parts)

    def _and(self) -> Node:
        required: list[Node] = []
        optional: list[Node] = []
        while self._at_factor():
            start = self.at
            sign = self.text[start]
            if sign in "-~":
                self.at += 1
                node = self._expr(sign, start)
                self._only_outside(start, sign)
                (optional if sign == "~" else required).append(
                    negated(node) if sign == "-" else node
                )
            else:
                required.append(self._expr("", start))
        if not required and not optional:
            self._fail_at_nothing()
        if optional:
            required.append(any_of(optional))
        word = self._accept_word("and")
        if word is not None:
            if not self._at_factor():
                self._fail(word, '"and" stands between two things: write one on each side')
            required.append(self._and())
        return all_of(required)

    def _expr(self, sign: str, start: int) -> Node:
        if self._ended() or self.text[self.at] in ")~-":
            self._fail(start, f'"{sign}" stands before a tag or a "("')
        if self.text[self.at] == "(":
            return self._group()
        found = _NAMED.match(self.text, self.at)
        if found and metatags.known(found[1].lower()):
            return self._metatag(found)
        return self._tag()

    def _group(self) -> Node:
        if len(self.open) == DEEPEST:
            self._fail(self.at, f"more than {DEEPEST} parentheses within each other")
        self.open.append(self.at)
        self.at += 1
        inside = self._or()
        if self._ended():
            self._fail(self.open[-1], 'this "(" is never closed: write the ")" that closes it')
        self.at += 1  # the only thing at which an "or" can have ended
        self.open.pop()
        return inside

    def _metatag(self, found: re.Match[str]) -> Node:
        start, name = self.at, metatags.SYNONYMS.get(found[1].lower(), found[1].lower())
        self.at = found.end()
        quoted = _QUOTED.match(self.text, self.at)
        if quoted:
            raw = quoted[1] if quoted[1] is not None else quoted[2]
            value = re.sub(r"\\(.)", r"\1", raw)
            self.at = quoted.end()
        elif self.text[self.at : self.at + 1] in ('"', "'") and not self._ended():
            self._fail(self.at, f"this {self.text[self.at]} is never closed")
        else:
            value = self._without_closing(re.match(r"\S*", self.text[self.at :])[0])  # type: ignore[index]
            self.at += len(value)
        if name in ("order", "limit"):
            self._take(name, value.lower(), start)
            return EVERYTHING
        value = metatags.folded(name, value)
        # a quoted value is the same as a bare one, but for the word that names an empty source
        node = Metatag(name, value, quoted is not None and metatags.is_keyword(name, value), start)
        problem = metatags.problem(node, _MOMENT)
        if problem:
            self._fail(found.end(), problem)
        return node

    def _take(self, name: str, value: str, start: int) -> None:
        """Keep the order or the limit, of which a query has one, and not within something."""
        if name == "limit":
            if not re.fullmatch(r"[0-9]{1,9}", value) or int(value) == 0:
                self._fail(start, f'"limit:{value}" is no number of posts: write limit:500')
            if self.limit:
                self._fail(start, "a second limit: a query has one")
            self.limit = int(value)
        else:
            value = ORDERS.get(value, value)
            if value == "random":
                self._fail(
                    start,
                    "order:random gives other posts each time: order:md5 is as good as random"
                    " and stays the same",
                )
            if value not in ORDERS and value.removesuffix("_asc") not in SITE_ORDERS:
                near = metatags.nearest(value, (*ORDERS, *SITE_ORDERS))
                self._fail(start, f'"order:{value}" is no order of the site{near}')
            if self.ordered:
                self._fail(start, "a second order: a query has one")
            self.order, self.ordered = value * (value != "none"), True
        if self.open:
            self._fail(start, f'"{name}:" is said of the whole query: take it out of the "("')
        self._taken = start

    def _only_outside(self, start: int, word: str) -> None:
        """Refuse an order or a limit behind a "-" or a "~"."""
        if self._taken >= start:
            self._fail_taken(word)

    def _fail_taken(self, word: str) -> None:
        name = self.text[self._taken :].partition(":")[0].lower()
        self._fail(self._taken, f'"{name}:" is said of the whole query: take it away from "{word}"')

    def _tag(self) -> Node:
        start = self.at
        word = _WORD.match(self.text, start)
        assert word is not None  # the caller has looked at the first letter
        name = self._without_closing(word[0])
        if not name or name.lower() in ("or", "and"):
            self._fail(start, f'"{name}" stands between two things: write one on each side')
        self.at += len(name)
        misspelt = _NAMED.match(name)
        if misspelt and (near := metatags.misspelt(misspelt[1].lower(), name[misspelt.end() :])):
            self._fail(
                start,
                f'there is no metatag "{misspelt[1]}:"; did you mean "{near}:"?'
                f" (a tag of that name: unaliased:{name})",
            )
        self._balance(name, start)
        if "*" in name:
            return Wildcard(re.sub(r"\*+", "*", name.lower()), start)
        return Tag(name.lower(), start)

    def _balance(self, name: str, start: int) -> None:
        """Refuse a ")" or a "(" too many, which no tag of the site has, but for a few faces."""
        depth = 0
        for place, letter in enumerate(name, start):
            depth += (letter == "(") - (letter == ")")
            if depth < 0 and name not in UNBALANCED:
                self._fail(place, 'this ")" closes nothing: take it away, or open it with "("')
        if depth > 0 and "*" not in name and name not in UNBALANCED:
            self._fail(start, f'a "(" of "{name}" is never closed')

    def _without_closing(self, word: str) -> str:
        """Give back the ")" at the end that close parentheses of the query, not of the word."""
        spare = len(self.open)
        while spare and word.endswith(")") and not _balanced(word) and word not in UNBALANCED:
            word, spare = word[:-1], spare - 1
        return word

    def _at_factor(self) -> bool:
        if self._ended() or self.text[self.at] == ")":
            return False
        return not re.match(r"(or|and)\s", self.text[self.at :], re.IGNORECASE)

    def _accept_word(self, word: str) -> int | None:
        """Where the word stands, when it comes next."""
        if self._ended() or not re.match(rf"{word}\s", self.text[self.at :], re.IGNORECASE):
            return None
        start = self.at
        self.at += len(word)
        self._ended()
        return start

    def _ended(self) -> bool:
        """Skip white space; return whether nothing follows it."""
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1
        return self.at == len(self.text)

    def _fail_at_nothing(self) -> None:
        if self._ended():
            if self.open:
                self._fail(self.open[-1], 'this "(" is never closed: write the ")" that closes it')
            self._fail(len(self.text), "something is missing at the end")
        if self.text[self.at] == ")":
            self._fail(self.at, "nothing stands in these parentheses: take them away")
        word = self.text[self.at :].split()[0]
        self._fail(self.at, f'"{word}" stands between two things: write one on each side')

    def _fail(self, at: int, what: str) -> None:
        raise QueryError(f'query "{self.text}": at character {at + 1}: {what}')


def _balanced(word: str) -> bool:
    depth = 0
    for letter in word:
        depth += (letter == "(") - (letter == ")")
        if depth < 0:
            return False
    return depth == 0
