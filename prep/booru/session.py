"""Our HTTP manners around `requests`: pace, patience, timeouts, an honest name, typed errors.

pybooru gets this session as its client, so that every fault is told in our words before pybooru
sees the status (it raises KeyError on 410, 429 and others).
"""

import random
import threading
import time
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from importlib.metadata import version
from typing import Any
from urllib.parse import quote, urlsplit

import requests
import urllib3
from requests.auth import AuthBase

from prep.booru.pacing import Pace
from prep.booru.statuses import (
    BUSY,
    Unavailable,
    asked_to_wait,
    challenged,
    refusal_of_call,
    refusal_of_file,
)
from schemas.errors import Failure, SiteError
from schemas.progress import say

CALL_TIMEOUT = (10.0, 60.0)  # seconds to connect, to the next byte
FILE_TIMEOUT = (10.0, 30.0)
BACK_OFF = 1.0  # seconds after the first failure, doubled after each
LONGEST_BACK_OFF = 60.0
PATIENCE = 900.0  # seconds that one request may fail; maintenance takes minutes
TRIES_ALONE = 5  # of a file that fails while others come
CHALLENGE_TRIES = 4  # a challenge may pass: it often follows what the network did before us
CHALLENGE_PAUSE = 15.0  # seconds, doubled after each
LONG_PAUSE = 5.0  # seconds from which the person is told that we wait


class Stopped(Failure):
    """The session was told to stop; nothing further is asked."""


class _NoCredentials(AuthBase):
    """Keeps `requests` from taking a login out of .netrc: only ours is used, for the API alone."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


@dataclass
class _Failing:
    """How a request has gone wrong so far."""

    tries: int = 0
    limited: int = 0  # of them by our own pace: 429
    challenges: int = 0
    since: float = 0.0

    def once_more(self) -> None:
        self.tries += 1
        self.since = self.since or time.monotonic()

    def exceeds_patience(self, pause: float) -> bool:
        return time.monotonic() + pause - self.since > PATIENCE


class BooruSession(requests.Session):
    """One session for the API and the files of a site. `file` and `stop` are for any thread."""

    def __init__(self, api: Pace, files: Pace, account: str = "") -> None:
        super().__init__()
        self._api, self._files = api, files
        self._answered = False  # a site that never answered is more likely misspelt than busy
        self._file_came = 0.0  # when a file was last answered well
        self._stopping = threading.Event()
        # the API's answers set cookies for the whole domain, which the file host is part of
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        # a header holds Latin-1 at most, a name on the site anything
        by = f"by {quote(account)}" if account else "no account"
        self.headers.update({"User-Agent": f"kiroku/{version('kiroku')} ({by})"})

    def request(self, method: Any, url: Any, **options: Any) -> requests.Response:  # type: ignore[override]
        """One API call, repeated while the site is busy. Raises a KirokuError in clear words."""
        options.setdefault("timeout", CALL_TIMEOUT)
        options["headers"] = {"Accept": "application/json", **(options.get("headers") or {})}
        account = options.get("auth")
        options["auth"] = tuple(map(str.encode, account)) if account else _NoCredentials()
        response = self._persist(self._api, str(method), str(url), options)
        if response.status_code >= 400:
            raise refusal_of_call(response, urlsplit(str(url)).netloc)
        return response

    def file(self, url: str, offset: int = 0, version: str = "") -> requests.Response:
        """Open a file as a stream, without credentials, from byte `offset` on.

        version: the ETag that the bytes before `offset` came with: another version comes whole.
        Raises NotFoundOnSite or Unavailable for a fault of this file alone, else SiteError.
        """
        # bytes as they lie there: a compressed answer has other lengths than the file
        headers = {"Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if version:
                headers["If-Range"] = version
        options: dict[str, Any] = {
            "stream": True,
            "timeout": FILE_TIMEOUT,
            "auth": _NoCredentials(),
            "headers": headers,
        }
        response = self._persist(self._files, "GET", url, options)
        if response.status_code >= 400 and response.status_code != 416:
            try:
                raise refusal_of_file(response, urlsplit(url).netloc)
            finally:
                response.close()
        self._file_came = time.monotonic()
        return response

    def stop(self) -> None:
        """Let every wait in every thread end now with Stopped."""
        self._stopping.set()

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopping.is_set()

    def pause(self, failures: int) -> None:
        """Wait as one does after so many failures in a row."""
        self._stopping.wait(_back_off(failures))

    def _persist(self, pace: Pace, method: str, url: str, options: Any) -> requests.Response:
        """Ask until there is an answer that asking again would not change."""
        host, failing = urlsplit(url).netloc, _Failing()
        while True:
            started = pace.wait(self._stopping)
            if self._stopping.is_set():
                raise Stopped(f"{host} is asked no more")
            try:
                response = super().request(method, url, **options)
            except requests.RequestException as error:
                self._bear_silence(error, host, failing, pace)
                continue
            self._answered = True
            pace.heed(response.headers.get("X-Rate-Limit"))
            if challenged(response) and failing.challenges < CHALLENGE_TRIES - 1:
                failing.challenges += 1
                wait: float | None = CHALLENGE_PAUSE * _doubled(failing.challenges)
            elif response.status_code in BUSY:
                wait = asked_to_wait(response)
            else:
                pace.recover()
                return response
            response.close()
            pace.slow(started)
            self._bear_busy(response.status_code, wait, host, failing, pace)

    def _bear_silence(
        self, error: requests.RequestException, host: str, failing: _Failing, pace: Pace
    ) -> None:
        """Wait before the next try after no or half an answer; raise when that is pointless."""
        failing.once_more()
        pause = _back_off(failing.tries)
        cause = cause_of(error)
        if self._fails_alone(failing, pace):
            raise Unavailable(cause)
        nobody = failing.tries == 2 and not self._answered and not _broke_off(error)
        if nobody or failing.exceeds_patience(pause):
            raise SiteError(
                f"{host} cannot be reached ({cause}):"
                " check the address and your connection, then run the command again"
            )
        self._stopping.wait(pause)

    def _bear_busy(
        self, status: int, asked: float | None, host: str, failing: _Failing, pace: Pace
    ) -> None:
        """Let nobody ask for a while; raise when the site has been busy for too long."""
        failing.once_more()
        failing.limited += status == 429
        seconds = asked or _back_off(failing.tries)
        if self._fails_alone(failing, pace):
            raise Unavailable(f"HTTP {status}")
        if asked is not None and asked > PATIENCE:
            raise SiteError(
                f"{host} asks us to come back in {_told(asked)} (HTTP {status}):"
                " run the command again then; nothing is lost"
            )
        if failing.exceeds_patience(seconds):
            raise SiteError(
                f"{host} is busy (HTTP {status}, for {_told(PATIENCE)}):"
                " wait a few minutes, then run the command again; nothing is lost"
            )
        if seconds > LONG_PAUSE:
            what = "asks for a browser check" if status == 403 else "is busy"
            say(f"{host} {what} (HTTP {status}): waiting {seconds:.0f} s")
        pace.hold(seconds)

    def _fails_alone(self, failing: _Failing, pace: Pace) -> bool:
        """Whether other files come while this one fails again and again."""
        alone = pace is self._files and self._file_came > failing.since
        return alone and failing.tries - failing.limited >= TRIES_ALONE


def cause_of(error: requests.RequestException) -> str:
    """Why no answer came, or only half of one, in the same few words each time."""
    match error:
        case requests.exceptions.ChunkedEncodingError():
            return "cut short"
        case requests.Timeout():
            return "no answer in time"
        case requests.exceptions.SSLError():
            return "its certificate is not trusted"
        case requests.ConnectionError() if "Read timed out" in str(error):
            return "no answer in time"  # a stalled body is no Timeout to requests
        case requests.ConnectionError():
            return "no connection"
        case _:
            return type(error).__name__


def _broke_off(error: requests.RequestException) -> bool:
    """Whether somebody was there before the connection went."""
    return bool(error.args) and isinstance(error.args[0], urllib3.exceptions.ProtocolError)


def _doubled(times: int) -> float:
    return float(2 ** (times - 1) * random.uniform(0.5, 1.0))


def _back_off(failures: int) -> float:
    """Seconds to wait after the nth failure, from 1: doubling, with jitter."""
    return min(LONGEST_BACK_OFF, BACK_OFF * _doubled(min(failures, 30)))


def _told(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 7200 else f"{-(-seconds // 60):.0f} min"
