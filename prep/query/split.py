"""What of a query goes to the site, as far as the account may ask, and what is tested here.

The site is asked for at least the posts that the query wants: what goes there never leaves one out.
What it cannot be asked for, or reads otherwise than we do, is tested on the listed posts:

- tags beyond the account's number: the rarest go, the others stay
- wildcards: of the tags that fit, the site takes the hundred most used
- `date:` and `age:`: the site counts days in the account's zone, and its clock goes on while we
  list: it is asked for two days more at each end

Where an "or" allows it, several listings with rare tags take the place of one long listing.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from prep.query import metatags
from prep.query.ast import (
    And,
    Metatag,
    Node,
    Not,
    Or,
    Query,
    Tag,
    Wildcard,
    all_of,
    any_of,
    clauses,
    negated,
    terms,
)
from prep.query.evaluate import unanswerable
from prep.query.orders import FILTERING, ORDERS
from prep.query.render import text
from schemas.errors import QueryError

Count = Callable[[str], float]  # how many posts have a tag; infinite where nobody knows

MOST_LISTINGS = 24  # that one "or" is taken apart into
MOST_ORDERED = 200_000  # posts that the site lists in an order: a thousand pages of two hundred
SLACK = timedelta(days=2)  # more than any two time zones are apart, and than a listing takes
DATE = "%Y-%m-%d"


@dataclass(frozen=True)
class Part:
    """One listing: what the site is asked for, and what is tested on the posts that come."""

    sent: Node
    tested: Node

    @property
    def whole(self) -> bool:
        """Whether the site tests all of it."""
        return self.tested == And(())


@dataclass(frozen=True)
class Split:
    """How a query is listed. Its posts are those of all parts, each once, then sorted and cut.

    order: what the site sorts each part by, over numbered pages; "" where it goes by id.
    sort: what we sort by when all is listed, before the limit cuts; "": newest first.
    ordered: the site's order is the result's, be it by `order` or by a metatag such as ordfav.
    """

    query: Query
    parts: tuple[Part, ...]
    limit: int
    order: str = ""
    sort: str = ""
    ordered: bool = False

    def asked(self, part: Part) -> str:
        """Return the search that goes to the site."""
        return " ".join(filter(None, [text(part.sent), self.order and f"order:{self.order}"]))

    @property
    def stops_early(self) -> bool:
        """Whether a part's listing may end when it has brought as many posts as are wanted."""
        return self.limit > 0 and (self.ordered or not self.sort)


def split(query: Query, limit: int, tag_limit: int, count: Count, now: datetime) -> Split:
    """Split a query for an account that may search for `tag_limit` tags at a time.

    limit: posts that the set wants, 0 for all; the query's own limit holds as well. count is asked
    only where there is a choice. now: aware, what ages count from. Raises QueryError where the site
    would have to test more tags than it lets us ask for.
    """
    limit = min(filter(None, (limit, query.limit)), default=0)
    order = _needed_order(query, limit)
    splitter = _Splitter(query, count, now)
    if any(
        term.name in metatags.ORDERING for term in terms(query.where) if isinstance(term, Metatag)
    ):
        part = splitter.single(query.where, tag_limit)
        if order:
            splitter.fail("ordfav:, ordpool: and ordfavgroup: are an order already: leave one out")
        return Split(query, (part,), limit, ordered=limit > 0)
    if order and limit <= MOST_ORDERED:
        try:
            part = splitter.single(query.where, tag_limit - 1)
        except QueryError:
            if order not in ORDERS:
                raise
        else:
            if part.whole or order not in ORDERS:
                return Split(query, (part,), limit, order=order, ordered=True)
    if order and order not in ORDERS:
        splitter.fail(
            f"only the site knows order:{order}, and it sorts at most {MOST_ORDERED:,} posts:"
            " lower the limit"
        )
    return Split(query, tuple(splitter.parts(query.where, tag_limit)), limit, sort=order)


def cost(node: Node) -> int:
    """Return how many tags of an account's number a search takes."""
    return sum(not (isinstance(term, Metatag) and metatags.is_free(term)) for term in terms(node))


def _needed_order(query: Query, limit: int) -> str:
    """The order, where it decides which posts are taken."""
    if limit == 0 and query.order.removesuffix("_asc") in FILTERING:
        raise QueryError(
            f'query "{query.text}": order:{query.order} needs a limit: add one to the set'
        )
    return query.order if limit and query.order != "id_desc" else ""


@dataclass(frozen=True)
class _Clause:
    """One of the things that must all hold: as it is tested here, and as it may be sent."""

    node: Node
    sent: Node | None  # None: nothing of it can be sent
    exact: bool  # whether the site reads it as we do

    @property
    def cost(self) -> int:
        return cost(self.sent) if self.sent is not None else 0


@dataclass(frozen=True)
class _Splitter:
    query: Query
    count: Count
    now: datetime

    def fail(self, what: str) -> None:
        raise QueryError(f'query "{self.query.text}": {what}')

    def parts(self, where: Node, budget: int, most: int = MOST_LISTINGS) -> list[Part]:
        """The listings that bring what `where` wants: one, or several in place of an "or"."""
        try:
            one, failure = [self.single(where, budget)], None
        except QueryError as error:
            one, failure = [], error
        if one and one[0].whole:
            return one
        best, least = one, self._bound(one[0].sent) if one else math.inf
        ors = [clause for clause in clauses(where) if isinstance(clause, Or)]
        for node in ors if most > 1 else []:
            if len(node.children) > most:
                continue
            rest = [clause for clause in clauses(where) if clause is not node]
            several: list[Part] = []
            try:
                for child in node.children:
                    room = most // len(node.children)
                    several += self.parts(all_of([*rest, child]), budget, room)
            except QueryError:
                continue
            listed = sum(self._bound(part.sent) for part in several)
            # at equal bounds several are shorter: each has more of the query in what is asked
            if not best or listed < least or listed == least < math.inf:
                best, least = _distinct(several), listed
        if not best and failure is not None:
            raise failure
        return best

    def single(self, where: Node, budget: int) -> Part:
        """One listing: all that must go to the site, then what makes the listing shortest."""
        found = [
            _Clause(node, *_sendable(node, True, self.now))
            for node in dict.fromkeys(clauses(where))
        ]
        chosen = [clause for clause in found if clause.sent is not None and clause.cost == 0]
        for clause in found:
            if unknown := unanswerable(clause.node):
                if clause.sent is None or not clause.exact:
                    self.fail(
                        f'"{text(clause.node)}" can be tested neither here, where'
                        f" {unknown[0].name}: is not known, nor on the site:"
                        " make several sets of it"
                    )
                if clause not in chosen:
                    chosen.append(clause)
        left = budget - sum(clause.cost for clause in chosen)
        if left < 0:
            only = " ".join(text(clause.node) for clause in chosen if clause.cost)
            self.fail(
                f"{budget - left} tags of it can be tested by the site alone ({only}), and this"
                f" account may search for {budget}"
                + ": use an account that may have more, or fewer of them"
            )
        others = [clause for clause in found if clause.sent is not None and clause not in chosen]
        for clause in self._by_use(others, left):
            if clause.cost <= left:
                chosen.append(clause)
                left -= clause.cost
        sent = all_of(clause.sent for clause in found if clause in chosen and clause.sent)
        tested = all_of(c.node for c in found if c not in chosen or not c.exact)
        return Part(sent, tested)

    def _by_use(self, others: list[_Clause], left: int) -> list[_Clause]:
        """The clauses that shorten the listing most first; nobody is asked where there is room."""
        if sum(clause.cost for clause in others) <= left:
            return others
        left_out = [clause for clause in others if isinstance(clause.node, Not)]
        wanted = [clause for clause in others if clause not in left_out]
        wanted.sort(key=lambda clause: self._use(clause.node))
        if sum(clause.cost for clause in wanted) < left:
            left_out.sort(key=lambda clause: self._use(clause.node))
        return wanted + left_out

    def _use(self, node: Node) -> tuple[float, float]:
        """Rare tags first; then what has no count; then what is left out, the common first."""
        bound = self._bound(node)
        if bound < math.inf:
            return bound, 0.0
        if isinstance(node, Not):
            return math.inf, -min(self._bound(node.child), 1e15) + 1e15
        return math.inf, -1.0

    def _bound(self, node: Node) -> float:
        """At most so many posts have it, by the counts of its tags."""
        match node:
            case Tag(name):
                return self.count(name)
            case And(children):
                return min(map(self._bound, children), default=math.inf)
            case Or(children):
                return sum(map(self._bound, children))
            case _:
                return math.inf


def _distinct(parts: Iterable[Part]) -> list[Part]:
    return list(dict.fromkeys(parts))


def _sendable(node: Node, more: bool, now: datetime) -> tuple[Node | None, bool]:
    """What of a tree can be sent, and whether the site reads that as we read the tree.

    more: what is sent may find more posts than the tree; else it may find fewer, which is what is
    needed behind a "-".
    """
    match node:
        case Not(child):
            inside, exact = _sendable(child, not more, now)
            return (None if inside is None else negated(inside)), exact
        case And(children) | Or(children):
            forms = [_sendable(child, more, now) for child in children]
            kept = [form for form, _ in forms if form is not None]
            exact = len(kept) == len(forms) and all(exact for _, exact in forms)
            # a missing member of an "and" lets more through, one of an "or" fewer
            if not kept or (len(kept) < len(forms) and isinstance(node, And) != more):
                return None, False
            return (all_of(kept) if isinstance(node, And) else any_of(kept)), exact
        case Wildcard():
            return (None if more else node), False
        case Metatag(name="date" | "age"):
            return (_wider(node, now) if more else None), False
        case _:
            return node, True


def _wider(node: Metatag, now: datetime) -> Node | None:
    """A `date:` that holds of all that `date:` or `age:` wants, wherever the site's clock is."""
    spans = metatags.ranges(node, now)
    low, high = min(span.low for span in spans), max(span.high for span in spans)
    if node.name == "age":
        low, high = now.timestamp() - high, now.timestamp() - low
    first, last = _day(low, -SLACK), _day(high, SLACK)
    if first and last:
        return Metatag("date", f"{first}..{last}")
    if not first and not last:
        return None
    return Metatag("date", f">={first}" if first else f"<={last}")


def _day(seconds: float, slack: timedelta) -> str:
    """The day of a moment, moved by the slack; "" for none, or one that no calendar has."""
    try:
        day = datetime.fromtimestamp(seconds, UTC) + slack
    except (ValueError, OverflowError, OSError):
        return ""
    return day.strftime(DATE) if day.year >= 1000 else ""
