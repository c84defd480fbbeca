"""The booru's faults: each as a client meets it, as long as it lasts, the same from one seed."""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime

import pytest
import requests

from prep.demo.booru import running
from prep.demo.faults import API_TROUBLES, FILE_TROUBLES, Faults
from prep.demo.site import Site
from prep.demo.world import World

CALM = 10**9  # requests until a storm


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    faults = Faults(seed=1, stall=0.4, retry_after=7, storm_every=CALM)
    with running(World(posts=120, seed=0, size=32), faults=faults) as site:
        yield site


def files(site: Site) -> dict[str, bytes]:
    """The bytes of every file by its path."""
    found = {}
    for post in site.world.newest_first():
        if not post.is_banned:
            file = site.world.file(post)
            name = f"{file.md5}.{post.file_ext}"
            path = f"/original/{file.md5[:2]}/{file.md5[2:4]}/{name}"
            found[path] = site.world.bytes_of(post)
    return found


@pytest.fixture
def troubled(site: Site) -> Callable[[str], tuple[str, bytes]]:
    """`troubled(name)`: a file that this trouble befalls and that nobody asked for yet."""

    def troubled(name: str) -> tuple[str, bytes]:
        asked = {call.path for call in site.calls}
        return next(
            (path, data)
            for path, data in files(site).items()
            if path not in asked and site.faults and site.faults.trouble(path) == name
        )

    return troubled


def answers(web: requests.Session, url: str, times: int) -> list[str]:
    """What each of so many requests ends with: a status, or the kind of breach."""
    ends = []
    for _ in range(times):
        try:
            ends.append(str(web.get(url, timeout=5).status_code))
        except requests.exceptions.ChunkedEncodingError:
            ends.append("cut")
        except requests.ConnectionError:
            ends.append("reset")
    return ends


@pytest.mark.parametrize(("name", "end"), [("cut", "cut"), ("reset", "reset"), ("busy", "503"),
                                           ("challenged", "403")])  # fmt: skip
def test_a_passing_trouble_passes_after_one_or_two_requests(
    site: Site, web: requests.Session, troubled: Callable[[str], tuple[str, bytes]],
    name: str, end: str,
) -> None:  # fmt: skip
    path, data = troubled(name)
    ends = answers(web, site.url + path, 3)
    assert ends in ([end, "200", "200"], [end, end, "200"])
    assert web.get(site.url + path).content == data


def test_wrong_bytes_become_right_and_spoilt_ones_do_not(
    site: Site, web: requests.Session, troubled: Callable[[str], tuple[str, bytes]]
) -> None:
    for name, at_last in (("wrong", True), ("spoilt", False)):
        path, data = troubled(name)
        came = [web.get(site.url + path).content for _ in range(4)]
        assert [len(body) for body in came] == [len(data)] * 4
        assert came[0] != data
        assert (came[-1] == data) is at_last


def test_what_vanished_stays_away(
    site: Site, web: requests.Session, troubled: Callable[[str], tuple[str, bytes]]
) -> None:
    path, _ = troubled("gone")
    first, second = answers(web, site.url + path, 2)
    assert first == second
    assert first in ("404", "410", "451")


def test_a_stalled_file_goes_on_from_where_it_stood(
    site: Site, web: requests.Session, troubled: Callable[[str], tuple[str, bytes]]
) -> None:
    path, data = troubled("stalled")
    start = time.monotonic()
    with pytest.raises(requests.ConnectionError):
        _ = web.get(site.url + path, timeout=(5, 0.1)).content
    assert time.monotonic() - start < 0.4
    rest = web.get(site.url + path, headers={"Range": "bytes=10-"}, timeout=5)
    assert rest.content == data[10:]


def test_a_busy_site_says_when_to_come_back_in_seconds_and_as_a_date(site: Site) -> None:
    faults = Faults(retry_after=7)
    first, second = (faults._refusal("busy", "/a", times) for times in (0, 1))
    assert first is not None
    assert second is not None
    assert first.headers["retry-after"] == "7"
    moment = parsedate_to_datetime(second.headers["retry-after"])
    assert 5 <= moment.timestamp() - time.time() <= 7


def test_challenge_and_refusals_look_as_the_site_writes_them(
    site: Site, web: requests.Session, troubled: Callable[[str], tuple[str, bytes]]
) -> None:
    challenge = web.get(site.url + troubled("challenged")[0])
    assert challenge.headers["cf-mitigated"] == "challenge"
    busy = web.get(site.url + troubled("busy")[0])
    assert busy.json()["success"] is False
    assert busy.headers["retry-after"] == "7"


def test_short_pages_lose_no_post(site: Site, web: requests.Session) -> None:
    def page(cursor: str) -> list[int]:
        for _ in range(9):
            with contextlib.suppress(requests.RequestException):
                answer = web.get(
                    site.url + "/posts.json",
                    params={"page": cursor, "limit": 20, "only": "id"},
                    timeout=5,
                )
                if answer.status_code == 200:
                    return [post["id"] for post in answer.json()]
        raise AssertionError("a page that never came")

    pages, cursor = [], "1"
    while ids := page(cursor):
        pages.append(ids)
        cursor = f"b{min(ids)}"
    assert [n for ids in pages for n in ids] == [
        post.id for post in site.world.newest_first() if not post.unlisted
    ]
    assert len({len(ids) for ids in pages}) > 2
    assert max(map(len, pages)) <= 20


def test_a_storm_refuses_so_many_requests_in_a_row_whoever_asks_for_what(
    web: requests.Session,
) -> None:
    faults = Faults(seed=3, storm_every=20, storm=5)
    with running(World(posts=4, seed=0, size=32), faults=faults) as site:
        statuses = [
            web.get(f"{site.url}/tags.json?limit={n}", timeout=5)
            for n in range(60)
            if not site.faults or not site.faults.trouble(f"/tags.json?limit={n}")
        ]
    told = "".join("x" if answer.status_code == 429 else "." for answer in statuses)
    assert told.count("xxxxx") == told.count("x") // 5 >= 2
    (refused, *_) = (answer for answer in statuses if answer.status_code == 429)
    assert "retry-after" not in refused.headers
    assert refused.json()["error"] == "RateLimiter::RateLimitError"


def test_the_shares_of_troubles_are_those_that_are_written() -> None:
    count = 4000
    for shares, address in ((FILE_TROUBLES, "/original/aa/{}.png"), (API_TROUBLES, "/{}.json")):
        met = Counter(Faults(seed=9).trouble(address.format(n)) for n in range(count))
        for name, share in shares.items():
            assert abs(met[name] / count - share) < 0.02
        assert set(met) == {*shares, ""}


def test_another_seed_is_another_fate() -> None:
    addresses = [f"/original/aa/{n}.png" for n in range(300)]
    fates = [[Faults(seed).trouble(address) for address in addresses] for seed in (1, 1, 2)]
    assert fates[0] == fates[1] != fates[2]
