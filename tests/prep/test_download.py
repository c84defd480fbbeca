"""Files against a real server: resumed, verified, given up with a reason; and a disk that fills."""

import hashlib
import io
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from prep import download as files
from prep import missing_files
from prep.booru import session as manners
from prep.booru.pacing import Pace
from prep.booru.session import BooruSession
from prep.dataset import Dataset
from prep.demo.booru import running
from prep.demo.faults import Faults
from prep.demo.world import World, variant_size
from prep.download import FIRST_FRAME, ORIGINAL, PART, Wanted, download
from prep.missing_files import choose
from schemas.errors import DiskError, SiteError
from schemas.recipes.prep import FetchSection


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    (tmp_path / "prep.toml").write_text('[sets]\nmain = { query = "1girl" }\n')
    return Dataset.open(tmp_path)


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Iterator[BooruSession]:
    monkeypatch.setattr(manners, "BACK_OFF", 0.01)
    with BooruSession(Pace(1e6), Pace(1e6)) as session:
        yield session


@pytest.fixture(scope="module")
def world() -> World:
    return World(posts=160, seed=0, size=64)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def wanted(url: str, data: bytes, extension: str = "png", **facts: Any) -> Wanted:
    md5 = hashlib.md5(data).hexdigest()
    given = {"kind": ORIGINAL, "size": len(data), "width": 4, "height": 3, **facts}
    return Wanted(post_md5=md5, url=url, extension=extension, **given)


PICTURE = encoded(Image.effect_noise((200, 160), 90), "PNG")  # noise does not compress


def served(world: World, encoding: str) -> Iterator[tuple[Any, bytes]]:
    for post in world.newest_first():
        if post.encoding == encoding and not post.hidden:
            yield post, world.bytes_of(post)


def test_a_leftover_of_another_file_is_found_out_and_fetched_anew(
    world: World, dataset: Dataset, session: BooruSession
) -> None:
    post, data = next(served(world, "png"))
    with running(world) as site:
        md5 = world.file(post).md5
        url = f"{site.url}/original/{md5[:2]}/{md5[2:4]}/{md5}.png"
        part = dataset.root / "images" / md5[:2] / f"{md5}.png{PART}"
        part.parent.mkdir(parents=True)
        part.write_bytes(b"other bytes")
        outcome = download(session, dataset, wanted(url, data))
        assert outcome.reason == ""
        assert outcome.path.read_bytes() == data
        assert [call.status for call in site.calls] == [206, 200]
    assert not part.exists()


def test_a_whole_leftover_needs_no_request(dataset: Dataset, session: BooruSession) -> None:
    item = wanted("http://127.0.0.1:9/a.png", PICTURE)
    part = dataset.root / "images" / item.post_md5[:2] / f"{item.post_md5}.png{PART}"
    part.parent.mkdir(parents=True)
    part.write_bytes(PICTURE)
    outcome = download(session, dataset, item)
    assert (outcome.reason, outcome.path.read_bytes()) == ("", PICTURE)


@pytest.mark.parametrize(
    ("facts", "reason", "detail"),
    [
        ({"size": 1}, "wrong size", "{length} bytes instead of 1"),
        ({"post_md5": "0" * 32}, "wrong md5", "the bytes have md5 {md5}"),
    ],
)
def test_another_file_than_the_post_names_is_a_drop_with_its_reason(
    world: World, dataset: Dataset, session: BooruSession,
    facts: dict[str, Any], reason: str, detail: str,
) -> None:  # fmt: skip
    post, data = next(served(world, "jpg"))
    md5 = world.file(post).md5
    with running(world) as site:
        url = f"{site.url}/original/{md5[:2]}/{md5[2:4]}/{md5}.jpg"
        item = Wanted(**{**vars(wanted(url, data, "jpg")), **facts})
        outcome = download(session, dataset, item)
        assert len(site.calls) == 3
    assert (outcome.reason, outcome.detail) == (reason, detail.format(length=len(data), md5=md5))
    assert not [path for path in (dataset.root / "images").rglob("*") if path.is_file()]


def test_a_smaller_version_goes_on_while_it_is_the_same_version(
    world: World, dataset: Dataset, session: BooruSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "READ", 64)
    faults = Faults(seed=2, storm_every=10**9)
    with running(world, faults=faults) as site:
        for post, _ in served(world, "jpg"):
            md5 = world.file(post).md5
            path = f"/180x180/{md5[:2]}/{md5[2:4]}/{md5}.jpg"
            if faults.trouble(path) == "cut":
                break
        size = dict(zip(("width", "height"), variant_size(post, "180x180"), strict=True))
        item = Wanted(md5, "180x180", site.url + path, "jpg", 0, **size)
        leftover = dataset.root / "images" / md5[:2] / f"{md5}-180x180.jpg{PART}"
        leftover.parent.mkdir(parents=True)
        leftover.write_bytes(b"of an earlier run")
        outcome = download(session, dataset, item)
        first, *others = site.calls
    data = world.variant_of(post, "180x180")
    assert (outcome.reason, outcome.path.read_bytes()) == ("", data)
    assert outcome.path.stem == outcome.md5 == hashlib.md5(data).hexdigest()
    assert "range" not in first.headers
    assert others
    for call in others:
        assert call.status == 206
        assert call.headers["if-range"] == f'"{md5}-180x180"'


@pytest.mark.parametrize("encoding", ["gif", "animated webp", "apng"])
def test_a_first_frame_is_a_png_of_its_own_name(
    world: World, dataset: Dataset, session: BooruSession, encoding: str
) -> None:
    post, data = next(served(world, encoding))
    md5 = world.file(post).md5
    with running(world) as site:
        url = f"{site.url}/original/{md5[:2]}/{md5[2:4]}/{md5}.{post.file_ext}"
        outcome = download(session, dataset, wanted(url, data, post.file_ext, kind=FIRST_FRAME))
    assert outcome.reason == ""
    assert outcome.path.read_bytes()[:4] == b"\x89PNG"
    assert outcome.md5 == hashlib.md5(outcome.path.read_bytes()).hexdigest() == outcome.path.stem
    with Image.open(outcome.path) as frame, Image.open(io.BytesIO(data)) as moving:
        assert getattr(frame, "n_frames", 1) == 1
        assert frame.convert("RGB").tobytes() == moving.convert("RGB").tobytes()
    assert [path for path in (dataset.root / "images").rglob("*") if path.is_file()] == [
        outcome.path
    ]


def post_of(**facts: Any) -> dict[str, Any]:
    sizes = (
        ("180x180", 90, 180, "jpg"),
        ("720x720", 360, 720, "webp"),
        ("sample", 850, 1700, "jpg"),
        ("full", 1500, 3000, "jpg"),
    )
    variants = [
        {"kind": kind, "url": f"http://f/{kind}", "width": w, "height": h, "ext": ext}
        for kind, w, h, ext in sizes
    ]
    post = {"md5": "a" * 32, "file_ext": "png", "file_url": "http://f/original", "file_size": 9}
    return {**post, "width": 1500, "height": 3000, "duration": None, "variants": variants, **facts}


@pytest.mark.parametrize(
    ("size", "facts", "kind"),
    [
        ("original", {}, "original"),
        ("sample", {}, "sample"),
        ("sample", {"variants": []}, "original"),
        ("sample", {"variants": None}, "original"),
        (90, {}, "180x180"),
        (91, {}, "720x720"),
        (360, {}, "720x720"),
        (361, {}, "sample"),
        (851, {}, "original"),
        (4000, {}, "original"),
        (90, {"duration": 1.5}, "first-frame"),
        ("original", {"duration": 1.5}, "first-frame"),
    ],
)
def test_the_smallest_version_that_suffices_is_chosen(
    size: Any, facts: dict[str, Any], kind: str
) -> None:
    options = FetchSection.model_construct(size=size)
    assert choose(post_of(**facts), options).kind == kind


Usage = namedtuple("Usage", "total used free")


def test_what_will_not_fit_is_not_begun(
    dataset: Dataset, session: BooruSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = Usage(0, 0, missing_files.RESERVE + 1_500_000)
    monkeypatch.setattr(missing_files.shutil, "disk_usage", lambda root: free)
    items = [wanted(f"http://127.0.0.1:9/{n}.png", PICTURE, size=800_000) for n in range(2)]
    with pytest.raises(DiskError) as told:
        missing_files.download_all(dataset, session, items)
    assert str(told.value) == (
        f"2 files of 1.6 MB do not fit: {dataset.root.resolve()} has 1.0 GB free, of which 1.0 GB"
        " are kept: free some, or give a set a limit; then run the command again"
    )


def test_a_host_that_has_no_file_stops_the_fetch_instead_of_dropping_all(
    dataset: Dataset, session: BooruSession, world: World
) -> None:
    with running(world) as site:
        items = [
            Wanted(f"{n:032x}", ORIGINAL, f"{site.url}/posts.json?page=b", "png", 9, 1, 1)
            for n in range(missing_files.FAILED_IN_A_ROW + 5)
        ]
        with pytest.raises(SiteError) as told:
            missing_files.download_all(dataset, session, items)
        host = site.url.removeprefix("http://")
    assert str(told.value) == (
        f"20 files in a row could not be had from {host} (the last: {host} answered HTTP 400:"
        " ActionController::BadRequest Invalid page: b): wait a few minutes,"
        " then run the command again; nothing is lost"
    )


FILLED = """
import sys
from prep import download as files
from prep import missing_files
from prep.cli import main
missing_files.RESERVE = -10**12  # the check beforehand is looked away from
sys.exit(main())
"""


def can_mount() -> bool:
    """Whether we may make a small disk: Linux, with user namespaces."""
    try:
        made = subprocess.run(
            ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True
        )
    except FileNotFoundError:
        return False
    return made.returncode == 0


@pytest.mark.skipif(not can_mount(), reason="a small disk cannot be made here")
def test_a_disk_that_fills_ends_with_a_sentence_and_nothing_half_written(
    world: World, tmp_path: Path, folder_of: Callable[..., Path]
) -> None:
    script = """
        mount -t tmpfs -o size=400k none disk && cp source/*.toml disk
        "$0" -c "$1" fetch disk; echo "status $?"
        find disk -name '*.part' -o -name '*.aside'
        find disk/images -type f | while read f; do md5sum "$f"; done
    """
    with running(world) as site:
        folder_of(site, "source")
        (tmp_path / "disk").mkdir()
        ran = subprocess.run(
            ["unshare", "-rm", "sh", "-c", script, sys.executable, FILLED],
            cwd=tmp_path, capture_output=True, text=True,
        )  # fmt: skip
    lines = ran.stdout.splitlines()
    assert lines[0] == "status 1"
    assert "prep: no space left to write " in ran.stderr
    assert "free some, then run the command again" in ran.stderr
    assert len(lines) > 10
    for line in lines[1:]:
        md5, path = line.split()
        assert Path(path).stem == md5
