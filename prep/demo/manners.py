"""Who may ask the embedded booru what, and how often: accounts, User-Agents, rate limits.

Facts: danbooru `app/logical/rate_limiter.rb` (token buckets per account and address, told in the
`X-Rate-Limit` header) and what its admins say of Cloudflare's challenge.
"""

import base64
import binascii
import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

ANONYMOUS_LEVEL = 0
_UNLIMITED = 10**6  # tags in a search


@dataclass(frozen=True)
class Account:
    """An account of the site. `zone` is the offset its timestamps are told in, in hours.

    permitted: the API paths its key may ask for; None: all.
    """

    name: str
    api_key: str
    level: int
    zone: int = -5
    permitted: tuple[str, ...] | None = None

    @property
    def tag_limit(self) -> int:
        """How many tags a search may have: 2, Gold 6, from Platinum on as many as one likes."""
        return 2 if self.level < 30 else 6 if self.level < 31 else _UNLIMITED

    @property
    def page_limit(self) -> int:
        """The last numbered page it may ask for."""
        return 1000 if self.level < 30 else 5000


ANONYMOUS = Account("Anonymous", "", ANONYMOUS_LEVEL)
ACCOUNTS = (
    Account("member", "member-key", 20),
    Account("gold", "gold-key", 30, zone=9),
    Account("platinum", "platinum-key", 31, zone=0),
    Account("limited", "limited-key", 20, permitted=("/posts.json", "/profile.json")),
)
LEVEL_NAMES = {0: "Anonymous", 20: "Member", 30: "Gold", 31: "Platinum"}

ERRORS = {
    400: "ActionController::BadRequest",
    401: "SessionLoader::AuthenticationFailure",
    403: "User::PrivilegeError",
    404: "ActiveRecord::RecordNotFound",
    405: "ActionController::RoutingError",
    406: "ActionController::UnknownFormat",
    410: "PaginationExtension::PaginationError",
    422: "PostQuery::TagLimitError",
    429: "RateLimiter::RateLimitError",
    500: "ActiveRecord::QueryCanceled",
}
CHALLENGE = "<!DOCTYPE html><title>Just a moment...</title>Checking that you are not a robot."
CHALLENGE_HEADERS = {"cf-mitigated": "challenge", "server": "cloudflare"}

# Browsers, and libraries that were not told to say who uses them.
_CHALLENGED = re.compile(
    r"$|mozilla/|python-requests/|python-urllib|python-httpx|httpx|urllib3|aiohttp|python/\d|go-http"
    r"|java/|okhttp|axios|node-fetch|undici",
    re.IGNORECASE,
)


def challenged(user_agent: str) -> bool:
    """Whether this User-Agent gets Cloudflare's challenge instead of an answer."""
    return _CHALLENGED.match(user_agent.strip()) is not None


def refusal_response(refusal: HTTPException) -> Response:
    """The site's JSON for everything that goes wrong."""
    body = {
        "success": False,
        "error": ERRORS.get(refusal.status_code, "StandardError"),
        "message": refusal.detail,
        "backtrace": ["app/controllers/application_controller.rb:1:in `action'"],
    }
    return JSONResponse(body, refusal.status_code, refusal.headers)


def account_of(headers: Mapping[str, str], query: Mapping[str, str]) -> Account | None:
    """Who asks, by HTTP Basic or `login` and `api_key`; None when login or key are wrong."""
    login, key = query.get("login", ""), query.get("api_key", "")
    scheme, _, packed = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            login, _, key = base64.b64decode(packed, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
    elif scheme:
        return None
    if not login and not key:
        return ANONYMOUS
    return next((a for a in ACCOUNTS if (a.name, a.api_key) == (login, key)), None)


@dataclass(frozen=True)
class Rate:
    """A token bucket's figures: tokens a second, and how many it holds."""

    rate: float
    burst: int


# What the real site allows: ten requests a second to the API, five files a second after fifty.
API_RATE = Rate(10.0, 10)
FILE_RATE = Rate(5.0, 50)


@dataclass
class Limiter:
    """Token buckets of one kind of route, one per account or address. None as rate: no limit."""

    action: str
    rate: Rate | None
    clock: Callable[[], float] = time.monotonic
    _left: dict[str, tuple[float, float]] = field(default_factory=dict)  # tokens, as of when
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, key: str) -> tuple[bool, dict[str, str]]:
        """Whether one more request of `key` is allowed, and the header that tells its state."""
        if self.rate is None:
            return True, {}
        with self._lock:
            now = self.clock()
            left, since = self._left.get(key, (float(self.rate.burst), now))
            left = min(self.rate.burst, left + (now - since) * self.rate.rate)
            allowed = left >= 1
            left -= allowed
            self._left[key] = (left, now)
        state = {
            "action": self.action,
            "cost": 1,
            "rate": self.rate.rate,
            "burst": self.rate.burst,
            "limits": {key: round(left, 3)},
        }
        return allowed, {"X-Rate-Limit": json.dumps(state)}
