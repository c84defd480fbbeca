"""The size of a run, found from how runs went: against machines that are told in a line."""

from collections.abc import Callable

import pytest

from taggers.batch import BatchSize


def settled(batch: BatchSize, seconds: Callable[[int], float], room: int) -> int:
    """Run on a machine whose memory holds `room` images, until the size stays."""
    for _ in range(40):
        if batch.size > room:
            assert batch.too_large()
        else:
            batch.ran(batch.size, seconds(batch.size))
    size = batch.size
    batch.ran(size, seconds(size))
    assert batch.size == size
    return size


@pytest.mark.parametrize(
    ("seconds", "room", "size"),
    [
        (lambda n: 1.0 + 0.001 * n, 1000, 128),  # a run costs the same however large: the most
        (lambda n: float(n), 1000, 4),  # an image costs the same however many
        (lambda n: float(max(n, 32)), 1000, 32),  # the card is full at 32
        (lambda n: 1.0, 20, 16),  # memory ends first
        (lambda n: 1.0, 3, 2),  # at once
        (lambda n: n**2.0, 1000, 4),  # the more the slower
    ],
)
def test_runs_grow_while_that_is_quicker_and_memory_holds(
    seconds: Callable[[int], float], room: int, size: int
) -> None:
    assert settled(BatchSize(4, 128), seconds, room) == size


def test_the_first_run_of_a_size_is_not_judged() -> None:
    batch = BatchSize(4, 128)
    batch.ran(4, 100.0)
    batch.ran(4, 4.0)
    assert batch.size == 8
    batch.ran(8, 100.0)
    assert batch.size == 8
    batch.ran(8, 4.0)
    assert batch.size == 16


def test_a_part_of_a_run_is_not_judged() -> None:
    batch = BatchSize(4, 128)
    for _ in range(9):
        batch.ran(3, 1.0)
    assert batch.size == 4


def test_nothing_is_smaller_than_one_image_or_what_the_model_is_made_for() -> None:
    assert not BatchSize(1, 128).too_large()
    assert not BatchSize(8, 8, 8).too_large()
