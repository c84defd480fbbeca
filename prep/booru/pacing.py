"""How fast we may ask: a token bucket shared by threads."""

import threading
import time


class Pace:
    """At most `per_second` starts a second on average, `burst` of them at once."""

    def __init__(self, per_second: float, burst: int = 1) -> None:
        self._interval = 1.0 / per_second
        self._burst = burst
        self._lock = threading.Lock()
        self._next = time.monotonic() - self._interval * burst

    def wait(self) -> None:
        """Return when the next start is due."""
        with self._lock:
            now = time.monotonic()
            self._next = max(self._next, now - self._interval * self._burst) + self._interval
            delay = self._next - now
        if delay > 0:
            time.sleep(delay)

    def hold(self, seconds: float) -> None:
        """Let nobody start for so many seconds: the site asked us to slow down."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)
