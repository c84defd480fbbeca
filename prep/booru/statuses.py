"""What each HTTP status of the site means to us, as an error that says what to do.

Facts: Danbooru's source (`app/controllers/application_controller.rb`) and its admins' words in
issue threads.
"""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import requests

from schemas.errors import Failure, KirokuError, QueryError, SiteError

# Too many requests, and what the site or the proxies before it say when they are overloaded.
BUSY = (408, 429, 502, 503, 504, 520, 521, 522, 523, 524)
GONE = (404, 410, 451)


class NotFoundOnSite(Failure):
    """404, 410 or 451: it is gone, or never was; others may still be there."""


class Unavailable(Failure):
    """One file cannot be had, for another reason than that it is gone; others may be."""


def challenged(response: requests.Response) -> bool:
    """Whether a proxy wants to see a browser before it lets us through."""
    return response.status_code == 403 and "cf-mitigated" in response.headers


def refusal_of_call(response: requests.Response, host: str) -> KirokuError:
    """What a status from 400 on means as the answer of the API."""
    message = _message(response)
    match response.status_code:
        case 401:
            return SiteError(
                f"{host} refused the login (HTTP 401): check KIROKU_LOGIN and KIROKU_API_KEY,"
                " or the file that holds login and api_key"
            )
        case 403 if challenged(response):
            return SiteError(
                f"{host} asks for a browser check (HTTP 403, challenge):"
                " wait, or try from another network"
            )
        case 403:
            return SiteError(
                f"{host} does not permit this (HTTP 403): the API key may lack a permission"
                " or be bound to another address"
            )
        case 404 | 451:
            return _gone(response, host)
        case 410:
            return QueryError(
                f"{host} does not list that far (HTTP 410): {message.rstrip('.')};"
                " give the set a lower limit, or leave `order:` out of its query"
            )
        case 422:
            return QueryError(
                f"{host} does not take this query (HTTP 422): {message.rstrip('.')};"
                " use fewer tags, or an account that may have more (`prep doctor` tells yours)"
            )
        case 500 if "QueryCanceled" in message or "timed out" in message:
            return QueryError(
                f"{host} gave up on this query (HTTP 500, it took too long):"
                " add a rarer tag, or a range such as id:>5000000"
            )
        case status:
            return SiteError(f"{host} answered HTTP {status}: {message}")


def refusal_of_file(response: requests.Response, host: str) -> KirokuError:
    """What a status from 400 on means as the answer to a request for a file."""
    if response.status_code in GONE:
        return _gone(response, host)
    if challenged(response):
        return refusal_of_call(response, host)
    return Unavailable(f"{host} answered HTTP {response.status_code}: {_message(response)}")


def asked_to_wait(response: requests.Response) -> float | None:
    """Seconds that Retry-After asks us to wait, given as seconds or as a date; None: not said."""
    value = response.headers.get("Retry-After", "")
    if value.isdigit():
        return float(value)
    until = _moment(value)
    if until is None:
        return None
    # by the site's own clock where it tells it: ours may be wrong
    now = _moment(response.headers.get("Date", "")) or datetime.now(UTC)
    return max(0.0, (until - now).total_seconds()) or None


def _moment(text: str) -> datetime | None:
    """An HTTP date; None where it is none."""
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _gone(response: requests.Response, host: str) -> NotFoundOnSite:
    # where we asked, without the long query behind it
    address = response.url.partition("?")[0]
    return NotFoundOnSite(f"{host} has it no more (HTTP {response.status_code}): {address}")


def _message(response: requests.Response) -> str:
    """What the site says of the fault, in one line."""
    try:
        body = response.json()
        parts = (str(body.get(key) or "") for key in ("error", "message"))
        text = " ".join(filter(None, parts))
    except (ValueError, AttributeError, requests.RequestException):
        text = response.reason or "no reason given"
    return " ".join(text.split())[:200]
