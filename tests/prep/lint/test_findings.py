"""Each finding: when it is made, what it says, and the rule that it names."""

from collections.abc import Callable
from typing import Any

import pytest

from prep.known_tags import PEOPLE
from prep.lint.exclusive import EXCLUSIVE
from prep.lint.finding import Finding
from schemas.tags import canonical

Linted = Callable[..., Any]
TRIGGER = '[caption]\ntrigger = "azusa"\n'


def lines(finding: Finding) -> list[str]:
    return [change.line for change in finding.changes]


@pytest.fixture
def pictures(picture: Any) -> Callable[..., list[Any]]:
    """`pictures(3, "hat", ...)`: three alike."""
    return lambda count, *tags, **keys: [picture(*tags, **keys)] * count


def test_a_sound_dataset_has_no_finding(linted: Linted, pictures: Any) -> None:
    found = linted(TRIGGER, *pictures(3, "hat 1girl solo"), *pictures(3, "1girl dog"))
    assert list(found.findings) == []


def test_a_tag_that_another_begins_with_bleeds_and_gets_a_short_name(
    linted: Linted, pictures: Any
) -> None:
    found = linted(
        TRIGGER, *pictures(4, "aiming"), *pictures(3, "aiming_at_viewer"), *pictures(1, "aav")
    )
    finding = found.one("tags share words")
    assert finding.grave
    assert finding.what == (
        '"aiming at viewer" has "aiming" in it and is something else:'
        " 3 images with the one, 4 with the other alone"
    )
    # aav is taken
    assert lines(finding) == ['caption.rename."aiming at viewer" = "aavi"']
    assert finding.images.tolist() == list(range(7))


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("shirt", "white_shirt"),  # a white shirt is a shirt
        ("hat", "hatching"),  # no word of it
        ("sky", "star_(sky)"),
        ("1girl", "2girls"),
    ],
)
def test_tags_that_share_no_word_or_the_last_one_do_not_bleed(
    linted: Linted, pictures: Any, short: str, long: str
) -> None:
    found = linted(TRIGGER, *pictures(4, short), *pictures(4, long))
    assert found.of("tags share words") == []


def test_tags_that_always_stand_together_do_not_bleed(linted: Linted, pictures: Any) -> None:
    found = linted(TRIGGER, *pictures(5, "aiming aiming_at_viewer"), *pictures(2, "aiming"))
    assert found.of("tags share words") == []


def test_words_of_the_trigger_bleed_into_tags(linted: Linted, pictures: Any) -> None:
    recipe = '[caption]\ntrigger = "azusa (blue archive)"\n'
    found = linted(recipe, *pictures(3, "blue_hair hat"), *pictures(3, "hat"))
    finding = found.one("trigger shares words")
    assert finding.what == (
        'the trigger "azusa (blue archive)" has "blue" in common with blue hair:'
        " what one means bleeds into the other"
    )
    assert finding.remedy.startswith(
        'choose a trigger that shares no word, such as caption.trigger = "azusa"; '
    )
    assert finding.images.tolist() == [0, 1, 2]
    assert not finding.changes


def test_captions_without_the_trigger(linted: Linted, pictures: Any) -> None:
    recipe = f'{TRIGGER}rules = ["source", "drop", "order", "render"]\n'
    found = linted(recipe, *pictures(2, "hat"), *pictures(1, "hat", set="plain"))
    finding = found.one("trigger missing")
    assert finding.what == (
        '2 images to learn from have a caption without the trigger "azusa": caption.rules lack it'
    )
    assert lines(finding) == [
        'caption.rules = ["source", "trigger", "drop", "order", "render"]'
    ]  # fmt: skip
    assert finding.images.tolist() == [0, 1]


def test_no_trigger_is_worth_knowing(linted: Linted, pictures: Any) -> None:
    finding = linted("", *pictures(2, "hat")).one("no trigger")
    assert (finding.grave, finding.images.tolist()) == (False, [])


@pytest.mark.parametrize(
    ("recipe", "what", "rule"),
    [
        ('[caption.drop]\ntags = ["1girl", "hat"]\n', "caption.drop.tags",
         ['caption.drop.tags -= "1girl"']),
        ('[caption.drop]\npatterns = ["1*"]\n', 'the pattern "1*" of caption.drop.patterns', []),
        (TRIGGER + '[caption.collapse]\ntags = ["1girl"]\n', "caption.collapse.tags",
         ['caption.collapse.tags -= "1girl"']),
        (TRIGGER + '[caption.collapse]\ntags = "found"\nspare = []\n', "caption.collapse",
         ['caption.collapse.spare += "1girl"']),
    ],
)  # fmt: skip
def test_people_that_a_rule_takes_away(
    linted: Linted, pictures: Any, recipe: str, what: str, rule: list[str]
) -> None:
    found = linted(recipe, *pictures(3, "1girl hat"), *pictures(1, "cat", set="plain"))
    finding = found.one("people removed")
    assert finding.what == f'{what} takes "1girl" from 3 images that show it'
    assert lines(finding) == rule
    assert bool(finding.remedy) == (not rule)


def test_the_dog_that_only_the_tagger_sees(linted: Linted, pictures: Any) -> None:
    recipe = '[caption]\nsource = "booru"\n'
    found = linted(recipe, *pictures(2, "hat", tagger="dog hat"), *pictures(2, "hat"))
    finding = found.one("untagged")
    assert finding.grave
    assert finding.what == (
        'taggers see what caption.source = "booru" keeps out of captions: dog, in 2 images'
    )
    assert lines(finding) == ['caption.source = "union"']
    assert finding.images.tolist() == [0, 1]


def test_what_a_rule_drops_is_worth_knowing(linted: Linted, pictures: Any) -> None:
    recipe = '[caption.drop]\ntags = ["dog"]\n'
    finding = linted(recipe, *pictures(2, "hat", tagger="dog")).one("untagged")
    assert (finding.grave, finding.tags, lines(finding)) == (False, ("dog",), [])


def test_what_the_trigger_stands_for_is_not_untagged(linted: Linted, pictures: Any) -> None:
    recipe = f'{TRIGGER}source = "booru"\n[caption.collapse]\ntags = ["dog"]\n'
    assert linted(recipe, *pictures(2, "hat", tagger="dog")).of("untagged") == []


@pytest.mark.parametrize(
    ("tags", "why"),
    [
        ("no_humans 1girl", "a picture of nobody shows no people"),
        ("1girl 2girls", "one number of girls"),
        ("day night", "the sky is bright or dark"),
        ("solo short_hair long_hair", "hair has one length"),
        ("solo closed_eyes blue_eyes", "closed eyes show no colour"),
    ],
)
def test_captions_that_contradict_themselves(
    linted: Linted, picture: Any, tags: str, why: str
) -> None:
    finding = linted(TRIGGER, picture("hat"), picture(tags)).one("contradiction")
    said = [tag for tag in tags.split() if tag != "solo"]
    one, other = (tag.replace("_", " ") for tag in said)
    assert finding.what == f"{why}, but captions of 1 image say: {one}, {other} (1)"
    assert finding.remedy == (
        f'look at them and take away what is wrong: prep edit "{" ".join(said)}" --remove {said[1]}'
    )
    assert finding.images.tolist() == [1]


@pytest.mark.parametrize(
    "tags",
    [
        "2girls short_hair long_hair",  # one each
        "solo short_hair long_hair multiple_views",
        "solo blue_eyes red_eyes heterochromia",
        "solo long_hair very_long_hair",
        "solo no_humans",
    ],
)
def test_what_can_stand_together_is_no_contradiction(
    linted: Linted, picture: Any, tags: str
) -> None:
    assert linted(TRIGGER, picture(tags)).of("contradiction") == []


def test_the_table_of_exclusive_tags_is_sound() -> None:
    for row in EXCLUSIVE:
        tags = [tag for side in row.sides for tag in side]
        assert len(row.sides) > 1
        assert len(tags) == len(set(tags)), row.why
        assert tags == [canonical(tag) for tag in tags]
    assert len({row.why for row in EXCLUSIVE}) == len(EXCLUSIVE)
    assert "solo" in PEOPLE


def test_nearly_constant_and_rare_tags(linted: Linted, pictures: Any) -> None:
    many = pictures(20, "hat 1girl cat"), pictures(1, "1girl hat dog")
    found = linted(TRIGGER, *(one for some in many for one in some))
    constant, rare = found.one("on nearly all"), found.one("rare")
    assert constant.tags == ("hat", "cat")  # 1girl says what anybody shows
    assert lines(constant) == [
        'caption.collapse.tags += "hat"', 'caption.collapse.tags += "cat"'
    ]  # fmt: skip
    assert rare.what == "1 tag stands on 2 images or fewer: dog"
    assert rare.images.tolist() == [20]
    assert not constant.grave
    assert not rare.grave


def test_few_images_have_neither(linted: Linted, pictures: Any) -> None:
    found = linted(TRIGGER, *pictures(19, "hat"))
    assert [finding.name for finding in found.findings] == []


def test_tags_that_training_does_not_read_are_named(linted: Linted, picture: Any) -> None:
    long = " ".join(f"{'ab'[n % 2]}{'cdefghijklmnopqrstuvwxyz'[n % 24]}x" for n in range(24))
    words = " ".join(f"{one}_{other}" for one in long.split() for other in ("one", "two"))
    found = linted(TRIGGER, picture(words), picture("hat"), limit=75)
    finding = found.one("too long")
    assert finding.grave
    assert finding.what.startswith(
        "1 image loses tags beyond 75 tokens (1 beyond 75, 0 beyond 150, 0 beyond 225,"
        " counted in words, of which tokens are at least one): "
    )
    assert finding.remedy == "read more in training: caption.tokens = 225 in train.toml"
    assert len(finding.tags) == 48 - 24  # the trigger has 2 of 75, a tag 3


def test_tags_that_only_others_would_lose_are_worth_knowing(linted: Linted, picture: Any) -> None:
    words = " ".join(f"{letter}{letter}_hat" for letter in "abcdefghijklmnopqrstuvwxyz")
    finding = linted(TRIGGER, picture(words)).one("too long")
    assert not finding.grave
    assert finding.what.startswith("captions are read whole (1 beyond 75, 0 beyond 150, 0 beyond")
