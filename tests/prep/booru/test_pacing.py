"""The pace: never faster than agreed, in one thread or many, and no credit for a long silence."""

import threading
import time

import pytest

from prep.booru.pacing import Pace


def starts(pace: Pace, count: int) -> list[float]:
    times = []
    for _ in range(count):
        pace.wait()
        times.append(time.monotonic())
    return times


@pytest.mark.parametrize("burst", [1, 3])
def test_so_many_at_once_then_one_by_one(burst: int) -> None:
    times = starts(Pace(25, burst), burst + 3)
    assert times[burst - 1] - times[0] < 0.5
    for first, last in ((i, j) for j in range(len(times)) for i in range(j)):
        assert times[last] - times[first] >= (last - first - burst) / 25 - 0.005


def test_threads_share_one_pace() -> None:
    pace = Pace(50, burst=2)
    times: list[float] = []
    threads = [threading.Thread(target=lambda: times.extend(starts(pace, 3))) for _ in range(4)]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(times) == 12
    assert max(times) - start >= (12 - 2) / 50 - 0.005


def test_a_long_silence_earns_no_more_than_the_burst() -> None:
    pace = Pace(40, burst=2)
    time.sleep(0.2)
    times = starts(pace, 5)
    assert times[-1] - times[0] >= 2 / 40 - 0.005


def test_nobody_starts_while_it_is_held() -> None:
    pace = Pace(1000, burst=5)
    pace.hold(0.15)
    start = time.monotonic()
    pace.wait()
    assert time.monotonic() - start >= 0.145


def test_a_shorter_hold_does_not_end_a_longer_one() -> None:
    pace = Pace(1000)
    pace.hold(0.15)
    pace.hold(0.01)
    start = time.monotonic()
    pace.wait()
    assert time.monotonic() - start >= 0.145
