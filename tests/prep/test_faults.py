"""Fetch against a booru with faults: every file once and right, every other post with its reason.

KIROKU_TEST_POSTS sets how many posts. `-s` prints what was met.
"""

import base64
import io
import logging
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

import prep.fetch
from prep import chain, seals
from prep.booru import client, session
from prep.dataset import Dataset
from prep.demo.booru import running
from prep.demo.faults import Faults
from prep.demo.posts import Post
from prep.demo.site import Site
from prep.demo.world import World
from prep.download import PART
from schemas.files import ASIDE, md5_of

POSTS = int(os.environ.get("KIROKU_TEST_POSTS", "80"))
SIZE = 48
STALL = 12.0  # seconds; longer than the client waits for a byte
# Seconds are a twentieth of one here, those that the site asks for too: the manners themselves are
# tested beside the session. Python, as a fetch in a process of its own runs it too.
QUICKLY = """
from prep.booru import client, pacing, session
session.BACK_OFF = session.CHALLENGE_PAUSE = 0.02
session.LONGEST_BACK_OFF = 1.0
session.FILE_TIMEOUT, session.CALL_TIMEOUT = (10.0, 2.0), (10.0, 6.0)
session.asked_to_wait = lambda response, told=session.asked_to_wait: (told(response) or 0) / 20
client.Pace = lambda per_second, burst=1: pacing.Pace(20 * per_second, burst)
"""
CHANGED = ("BACK_OFF", "CHALLENGE_PAUSE", "LONGEST_BACK_OFF", "FILE_TIMEOUT", "CALL_TIMEOUT",
           "asked_to_wait")  # fmt: skip
LOGIN, KEY = "gold", "gold-key"
FORMATS = ("jpg", "png", "webp", "avif")
TIMELESS = ("tables", "reports", "images")
LOST = ("file not on the site", "wrong md5")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CHANGED:
        monkeypatch.setattr(session, name, getattr(session, name))
    monkeypatch.setattr(client, "Pace", client.Pace)
    exec(QUICKLY, {})


@pytest.fixture(scope="module")
def world() -> World:
    world = World(posts=POSTS, seed=4, size=SIZE)
    for post in world.newest_first():  # drawn now, or the first page would come late
        world.file(post)
    return world


def faults() -> Faults:
    return Faults(seed=4, stall=STALL, retry_after=1)


@pytest.fixture
def broken(world: World) -> Iterator[Site]:
    with running(world, faults=faults()) as site:
        yield site


def expected(site: Site) -> tuple[dict[str, bytes], dict[str, str]]:
    """The bytes of every file that can be had by its md5; and why each other post has none."""
    assert site.faults is not None
    whole: dict[str, bytes] = {}
    lost: dict[str, str] = {}
    world = site.world
    listed = [post for post in world.newest_first() if not post.unlisted]
    for post in listed:
        file = world.file(post)
        path = f"/original/{file.md5[:2]}/{file.md5[2:4]}/{file.md5}.{post.file_ext}"
        trouble = site.faults.trouble(path)
        if post.is_deleted:
            lost[f"post {post.id}"] = "deleted on the site"
        elif post.hidden:
            lost[f"post {post.id}"] = "hidden from this account"
        elif post.file_ext not in FORMATS:
            lost[f"post {post.id}"] = "file type not wanted"
        elif post.duration:
            lost[f"post {post.id}"] = "animated"
        elif trouble == "gone":
            lost[f"post {post.id}"] = "file not on the site"
        elif trouble == "spoilt":
            lost[f"post {post.id}"] = "wrong md5"
        else:
            whole[file.md5] = data = world.bytes_of(post)
            if not opens(data):  # it came as the site has it: broken off in its first bytes
                lost[f"post {post.id}"] = "unreadable image"
    leave_to_the_best(world, listed, whole, lost)
    return whole, lost


def opens(data: bytes) -> bool:
    try:
        Image.open(io.BytesIO(data)).close()
    except OSError:
        return False
    return True


def leave_to_the_best(
    world: World, listed: list[Post], whole: dict[str, bytes], lost: dict[str, str]
) -> None:
    """Of posts of the same pixels the best whose file can be had stands for the others."""
    to_be_had = [post for post in listed if lost.get(f"post {post.id}") in (None, *LOST)]
    to_be_had.sort(key=lambda post: (-world.score(post), post.file_ext == "jpg", post.id))
    stands: dict[str, str] = {}  # by pixel hash: the md5 of the best file that came
    for post in to_be_had:
        if world.file(post).md5 in whole:
            stands.setdefault(world.file(post).pixel_hash, world.file(post).md5)
    for post in to_be_had:
        file = world.file(post)
        if stands.get(file.pixel_hash, file.md5) != file.md5:
            whole.pop(file.md5, None)
            lost[f"post {post.id}"] = "same pixels"


def assert_all_is_here(folder: Path, site: Site) -> None:
    whole, lost = expected(site)
    drops = seals.read_drops(folder, "fetch").to_pylist()
    assert {drop["item"]: drop["reason"] for drop in drops} == lost
    assert len(drops) == len(lost)
    files = [path for path in (folder / "images").rglob("*") if path.is_file()]
    assert Counter(path.stem for path in files) == Counter(whole.keys())
    for path in files:
        assert path.read_bytes() == whole[path.stem]


@pytest.mark.usefixtures("quick")
def test_every_file_comes_once_and_right_and_every_other_post_tells_its_reason(
    broken: Site, folder_of: Callable[..., Path]
) -> None:
    folder = folder_of(broken)
    start = time.monotonic()
    seal = prep.fetch.fetch(Dataset.open(folder))
    seconds = time.monotonic() - start
    assert_all_is_here(folder, broken)
    statuses = Counter(call.status for call in broken.calls)
    print(f"\n{POSTS} posts, {seconds:.0f} s, {seal.rows_out} files, {seal.dropped}, {statuses}")
    assert broken.faults is not None
    paths = {call.path for call in broken.calls if not call.path.endswith(".json")}
    met = {broken.faults.trouble(path) for path in paths}
    assert met >= {"cut", "wrong", "spoilt", "gone", "reset", "busy"}
    assert statuses[429] > 0

    again = len(broken.calls)
    assert prep.fetch.fetch(Dataset.open(folder)) == seal  # nothing that is here is asked for
    asked = {call.path for call in broken.calls[again:] if not call.path.endswith(".json")}
    assert {broken.faults.trouble(path) for path in asked} <= {"spoilt", "gone"}


def fetch_in_a_process(folder: Path) -> "subprocess.Popen[bytes]":
    """`prep fetch`, impatient, in a process of its own."""
    code = f"{QUICKLY}\nfrom prep.cli import main\nraise SystemExit(main())"
    return subprocess.Popen(
        [sys.executable, "-c", code, "fetch", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_three_kills_in_between_change_nothing(
    broken: Site, folder_of: Callable[..., Path]
) -> None:
    disturbed = folder_of(broken, "disturbed")
    wanted = len(expected(broken)[0])
    for share in (0.1, 0.4, 0.8):
        process = fetch_in_a_process(disturbed)
        deadline = time.monotonic() + 300 + POSTS / 5
        while process.poll() is None and time.monotonic() < deadline:
            start = time.monotonic()
            if len(list((disturbed / "images").glob("*/*"))) > share * wanted:
                process.kill()
                break
            time.sleep(max(0.005, 10 * (time.monotonic() - start)))  # counting many takes a while
        process.wait()
        assert process.stderr is not None
        said = process.stderr.read().decode()
        process.stderr.close()
        assert process.returncode not in (0, 1, 2), said
    prep.fetch.fetch(Dataset.open(disturbed))
    from prep.cli.gc import gc  # imports torch

    gc(Dataset.open(disturbed))  # frees the half-written files that kills leave behind
    assert_all_is_here(disturbed, broken)

    calm = folder_of(broken, "calm")
    prep.fetch.fetch(Dataset.open(calm))
    ours, theirs = timeless(disturbed), timeless(calm)
    assert ours.keys() == theirs.keys()
    assert [name for name, data in theirs.items() if ours[name] != data] == []


def timeless(folder: Path) -> dict[str, bytes]:
    """The files that must be the same: all but logs, which hold times."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] in TIMELESS
    }


@pytest.mark.usefixtures("quick")
def test_a_fetch_with_an_account_leaves_its_key_nowhere_and_shows_it_to_the_api_alone(
    folder_of: Callable[..., Path], monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], world: World,
) -> None:  # fmt: skip
    from schemas import progress

    monkeypatch.setenv("KIROKU_LOGIN", LOGIN)
    monkeypatch.setenv("KIROKU_API_KEY", KEY)
    monkeypatch.setattr(progress, "_console", None)
    progress.show()
    caplog.set_level(logging.DEBUG)
    for name in ("urllib3", "requests"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    with (
        running(world, faults=faults()) as files,
        running(world, file_base=files.url, faults=faults()) as api,
    ):
        folder = folder_of(api)
        chain.run_one(Dataset.open(folder), chain.STEPS[0])
        calls, sent_to_files = list(api.calls), list(files.calls)

    assert {call.path for call in calls} == {
        "/posts.json", "/profile.json", "/tag_aliases.json", "/tag_implications.json"
    }  # fmt: skip
    packed = base64.b64encode(f"{LOGIN}:{KEY}".encode()).decode()
    assert {call.headers.get("authorization") for call in calls} == {f"Basic {packed}"}
    assert len(sent_to_files) > POSTS / 2
    assert not any({"authorization", "cookie"} & set(call.headers) for call in sent_to_files)
    assert not any("login" in call.query or "api_key" in call.query for call in sent_to_files)

    out, err = capfd.readouterr()
    written = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    assert len(caplog.messages) > POSTS / 2  # urllib3 did tell what it asked
    assert "fetch main: listing" in err
    for told in [*caplog.messages, out, err, *(repr(call.query) for call in calls)]:
        assert KEY not in told
        assert packed not in told
    for data in written:
        assert KEY.encode() not in data
        assert packed.encode() not in data


@pytest.mark.usefixtures("quick")
def test_what_a_stopped_fetch_had_of_a_file_is_not_asked_for_again(
    world: World, folder_of: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(world) as site:
        folder = folder_of(site)
        post = next(
            post for post in world.newest_first()
            if not (post.hidden or post.is_deleted or post.duration or post.is_copy)
            and post.file_ext == "png"
        )  # fmt: skip
        data, md5 = world.bytes_of(post), world.file(post).md5
        part = folder / "images" / md5[:2] / f"{md5}.png{PART}"
        part.parent.mkdir(parents=True)
        part.write_bytes(data[:100])
        prep.fetch.fetch(Dataset.open(folder))
        (call,) = (call for call in site.calls if md5 in call.path)
    assert call.headers["range"] == "bytes=100-"
    assert call.status == 206
    assert part.with_name(f"{md5}.png").read_bytes() == data
    assert not [path for path in folder.rglob("*") if path.name.endswith((PART, ASIDE))]
    assert md5_of(part.with_name(f"{md5}.png")) == md5
