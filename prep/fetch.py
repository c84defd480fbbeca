"""From queries and folders to images on disk: list, download, verify, import, refresh."""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from prep import knowledge, missing_files, seals, vanished
from prep.booru.client import BooruClient
from prep.booru.credentials import credentials
from prep.dataset import Dataset
from prep.download import Download
from prep.folder import set_state
from prep.headers import ANIMATED
from prep.listing import Listing, beside, changed, collect
from prep.seals import Drop, Seal
from prep.twins import twins_of
from schemas.errors import DatasetError
from schemas.files import fingerprint, sha256_of, write_json
from schemas.progress import say
from schemas.tables import EXCLUDED, IMPORTED, MEMBERS, TWINS, Table

STAGE = "fetch"


def inputs(dataset: Dataset) -> str:
    """What shapes this stage: the sets and the site; and folders, which may gain files."""
    return fingerprint(wanted(dataset))


def wanted(dataset: Dataset) -> dict[str, str]:
    """Return what shapes each set now, as a fingerprint."""
    manners = {"requests_per_second", "files_per_second"}  # how fast is not what
    options = dataset.recipe.fetch.model_dump(mode="json", exclude=manners)
    return {
        name: fingerprint(
            part.query, part.limit, set_state(dataset, name) if part.folder else "", options
        )
        for name, part in dataset.recipe.sets.items()
    }


def fetched(root: Path) -> Mapping[str, str]:
    """Return the same of each set that was fetched, when it last was; empty before."""
    path = fetched_path(root)
    if not path.is_file():
        return {}
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): str(key) for name, key in stored.items()}
    except (ValueError, AttributeError):
        return {}  # damaged: every set is fetched again


def fetched_path(root: Path) -> Path:
    """Where is kept what shaped each set when it was last fetched."""
    return root / "tables" / "fetched.json"


def fetch(dataset: Dataset, *, restore: bool = False) -> Seal:
    """Bring the dataset up to what the site and the folders hold now.

    Lists every set again, downloads what is not here, verifies each file's md5, leaves originals
    untouched. With `restore`, files removed by hand come back. Raises QueryError when nothing
    answers to a query, SiteError when the site cannot be had; what was downloaded stays.
    """
    if restore and (count := dataset.restore()):
        say(f"fetch: {count} images that were removed by hand are wanted again")
    elif count := dataset.note_removed():
        say(
            f"fetch: removed by hand and staying out: {count} of the images"
            " (`--restore` takes them back)"
        )
    return _bring(dataset, list(dataset.recipe.sets))


def update(dataset: Dataset) -> Seal:
    """Fetch the sets that are not what they were when they were last fetched.

    The others stay as they were listed then: for one set more the site is asked about that alone.
    """
    before = fetched(dataset.root) if seals.read_seal(dataset.root, STAGE) else {}
    now = wanted(dataset)
    return _bring(dataset, [name for name in now if before.get(name) != now[name]])


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
        known = dataset.posts.columns("id")["id"].to_pylist()
        ids = [id for id in known if id > 0]  # of this site
        client = site_of(dataset)
        pages, gone = vanished.by_id(client, ids, "fetch: refreshing")
        if pages:
            dataset.posts.append(changed(dataset, pages))
            dataset.posts.fold()
        vanished.mark(dataset, gone)
        knowledge.learn(dataset, client, anew=True)
        if gone:
            say(f"fetch: {len(gone)} posts are no longer on the site; their images stay")
        return seals.write_seal(
            dataset.root,
            STAGE,
            inputs=seal.inputs,
            output=_output(dataset),
            rows_in=seal.rows_in,
            rows_out=seal.rows_out,
            drops=seals.drops_of(dataset.root, STAGE),
        )


def import_sets(dataset: Dataset, names: Collection[str]) -> Seal:
    """Take in the folders of these sets alone; all else stays as it was last fetched."""
    dataset.note_removed()
    return _bring(dataset, names)


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


def _bring(dataset: Dataset, names: Collection[str]) -> Seal:
    """Bring these sets up to what the site and the folders hold now; others stay as they are.

    The stage is up to date after it where the others were.
    """
    now = wanted(dataset)
    with seals.timed(dataset.root, STAGE):
        client = site_of(dataset)
        listing = collect(dataset, client, names)
        vanished.note(dataset, client, listing, names)
        if pages := [*beside(dataset, listing), *listing.pages]:
            dataset.posts.append(changed(dataset, pages))
            dataset.posts.fold()
        _download(dataset, client, listing)
        _add_others(dataset, names, listing)
        _write(dataset, listing)
        if any(dataset.recipe.sets[name].query for name in names):
            knowledge.learn(dataset, client)
        held = {**fetched(dataset.root), **{name: now[name] for name in names}}
        held = {name: held[name] for name in now if name in held}
        seal = _seal(dataset, fingerprint(held), listing)
        write_json(fetched_path(dataset.root), held)
        return seal


def _add_others(dataset: Dataset, names: Collection[str], listing: Listing) -> None:
    """Add what was last fetched of the other sets."""
    others = [name for name in dataset.recipe.sets if name not in names]

    def rows(table: Table) -> list[dict[str, Any]]:
        held = dataset.table(table)
        found = held.filter(pc.is_in(held["set"], pa.array(others, pa.string())))
        return list(found.to_pylist())

    members = rows(MEMBERS)
    listing.imported += rows(IMPORTED)
    listing.members += [(row["set"], row["md5"], row["post_id"]) for row in members]
    listing.twins += [(row["set"], row["md5"], row["post_id"]) for row in rows(TWINS)]
    earlier = [drop for drop in seals.drops_of(dataset.root, STAGE) if drop.set in others]
    listing.drops += earlier
    listing.rows_in += len(members) + len(earlier)


def _download(dataset: Dataset, client: BooruClient, listing: Listing) -> None:
    """Download what is not here; then every member is known by the md5 of its image."""
    queried = {name for name, part in dataset.recipe.sets.items() if part.query}
    files = missing_files.chosen(
        dataset, {post for name, _, post in listing.members if name in queried}
    )
    twins = twins_of(dataset, files)
    held = missing_files.images_of(dataset, {**files, **twins.elsewhere})
    failed: dict[int, Download] = {}
    missing = [post for post in files if post not in held]
    while wanted := twins.wanted(missing, held):
        # a post may be in two sets, its file is one
        named = {files[post].post_md5: files[post] for post in wanted}
        outcomes = missing_files.download_all(dataset, client.session, list(named.values()))
        for post in wanted:
            outcome = outcomes[files[post].post_md5]
            if outcome.reason:
                failed[post] = outcome
            else:
                held[post] = outcome.md5
                twins.came(outcome)
        missing = [post for post in missing if post not in held and post not in failed]
    lent = twins.settle(listing, held, queried)
    given_way = {(name, post) for name, _, post in listing.twins}
    listed, listing.members = listing.members, []
    for name, md5, post in listed:
        if name not in queried:
            listing.members.append((name, md5, post))
        elif image := held.get(post) or lent.get((name, post)):
            listing.members.append((name, image, post))
        elif (name, post) not in given_way:
            why = failed[post]
            listing.drops.append(Drop(name, f"post {post}", why.reason, why.detail))


def _write(dataset: Dataset, listing: Listing) -> None:
    """Write who is a member of what, and what was imported, whole; add the drops found by that."""
    images = dataset.images
    images.fold()
    dataset.variants.fold()
    problems = {row["md5"]: row["problem"] for row in images.columns("problem").to_pylist()}
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
    for table, rows in ((MEMBERS, _known_posts(dataset, sound)), (TWINS, listing.twins)):
        named = [{"set": name, "md5": md5, "post_id": post} for name, md5, post in rows]
        table.write(dataset.path_of(table), pa.Table.from_pylist(named, schema=table.schema))
    IMPORTED.write(
        dataset.path_of(IMPORTED), pa.Table.from_pylist(listing.imported, schema=IMPORTED.schema)
    )


def _known_posts(
    dataset: Dataset, members: Sequence[tuple[str, str, int]]
) -> set[tuple[str, str, int]]:
    """The members; an import without facts beside it has those of a post of the same bytes."""
    posts = dataset.posts.columns("id", "md5").sort_by([("id", "descending")])
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
    set_wide = [dataset.path_of(table) for table in (MEMBERS, IMPORTED, TWINS)]
    there = [path for path in set_wide if path.exists()]  # an earlier version knew no twins
    return fingerprint(dataset.posts.digest(), dataset.images.digest(), sha256_of(*there))
