"""Posts that are no longer on the site: asked for by id, then marked; rows and images stay.

A post that a listing does not show need not be gone: its score or its tags may have changed, or
others took its place within a limit. So those that a set's query has shown before are asked for by
id. A mark stays until the site shows the post again.
"""

from collections.abc import Collection, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from prep.booru import posts as booru_posts
from prep.booru.client import BooruClient
from prep.dataset import Dataset
from prep.listing import Listing, read_queries
from prep.query.render import render
from prep.seals import Drop
from schemas.progress import say, task
from schemas.tables import SHOWN, VANISHED

GONE = "no longer on the site"


def by_id(client: BooruClient, ids: Sequence[int], label: str) -> tuple[list[pa.Table], set[int]]:
    """Ask for posts by id; return the rows of those that there are, and the ids of the others."""
    if not ids:
        return [], set()
    pages, missing = [], set(ids)
    with task(label, len(ids), "posts") as advance:
        for page in client.by_id(ids):
            pages.append(booru_posts.rows(page))
            missing -= {post["id"] for post in page}
            advance(len(page))
    return pages, missing


def mark(dataset: Dataset, gone: Collection[int]) -> None:
    """Write these, and no others, as the posts that are no longer on the site."""
    posts = dataset.posts.columns("id", "md5")
    rows = posts.filter(pc.is_in(posts["id"], pa.array(list(gone), pa.int64())))
    VANISHED.write(dataset.path_of(VANISHED), rows.rename_columns(["post_id", "md5"]))


def note(dataset: Dataset, client: BooruClient, listing: Listing, names: Collection[str]) -> None:
    """Find which posts a finished listing misses because they are gone, mark and drop them.

    `names`: the sets that were listed. What the other posts have become joins the listed pages.
    Sets whose query is another than when they were last listed start anew. Raises SiteError.
    """
    queries = {name: render(query) for name, query in read_queries(dataset.recipe.sets).items()}
    shown = dataset.table(SHOWN).to_pylist()
    stay = [r for r in shown if r["set"] in queries and r["set"] not in names]
    earlier = [
        (r["set"], r["post_id"])
        for r in shown
        if r["set"] in names and queries.get(r["set"]) == r["query"]
    ]
    before = set(dataset.table(VANISHED).column("post_id").to_pylist())
    asked = sorted({post for _, post in earlier if post in listing.unseen} - before)
    pages, gone = by_id(client, asked, "fetch: looking for posts that were not listed")
    if gone:
        say(f"fetch: {len(gone)} posts are no longer on the site; their images stay in images/")
    listing.pages += pages
    gone |= before & listing.unseen
    mark(dataset, gone)
    now = set(listing.shown)
    lost = [one for one in earlier if one[1] in gone and one not in now]
    listing.drops += [Drop(name, f"post {post}", GONE) for name, post in lost]
    listing.rows_in += len(lost)
    rows = [{"set": name, "query": queries[name], "post_id": post} for name, post in {*now, *lost}]
    SHOWN.write(dataset.path_of(SHOWN), pa.Table.from_pylist(stay + rows, schema=SHOWN.schema))
