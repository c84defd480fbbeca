"""Our HTTP manners against a real server: what is repeated, what is told, what is kept quiet."""

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from typing import Any

import pytest

from prep.booru import pacing as module_of_pace
from prep.booru import session as module
from prep.booru.pacing import Pace
from prep.booru.session import BooruSession, Stopped
from prep.booru.statuses import NotFoundOnSite, Unavailable
from schemas.errors import KirokuError, QueryError, SiteError

ACCOUNT, KEY = "somebody", "s3cret-key"
FAST = 1e6


@pytest.fixture
def session() -> Iterator[BooruSession]:
    with BooruSession(Pace(FAST), Pace(FAST), ACCOUNT) as session:
        yield session


def fault(session: BooruSession, url: str) -> KirokuError:
    with pytest.raises(KirokuError) as told:
        session.request("GET", url, auth=(ACCOUNT, KEY))
    assert KEY not in str(told.value)
    return told.value


def test_a_call_says_who_asks_and_what_it_wants(server: Any, session: BooruSession) -> None:
    assert session.request("GET", server.url + "/posts.json", params={"limit": 1}).json() == []
    (asked,) = server.asked
    assert asked.headers["user-agent"].startswith("kiroku/")
    assert asked.headers["user-agent"].endswith(" (by somebody)")
    assert asked.headers["accept"] == "application/json"
    assert asked.query == {"limit": "1"}


def test_without_an_account_it_says_so(server: Any) -> None:
    with BooruSession(Pace(FAST), Pace(FAST)) as session:
        session.request("GET", server.url)
    assert server.asked[0].headers["user-agent"].endswith(" (no account)")
    assert "authorization" not in server.asked[0].headers


def test_an_account_of_any_alphabet_can_log_in(server: Any) -> None:
    with BooruSession(Pace(FAST), Pace(FAST), "梓") as session:
        session.request("GET", server.url, auth=("梓", KEY))
    headers = server.asked[0].headers
    assert headers["user-agent"].endswith(" (by %E6%A2%93)")
    sent = base64.b64decode(headers["authorization"].removeprefix("Basic "))
    assert sent == f"梓:{KEY}".encode()


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_busy_site_is_asked_again(
    server: Any, answer: Any, session: BooruSession, status: int
) -> None:
    server.answers = [answer(status), answer(status), answer(body=b"[1]")]
    assert session.request("GET", server.url).json() == [1]
    assert len(server.asked) == 3


def test_it_waits_as_long_as_the_site_asks(server: Any, answer: Any, session: BooruSession) -> None:
    server.answers = [answer(503, headers={"Retry-After": "1"}), answer()]
    start = time.monotonic()
    session.request("GET", server.url)
    assert 0.99 <= time.monotonic() - start < 5


@pytest.mark.parametrize("later", ["Wed, 21 Oct 2015 07:28:00 GMT", "-1", "soon", ""])
def test_a_wait_that_is_no_number_of_seconds_is_our_own(
    server: Any, answer: Any, session: BooruSession, later: str
) -> None:
    server.answers = [answer(429, headers={"Retry-After": later}), answer()]
    start = time.monotonic()
    session.request("GET", server.url)
    assert time.monotonic() - start < 0.9


@pytest.mark.parametrize("status", [429, 503])
def test_a_site_that_stays_busy_is_told(
    server: Any, answer: Any, session: BooruSession, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.3)
    server.answers = [answer(status)]
    told = fault(session, server.url)
    assert type(told) is SiteError
    assert str(told) == (
        f"{server.netloc} is busy (HTTP {status}, for 1 min):"
        " wait a few minutes, then run the command again; nothing is lost"
    )
    assert len(server.asked) > 2


def test_a_wait_until_a_date_is_obeyed(server: Any, answer: Any, session: BooruSession) -> None:
    until = formatdate(time.time() + 2, usegmt=True)
    server.answers = [answer(503, headers={"Retry-After": until}), answer()]
    start = time.monotonic()
    session.request("GET", server.url)
    assert 0.9 <= time.monotonic() - start < 5


def test_a_site_that_asks_for_hours_is_told_and_not_asked_again(
    server: Any, answer: Any, session: BooruSession
) -> None:
    server.answers = [answer(503, headers={"Retry-After": "9000"})]
    assert str(fault(session, server.url)) == (
        f"{server.netloc} asks us to come back in 2.5 h (HTTP 503):"
        " run the command again then; nothing is lost"
    )
    assert len(server.asked) == 1


def test_a_challenge_that_passes_is_waited_for(
    server: Any, answer: Any, session: BooruSession
) -> None:
    challenge = answer(403, b"<html>", {"cf-mitigated": "challenge"})
    server.answers = [challenge, challenge, answer(body=b"[1]")]
    assert session.request("GET", server.url).json() == [1]
    server.answers = [challenge, answer(body=b"bytes")]
    assert session.file(server.url).content == b"bytes"
    assert len(server.asked) == 5


def test_a_wait_for_a_challenge_is_told_as_one(
    server: Any, answer: Any, session: BooruSession, told: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(module, "LONG_PAUSE", 0.0)
    server.answers = [answer(403, b"<html>", {"cf-mitigated": "challenge"}), answer(429), answer()]
    session.request("GET", server.url)
    host = server.url.removeprefix("http://").partition("/")[0]
    assert [line.partition(": waiting")[0] for line in told()] == [
        f"{host} asks for a browser check (HTTP 403)",
        f"{host} is busy (HTTP 429)",
    ]


def test_a_busy_site_is_asked_less_often_and_good_answers_bring_the_pace_back(
    server: Any, answer: Any
) -> None:
    pace = Pace(1000)
    with BooruSession(pace, Pace(FAST)) as session:
        server.answers = [answer(429), answer(429), answer()]
        session.request("GET", server.url)
        assert 200 < pace.per_second < 400  # halved twice, and one good answer
        for _ in range(module_of_pace.STEPS_BACK):
            session.request("GET", server.url)
    assert pace.per_second == 1000


def test_the_limit_that_the_site_tells_is_kept(server: Any, answer: Any) -> None:
    state = {"action": "api", "cost": 2, "rate": 20.0, "burst": 30, "limits": {"ip/1": 0.5}}
    server.answers = [answer(headers={"X-Rate-Limit": json.dumps(state)})]
    pace = Pace(500, burst=9)
    with BooruSession(pace, Pace(FAST)) as session:
        start = time.monotonic()
        for _ in range(3):
            session.request("GET", server.url)
    assert pace.per_second == 10
    assert time.monotonic() - start >= 2 * 0.07


def test_no_cookie_comes_back(server: Any, answer: Any, session: BooruSession) -> None:
    server.answers = [answer(headers={"Set-Cookie": "session=abc; Path=/"})]
    session.request("GET", server.url, auth=(ACCOUNT, KEY))
    session.file(server.url + "/a.png").close()
    assert [asked.headers.get("cookie") for asked in server.asked] == [None, None]


def test_a_session_that_is_stopped_waits_for_nothing(
    server: Any, answer: Any, session: BooruSession
) -> None:
    server.answers = [answer(503, headers={"Retry-After": "60"})]
    threading.Timer(0.2, session.stop).start()
    start = time.monotonic()
    with pytest.raises(Stopped):
        session.request("GET", server.url)
    assert time.monotonic() - start < 10
    assert session.stopped


QUERY_CANCELED = {"success": False, "error": "ActiveRecord::QueryCanceled", "message": "canceled"}
TOO_MANY = {"success": False, "message": "You cannot search for more than 2 tags at a time."}


@pytest.mark.parametrize(
    ("status", "headers", "body", "kind", "sentence"),
    [
        (401, {}, {}, SiteError,
         "{host} refused the login (HTTP 401): check KIROKU_LOGIN and KIROKU_API_KEY,"
         " or the file that holds login and api_key"),
        (403, {"cf-mitigated": "challenge"}, {}, SiteError,
         "{host} asks for a browser check (HTTP 403, challenge):"
         " wait, or try from another network"),
        (403, {}, {}, SiteError,
         "{host} does not permit this (HTTP 403): the API key may lack a permission"
         " or be bound to another address"),
        (404, {}, {}, NotFoundOnSite, "{host} has it no more (HTTP 404): {url}"),
        (410, {}, {"message": "You cannot go beyond page 1000."}, QueryError,
         "{host} does not list that far (HTTP 410): You cannot go beyond page 1000;"
         " give the set a lower limit, or leave `order:` out of its query"),
        (451, {}, {}, NotFoundOnSite, "{host} has it no more (HTTP 451): {url}"),
        (422, {}, TOO_MANY, QueryError,
         "{host} does not take this query (HTTP 422):"
         " You cannot search for more than 2 tags at a time;"
         " use fewer tags, or an account that may have more (`prep doctor` tells yours)"),
        (500, {}, QUERY_CANCELED, QueryError,
         "{host} gave up on this query (HTTP 500, it took too long):"
         " add a rarer tag, or a range such as id:>5000000"),
        (500, {}, {"error": "NoMethodError", "message": "a\nb"}, SiteError,
         "{host} answered HTTP 500: NoMethodError a b"),
        (500, {}, "<html>", SiteError, "{host} answered HTTP 500: Internal Server Error"),
        (406, {}, [1], SiteError, "{host} answered HTTP 406: Not Acceptable"),
        (400, {}, {"message": "x" * 300}, SiteError, "{host} answered HTTP 400: " + "x" * 200),
    ],
)  # fmt: skip
def test_what_each_status_means(
    server: Any, answer: Any, session: BooruSession,
    status: int, headers: dict[str, str], body: Any, kind: type[KirokuError], sentence: str,
) -> None:  # fmt: skip
    raw = body if isinstance(body, str) else json.dumps(body)
    server.answers = [answer(status, raw.encode(), headers)]
    url = server.url + "/posts.json"
    told = fault(session, url)
    assert type(told) is kind
    assert str(told) == sentence.format(host=server.netloc, url=url)
    assert len(server.asked) == (module.CHALLENGE_TRIES if "cf-mitigated" in headers else 1)


def unreachable(host: str, cause: str) -> str:
    return (
        f"{host} cannot be reached ({cause}):"
        " check the address and your connection, then run the command again"
    )


def test_a_site_that_never_answered_is_told_after_two_tries(
    nobody: str, session: BooruSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BACK_OFF", 0.2)
    start = time.monotonic()
    assert str(fault(session, f"http://{nobody}/")) == unreachable(nobody, "no connection")
    assert 0.1 <= time.monotonic() - start < 3  # one pause, so two tries


def test_a_silent_site_is_told(server: Any, answer: Any, session: BooruSession) -> None:
    def late(_: Any) -> Any:
        time.sleep(0.4)
        return answer()

    server.answers = late
    with pytest.raises(SiteError) as told:
        session.request("GET", server.url, timeout=(5, 0.05))
    assert str(told.value) == unreachable(server.netloc, "no answer in time")


def test_an_answer_cut_short_is_asked_for_again(
    server: Any, answer: Any, session: BooruSession
) -> None:
    server.answers = [answer(), answer(body=b"[1", short=5), answer(body=b"[1]")]
    session.request("GET", server.url)
    assert session.request("GET", server.url).json() == [1]
    assert len(server.asked) == 3


def test_a_file_comes_as_a_stream_from_the_byte_wanted(
    server: Any, answer: Any, session: BooruSession
) -> None:
    server.answers = [answer(206, b"tail")]
    with session.file(server.url + "/a.png", offset=7) as response:
        assert b"".join(response.iter_content(2)) == b"tail"
    assert server.asked[0].headers["range"] == "bytes=7-"
    with session.file(server.url + "/a.png") as response:
        assert response.content == b"tail"
    assert "range" not in server.asked[1].headers


def test_a_file_that_is_gone_is_told(server: Any, answer: Any, session: BooruSession) -> None:
    server.answers = [answer(404, b"")]
    url = server.url + "/original/ab.png"
    with pytest.raises(NotFoundOnSite) as told:
        session.file(url)
    assert str(told.value) == f"{server.netloc} has it no more (HTTP 404): {url}"


@pytest.mark.parametrize("status", [404, 410, 451])
def test_every_way_of_being_gone_is_one(
    server: Any, answer: Any, session: BooruSession, status: int
) -> None:
    server.answers = [answer(status, b"")]
    with pytest.raises(NotFoundOnSite):
        session.file(server.url)


@pytest.mark.parametrize(
    ("status", "body", "sentence"),
    [
        (500, b"<html>", "{host} answered HTTP 500: Internal Server Error"),
        (403, b'{"message": "hotlinks"}', "{host} answered HTTP 403: hotlinks"),
    ],
)
def test_a_fault_of_one_file_is_no_fault_of_the_site(
    server: Any, answer: Any, session: BooruSession, status: int, body: bytes, sentence: str
) -> None:
    server.answers = [answer(status, body)]
    with pytest.raises(Unavailable) as told:
        session.file(server.url + "/a.png")
    assert str(told.value) == sentence.format(host=server.netloc)


@pytest.mark.parametrize("broken", ["busy", "silent"])
def test_a_file_that_fails_while_others_come_is_given_up(
    server: Any, answer: Any, session: BooruSession, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FILE_TIMEOUT", (5, 0.2))

    def some(asked: Any) -> Any:
        if asked.path == "/bad.png":
            session.file(server.url + "/good.png").close()
            if broken == "silent":
                time.sleep(0.4)
            return answer(503)
        return answer()

    server.answers = some
    with pytest.raises(Unavailable) as told:
        session.file(server.url + "/bad.png")
    assert str(told.value) == {"busy": "HTTP 503", "silent": "no answer in time"}[broken]
    assert sum(asked.path == "/bad.png" for asked in server.asked) == module.TRIES_ALONE


def test_the_rest_of_a_file_is_asked_for_as_it_was(
    server: Any, answer: Any, session: BooruSession
) -> None:
    session.file(server.url, offset=7, version='"v1"').close()
    headers = server.asked[0].headers
    assert (headers["range"], headers["if-range"]) == ("bytes=7-", '"v1"')
    assert headers["accept-encoding"] == "identity"


def test_the_login_stays_with_the_api(
    server: Any, other: Any, answer: Any, session: BooruSession, monkeypatch: pytest.MonkeyPatch,
    tmp_path: Any,
) -> None:  # fmt: skip
    (tmp_path / "netrc").write_text(f"machine 127.0.0.1 login {ACCOUNT} password {KEY}\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    session.request("GET", server.url, auth=(ACCOUNT, KEY))
    assert "authorization" in server.asked[-1].headers
    for host in (server, other):
        session.file(host.url + "/a.png").close()
        assert "authorization" not in host.asked[-1].headers


def test_the_login_does_not_follow_the_api_to_another_host(
    server: Any, other: Any, answer: Any, session: BooruSession
) -> None:
    server.answers = [answer(302, b"", {"Location": other.url + "/elsewhere"})]
    session.request("GET", server.url, auth=(ACCOUNT, KEY))
    assert other.asked[0].path == "/elsewhere"
    assert "authorization" not in other.asked[0].headers


def test_calls_and_files_each_keep_their_pace(server: Any) -> None:
    with BooruSession(Pace(20), Pace(FAST)) as session:
        start = time.monotonic()
        for _ in range(4):
            session.file(server.url).close()
        files = time.monotonic() - start
        for _ in range(4):
            session.request("GET", server.url)
    assert time.monotonic() - start - files >= 3 / 20 - 0.01
