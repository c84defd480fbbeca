"""The files that a listing names and we do not hold: which, and all of them, several at a time."""

import shutil
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.compute as pc

from prep.booru.session import BooruSession
from prep.dataset import Dataset
from prep.download import FIRST_FRAME, ORIGINAL, PART, Download, Wanted, download
from schemas.errors import DiskError, SiteError
from schemas.progress import task
from schemas.recipes.prep import FetchSection
from schemas.tables import EXCLUDED, IMAGES, VARIANTS

THREADS = 8  # downloads under way at once; the pace, not this, keeps us polite
ROWS_AT_ONCE = 64  # images whose rows are kept together: a kill re-reads at most these
FAILED_IN_A_ROW = 20  # files, after which it is the host and not the files
RESERVE = 1_000_000_000  # bytes of the disk that stay free: tables and other programs need some
STILL = ("jpg", "png", "webp", "avif")
ENLARGED = "full"  # the site's conversion of an original to jpg, no smaller than that
FACTS = ("id", "md5", "file_ext", "file_url", "file_size", "width", "height")


def choose(post: Mapping[str, Any], options: FetchSection) -> Wanted:
    """Which file stands for a post: the original, a smaller version that suffices, or a frame.

    A pure function of the post and the recipe, whatever is here already: another size of the same
    picture is another image.
    """
    original = Wanted(
        post["md5"], FIRST_FRAME if post["duration"] else ORIGINAL, post["file_url"],
        post["file_ext"], post["file_size"], post["width"], post["height"],
    )  # fmt: skip
    size = options.size
    if size == "original" or post["duration"]:
        return original
    smaller = [
        Wanted(post["md5"], v["kind"], v["url"], v["ext"], 0, v["width"], v["height"])
        for v in post["variants"] or ()
        if v["kind"] not in (ORIGINAL, ENLARGED) and v["ext"] in STILL
    ]
    if size == "sample":
        return next((one for one in smaller if one.kind == "sample"), original)
    enough = [one for one in smaller if min(one.width, one.height) >= size]
    return min([*enough, original], key=lambda one: one.width * one.height)


def chosen(dataset: Dataset, ids: Collection[int]) -> dict[int, Wanted]:
    """The file of each of these posts."""
    if not ids:
        return {}
    options = dataset.recipe.fetch
    posts = dataset.posts.columns(*FACTS, "duration", "variants")
    rows = posts.filter(pc.is_in(posts["id"], pa.array(list(ids), pa.int64())))
    return {row["id"]: choose(row, options) for row in rows.to_pylist()}


def images_of(dataset: Dataset, files: Mapping[int, Wanted]) -> dict[int, str]:
    """The md5 of the image that we hold, or held, of each post; posts without one are left out."""
    derived = dataset.variants.read()
    known = dict(zip(derived["source"].to_pylist(), derived["md5"].to_pylist(), strict=True))
    excluded = dataset.table(EXCLUDED).column("md5").to_pylist()
    ours = {*dataset.images.keys(), *excluded, *dataset.replacements()}
    found = {
        post_id: file.post_md5 if file.kind == ORIGINAL else known.get(file.source, "")
        for post_id, file in files.items()
    }
    return {post_id: md5 for post_id, md5 in found.items() if md5 in ours}


def download_all(
    dataset: Dataset, session: BooruSession, wanted: Sequence[Wanted]
) -> dict[str, Download]:
    """Download in threads and keep the rows as they come; return what became of each, by its md5.

    Raises DiskError before the disk is full and SiteError when the host cannot be had; what came
    until then is kept, and the next run goes on with it.
    """
    if not wanted:
        return {}
    room = _Room(dataset.root)
    room.check(wanted)
    outcomes: dict[str, Download] = {}
    kept = _Kept(dataset)

    def one(file: Wanted) -> Download:
        with room.taking(file.size):
            return download(session, dataset, file)

    pool = ThreadPoolExecutor(THREADS)
    jobs = {pool.submit(one, file) for file in wanted}
    in_a_row = 0
    try:
        with task("fetch: downloading", len(wanted), "files") as advance:
            for job in as_completed(jobs):
                outcome = job.result()
                jobs.discard(job)
                outcomes[outcome.wanted.post_md5] = outcome
                if not outcome.reason:
                    kept.add(outcome)
                in_a_row = in_a_row + 1 if outcome.reason == "download failed" else 0
                if in_a_row == FAILED_IN_A_ROW:
                    raise _host_fails(outcome)
                advance()
    except BaseException as error:  # Ctrl-C, a site that went away: nothing new is begun
        session.stop()
        pool.shutdown(cancel_futures=True)
        if isinstance(error, DiskError):
            _free_parts(dataset.root)
        raise
    finally:
        pool.shutdown()
        kept.add_finished(jobs)
        kept.flush()
    return outcomes


class _Kept:
    """Rows of the tables of images and of variants, kept together so many at a time."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._images: list[dict[str, object]] = []
        self._variants: list[dict[str, object]] = []

    def add(self, outcome: Download) -> None:
        self._images.append(outcome.row(self._dataset.root))
        if outcome.wanted.kind != ORIGINAL:
            self._variants.append({"source": outcome.wanted.source, "md5": outcome.md5})
        if len(self._images) == ROWS_AT_ONCE:
            self.flush()

    def add_finished(self, jobs: Iterable["Future[Download]"]) -> None:
        """What came while the reason to stop came too."""
        for job in jobs:
            if job.done() and not job.cancelled() and job.exception() is None:
                outcome = job.result()
                if not outcome.reason:
                    self.add(outcome)

    def flush(self) -> None:
        images = {row["md5"]: row for row in self._images}  # two versions may be the same bytes
        self._dataset.images.append(
            pa.Table.from_pylist(list(images.values()), schema=IMAGES.schema)
        )
        self._dataset.variants.append(pa.Table.from_pylist(self._variants, schema=VARIANTS.schema))
        self._images, self._variants = [], []


class _Room:
    """The disk's free space, less what is under way."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._promised = 0
        self._lock = threading.Lock()

    def check(self, wanted: Sequence[Wanted]) -> None:
        """Raise DiskError when it is plain beforehand that not all will fit."""
        needed, free = sum(file.size for file in wanted), self._free()
        if needed > free - RESERVE:
            raise DiskError(
                f"{len(wanted)} files of {told(needed)} do not fit: {self._root.resolve()} has"
                f" {told(free)} free, of which {told(RESERVE)} are kept: free some,"
                " or give a set a limit; then run the command again"
            )

    @contextmanager
    def taking(self, size: int) -> Iterator[None]:
        """Set `size` bytes aside while the block runs. Raises DiskError when they are not there."""
        with self._lock:
            self._promised += size
            left = self._free() - self._promised
        try:
            if left < RESERVE:
                raise DiskError(
                    f"the disk of {self._root.resolve()} is nearly full ({told(RESERVE)} are kept"
                    " free): free some, then run the command again; it goes on where it stopped"
                )
            yield
        finally:
            with self._lock:
                self._promised -= size

    def _free(self) -> int:
        return shutil.disk_usage(self._root).free


def _free_parts(root: Path) -> None:
    """Give back what unfinished files take: the tables of the finished ones need room."""
    for part in (root / "images").rglob(f"*{PART}"):
        part.unlink(missing_ok=True)


def told(size: int) -> str:
    """Return a number of bytes as a person reads it."""
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"


def _host_fails(last: Download) -> SiteError:
    return SiteError(
        f"{FAILED_IN_A_ROW} files in a row could not be had from"
        f" {urlsplit(last.wanted.url).netloc} (the last: {last.detail}): wait a few minutes,"
        " then run the command again; nothing is lost"
    )
