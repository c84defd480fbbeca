"""Tags that one picture, or one person, cannot have together: a table, with the reason of each row.

The meanings are those of Danbooru's wiki.
"""

from dataclasses import dataclass

from prep.known_tags import BOYS, COUNTS, EYES, GIRLS, HAIR, PEOPLE

Side = tuple[str, ...]


@dataclass(frozen=True)
class Exclusive:
    """At most one of the sides can be true of a picture, or of the one person in it."""

    sides: tuple[Side, ...]
    why: str
    of_one: bool = False  # holds of a person: only pictures of one alone are judged
    unless: Side = ()  # tags that make an exception, besides SEVERAL


def _each(*tags: str) -> tuple[Side, ...]:
    return tuple((tag,) for tag in tags)


EXCLUSIVE = (
    Exclusive(
        (("no_humans",), tuple(tag for tag in (*PEOPLE, *COUNTS) if tag != "solo")),
        "a picture of nobody shows no people",
    ),
    Exclusive(_each("1girl", *GIRLS), "one number of girls"),
    Exclusive((("1girl",), ("multiple_girls",)), "one girl or several"),
    Exclusive(_each("1boy", *BOYS), "one number of boys"),
    Exclusive((("1boy",), ("multiple_boys",)), "one boy or several"),
    Exclusive(
        (("solo",), ("multiple_girls", "multiple_boys", "multiple_others", "couple", *COUNTS)),
        "solo is one person alone",
    ),
    Exclusive(_each("day", "night"), "the sky is bright or dark"),
    Exclusive(_each("from_above", "from_below"), "the viewer stands in one place"),
    Exclusive(
        _each("portrait", "upper_body", "lower_body", "cowboy_shot", "full_body"),
        "a person is cut off in one place",
        of_one=True,
    ),
    Exclusive(
        (
            ("short_hair", "very_short_hair"),
            ("medium_hair",),
            ("long_hair", "very_long_hair", "absurdly_long_hair"),
        ),
        "hair has one length",
        of_one=True,
        unless=("short_hair_with_long_locks", "asymmetrical_hair"),
    ),
    Exclusive(
        _each(*HAIR),
        "hair that is not said to be of several colours has one",
        of_one=True,
        unless=(
            "multicolored_hair", "two-tone_hair", "gradient_hair", "streaked_hair",
            "colored_inner_hair", "split-color_hair", "rainbow_hair", "colored_tips",
        ),
    ),
    Exclusive(
        _each(*EYES),
        "eyes that are not said to be of several colours have one",
        of_one=True,
        unless=("heterochromia", "multicolored_eyes", "two-tone_eyes", "gradient_eyes"),
    ),
    Exclusive((("closed_eyes",), EYES), "closed eyes show no colour", of_one=True),
    Exclusive(
        _each("open_mouth", "closed_mouth", "parted_lips"), "a mouth is in one state", of_one=True
    ),
    Exclusive(
        _each(
            "flat_chest", "small_breasts", "medium_breasts", "large_breasts", "huge_breasts",
            "gigantic_breasts",
        ),
        "breasts have one size",
        of_one=True,
    ),
    Exclusive(
        (("standing",), ("sitting",), ("lying", "on_back", "on_stomach", "on_side")),
        "a body has one posture",
        of_one=True,
    ),
    Exclusive(
        (("barefoot",), ("shoes", "boots", "sneakers", "loafers", "high_heels", "mary_janes")),
        "bare feet wear no shoes",
        of_one=True,
        unless=("shoes_removed", "unworn_shoes", "holding_shoes", "single_shoe"),
    ),
)  # fmt: skip
