"""Our HTTP manners around `requests`: pace, retries, timeouts, an honest name, typed errors.

pybooru gets this session as its client, so that every fault is told in our words before pybooru
sees the status (it raises KeyError on 410, 429 and others). Facts on statuses: Danbooru's source
and its admins' words in issue threads.
"""

import random
import time
from importlib.metadata import version
from typing import Any
from urllib.parse import quote, urlsplit

import requests
from requests.auth import AuthBase

from prep.booru.pacing import Pace
from schemas.errors import Failure, QueryError, SiteError
from schemas.progress import say

TIMEOUT = (10.0, 60.0)  # seconds to connect, to the next byte
TRIES = 6
BACK_OFF = 1.0  # seconds after the first failure, doubled after each
LONGEST_BACK_OFF = 30.0
LONG_PAUSE = 5.0  # seconds from which the person is told that we wait
LONGEST_WAIT = 300.0  # seconds that a site's Retry-After is obeyed for; maintenance asks for 30
SLOW_DOWN = (429, 502, 503, 504)


class NotFoundOnSite(Failure):
    """404 or 410 for a file or a post: it is gone, others may still be there."""


class _NoCredentials(AuthBase):
    """Keeps `requests` from taking a login out of .netrc: only ours is used, for the API alone."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


class BooruSession(requests.Session):
    """One session for the API and the files of a site."""

    def __init__(self, api: Pace, files: Pace, account: str = "") -> None:
        super().__init__()
        self._api, self._files = api, files
        self._answered = False  # a site that never answered is more likely misspelt than busy
        # a header holds Latin-1 at most, a name on the site anything
        by = f"by {quote(account)}" if account else "no account"
        self.headers.update({"User-Agent": f"kiroku/{version('kiroku')} ({by})"})

    def request(self, method: Any, url: Any, **options: Any) -> requests.Response:  # type: ignore[override]
        """One API call, repeated while the site is busy. Raises a KirokuError in clear words."""
        options.setdefault("timeout", TIMEOUT)
        options["headers"] = {"Accept": "application/json", **(options.get("headers") or {})}
        account = options.get("auth")
        options["auth"] = tuple(map(str.encode, account)) if account else _NoCredentials()
        return self._persist(self._api, str(method), str(url), options)

    def file(self, url: str, offset: int = 0) -> requests.Response:
        """Open a file as a stream, without credentials, from byte `offset` on."""
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        options: dict[str, Any] = {
            "stream": True,
            "timeout": TIMEOUT,
            "auth": _NoCredentials(),
            "headers": headers,
        }
        return self._persist(self._files, "GET", url, options)

    def _persist(self, pace: Pace, method: str, url: str, options: Any) -> requests.Response:
        host = urlsplit(url).netloc
        for attempt in range(1, TRIES + 1):
            pace.wait()
            try:
                response = super().request(method, url, **options)
            except requests.RequestException as error:
                if attempt == TRIES or (attempt == 2 and not self._answered):
                    raise SiteError(
                        f"{host} cannot be reached ({_cause(error)}):"
                        " check the address and your connection, then run the command again"
                    ) from None
                time.sleep(_back_off(attempt))
                continue
            self._answered = True
            if response.status_code not in SLOW_DOWN:
                return _accepted(response, host)
            pause = _asked_for(response) or _back_off(attempt)
            if pause > LONG_PAUSE:
                say(f"{host} is busy (HTTP {response.status_code}): waiting {pause:.0f} s")
            pace.hold(pause)
            response.close()
        raise SiteError(
            f"{host} is busy (HTTP {response.status_code}, {TRIES} tries):"
            " wait a few minutes, then run the command again; nothing is lost"
        )


def _accepted(response: requests.Response, host: str) -> requests.Response:
    """Return a good answer; raise what the status means otherwise."""
    status = response.status_code
    if status < 400:
        return response
    message = _message(response)
    response.close()
    match status:
        case 401:
            raise SiteError(
                f"{host} refused the login (HTTP 401): check KIROKU_LOGIN and KIROKU_API_KEY"
            )
        case 403 if "cf-mitigated" in response.headers:
            raise SiteError(
                f"{host} asks for a browser check (HTTP 403, challenge):"
                " wait, or try from another network"
            )
        case 403:
            raise SiteError(
                f"{host} does not permit this (HTTP 403): the API key may lack a permission"
                " or be bound to another address"
            )
        case 404 | 410 | 451:
            raise NotFoundOnSite(f"{host} has it no more (HTTP {status}): {_address(response)}")
        case 422:
            raise QueryError(
                f"{host} does not take this query (HTTP 422): {message.rstrip('.')};"
                " use fewer tags, or an account that may have more (`prep doctor` tells yours)"
            )
        case 500 if "QueryCanceled" in message or "timed out" in message:
            raise QueryError(
                f"{host} gave up on this query (HTTP 500, it took too long):"
                " add a rarer tag, or a range such as id:>5000000"
            )
        case _:
            raise SiteError(f"{host} answered HTTP {status}: {message}")


def _address(response: requests.Response) -> str:
    """Where we asked, without the long query behind it."""
    return response.url.partition("?")[0]


def _message(response: requests.Response) -> str:
    """What the site says of the fault, in one line."""
    try:
        body = response.json()
        parts = (str(body.get(key) or "") for key in ("error", "message"))
        text = " ".join(filter(None, parts))
    except (ValueError, AttributeError, requests.RequestException):
        text = response.reason or "no reason given"
    return " ".join(text.split())[:200]


def _asked_for(response: requests.Response) -> float | None:
    """Seconds that Retry-After asks us to wait, where it is given in seconds."""
    value = response.headers.get("Retry-After", "")
    return min(float(value), LONGEST_WAIT) if value.isdigit() else None


def _back_off(attempt: int) -> float:
    """Seconds to wait after the nth failure, from 1: doubling, with jitter."""
    return float(min(LONGEST_BACK_OFF, BACK_OFF * 2 ** (attempt - 1)) * random.uniform(0.5, 1.0))


def _cause(error: requests.RequestException) -> str:
    match error:
        case requests.Timeout():
            return "no answer in time"
        case requests.exceptions.SSLError():
            return "its certificate is not trusted"
        case requests.ConnectionError():
            return "no connection"
        case _:
            return type(error).__name__
