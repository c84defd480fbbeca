"""Curves of many steps are thinned to what can be seen."""

from hypothesis import given
from hypothesis import strategies as st

from train.compare.curves import MOST, thinned


@given(st.lists(st.floats(0, 2), max_size=2000))
def test_a_curve_keeps_its_end_and_its_mean(losses: list[float]) -> None:
    found = thinned(list(enumerate(losses, 1)))
    assert len(found) <= MOST
    assert [step for step, _ in found[-1:]] == [len(losses)][: len(losses)]
    assert all(min(losses) - 1e-6 <= loss <= max(losses) + 1e-6 for _, loss in found)


def test_a_short_curve_stays_as_it_is() -> None:
    assert thinned([(1, 0.5), (2, 0.25)]) == ((1, 0.5), (2, 0.25))
    assert thinned([(n, float(n % 2)) for n in range(1, 801)]) == tuple(
        (step, 0.5) for step in range(2, 801, 2)
    )
