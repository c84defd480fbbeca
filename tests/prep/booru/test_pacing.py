"""The pace: never faster than agreed, in one thread or many, and no credit for a long silence."""

import json
import threading
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prep.booru.pacing import LONGEST_HOLD, SLOWEST, STEPS_BACK, Pace


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


def test_busy_answers_halve_the_pace_down_to_a_floor_and_good_ones_raise_it_step_by_step() -> None:
    pace = Pace(8)
    seen = []
    for _ in range(10):
        pace.slow(time.monotonic())
        seen.append(pace.per_second)
    assert seen[:3] == [4, 2, 1]
    assert seen[-1] == 8 * SLOWEST
    for n in range(1, STEPS_BACK + 5):
        pace.recover()
        assert pace.per_second == pytest.approx(min(8, 8 * SLOWEST + n * 8 / STEPS_BACK))


def test_requests_that_were_under_way_in_the_same_storm_slow_it_once() -> None:
    pace = Pace(8)
    started = [time.monotonic() for _ in range(6)]
    for moment in started:
        pace.slow(moment)
    assert pace.per_second == 4


def test_what_the_site_allows_is_a_ceiling_until_it_allows_more() -> None:
    pace = Pace(8)
    pace.heed(json.dumps({"rate": 3, "cost": 1, "limits": {"a": 9}}))
    pace.recover()
    assert pace.per_second == 3
    pace.heed(json.dumps({"rate": 30, "cost": 1, "limits": {"a": 9}}))
    for _ in range(STEPS_BACK):
        pace.recover()
    assert pace.per_second == 8


def test_an_empty_bucket_at_the_site_is_waited_for() -> None:
    pace = Pace(1000, burst=5)
    pace.heed(json.dumps({"rate": 10, "cost": 1, "limits": {"ip": -0.5, "user": 3}}))
    start = time.monotonic()
    pace.wait()
    assert time.monotonic() - start >= 0.14


def test_a_wait_ends_at_once_when_all_is_to_stop() -> None:
    pace, stopping = Pace(1), threading.Event()
    pace.hold(60)
    threading.Timer(0.1, stopping.set).start()
    start = time.monotonic()
    pace.wait(stopping)
    assert time.monotonic() - start < 10


numbers = st.one_of(st.floats(), st.integers(), st.text(), st.none())


@given(
    st.one_of(
        st.text(),
        st.fixed_dictionaries(
            {"rate": numbers, "limits": st.dictionaries(st.text(), numbers)},
            optional={"cost": numbers},
        ).map(json.dumps),
    )
)
def test_no_header_breaks_the_pace_or_makes_it_faster(header: Any) -> None:
    pace = Pace(8)
    pace.heed(header)
    pace.recover()
    assert 8 * SLOWEST <= pace.per_second <= 8
    now = time.monotonic()
    assert pace._take(now) <= LONGEST_HOLD
