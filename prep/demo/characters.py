"""The invented people of the demo world: what never changes about each, and their usual clothes."""

from dataclasses import dataclass
from functools import cached_property

from prep.demo.vocabulary import VOCABULARY, closed


@dataclass(frozen=True)
class Character:
    """A character tag, its copyright, the slots that are always the same, and usual clothes."""

    name: str
    copyright: str
    fixed: tuple[tuple[str, str], ...]
    clothes: str

    @cached_property
    def signature(self) -> tuple[str, ...]:
        """The general tags of the fixed features, in the vocabulary's order."""
        tags = closed(value for _, value in self.fixed if value)
        return tuple(word.name for word in VOCABULARY if word.name in tags)


# Costume variants: (character, clothes worn) -> the variant's tag, as the site has them.
COSTUMES: dict[tuple[str, str], str] = {
    (
        "akari_(hoshizora_academy)",
        "pink_kimono",
    ): "akari_(festival)_(hoshizora_academy)",
    ("ririn_(lantern_isle)", "maid"): "ririn_(maid)_(lantern_isle)",
}


def _of(copyright: str, name: str, clothes: str, **fixed: str) -> Character:
    return Character(f"{name}_({copyright})", copyright, tuple(fixed.items()), clothes)


CHARACTERS: dict[str, Character] = {
    character.name: character
    for character in (
        _of(
            *("hoshizora_academy", "akari", "serafuku"),
            hair_color="red_hair",
            hair_length="medium_hair",
            hair_style="side_ponytail",
            bangs="hair_between_eyes",
            eye_color="yellow_eyes",
            hair_ornament="hairclip",
        ),
        _of(
            *("hoshizora_academy", "shizuku", "blazer"),
            hair_color="blue_hair",
            hair_length="long_hair",
            hair_style="",
            bangs="blunt_bangs",
            eye_color="purple_eyes",
            headwear="hairband",
        ),
        _of(
            *("hoshizora_academy", "momone", "hoodie"),
            hair_color="pink_hair",
            hair_length="long_hair",
            hair_style="twintails",
            eye_color="aqua_eyes",
            hair_ornament="hair_ribbon",
        ),
        _of(
            *("hoshizora_academy", "tsumugi", "turtleneck_sweater"),
            hair_color="brown_hair",
            hair_length="medium_hair",
            hair_style="twin_braids",
            bangs="parted_bangs",
            eye_color="green_eyes",
            eyewear="glasses",
        ),
        _of(
            *("hoshizora_academy", "reika", "blue_kimono"),
            hair_color="black_hair",
            hair_length="very_long_hair",
            hair_style="",
            bangs="blunt_bangs",
            eye_color="red_eyes",
            hair_ornament="hair_flower",
        ),
        _of(
            *("hoshizora_academy", "kohaku", "red_jacket"),
            hair_color="blonde_hair",
            hair_length="short_hair",
            hair_style="",
            bangs="swept_bangs",
            eye_color="blue_eyes",
            headwear="cat_ears",
        ),
        _of(
            *("hoshizora_academy", "yoru", "striped_shirt"),
            hair_color="purple_hair",
            hair_length="medium_hair",
            hair_style="",
            bangs="hair_over_one_eye",
            eye_color="yellow_eyes",
            headwear="headphones",
        ),
        _of(
            *("lantern_isle", "ririn", "white_dress"),
            hair_color="white_hair",
            hair_length="short_hair",
            hair_style="",
            eye_color="red_eyes",
            headwear="rabbit_ears",
        ),
        _of(
            *("lantern_isle", "marina", "blue_shirt"),
            hair_color="aqua_hair",
            hair_length="very_long_hair",
            hair_style="ponytail",
            bangs="parted_bangs",
            eye_color="blue_eyes",
            hair_ornament="hair_bow",
        ),
        _of(
            *("lantern_isle", "beryl", "overalls"),
            hair_color="green_hair",
            hair_length="medium_hair",
            hair_style="double_bun",
            bangs="blunt_bangs",
            eye_color="brown_eyes",
            hair_ornament="hair_flower",
        ),
        _of(
            *("lantern_isle", "grimalda", "black_jacket"),
            hair_color="grey_hair",
            hair_length="very_long_hair",
            hair_style="",
            bangs="hair_between_eyes",
            eye_color="purple_eyes",
            headwear="witch_hat",
        ),
        _of(
            *("lantern_isle", "noelle", "red_dress"),
            hair_color="blonde_hair",
            hair_length="long_hair",
            hair_style="twin_drills",
            eye_color="green_eyes",
            headwear="crown",
        ),
        _of(
            *("lantern_isle", "sabine", "armor"),
            hair_color="brown_hair",
            hair_length="short_hair",
            hair_style="",
            bangs="swept_bangs",
            eye_color="pink_eyes",
            eyewear="eyepatch",
        ),
        _of(
            *("lantern_isle", "tilda", "green_shirt"),
            hair_color="white_hair",
            hair_length="long_hair",
            hair_style="single_braid",
            heterochromia="heterochromia",
            eye_color="blue_eyes",
            eye_color2="yellow_eyes",
            headwear="horns",
        ),
    )
}
