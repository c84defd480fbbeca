"""The embedded booru's manners: refusals, challenges, accounts, rate limits."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import requests

from prep.demo.booru import running
from prep.demo.manners import Limiter, Rate
from prep.demo.site import Site
from prep.demo.world import World
from schemas.errors import SiteError

Get = Callable[..., Any]  # (site, path, **query) -> the JSON answered


def asking(user_agent: str) -> requests.Session:
    session = requests.Session()
    session.headers["User-Agent"] = user_agent
    return session


MISSING = (404, "ActiveRecord::RecordNotFound", "That record was not found.")
FORMAT = "ActionController::UnknownFormat"
PAGE = "PaginationExtension::PaginationError"
BAD = "ActionController::BadRequest"
WRONG_KEY = (401, "SessionLoader::AuthenticationFailure", "Invalid name or API key.")


@pytest.mark.parametrize(
    ("path", "refusal"),
    [
        ("/posts.json?page=1001", (410, PAGE, "You cannot go beyond page 1000.")),
        (
            "/posts.json?page=5001&login=gold&api_key=gold-key",
            (410, PAGE, "You cannot go beyond page 5000."),
        ),
        ("/posts.json?page=b", (400, BAD, "Invalid page: b")),
        ("/tags.json?page=b", (400, BAD, "Invalid page: b")),
        ("/tags.json?page=1001", (410, PAGE, "You cannot go beyond page 1000.")),
        ("/posts.json?page=first", (400, BAD, "Invalid page: first")),
        ("/posts.json?tags=%FF", (400, BAD, "Invalid encoding for parameter.")),
        ("/posts/1.json", MISSING),
        ("/posts.json?md5=00", MISSING),
        ("/nothing.json", MISSING),
        ("/original/aa/bb/x.png", MISSING),
        ("/profile.json", MISSING),
        ("/posts.xml", (406, FORMAT, "xml is not a supported format for this page.")),
        ("/posts", (406, FORMAT, "html is not a supported format for this page.")),
        ("/posts.json?login=gold&api_key=wrong", WRONG_KEY),
        (
            "/tags.json?login=limited&api_key=limited-key",
            (403, "User::PrivilegeError", "Access denied."),
        ),
    ],
)
def test_refusals_say_why(
    site: Site, web: requests.Session, path: str, refusal: tuple[int, str, str]
) -> None:
    answer = web.get(site.url + path)
    body = answer.json()
    assert set(body) == {"success", "error", "message", "backtrace"}
    assert body["success"] is False
    assert (answer.status_code, body["error"], body["message"]) == refusal
    assert "cf-mitigated" not in answer.headers


def test_only_reading_is_possible(site: Site, web: requests.Session) -> None:
    assert web.post(site.url + "/posts.json").status_code == 405


@pytest.mark.parametrize(
    "user_agent", ["", "Mozilla/5.0 (X11)", requests.utils.default_user_agent()]
)
def test_browsers_and_nameless_libraries_are_challenged(site: Site, user_agent: str) -> None:
    with asking(user_agent) as web:
        for path in ("/posts.json", "/original/aa/bb/x.png"):
            answer = web.get(site.url + path)
            assert answer.status_code == 403
            assert answer.headers["cf-mitigated"] == "challenge"
            assert answer.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize("user_agent", ["Pybooru/4.2.2", "gallery-dl/1.32.0", "kiroku/0.1 (by me)"])
def test_programs_that_say_who_they_are_pass(site: Site, user_agent: str) -> None:
    with asking(user_agent) as web:
        assert web.get(site.url + "/posts.json?only=id").status_code == 200


def test_accounts_log_in_both_ways(site: Site, web: requests.Session, get: Get) -> None:
    by_query = get(site, "/profile.json", login="gold", api_key="gold-key")
    by_basic = web.get(site.url + "/profile.json", auth=("gold", "gold-key")).json()
    assert by_basic == by_query
    assert (by_query["name"], by_query["level"], by_query["level_string"]) == ("gold", 30, "Gold")
    assert web.get(site.url + "/profile.json", auth=("gold", "no")).status_code == 401
    assert (
        web.get(site.url + "/posts.json", headers={"Authorization": "Bearer x"}).status_code == 401
    )


def test_rate_limits_refuse_without_saying_how_long(web: requests.Session) -> None:
    slow = Rate(rate=0.001, burst=3)
    with running(World(posts=9, seed=0, size=32), api_rate=slow, file_rate=slow) as site:
        for left in (2, 1, 0):
            answer = web.get(site.url + "/posts.json")
            limit = json.loads(answer.headers["X-Rate-Limit"])
            assert answer.status_code == 200
            assert limit["limits"] == {"ip/127.0.0.1": pytest.approx(left, abs=0.1)}
            assert (limit["rate"], limit["burst"]) == (0.001, 3)
        refused = web.get(site.url + "/posts.json")
        assert refused.status_code == 429
        assert "retry-after" not in refused.headers
        assert "X-Rate-Limit" in refused.headers
        assert refused.json()["error"] == "RateLimiter::RateLimitError"
        assert set(refused.json()) == {"success", "error", "message", "backtrace"}
        url = next(post["file_url"] for post in answer.json() if "file_url" in post)
        assert [web.get(url).status_code for _ in range(4)] == [200, 200, 200, 429]
        member = {"login": "member", "api_key": "member-key"}
        assert web.get(site.url + "/posts.json", params=member).status_code == 200


def test_buckets_fill_again_with_time() -> None:
    now = 0.0
    limiter = Limiter("api", Rate(rate=2.0, burst=2), clock=lambda: now)
    assert [limiter.ask("a")[0] for _ in range(3)] == [True, True, False]
    assert limiter.ask("b")[0]
    now = 0.5
    assert [limiter.ask("a")[0] for _ in range(2)] == [True, False]
    now = 60.0
    assert [limiter.ask("a")[0] for _ in range(3)] == [True, True, False]


def test_a_taken_port_is_told_in_one_sentence(site: Site) -> None:
    port = int(site.url.rpartition(":")[2])
    with pytest.raises(SiteError) as error, running(World(posts=1), port=port):
        pass
    assert str(error.value) == (
        f"cannot serve at 127.0.0.1:{port}, taken or not allowed: choose another port"
    )
