"""What is read in pictures against what was asked for: thresholds and figures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taggers.thresholds import LEAST
from train.read_back import (
    EVIDENCE,
    Prompt,
    Real,
    figures,
    fit_thresholds,
    mean,
    real_figures,
    shuffled_figures,
)

NAMES = ("hat", "smile", "red_hair", "1girl", "general")
RATING = 4


def real_of(truth: list[list[int]], read: list[list[int]] | None = None) -> Real:
    shown = np.array(truth, dtype=bool)
    return Real(NAMES, shown, shown if read is None else np.array(read, dtype=bool))


def seen(*rows: list[int]) -> np.ndarray:
    return np.array(rows, dtype=bool)


def f1(read: np.ndarray, shown: np.ndarray) -> float:
    return 2 * float((read & shown).sum()) / float(read.sum() + shown.sum())


@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.02, 0.2, 0.35, 0.5, 0.99, 1.0]), st.booleans()),
        min_size=2,
        max_size=60,
    )
)
def test_a_threshold_is_the_best_that_can_be_where_there_is_evidence(
    pictures: list[tuple[float, bool]],
) -> None:
    probability = np.array([[p] for p, _ in pictures], np.float32)
    shown = np.array([[s] for _, s in pictures])
    usual = np.array([0.35], np.float32)
    (fitted,) = fit_thresholds(probability, shown, usual)
    count = int(shown.sum())
    if min(count, len(pictures) - count) < EVIDENCE or not probability.any():
        assert fitted == usual[0]
        return
    assert fitted >= np.float32(LEAST)
    best = max(f1(probability >= least, shown) for least in (LEAST, 0.1, 0.3, 0.4, 0.7, 0.995))
    assert f1(probability >= fitted, shown) == pytest.approx(best)


def test_a_threshold_lies_between_the_pictures_that_show_a_tag_and_those_that_do_not() -> None:
    probability = np.array([[0.2]] * 8 + [[0.1]] * 9, np.float32)
    shown = np.array([[True]] * 8 + [[False]] * 9)
    assert fit_thresholds(probability, shown, np.array([0.35], np.float32)) == pytest.approx(0.15)
    usual = np.array([np.inf], np.float32)
    assert fit_thresholds(probability, shown, usual)[0] == np.inf


def test_figures_are_what_they_say() -> None:
    real = real_of([[1, 1, 0, 1, 0], [0, 1, 1, 1, 0], [0, 0, 1, 1, 0]])
    prompts = [
        Prompt("azusa", (), trigger=True),
        Prompt("azusa, hat", ("hat",), trigger=True),
        Prompt("hat", ("hat",)),
        Prompt("smile, hat", ("smile", "hat")),
    ]
    read = [
        seen([0, 0, 1, 1, 0], [0, 0, 0, 1, 0]),  # red_hair in one of two
        seen([1, 1, 1, 1, 0], [1, 1, 1, 1, 0]),  # counts for no figure
        seen([1, 0, 0, 1, 0], [0, 0, 1, 1, 0]),  # hat in one of two; 1 and 2 unasked
        seen([1, 1, 0, 0, 0], [1, 0, 0, 0, 0]),  # smile in one, hat in both; none unasked
    ]
    found = figures(real, prompts, read, ["red_hair"])
    assert found.recall == pytest.approx((1 / 2 + 1 / 2 + 1) / 3)
    assert found.signature == pytest.approx(1 / 2)
    assert found.unasked == pytest.approx((3 / 2 + 0) / 2)
    shuffled = shuffled_figures(real, prompts, read, ["red_hair"])
    assert shuffled.recall == 0  # smile, in the pictures of "hat"; all others ask for a hat
    assert shuffled.signature == pytest.approx(1 / 4)
    # "hat" judged by the other's pictures: one smile; the other by those of "hat": 1girl, red_hair
    assert shuffled.unasked == pytest.approx((1 / 2 + 3 / 2) / 2)


def test_nothing_asked_is_no_figure() -> None:
    real = real_of([[1, 1, 0, 1, 0]])
    found = figures(real, [Prompt("azusa", (), trigger=True)], [seen([1, 1, 1, 1, 0])], [])
    assert (found.recall, found.signature, found.unasked) == (None, None, None)
    assert mean([]) is None
    assert mean([None, 1.0, None, 0.0]) == 0.5


def test_what_always_comes_with_an_asked_tag_is_not_unasked() -> None:
    often = real_of([[1, 0, 1, 1, 0]] * 5 + [[0, 1, 0, 1, 0]] * 4)
    assert often.expected(["hat"]).tolist() == [True, False, True, True, False]
    # four pictures are too few to know
    assert often.expected(["smile"]).tolist() == [False, True, False, False, False]
    drawn = [seen([1, 1, 1, 1, 0])]
    assert figures(often, [Prompt("hat", ("hat",))], drawn, []).unasked == 1


def test_real_pictures_have_the_same_figures_by_the_boorus_word() -> None:
    truth = [[1, 1, 0, 1, 0], [1, 0, 1, 1, 0], [0, 1, 1, 1, 0], [0, 0, 1, 1, 0]]
    read = [[1, 1, 0, 0, 0], [0, 0, 1, 1, 0], [0, 1, 1, 0, 0], [1, 0, 1, 0, 0]]
    real = real_of(truth, read)
    assert real.ceiling("hat") == 0.5
    assert real.ceiling("smile") == 1
    assert real.ceiling("general") is None
    prompts = [Prompt("hat", ("hat",)), Prompt("hat, smile", ("hat", "smile"))]
    found = real_figures(real, prompts, ["red_hair"], np.array([True, True, False, False]))
    assert found.recall == pytest.approx((0.5 + 0.5 + 1) / 3)
    assert found.signature == 0.5
    # beside the hat: smile on one, red_hair and 1girl on the other; both asked: the first, nothing
    assert found.unasked == pytest.approx((3 / 2 + 0) / 2)
    nobody = real_figures(real, prompts, ["red_hair"], np.zeros(4, dtype=bool))
    assert nobody.signature is None


@given(st.integers(0, 2**32 - 1))
def test_pictures_that_do_as_asked_reach_the_top_and_others_the_bottom(seed: int) -> None:
    random = np.random.default_rng(seed)
    real = Real(NAMES, random.random((30, 5)) < 0.4, random.random((30, 5)) < 0.4)
    prompts = [Prompt(name, (name,)) for name in NAMES[:3]]
    obedient = [np.tile(np.arange(5) == place, (4, 1)) for place in range(3)]
    found = figures(real, prompts, obedient, [])
    assert (found.recall, found.unasked) == (1, 0)
    assert shuffled_figures(real, prompts, obedient, []).recall == 0
    blind = [random.random((2000, 5)) < 0.3 for _ in prompts]
    # who does not look at the prompt gets no more than chance
    recall, chance = figures(real, prompts, blind, []), shuffled_figures(real, prompts, blind, [])
    assert recall.recall == pytest.approx(chance.recall, abs=0.06)
