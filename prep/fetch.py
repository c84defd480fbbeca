"""From queries and folders to originals on disk: list, download, verify, import."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from prep import seals
from prep.booru.client import BooruClient
from prep.booru.credentials import credentials
from prep.dataset import Dataset
from prep.download import Download, Wanted, download
from prep.folder import folder_state
from prep.headers import ANIMATED
from prep.listing import Listing, changed, collect
from prep.seals import Drop, Seal
from schemas.files import fingerprint, sha256_of
from schemas.progress import say, task
from schemas.tables import EXCLUDED, IMAGES, IMPORTED, MEMBERS

STAGE = "fetch"
THREADS = 8  # downloads under way at once; the pace, not this, keeps us polite
ROWS_AT_ONCE = 64  # images whose rows are kept together: a kill re-reads at most these


def inputs(dataset: Dataset) -> str:
    """What shapes this stage: the sets and the site; and folders, which may gain files."""
    recipe = dataset.recipe
    sets = {
        name: [part.query, part.limit, folder_state(dataset.root, part) if part.folder else ""]
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
        client = site_of(dataset)
        listing = collect(dataset, client)
        if listing.pages:
            dataset.posts.append(changed(dataset, listing.pages))
            dataset.posts.fold()
        _download(dataset, client, listing)
        return _seal(dataset, shaped_by, listing)


def site_of(dataset: Dataset) -> BooruClient:
    """Return the client of the dataset's site, for the user's account, at the recipe's pace."""
    options = dataset.recipe.fetch
    return BooruClient(
        options.site, credentials(), options.requests_per_second, options.files_per_second
    )


def _download(dataset: Dataset, client: BooruClient, listing: Listing) -> None:
    """Download what is not here, in threads, and keep the rows as they come."""
    images = dataset.images
    held = images.keys()
    excluded = set(dataset.table(EXCLUDED).column("md5").to_pylist())
    missing = {
        post_id: md5
        for _, md5, post_id in listing.members
        if post_id and md5 not in held and md5 not in excluded
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


def _seal(dataset: Dataset, shaped_by: str, listing: Listing) -> Seal:
    """Write who is a member of what, whole, and seal the stage."""
    images = dataset.images
    images.fold()
    problems = {
        row["md5"]: row["problem"] for row in images.read().select(["md5", "problem"]).to_pylist()
    }
    excluded = set(dataset.table(EXCLUDED).column("md5").to_pylist())
    members = sorted(
        {member for member in listing.members if member[1] in problems or member[1] in excluded}
    )
    sound = [m for m in members if problems.get(m[1]) is None]
    listing.drops += [
        Drop(name, f"post {post_id}" if post_id else md5, *_reason(problem))
        for name, md5, post_id in members
        if (problem := problems.get(md5))
    ]
    table = pa.Table.from_pylist(
        [{"set": name, "md5": md5, "post_id": post_id} for name, md5, post_id in sound],
        schema=MEMBERS.schema,
    )
    MEMBERS.write(dataset.path_of(MEMBERS), table)
    IMPORTED.write(
        dataset.path_of(IMPORTED), pa.Table.from_pylist(listing.imported, schema=IMPORTED.schema)
    )
    return seals.write_seal(
        dataset.root,
        STAGE,
        inputs=shaped_by,
        output=_output(dataset),
        rows_in=listing.rows_in,
        rows_out=table.num_rows,
        drops=listing.drops,
    )


def _reason(problem: str) -> tuple[str, str]:
    return (ANIMATED, "") if problem == ANIMATED else ("unreadable image", problem)


def _output(dataset: Dataset) -> str:
    set_wide: list[Path] = [dataset.path_of(MEMBERS), dataset.path_of(IMPORTED)]
    return fingerprint(dataset.posts.digest(), dataset.images.digest(), sha256_of(*set_wide))
