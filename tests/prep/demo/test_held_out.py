"""What the base model never saw: absent whole, present in parts."""

import random
from dataclasses import replace

import pytest

from prep.demo import held_out
from prep.demo.characters import CHARACTERS
from prep.demo.held_out import (
    HELD_OUT,
    HELD_OUT_CHARACTERS,
    UNSEEN,
    attributes_seen,
    portrait,
    violations,
)
from prep.demo.portrait import sample
from prep.demo.vocabulary import WORDS

SOME = 4000


def test_nothing_held_out_is_drawn_and_every_part_of_it_is() -> None:
    assert not violations(0, SOME)
    for name, counts in attributes_seen(0, SOME).items():
        assert set(counts) == set(CHARACTERS[name].signature)
        assert min(counts.values()) > SOME / 100


def test_one_of_each_kind_is_held_out() -> None:
    assert len(HELD_OUT_CHARACTERS) == 2
    assert len(HELD_OUT) == 5


def test_what_is_left_out_is_not_drawn_either_and_is_all_in_the_vocabulary() -> None:
    assert set(WORDS) >= UNSEEN
    seen = {tag for index in range(SOME) for tag in portrait(0, index).tags()}
    assert not seen & UNSEEN
    assert len(seen) > 120


def test_a_look_alike_without_the_name_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    akari = HELD_OUT_CHARACTERS[0]
    nameless = replace(sample(random.Random(1), character=akari), character=None)
    monkeypatch.setattr(held_out, "portrait", lambda seed, index: nameless)
    assert violations(0, 3) == {f"the look of {akari}": 3}


def test_the_same_index_is_the_same_portrait() -> None:
    assert portrait(3, 5) == portrait(3, 5)
    assert portrait(3, 5) != portrait(3, 6)
    assert portrait(3, 5) != portrait(4, 5)


def test_the_proof_says_what_it_proves(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["held_out", "--drawings", "500"])
    held_out.main()
    assert capsys.readouterr().out.splitlines()[-1] == (
        "none of akari_(hoshizora_academy), cherry_blossoms, neon_kumo, noelle_(lantern_isle),"
        " teddy_bear in 500 portraits"
    )
