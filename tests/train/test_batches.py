"""Batches as a function of (seed, step, manifest)."""

import time
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.batches import NOISE, TIMESTEP, Batches, held_out, stream


@st.composite
def made(draw: st.DrawFn) -> Batches:
    n = draw(st.integers(1, 30))
    numbers = st.lists(st.integers(1, 4), min_size=n, max_size=n)
    return Batches(
        places=np.array(sorted(draw(st.sets(st.integers(0, 99), min_size=n, max_size=n)))),
        repeats=np.array(draw(numbers)),
        shapes=np.array(draw(numbers)) * 1000,
        batch=draw(st.integers(1, 7)),
        seed=draw(st.integers(-5, 2**40)),
    )


@given(made(), st.integers(0, 2))
def test_an_epoch_holds_every_image_as_often_as_it_repeats(batches: Batches, epoch: int) -> None:
    first = epoch * batches.per_epoch
    tickets: Counter[tuple[int, int]] = Counter()
    for number in range(first, first + batches.per_epoch):
        batch = batches[number]
        assert 1 <= len(batch.places) <= batches.batch
        shapes = batches.shapes[np.searchsorted(batches.places, batch.places)]
        assert len(set(shapes.tolist())) == 1
        tickets.update(zip(batch.places.tolist(), batch.copies.tolist(), strict=True))
    expected = {
        (row, copy)
        for row, repeats in zip(batches.places.tolist(), batches.repeats.tolist(), strict=True)
        for copy in range(repeats)
    }
    assert tickets == Counter(expected)


@given(made(), st.integers(0, 70))
def test_exposures_are_what_the_batches_hold(batches: Batches, many: int) -> None:
    seen = Counter(row for number in range(many) for row in batches[number].places.tolist())
    exposures = batches.exposures(many)
    assert dict(zip(batches.places.tolist(), exposures.tolist(), strict=True)) == {
        row: seen[row] for row in batches.places.tolist()
    }
    assert batches.images(many) == sum(seen.values())


@given(made(), st.lists(st.integers(0, 200), min_size=1, max_size=9))
def test_a_batch_depends_on_its_number_alone(batches: Batches, numbers: list[int]) -> None:
    again = Batches(batches.places, batches.repeats, batches.shapes, batches.batch, batches.seed)
    for number in numbers:
        assert batches[number].places.tolist() == again[number].places.tolist()
        assert batches[number].copies.tolist() == again[number].copies.tolist()


def test_epochs_and_seeds_differ_in_order() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        ones = np.ones(50, dtype=np.int64)
        batches = Batches(np.arange(50), ones, ones, 1, seed)
        return [int(batches[50 * epoch + number].places[0]) for number in range(50)]

    orders = [order(1, 0), order(1, 1), order(2, 0), order(-1, 0)]
    assert len({tuple(each) for each in orders}) == 4


def test_a_large_manifest_costs_nothing_to_speak_of() -> None:
    n = 44_417
    random = np.random.default_rng(0)
    batches = Batches(np.arange(n), random.integers(1, 4, n), random.integers(0, 40, n), 4, seed=42)
    start = time.perf_counter()
    for number in range(1000):
        batches[number]
        batches.images(number)
    assert time.perf_counter() - start < 1.0


def test_streams_are_keyed_by_everything_that_names_them() -> None:
    keys = [(1, NOISE, 2, 3, 0), (1, NOISE, 2, 3, 1), (1, NOISE, 3, 2, 0), (-1, NOISE, 2, 3, 0)]
    keys += [(2, NOISE, 2, 3, 0), (1, TIMESTEP, 2, 3, 0)]
    drawn = {stream(*key).standard_normal() for key in keys}
    assert len(drawn) == len(keys)
    assert stream(*keys[0]).standard_normal() in drawn


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5])
def test_groups_are_held_out_whole_and_near_the_share(share: float) -> None:
    names = [f"group {number % 4000}" for number in range(8000)]
    out = held_out(pa.chunked_array([names[:3000], names[3000:]]), share)
    assert (out[:4000] == out[4000:]).all()
    assert abs(out.mean() - share) < 0.02
    fewer = held_out(pa.chunked_array([names[:100]]), share)
    assert (fewer == out[:100]).all()
