"""From queries and folders to images on disk: list, download, verify, import, refresh."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from prep import missing_files, seals
from prep.booru import posts as booru_posts
from prep.booru.client import BooruClient
from prep.booru.credentials import credentials
from prep.dataset import Dataset
from prep.folder import folder_state
from prep.headers import ANIMATED
from prep.listing import Listing, changed, collect
from prep.seals import Drop, Seal
from schemas.errors import DatasetError
from schemas.files import fingerprint, sha256_of
from schemas.progress import say, task
from schemas.tables import EXCLUDED, IMPORTED, MEMBERS, VANISHED

STAGE = "fetch"


def inputs(dataset: Dataset) -> str:
    """What shapes this stage: the sets and the site; and folders, which may gain files."""
    recipe = dataset.recipe
    sets = {
        name: [part.query, part.limit, folder_state(dataset.root, part) if part.folder else ""]
        for name, part in recipe.sets.items()
    }
    manners = {"requests_per_second", "files_per_second"}  # how fast is not what
    return fingerprint(sets, recipe.fetch.model_dump(mode="json", exclude=manners))


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


def refresh(dataset: Dataset) -> Seal:
    """Bring scores and tags of the posts we know up to date; download nothing, list nothing anew.

    Posts that are no longer on the site keep their rows and images, and are listed in the table of
    vanished posts. Raises DatasetError when nothing was fetched yet, SiteError.
    """
    seal = seals.read_seal(dataset.root, STAGE)
    if seal is None:
        raise DatasetError(
            f"{dataset.root}: --refresh brings posts up to date that are here, and none are:"
            " run `prep fetch` first"
        )
    with seals.timed(dataset.root, STAGE):
        known = dataset.posts.read().select(["id", "md5"])
        ids = known["id"].to_pylist()
        pages = []
        with task("fetch: refreshing", len(ids), "posts") as advance:
            for page in site_of(dataset).by_id(ids):
                pages.append(booru_posts.rows(page))
                advance(len(page))
        if pages:
            dataset.posts.append(changed(dataset, pages))
            dataset.posts.fold()
        seen = pa.concat_arrays(
            [page["id"].combine_chunks() for page in pages] or [pa.array([], pa.int64())]
        )
        gone = known.filter(pc.invert(pc.is_in(known["id"], seen))).rename_columns(
            ["post_id", "md5"]
        )
        VANISHED.write(dataset.path_of(VANISHED), gone)
        if gone.num_rows:
            say(f"fetch: {gone.num_rows} posts are no longer on the site; their images stay")
        return seals.write_seal(
            dataset.root,
            STAGE,
            inputs=seal.inputs,
            output=_output(dataset),
            rows_in=seal.rows_in,
            rows_out=seal.rows_out,
            drops=seals.drops_of(dataset.root, STAGE),
        )


def site_of(dataset: Dataset) -> BooruClient:
    """Return the client of the dataset's site, for the user's account, at the recipe's pace."""
    options = dataset.recipe.fetch
    return BooruClient(
        options.site,
        credentials(),
        options.requests_per_second,
        options.files_per_second,
        variants=options.size != "original",
    )


def _download(dataset: Dataset, client: BooruClient, listing: Listing) -> None:
    """Download what is not here; then every member is known by the md5 of its image."""
    files = missing_files.chosen(dataset, listing.members)
    held = missing_files.images_of(dataset, files)
    # a post may be in two sets, its file is one
    missing = {file.post_md5: file for id, file in files.items() if id not in held}
    failed = missing_files.download_all(dataset, client.session, list(missing.values()))
    listing.drops += [
        Drop(name, f"post {post_id}", failed[md5].reason, failed[md5].detail)
        for name, md5, post_id in listing.members
        if md5 in failed
    ]
    held = missing_files.images_of(dataset, files)
    listing.members = [
        (name, held.get(post_id, md5), post_id)
        for name, md5, post_id in listing.members
        if not post_id or post_id in held
    ]


def _seal(dataset: Dataset, shaped_by: str, listing: Listing) -> Seal:
    """Write who is a member of what, whole, and seal the stage."""
    images = dataset.images
    images.fold()
    dataset.variants.fold()
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
