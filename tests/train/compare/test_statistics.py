"""Comparing trainings: differences go seed by seed, and corrections only ever hold back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.compare.statistics import compare, holm, verdict

chances = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@given(chances)
def test_correction_never_makes_a_difference_surer(ps: list[float]) -> None:
    corrected = holm(ps)
    assert all(before <= after <= 1 for before, after in zip(ps, corrected, strict=True))
    assert min(corrected) == min(1.0, min(ps) * len(ps))
    order = sorted(range(len(ps)), key=ps.__getitem__)
    ranked = [corrected[place] for place in order]
    assert ranked == sorted(ranked)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12, unique=True), st.randoms())
def test_correction_follows_the_values_not_their_places(ps: list[float], rng: object) -> None:
    shuffled = ps.copy()
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    before, after = dict(zip(ps, holm(ps), strict=True)), holm(shuffled)
    assert after == [before[p] for p in shuffled]


def test_holm_on_a_worked_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=6))
def test_the_other_way_round_only_the_sign_changes(pairs: list[tuple[float, float]]) -> None:
    a, b = ({"kept": [pair[side] for pair in pairs]} for side in (0, 1))
    (there,), (back,) = compare({"a": a, "b": b}, ["kept"]), compare({"b": b, "a": a}, ["kept"])
    assert there.mean == pytest.approx(-back.mean)
    assert there.p == pytest.approx(back.p, abs=1e-9)


def test_differences_are_taken_seed_by_seed() -> None:
    arms = {"a": {"kept": [0.2, 0.5, 0.8]}, "b": {"kept": [0.3, 0.6, 0.9]}}
    (found,) = compare(arms, ["kept"])
    assert found.decided  # though the two arms overlap widely
    assert found.mean == pytest.approx(0.1)
    assert verdict("a", [found], 3) == "Against a, with b kept is higher by 0.10 (+0.08 to +0.12)."


def test_what_is_decided_and_what_is_not_stand_in_one_sentence() -> None:
    arms = {
        "none": {"kept": [0.5, 0.52, 0.51], "signature": [0.9, 0.8, 0.7]},
        "some": {"kept": [0.9, 0.93, 0.9], "signature": [0.7, 0.9, 0.8]},
    }
    assert verdict("none", compare(arms, ["kept", "signature"]), 3) == (
        "Against none, with some kept is higher by 0.40 (+0.38 to +0.42);"
        " not decided: some: signature."
    )


def test_a_difference_of_single_readings_decides_nothing() -> None:
    same = compare({"a": {"kept": [1.0] * 3}, "b": {"kept": [0.99] * 3}}, ["kept"])
    assert not same[0].decided
    assert verdict("a", same, 3) == (
        "Not decided: no arm differs from a by more than chance may explain."
    )
    far = compare({"a": {"kept": [1.0] * 3}, "b": {"kept": [0.5] * 3}}, ["kept"])
    assert far[0].decided


def test_one_run_each_decides_nothing() -> None:
    arms = {"a": {"kept": [0.1]}, "b": {"kept": [0.9]}}
    (found,) = compare(arms, ["kept"])
    assert (found.p, found.low, found.decided) == (None, None, False)
    assert verdict("a", [found], 1) == "One run each: not decided."


def test_a_figure_that_a_run_lacks_is_not_compared() -> None:
    arms = {
        "a": {"kept": [0.1, 0.2], "style": [None, None]},
        "b": {"kept": [0.1, 0.2], "style": [0.3, 0.4]},
    }
    assert [one.figure for one in compare(arms, ["kept", "style"])] == ["kept"]


def test_two_runs_each_decide_nothing_either() -> None:
    arms = {"a": {"kept": [0.1, 0.1]}, "b": {"kept": [0.9, 0.9]}}
    (found,) = compare(arms, ["kept"])
    assert (found.p, found.low, found.decided) == (None, None, False)
    assert found.mean == pytest.approx(0.8)
    assert verdict("a", [found], 2) == "Two runs each: not decided."


def test_a_loss_is_told_finer_than_a_share() -> None:
    values = {"a": [0.1, 0.1, 0.1], "b": [0.103, 0.103, 0.103]}
    losses = compare({arm: {"validation": found} for arm, found in values.items()}, ["validation"])
    assert verdict("a", losses, 3) == (
        "Against a, with b validation is higher by 0.0030 (+0.0028 to +0.0032)."
    )
    shares = compare({arm: {"kept": found} for arm, found in values.items()}, ["kept"])
    assert verdict("a", shares, 3).startswith("Not decided: ")


def test_where_nothing_was_read_nothing_is_decided() -> None:
    nothing = compare({"a": {"style": [None]}, "b": {"style": [None]}}, ["style"])
    assert verdict("a", nothing, 1) == "Not decided: no figure that decides was read in every run."
