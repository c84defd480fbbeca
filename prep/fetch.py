"""From queries and folders to originals on disk: list, download, verify, import."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from prep import seals
from prep.booru import posts as booru_posts
from prep.booru.client import BooruClient
from prep.booru.credentials import credentials
from prep.dataset import Dataset
from prep.download import Download, Wanted, download
from prep.folder import import_folder, set_state
from prep.headers import ANIMATED
from prep.seals import Drop, Seal
from schemas.errors import QueryError
from schemas.files import fingerprint, sha256_of
from schemas.progress import say, task
from schemas.recipes.prep import SetSection
from schemas.tables import EXCLUDED, IMAGES, IMPORTED, MEMBERS, POSTS

STAGE = "fetch"
THREADS = 8  # downloads under way at once; the pace, not this, keeps us polite
ROWS_COMPARED = 2048  # posts compared with what we hold at a time: bounds the memory
ROWS_AT_ONCE = 64  # images whose rows are kept together: a kill re-reads at most these


@dataclass
class Listing:
    """What the site and the folders hold for every set."""

    pages: list[pa.Table] = field(default_factory=list)  # of posts, as they were listed
    members: list[tuple[str, str, int]] = field(default_factory=list)  # set, md5, post id
    imported: list[dict[str, object]] = field(default_factory=list)
    beside: list[dict[str, object]] = field(default_factory=list)  # posts' facts beside imports
    drops: list[Drop] = field(default_factory=list)
    rows_in: int = 0


def inputs(dataset: Dataset) -> str:
    """What shapes this stage: the sets and the site; and folders, which may gain files."""
    recipe = dataset.recipe
    sets = {
        name: [part.query, part.limit, set_state(dataset, name) if part.folder else ""]
        for name, part in recipe.sets.items()
    }
    return fingerprint(sets, recipe.fetch.site, recipe.fetch.formats)


def fetch(dataset: Dataset, *, restore: bool = False) -> Seal:
    """Bring the dataset up to what the site and the folders hold now.

    Lists every set again, downloads what is not here, verifies each file's md5, leaves originals
    untouched. With `restore`, files removed by hand come back. Raises QueryError when nothing
    answers to a query, SiteError when the site cannot be had; what was downloaded stays.
    """
    if restore and (count := dataset.restore()):
        say(f"fetch: {count} images that were removed by hand are wanted again")
    else:
        dataset.note_removed()
    shaped_by = inputs(dataset)
    with seals.timed(dataset.root, STAGE):
        listing = Listing()
        client = _client(dataset)
        for name, part in dataset.recipe.sets.items():
            if part.query:
                _list(client, name, part, dataset.recipe.fetch.formats, listing)
            else:
                _import(dataset, name, part, listing)
        if pages := [*_beside(dataset, listing), *listing.pages]:
            dataset.posts.append(_changed(dataset, pages))
            dataset.posts.fold()
        _download(dataset, client, listing)
        _write(dataset, listing)
        return _seal(dataset, shaped_by, listing)


def import_sets(dataset: Dataset, names: Collection[str], *, seal: bool) -> Seal | None:
    """Take in the folders of these sets alone; all else stays as it was last fetched.

    `seal` says that the rest is up to date, so that the stage is; else `fetch` has to run yet.
    """
    dataset.note_removed()
    shaped_by = inputs(dataset) if seal else ""
    with seals.timed(dataset.root, STAGE):
        listing = Listing()
        for name in names:
            _import(dataset, name, dataset.recipe.sets[name], listing)
        if pages := _beside(dataset, listing):
            dataset.posts.append(_changed(dataset, pages))
            dataset.posts.fold()
        others = [name for name in dataset.recipe.sets if name not in names]
        rest = pa.array(others, pa.string())
        imported = dataset.table(IMPORTED)
        listing.imported += imported.filter(pc.is_in(imported["set"], rest)).to_pylist()
        members = dataset.table(MEMBERS)
        for row in members.filter(pc.is_in(members["set"], rest)).to_pylist():
            listing.members.append((row["set"], row["md5"], row["post_id"]))
        drops = seals.read_drops(dataset.root, STAGE).drop_columns("stage")
        earlier = [Drop(**row) for row in drops.filter(pc.is_in(drops["set"], rest)).to_pylist()]
        listing.drops += earlier
        listing.rows_in += sum(name in others for name, _, _ in listing.members) + len(earlier)
        _write(dataset, listing)
        return _seal(dataset, shaped_by, listing) if seal else None


def _client(dataset: Dataset) -> BooruClient:
    options = dataset.recipe.fetch
    return BooruClient(
        options.site, credentials(), options.requests_per_second, options.files_per_second
    )


def _list(
    client: BooruClient, name: str, part: SetSection, formats: Sequence[str], listing: Listing
) -> None:
    """Read the pages of one set's query, up to its limit of usable posts."""
    usable = listed = 0
    with task(f"fetch {name}: listing", None, "posts") as advance:
        for page in client.posts(part.query, part.limit):
            listing.pages.append(booru_posts.rows(page))
            for post in page:
                listed += 1
                if unusable := booru_posts.unusable(post, formats):
                    listing.drops.append(Drop(name, f"post {post['id']}", *unusable))
                else:
                    listing.members.append((name, post["md5"], post["id"]))
                    usable += 1
                if part.limit and usable == part.limit:
                    break
            advance(len(page))
            if part.limit and usable == part.limit:
                break
    if not listed:
        raise QueryError(
            f'set "{name}": no post answers to "{part.query}" on {client.site}:'
            " check the spelling of its tags there"
        )
    listing.rows_in += listed


def _import(dataset: Dataset, name: str, part: SetSection, listing: Listing) -> None:
    """Take a folder's images in: copied by content, with the tags of the .txt beside them."""
    found = import_folder(dataset, name, part)
    listing.rows_in += found.count
    listing.drops += found.drops
    listing.imported += found.rows
    listing.members += found.members
    listing.beside += found.posts


def _beside(dataset: Dataset, listing: Listing) -> list[pa.Table]:
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


def _changed(dataset: Dataset, pages: Sequence[pa.Table]) -> pa.Table:
    """The rows that differ from those we hold: a second listing of the same writes nothing.

    Of a post that was listed twice, in two sets or because pages shifted, the last answer counts.
    """
    rows = pa.concat_tables(pages).combine_chunks()
    _, latest = np.unique(rows["id"].to_numpy()[::-1], return_index=True)
    rows = rows.take(pa.array(rows.num_rows - 1 - latest))
    known = dataset.posts.read()
    place = pc.index_in(rows["id"], value_set=known["id"].combine_chunks())
    differs: list[bool] = []
    for start in range(0, rows.num_rows, ROWS_COMPARED):
        part = slice(start, start + ROWS_COMPARED)
        held = known.take(place[part])  # a row of nulls where there is none
        pairs = zip(rows[part].to_pylist(), held.to_pylist(), strict=True)
        differs += [new != old for new, old in pairs]
    return rows.filter(pa.array(differs, pa.bool_()))


def _download(dataset: Dataset, client: BooruClient, listing: Listing) -> None:
    """Download what is not here, in threads, and keep the rows as they come."""
    images = dataset.images
    held = images.keys()
    excluded = set(dataset.table(EXCLUDED).column("md5").to_pylist())
    replaced = dataset.replacements()
    missing = {
        post_id: md5
        for name, md5, post_id in listing.members
        if dataset.recipe.sets[name].query
        and not (md5 in held or md5 in excluded or md5 in replaced)
    }
    wanted = {item.md5: item for item in _wanted(dataset, missing)}
    if not wanted:
        return
    rows: list[dict[str, object]] = []
    failed: dict[str, Download] = {}
    pool = ThreadPoolExecutor(THREADS)
    try:
        with task("fetch: downloading", len(wanted), "files") as advance:
            jobs = [pool.submit(download, client.session, item) for item in wanted.values()]
            for job in as_completed(jobs):
                outcome = job.result()
                if outcome.reason:
                    failed[outcome.wanted.md5] = outcome
                else:
                    rows.append(outcome.row(dataset.root))
                if len(rows) == ROWS_AT_ONCE:
                    images.append(pa.Table.from_pylist(rows, schema=IMAGES.schema))
                    rows = []
                advance()
    finally:
        # after ctrl-C or a site that went away: what came is kept, nothing new is begun
        pool.shutdown(cancel_futures=True)
        images.append(pa.Table.from_pylist(rows, schema=IMAGES.schema))
    listing.drops += [
        Drop(name, f"post {post_id}", failed[md5].reason, failed[md5].detail)
        for name, md5, post_id in listing.members
        if md5 in failed
    ]


def _wanted(dataset: Dataset, missing: Mapping[int, str]) -> Iterator[Wanted]:
    """What to download for these posts, from the facts that were just listed."""
    posts = dataset.posts.read().select(["id", "file_ext", "file_url", "file_size"])
    for post in posts.filter(
        pc.is_in(posts["id"], pa.array(list(missing), pa.int64()))
    ).to_pylist():
        md5 = missing[post["id"]]
        path = dataset.root / dataset.image_path(md5, post["file_ext"])
        yield Wanted(post["id"], md5, post["file_url"], post["file_size"], path)


def _write(dataset: Dataset, listing: Listing) -> None:
    """Write who is a member of what, and what was imported, whole; add the drops found by that."""
    images = dataset.images
    images.fold()
    problems = {
        row["md5"]: row["problem"] for row in images.read().select(["md5", "problem"]).to_pylist()
    }
    excluded = set(dataset.table(EXCLUDED).column("md5").to_pylist())
    known = problems.keys() | excluded | dataset.replacements().keys()
    members = sorted({member for member in listing.members if member[1] in known})
    files = {(row["set"], row["md5"]): str(row["file"]) for row in listing.imported}
    listing.drops += [
        Drop(name, files.get((name, md5)) or f"post {post_id}", *_reason(problem))
        for name, md5, post_id in members
        if (problem := problems.get(md5))
    ]
    sound = [m for m in members if problems.get(m[1]) is None]
    table = pa.Table.from_pylist(
        [
            {"set": name, "md5": md5, "post_id": post_id}
            for name, md5, post_id in _known_posts(dataset, sound)
        ],
        schema=MEMBERS.schema,
    )
    MEMBERS.write(dataset.path_of(MEMBERS), table)
    IMPORTED.write(
        dataset.path_of(IMPORTED), pa.Table.from_pylist(listing.imported, schema=IMPORTED.schema)
    )


def _known_posts(
    dataset: Dataset, members: Sequence[tuple[str, str, int]]
) -> set[tuple[str, str, int]]:
    """The members; an import without facts beside it has those of a post of the same bytes."""
    posts = dataset.posts.read().select(["id", "md5"]).sort_by([("id", "descending")])
    posts = posts.filter(pc.greater(posts["id"], 0))  # of this site
    by_md5 = dict(zip(posts["md5"].to_pylist(), posts["id"].to_pylist(), strict=True))
    return {(name, md5, post_id or by_md5.get(md5, 0)) for name, md5, post_id in members}


def _seal(dataset: Dataset, shaped_by: str, listing: Listing) -> Seal:
    return seals.write_seal(
        dataset.root,
        STAGE,
        inputs=shaped_by,
        output=_output(dataset),
        rows_in=listing.rows_in,
        rows_out=dataset.table(MEMBERS).num_rows,
        drops=listing.drops,
    )


def _reason(problem: str) -> tuple[str, str]:
    return (ANIMATED, "") if problem == ANIMATED else ("unreadable image", problem)


def _output(dataset: Dataset) -> str:
    set_wide: list[Path] = [dataset.path_of(MEMBERS), dataset.path_of(IMPORTED)]
    return fingerprint(dataset.posts.digest(), dataset.images.digest(), sha256_of(*set_wide))
