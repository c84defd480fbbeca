"""What the sets hold now: queries listed on the site and tested here, folders taken in."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from prep.booru import posts as booru_posts
from prep.booru.client import BooruClient, Post
from prep.dataset import Dataset
from prep.folder import import_folder
from prep.query.ast import Query, renamed, tag_names
from prep.query.columns import Posts
from prep.query.evaluate import matches, ranks
from prep.query.parse import parse
from prep.query.render import text
from prep.query.split import MOST_ORDERED, Part, Split, split
from prep.seals import Drop
from schemas.errors import QueryError
from schemas.progress import say, task
from schemas.recipes.prep import FetchSection, SetSection
from schemas.tables import IMPORTED, MEMBERS, POSTS, SHOWN, VANISHED

ROWS_COMPARED = 2048  # posts compared with what we hold at a time: bounds the memory


@dataclass
class Listing:
    """What the site and the folders hold for every set."""

    pages: list[pa.Table] = field(default_factory=list)  # of posts, as they were listed
    members: list[tuple[str, str, int]] = field(default_factory=list)  # set, md5, post id
    imported: list[dict[str, object]] = field(default_factory=list)
    beside: list[dict[str, object]] = field(default_factory=list)  # posts' facts beside imports
    drops: list[Drop] = field(default_factory=list)
    rows_in: int = 0
    shown: list[tuple[str, int]] = field(default_factory=list)  # set, id of each post taken
    unseen: set[int] = field(default_factory=set)  # posts shown before, less those on any page
    twins: list[tuple[str, str, int]] = field(default_factory=list)  # set, md5 that stands, post


@dataclass(frozen=True, slots=True)
class Listed:
    """A post of a set: its md5, or why it cannot be used."""

    id: int
    md5: str
    unusable: tuple[str, str] | None


def collect(dataset: Dataset, client: BooruClient, names: Collection[str] | None = None) -> Listing:
    """List these sets, or all. Raises QueryError before anything is asked: a query is wrong."""
    recipe, now = dataset.recipe, datetime.now(UTC)
    names = recipe.sets if names is None else names
    sets = {name: part for name, part in recipe.sets.items() if name in names}
    splits = splits_of(client, sets, read_queries(sets), now)
    known = (dataset.table(SHOWN), dataset.table(VANISHED))
    listing = Listing(unseen={id for rows in known for id in rows["post_id"].to_pylist()})
    for name in sets:
        if name in splits:
            _list(client, name, splits[name], recipe.fetch, now, listing)
        else:
            import_set(dataset, name, listing)
    return listing


def read_queries(sets: Mapping[str, SetSection]) -> dict[str, Query]:
    """Return the queries of the sets that have one. Raises QueryError naming the set."""
    queries = {}
    for name, part in sets.items():
        if part.query:
            try:
                queries[name] = parse(part.query)
            except QueryError as error:
                raise QueryError(f'set "{name}": {error}') from None
    return queries


def splits_of(
    client: BooruClient, sets: Mapping[str, SetSection], queries: Mapping[str, Query], now: datetime
) -> dict[str, Split]:
    """Return what of each query goes to the site. Tags that are tested here get their true names.

    Costs requests only where they are needed: one for the account, one for each tag among which
    there is a choice, one for the aliases of tags that are tested here. Raises QueryError.
    """
    if not queries:
        return {}
    most, counts = client.tag_limit(), counter(client)
    splits = {}
    for name, query in queries.items():
        try:
            found = split(query, sets[name].limit, most, counts, now)
        except QueryError as error:
            raise QueryError(f'set "{name}": {error}') from None
        splits[name] = found
    names = {
        tag for found in splits.values() for part in found.parts for tag in tag_names(part.tested)
    }
    aliases = client.aliases(names)
    return {name: _with_true_names(found, aliases) for name, found in splits.items()}


def counter(client: BooruClient) -> Callable[[str], float]:
    """Return what tells how many posts a tag has, asking the site once for each."""
    known: dict[str, float] = {}

    def count(tag: str) -> float:
        if tag not in known:
            posts = client.count(tag)
            known[tag] = float("inf") if posts is None else posts
        return known[tag]

    return count


def _with_true_names(found: Split, aliases: Mapping[str, str]) -> Split:
    if not aliases:
        return found
    parts = tuple(Part(part.sent, renamed(part.tested, aliases)) for part in found.parts)
    return Split(found.query, parts, found.limit, found.order, found.sort, found.ordered)


def _list(
    client: BooruClient,
    name: str,
    found: Split,
    options: FetchSection,
    now: datetime,
    listing: Listing,
) -> None:
    """Read the pages of one set's query, and take the posts up to its limit of usable ones."""
    posts: dict[int, Listed] = {}
    tables: list[pa.Table] = []
    with task(f"fetch {name}: listing", None, "posts") as advance:
        for part in found.parts:
            if not part.whole:
                say(f'fetch {name}: the site is asked for "{found.asked(part)}", the rest is'
                    f' tested here: {text(part.tested)}')  # fmt: skip
            usable = listed = 0
            for page in client.posts(found.asked(part), ordered=found.ordered):
                advance(len(page))
                listed += len(page)
                listing.unseen.difference_update(post["id"] for post in page)
                rows, new = read_page(page, part, options, now)
                new = [post for post in new if post.id not in posts]
                usable += sum(post.unusable is None for post in new)
                posts.update((post.id, post) for post in new)
                if new:
                    tables.append(_rows_of([post.id for post in new], rows))
                if found.stops_early and usable >= found.limit:
                    break
                if found.ordered and listed >= MOST_ORDERED:
                    say(f"fetch {name}: the site sorts no more than {listed} posts")
    if not posts:
        raise QueryError(
            f'set "{name}": no post answers to "{found.query.text}" on {client.site}:'
            " check the spelling of its tags there"
        )
    _take(name, found, posts, tables, listing)


def read_page(
    page: Sequence[Post], part: Part, options: FetchSection, now: datetime
) -> tuple[pa.Table, list[Listed]]:
    """Return the rows of a page that pass what is tested here, and what each of them is."""
    rows = booru_posts.rows(page)
    if not part.whole:
        rows = rows.filter(pa.array(matches(part.tested, Posts(rows), now)))
    wanted = set(rows["id"].to_pylist())
    # of a post that is on the page twice the last answer counts, as in the rows
    found = {
        post["id"]: Listed(
            post["id"], str(post.get("md5") or ""), booru_posts.unusable(post, options)
        )
        for post in page
        if post["id"] in wanted
    }
    return rows, list(found.values())


def _take(
    name: str, found: Split, posts: dict[int, Listed], tables: list[pa.Table], listing: Listing
) -> None:
    """Put a set's posts in order, cut them at the limit, and add them to the listing."""
    order: Iterable[int] = posts
    if found.limit and not found.ordered:
        rows = pa.concat_tables(tables)
        ids = rows["id"].to_numpy()
        order = ids[np.argsort(ranks(found.sort, Posts(rows)))].tolist()
    kept: list[int] = []
    usable = 0
    for id in order:
        post = posts[id]
        kept.append(id)
        if post.unusable:
            listing.drops.append(Drop(name, f"post {id}", *post.unusable))
        else:
            listing.members.append((name, post.md5, id))
            usable += 1
        if found.limit and usable == found.limit:
            break
    if len(kept) < len(posts):
        tables = [_rows_of(kept, rows) for rows in tables]
    listing.pages += tables
    listing.rows_in += len(kept)
    listing.shown += [(name, id) for id in kept]


def _rows_of(ids: Sequence[int], rows: pa.Table) -> pa.Table:
    return rows.filter(pc.is_in(rows["id"], value_set=pa.array(ids, pa.int64())))


def import_set(dataset: Dataset, name: str, listing: Listing) -> None:
    """Take a folder's images in: copied by content, with what lies beside them."""
    found = import_folder(dataset, name, dataset.recipe.sets[name])
    listing.rows_in += found.count
    listing.drops += found.drops
    listing.imported += found.rows
    listing.members += found.members
    listing.beside += found.posts


def beside(dataset: Dataset, listing: Listing) -> list[pa.Table]:
    """The posts known by what lay beside imported files, unless the site itself told of them.

    What the site says is newer than a file that was saved from it once.
    """
    members, imported = dataset.table(MEMBERS), dataset.table(IMPORTED)
    queried = pa.array([n for n, part in dataset.recipe.sets.items() if part.query], pa.string())
    listed = members.filter(pc.is_in(members["set"], queried))["post_id"].to_pylist()
    listed += [post_id for page in listing.pages for post_id in page["id"].to_pylist()]
    told = dataset.posts.keys() - set(imported["post_id"].to_pylist()) | set(listed)
    rows = {row["id"]: row for row in listing.beside if row["id"] not in told}
    return [pa.Table.from_pylist(list(rows.values()), schema=POSTS.schema)] if rows else []


def changed(dataset: Dataset, pages: Sequence[pa.Table]) -> pa.Table:
    """The rows that differ from those we hold: a second listing of the same writes nothing.

    Of a post that was listed twice, in two sets or because pages shifted, the last answer counts.
    """
    rows = pa.concat_tables(pages).combine_chunks()
    rows = rows.filter(_last_of_each(rows["id"].to_numpy()))
    known = dataset.posts.read()
    place = pc.index_in(rows["id"], value_set=known["id"].combine_chunks())
    differs: list[bool] = []
    for start in range(0, rows.num_rows, ROWS_COMPARED):
        part = slice(start, start + ROWS_COMPARED)
        held = known.take(place[part])  # a row of nulls where there is none
        pairs = zip(rows[part].to_pylist(), held.to_pylist(), strict=True)
        differs += [new != old for new, old in pairs]
    return rows.filter(pa.array(differs, pa.bool_()))


def _last_of_each(ids: np.ndarray) -> pa.Array:
    """Which rows are the last with their id."""
    mask = np.zeros(len(ids), bool)
    mask[len(ids) - 1 - np.unique(ids[::-1], return_index=True)[1]] = True
    return pa.array(mask)
