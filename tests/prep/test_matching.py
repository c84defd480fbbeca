"""A selection whose mean is near the wanted one: nearer than chance, exact where it can be."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prep.matching import Features, at_most, select


def features(rows: np.ndarray, wanted: np.ndarray, name: str = "tags") -> Features:
    """From booleans [images, tags]."""
    row, column = np.nonzero(rows)
    return Features(name, row, column, np.asarray(wanted, float))


def drawn(count: int, tags: int, seed: int, shift: float = 0.0) -> np.ndarray:
    """Images in a few moods, each with its own tags, as pictures have them."""
    rng = np.random.default_rng(seed)
    share = np.clip(0.8 / np.arange(1, tags + 1) ** 0.7, 0.01, 0.9)
    mood = np.random.default_rng(1).normal(size=(4, tags)) * 0.7
    towards = np.random.default_rng(2).normal(size=tags) * shift
    logit = np.log(share / (1 - share)) + rng.normal(size=(count, 4)) @ mood + towards
    return rng.random((count, tags)) < 1 / (1 + np.exp(-logit))


@pytest.mark.parametrize(("count", "number"), [(1500, 60), (1500, 200), (4000, 500)])
def test_all_kinds_come_nearer_than_half_of_what_chance_does(count: int, number: int) -> None:
    rng = np.random.default_rng(5)
    learnt = drawn(150, 120, seed=3, shift=0.5).mean(axis=0)
    weights = np.ones(150)
    kinds = [
        features(drawn(count, 120, seed=4), learnt),
        at_most("aspect", rng.normal(size=count), rng.normal(-0.4, 0.5, 150), weights),
        at_most("size", rng.normal(size=count), rng.normal(0.5, 1, 150), weights),
    ]
    chosen, distances = select(kinds, count, number)
    assert int(chosen.sum()) == number
    together = sum((one.chosen / one.random) ** 2 for one in distances.values()) / len(kinds)
    assert together**0.5 <= 0.5
    assert distances["tags"].chosen < 0.6 * distances["tags"].random


def test_what_is_told_of_chance_is_what_chance_does() -> None:
    rows, learnt = drawn(400, 40, seed=6), drawn(80, 40, seed=7, shift=0.4).mean(axis=0)
    _, distances = select([features(rows, learnt)], 400, 50)
    rng = np.random.default_rng(8)
    squares = [
        ((rows[rng.permutation(400)[:50]].mean(axis=0) - learnt) ** 2).sum() for _ in range(400)
    ]
    assert distances["tags"].random == pytest.approx(np.sqrt(np.mean(squares)), rel=0.03)


@given(st.data())
def test_of_few_images_nearly_the_best_are_found(data: st.DataObject) -> None:
    count, tags = data.draw(st.integers(1, 7)), data.draw(st.integers(1, 4))
    bits = data.draw(st.lists(st.booleans(), min_size=count * tags, max_size=count * tags))
    wanted = np.array(data.draw(st.lists(st.floats(0, 1), min_size=tags, max_size=tags)))
    number = data.draw(st.integers(0, count))
    kept = data.draw(st.sets(st.integers(0, count - 1), max_size=number))
    rows = np.array(bits).reshape(count, tags)
    chosen, distances = select([features(rows, wanted)], count, number, sorted(kept))
    assert int(chosen.sum()) == max(number, len(kept))
    assert chosen[list(kept)].all()
    if number:
        every = [
            float(np.linalg.norm(rows[list(those)].mean(axis=0) - wanted))
            for those in combinations(range(count), number)
            if kept <= set(those)
        ]
        found = distances["tags"].chosen
        assert min(every) - 1e-9 <= found <= np.mean(every) + 1e-9


def test_without_a_kind_the_first_are_chosen() -> None:
    chosen, distances = select([], 5, 2)
    assert (chosen.tolist(), distances) == ([True, True, False, False, False], {})


def test_the_same_rows_give_the_same_choice() -> None:
    rows, learnt = drawn(300, 30, seed=9), drawn(50, 30, seed=10).mean(axis=0)
    first, _ = select([features(rows, learnt)], 300, 40)
    second, _ = select([features(rows, learnt)], 300, 40)
    assert first.tolist() == second.tolist()


def test_what_no_image_has_does_not_keep_the_rest_from_being_matched() -> None:
    rows = np.array([[1, 0], [0, 0], [1, 0], [0, 0]], bool)
    chosen, _ = select([features(rows, np.array([1.0, 1.0]))], 4, 2)
    assert chosen.tolist() == [True, False, True, False]


def test_a_figure_is_matched_in_its_distribution_not_in_its_mean() -> None:
    values = np.array([0.0] * 20 + [-1.0] * 20 + [1.0] * 20)
    targets = np.array([-1.0] * 10 + [1.0] * 10)
    kind = at_most("aspect", values, targets, np.ones(20))
    chosen, distances = select([kind], 60, 20)
    assert sorted(set(values[chosen])) == [-1.0, 1.0]
    assert distances["aspect"].chosen == pytest.approx(0, abs=1e-9)
