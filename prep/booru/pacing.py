"""How fast we may ask: a token bucket shared by threads, which slows down when the site is busy.

Multiplicatively slower when the site asks for it, additively faster with every good answer, never
faster than agreed: the rule by which TCP shares a line (Chiu and Jain, 1989).
"""

import json
import math
import threading
import time
from typing import Any

SLOWER = 0.5  # what the pace is multiplied by when the site is busy
STEPS_BACK = 25  # good answers that bring a pace from nothing back to what was agreed
SLOWEST = 1 / 64  # of the agreed pace
LONGEST_HOLD = 60.0  # seconds that an empty bucket at the site is waited for
NEVER = threading.Event()  # nobody sets it


class Pace:
    """At most `per_second` starts a second on average, `burst` of them at once."""

    def __init__(self, per_second: float, burst: int = 1) -> None:
        self._agreed = self._allowed = self._rate = per_second
        self._burst = burst
        self._tokens = float(burst)
        self._counted = self._slowed = time.monotonic()  # when tokens, when the rate last changed
        self._lock = threading.Lock()

    @property
    def per_second(self) -> float:
        """The pace as it is now."""
        return self._rate

    def wait(self, stopping: threading.Event = NEVER) -> float:
        """Return when the next start is due, or at once when `stopping` is set; and the moment."""
        while True:
            with self._lock:
                now = time.monotonic()
                delay = self._take(now)
            if delay <= 0 or stopping.wait(delay):
                return now

    def hold(self, seconds: float) -> None:
        """Let nobody start for so many seconds: the site asked us to wait."""
        with self._lock:
            # no tokens gather while it is held, or all threads would start at once behind it
            self._tokens = min(self._tokens, 1.0)
            self._counted = max(self._counted, time.monotonic() + seconds)

    def slow(self, started: float) -> None:
        """Slow down: a request that was started at this moment found the site busy.

        Requests that were under way when the pace fell say nothing of the new pace.
        """
        with self._lock:
            if started >= self._slowed:
                self._rate = max(self._rate * SLOWER, self._agreed * SLOWEST)
                self._slowed = time.monotonic()

    def recover(self) -> None:
        """A good answer: a little faster again."""
        with self._lock:
            self._rate = min(self._allowed, self._rate + self._agreed / STEPS_BACK)

    def heed(self, header: str | None) -> None:
        """Keep to what the site's `X-Rate-Limit` header says; one that cannot be read says nothing.

        Facts: danbooru `app/logical/rate_limiter.rb`: rate in tokens a second, cost of this call,
        and what is left in each bucket that it was taken from.
        """
        if not header:
            return
        try:
            state: dict[str, Any] = json.loads(header)
            cost = max(float(state.get("cost", 1)), 1e-3)
            rate = float(state["rate"]) / cost
            left = min(float(tokens) for tokens in state["limits"].values()) / cost
        except (ValueError, KeyError, TypeError, AttributeError):
            return
        if not (math.isfinite(rate) and math.isfinite(left)):
            return
        rate = max(rate, self._agreed * SLOWEST)  # no word of the site's stops us for days
        with self._lock:
            self._allowed = min(self._agreed, rate)
            self._rate = min(self._rate, self._allowed)
            self._tokens = min(self._tokens, max(left, 0.0))
            if left < 1:
                missing = min((1 - left) / rate, LONGEST_HOLD)
                self._counted = max(self._counted, time.monotonic() + missing)

    def _take(self, now: float) -> float:
        """Take a token; or the seconds until there may be one."""
        if now < self._counted:
            return self._counted - now
        self._tokens = min(self._burst, self._tokens + (now - self._counted) * self._rate)
        self._counted = now
        if self._tokens >= 1:
            self._tokens -= 1
            return 0.0
        return (1 - self._tokens) / self._rate
