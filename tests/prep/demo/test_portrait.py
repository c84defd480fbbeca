"""Portraits: chances, truth of the tags, characters, what can be kept out or asked for."""

import random
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prep.demo.portrait import (
    ARTISTS,
    CHARACTERS,
    COSTUMES,
    Portrait,
    from_tags,
    sample,
    variant,
)
from prep.demo.vocabulary import IMPLICATIONS, SLOTS, VOCABULARY, WORDS, closed
from schemas.errors import UsageError

GENERAL = [word.name for word in VOCABULARY if word.category == "general"]


def portraits(count: int, seed: int = 0, **choices: object) -> list[Portrait]:
    rng = random.Random(seed)
    return [sample(rng, **choices) for _ in range(count)]  # type: ignore[arg-type]


def test_every_general_tag_is_reached_often_enough_to_be_learnt():
    seen = Counter(tag for portrait in portraits(4000) for tag in portrait.tags())
    assert set(seen) == set(GENERAL)
    assert min(seen.values()) >= 40


def test_tags_are_unique_ordered_and_closed_under_implications():
    order = {name: index for index, name in enumerate(GENERAL)}
    for portrait in portraits(300):
        tags = portrait.tags()
        assert list(tags) == sorted(set(tags), key=order.__getitem__)
        assert {b for a, b in IMPLICATIONS if a in tags} <= set(tags)


def test_what_cannot_be_seen_is_not_tagged():
    for portrait in portraits(2000):
        tags = set(portrait.tags())
        colors = tags & set(SLOTS["eye_color"])
        if tags & {"closed_eyes", "blank_eyes", "@_@"}:
            assert not colors
            assert not tags & set(SLOTS["gaze"])
        else:
            assert len(colors) == (2 if "heterochromia" in tags else 1)
        if tags & {"hair_over_one_eye", "eyepatch"}:
            assert not tags & {"heterochromia", "one_eye_closed"}
        assert not (portrait.object and portrait.pose)
        assert not (portrait.object and portrait.framing == "portrait")


def test_a_character_keeps_what_is_fixed_and_mostly_wears_the_usual():
    for name, character in CHARACTERS.items():
        drawn = portraits(200, character=name)
        usual = sum(portrait.clothes == character.clothes for portrait in drawn)
        assert 0.6 < usual / len(drawn) < 0.85
        hidden = {*SLOTS["eye_color"], "heterochromia"}
        for portrait in drawn:
            missing = set(character.signature) - set(portrait.tags())
            assert missing <= hidden, name
            assert portrait.character == name
            assert portrait.copyright_tag == character.copyright
        whole = sum(set(character.signature) <= set(p.tags()) for p in drawn)
        assert whole / len(drawn) > 0.6


def test_signatures_are_unique_and_none_contains_another():
    signatures = {name: set(character.signature) for name, character in CHARACTERS.items()}
    for name, one in signatures.items():
        for other_name, other in signatures.items():
            assert name == other_name or not one <= other


def test_nobody_and_somebody_and_a_fixed_artist():
    nobody = portraits(50, character="", artist="suna_gami")
    assert {portrait.character for portrait in nobody} == {None}
    assert {portrait.copyright_tag for portrait in nobody} == {None}
    assert {portrait.artist_tag for portrait in nobody} == {"suna_gami"}
    anybody = portraits(400)
    assert {portrait.character for portrait in anybody} == {None, *CHARACTERS}
    assert {portrait.artist_tag for portrait in anybody} == set(ARTISTS)


def test_a_costume_variant_is_tagged_before_its_character():
    (character, clothes), costume = next(iter(COSTUMES.items()))
    worn = [p for p in portraits(400, character=character) if p.clothes == clothes]
    assert worn
    assert worn[0].character_tags == (costume, character)


def test_kept_out_tags_artists_and_characters_are_never_drawn():
    without = frozenset(
        {"witch_hat", "teddy_bear", "outdoors", "neon_kumo", "marina_(lantern_isle)"}
    )
    look = set(CHARACTERS["marina_(lantern_isle)"].signature)
    for portrait in portraits(2000, without=without, character=""):
        tags = {*portrait.tags(), portrait.artist_tag}
        assert not tags & without
        assert not look <= tags
    with_people = portraits(500, without=without)
    assert "marina_(lantern_isle)" not in {p.character for p in with_people}


def test_characters_whose_fixed_features_are_kept_out_are_kept_out_too():
    without = frozenset({"witch_hat"})
    assert all("witch_hat" not in p.tags() for p in portraits(1000, without=without))


def test_asking_for_what_is_kept_out_is_refused():
    with pytest.raises(UsageError) as caught:
        sample(random.Random(0), artist="suna_gami", without=frozenset({"suna_gami"}))
    assert str(caught.value) == (
        "suna_gami is asked for and kept out at the same time: take it from one of the two."
    )


def test_a_variant_changes_expression_or_clothes_and_nothing_else():
    rng = random.Random(3)
    for portrait in portraits(300):
        other = variant(portrait, rng)
        changed = {
            name for name in vars(portrait) if getattr(portrait, name) != getattr(other, name)
        }
        assert changed in ({"expression"}, {"clothes"})


@pytest.mark.parametrize("tag", GENERAL)
def test_any_tag_can_be_asked_for_alone(tag: str):
    portrait = from_tags([tag], random.Random(5))
    assert tag in portrait.tags()
    assert not portrait.effects or tag in closed(portrait.effects)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_the_tags_of_a_portrait_give_a_portrait_with_these_tags(seed: int):
    portrait = sample(random.Random(seed))
    wanted = (*portrait.tags(), *portrait.character_tags, portrait.artist_tag)
    again = from_tags(wanted, random.Random(1))
    assert again.tags() == portrait.tags()
    assert again.character_tags == portrait.character_tags
    assert again.artist_tag == portrait.artist_tag


def test_a_character_alone_comes_in_usual_clothes_with_nothing_else():
    for name, character in CHARACTERS.items():
        portrait = from_tags([name], random.Random(2))
        assert set(character.signature) <= set(portrait.tags())
        assert portrait.clothes == character.clothes
        assert not portrait.effects
        assert not portrait.object


def test_a_copyright_alone_brings_one_of_its_characters_and_meta_tags_change_nothing():
    portrait = from_tags(["lantern_isle", "highres"], random.Random(4))
    assert portrait.copyright_tag == "lantern_isle"
    assert portrait == from_tags(["lantern_isle"], random.Random(4))


def test_a_costume_alone_brings_its_character_and_clothes():
    portrait = from_tags(["ririn_(maid)_(lantern_isle)"], random.Random(4))
    assert portrait.character == "ririn_(lantern_isle)"
    assert portrait.clothes == "maid"


def test_old_spellings_are_understood():
    assert "twintails" in from_tags(["twin_tails"], random.Random(0)).tags()


def test_unknown_tags_are_named_with_the_nearest_word():
    with pytest.raises(UsageError) as caught:
        from_tags(["blue_hairs"], random.Random(0))
    assert str(caught.value) == "The demo world has no tag 'blue_hairs': did you mean 'blue_hair'?"


def test_tags_that_contradict_each_other_are_named():
    with pytest.raises(UsageError) as caught:
        from_tags(["closed_eyes", "blue_eyes"], random.Random(0))
    assert str(caught.value) == (
        "The demo world cannot draw blue_eyes together with the other tags asked for: "
        "ask for fewer tags at once."
    )


def test_keeping_out_a_whole_slot_is_refused():
    with pytest.raises(UsageError) as caught:
        sample(random.Random(0), without=frozenset({"upper_body", "portrait"}))
    assert str(caught.value) == (
        "Nothing is left to draw for framing: keep fewer of its tags out of the demo."
    )


def test_another_process_draws_the_same_lots():
    code = (
        "import random\n"
        "from prep.demo.portrait import sample\n"
        "rng = random.Random(9)\n"
        "print([sample(rng) for _ in range(30)])\n"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert there.stdout.strip() == str(portraits(30, seed=9))


def test_words_of_portraits_are_words():
    for portrait in portraits(200):
        assert WORDS[portrait.artist_tag].category == "artist"
        for name in portrait.character_tags:
            assert WORDS[name].category == "character"
