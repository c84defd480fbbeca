"""Every tag of the demo world, in Danbooru's spelling: what can be drawn, and what implies what.

A drawn attribute is named by one tag (its value in a slot of `SLOTS`); `ENTAILS` adds the tags that
are visible with it in this program's drawings, `IMPLICATIONS` those the site adds to every post.
Implications follow Danbooru's own as far as they were known when this was written.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Literal

Category = Literal["general", "artist", "copyright", "character", "meta"]


@dataclass(frozen=True)
class Word:
    """One tag of the demo world: canonical name and Danbooru category."""

    name: str
    category: Category


# What a portrait can choose from: slot -> values. "" means that nothing of the kind is drawn.
SLOTS: dict[str, tuple[str, ...]] = {
    "hair_color": (
        *("black_hair", "brown_hair", "blonde_hair", "red_hair", "pink_hair", "purple_hair"),
        *("blue_hair", "aqua_hair", "green_hair", "white_hair", "grey_hair"),
    ),
    "hair_accent": ("", "streaked_hair", "gradient_hair"),
    "hair_length": ("short_hair", "medium_hair", "long_hair", "very_long_hair"),
    "hair_style": (
        *("", "twintails", "ponytail", "side_ponytail", "single_braid", "twin_braids"),
        *("single_hair_bun", "double_bun", "twin_drills"),
    ),
    "bangs": (
        *("", "blunt_bangs", "parted_bangs", "swept_bangs", "hair_between_eyes"),
        "hair_over_one_eye",
    ),
    "ahoge": ("", "ahoge"),
    "eye_color": (
        *("blue_eyes", "red_eyes", "green_eyes", "yellow_eyes", "purple_eyes", "brown_eyes"),
        *("pink_eyes", "aqua_eyes"),
    ),
    "heterochromia": ("", "heterochromia"),
    "eyes": (
        *("", "half-closed_eyes", "one_eye_closed", "closed_eyes", "^_^", ">_<", "blank_eyes"),
        *("@_@", "heart-shaped_pupils", "star-shaped_pupils"),
    ),
    "gaze": ("looking_at_viewer", "looking_to_the_side", "looking_up"),
    "headwear": (
        *("", "cat_ears", "rabbit_ears", "horns", "halo", "beret", "witch_hat", "straw_hat"),
        *("crown", "headphones", "hairband", "maid_headdress"),
    ),
    "hair_ornament": ("", "hair_bow", "hair_ribbon", "hairclip", "hair_flower"),
    "eyewear": ("", "glasses", "eyepatch"),
    "expression": (
        *("smile", ":d", "grin", "expressionless", "frown", "surprised", "angry", "crying"),
        *(":p", ":3", "pout", "wavy_mouth"),
    ),
    "blush": ("", "blush"),
    "effects": (
        *("^^^", "!", "?", "heart", "sparkle", "sweatdrop", "anger_vein", "musical_note"),
        *("speech_bubble", "zzz"),
    ),
    "clothes": (
        *("serafuku", "blazer", "white_shirt", "red_shirt", "blue_shirt", "green_shirt"),
        *("striped_shirt", "hoodie", "turtleneck_sweater", "black_jacket", "red_jacket"),
        *("white_dress", "blue_dress", "red_dress", "maid", "pink_kimono", "blue_kimono"),
        *("armor", "overalls"),
    ),
    "neckwear": ("", "red_scarf", "striped_scarf", "black_choker", "neck_bell"),
    "object": (
        *("", "holding_book", "holding_sword", "holding_umbrella", "holding_cup", "holding_gun"),
        *("holding_microphone", "holding_balloon", "lollipop", "teddy_bear"),
    ),
    "pose": (
        *("", "arms_up", "waving", "v", "crossed_arms", "own_hands_together"),
        "finger_to_mouth",
    ),
    "head_tilt": ("", "head_tilt"),
    "framing": ("upper_body", "portrait"),
    "background": (
        *("white_background", "grey_background", "blue_background", "pink_background"),
        *("yellow_background", "gradient_background", "polka_dot_background"),
        *("striped_background", "blue_sky", "sunset", "night_sky", "cherry_blossoms", "forest"),
        *("beach", "window", "classroom", "bookshelf", "cityscape", "snowing", "rain"),
        "underwater",
    ),
}

# What else is to be seen where a value is drawn, beyond the site's implications.
ENTAILS: dict[str, tuple[str, ...]] = {
    "hair_bow": ("red_bow",),
    "hair_ribbon": ("blue_ribbon",),
    "smile": ("closed_mouth",),
    "grin": ("clenched_teeth",),
    "expressionless": ("closed_mouth",),
    "frown": ("closed_mouth",),
    "surprised": (":o",),
    "angry": ("v-shaped_eyebrows", "clenched_teeth"),
    "crying": ("open_mouth",),
    ":3": ("closed_mouth",),
    "pout": ("closed_mouth",),
    "wavy_mouth": ("closed_mouth",),
    "serafuku": ("blue_sailor_collar", "red_neckerchief", "white_shirt"),
    "blazer": ("school_uniform", "red_necktie", "white_shirt"),
    "hoodie": ("hood", "drawstring"),
    "black_jacket": ("open_jacket", "white_shirt"),
    "red_jacket": ("open_jacket", "white_shirt"),
    "white_dress": ("bare_shoulders",),
    "blue_dress": ("bare_shoulders",),
    "red_dress": ("bare_shoulders",),
    "maid": ("black_dress", "white_apron", "frills", "puffy_sleeves"),
    "overalls": ("yellow_shirt",),
    "holding_cup": ("mug", "steam"),
    "lollipop": ("holding",),
    "waving": ("hand_up",),
    "v": ("hand_up",),
    "finger_to_mouth": ("hand_up",),
    "blue_sky": ("outdoors", "day", "cloud"),
    "sunset": ("outdoors", "orange_sky", "sun"),
    "night_sky": ("outdoors", "star_(sky)", "crescent_moon"),
    "cherry_blossoms": ("outdoors", "tree", "falling_petals"),
    "forest": ("outdoors", "tree", "grass"),
    "beach": ("outdoors", "ocean", "sand", "blue_sky", "day"),
    "window": ("indoors", "curtains"),
    "classroom": ("indoors", "chalkboard"),
    "bookshelf": ("indoors",),
    "cityscape": ("outdoors", "building", "night"),
    "snowing": ("outdoors", "snow", "grey_sky"),
    "rain": ("outdoors", "grey_sky"),
    "underwater": ("air_bubble",),
}

IMPLICATIONS: tuple[tuple[str, str], ...] = (
    ("streaked_hair", "multicolored_hair"),
    ("gradient_hair", "multicolored_hair"),
    ("very_long_hair", "long_hair"),
    ("single_braid", "braid"),
    ("twin_braids", "braid"),
    ("single_hair_bun", "hair_bun"),
    ("double_bun", "hair_bun"),
    ("twin_drills", "drill_hair"),
    ("^_^", "closed_eyes"),
    (">_<", "closed_eyes"),
    ("heart-shaped_pupils", "symbol-shaped_pupils"),
    ("star-shaped_pupils", "symbol-shaped_pupils"),
    ("cat_ears", "animal_ears"),
    ("rabbit_ears", "animal_ears"),
    ("beret", "hat"),
    ("witch_hat", "hat"),
    ("straw_hat", "hat"),
    ("hair_bow", "bow"),
    ("red_bow", "bow"),
    ("hair_ribbon", "ribbon"),
    ("blue_ribbon", "ribbon"),
    ("hairclip", "hair_ornament"),
    ("hair_flower", "hair_ornament"),
    (":d", "smile"),
    (":d", "open_mouth"),
    ("grin", "smile"),
    (":o", "open_mouth"),
    ("crying", "tears"),
    (":p", "tongue_out"),
    ("tongue_out", "tongue"),
    ("clenched_teeth", "teeth"),
    ("serafuku", "school_uniform"),
    ("blue_sailor_collar", "sailor_collar"),
    ("red_neckerchief", "neckerchief"),
    ("blazer", "jacket"),
    ("red_necktie", "necktie"),
    ("white_shirt", "shirt"),
    ("red_shirt", "shirt"),
    ("blue_shirt", "shirt"),
    ("green_shirt", "shirt"),
    ("yellow_shirt", "shirt"),
    ("striped_shirt", "shirt"),
    ("striped_shirt", "striped_clothes"),
    ("turtleneck_sweater", "turtleneck"),
    ("turtleneck_sweater", "sweater"),
    ("black_jacket", "jacket"),
    ("red_jacket", "jacket"),
    ("open_jacket", "jacket"),
    ("white_dress", "dress"),
    ("blue_dress", "dress"),
    ("red_dress", "dress"),
    ("black_dress", "dress"),
    ("white_apron", "apron"),
    ("pink_kimono", "kimono"),
    ("blue_kimono", "kimono"),
    ("kimono", "japanese_clothes"),
    ("red_scarf", "scarf"),
    ("striped_scarf", "scarf"),
    ("black_choker", "choker"),
    ("neck_bell", "bell"),
    ("holding_book", "holding"),
    ("holding_book", "book"),
    ("holding_sword", "holding_weapon"),
    ("holding_sword", "sword"),
    ("sword", "weapon"),
    ("holding_gun", "holding_weapon"),
    ("holding_gun", "gun"),
    ("gun", "weapon"),
    ("holding_weapon", "holding"),
    ("holding_weapon", "weapon"),
    ("holding_umbrella", "holding"),
    ("holding_umbrella", "umbrella"),
    ("holding_cup", "holding"),
    ("holding_cup", "cup"),
    ("mug", "cup"),
    ("holding_microphone", "holding"),
    ("holding_microphone", "microphone"),
    ("holding_balloon", "holding"),
    ("holding_balloon", "balloon"),
    ("lollipop", "candy"),
    ("teddy_bear", "stuffed_animal"),
    ("white_background", "simple_background"),
    ("grey_background", "simple_background"),
    ("blue_background", "simple_background"),
    ("pink_background", "simple_background"),
    ("yellow_background", "simple_background"),
    ("polka_dot_background", "polka_dot"),
    ("blue_sky", "sky"),
    ("orange_sky", "sky"),
    ("grey_sky", "sky"),
    ("night_sky", "night"),
    ("night_sky", "sky"),
    ("star_(sky)", "sky"),
    ("crescent_moon", "moon"),
    ("falling_petals", "petals"),
    ("akari_(festival)_(hoshizora_academy)", "akari_(hoshizora_academy)"),
    ("ririn_(maid)_(lantern_isle)", "ririn_(lantern_isle)"),
)

ALIASES: tuple[tuple[str, str], ...] = (
    ("blond_hair", "blonde_hair"),
    ("gray_hair", "grey_hair"),
    ("silver_hair", "grey_hair"),
    ("twin_tails", "twintails"),
    ("pony_tail", "ponytail"),
    ("golden_eyes", "yellow_eyes"),
    ("gold_eyes", "yellow_eyes"),
    ("violet_eyes", "purple_eyes"),
    ("wink", "one_eye_closed"),
    ("nekomimi", "cat_ears"),
    ("usamimi", "rabbit_ears"),
    ("bunny_ears", "rabbit_ears"),
    ("spectacles", "glasses"),
    ("eye_patch", "eyepatch"),
    ("sailor_uniform", "serafuku"),
    ("sailor_suit", "serafuku"),
    ("hooded_sweatshirt", "hoodie"),
    ("overall", "overalls"),
    ("tie", "necktie"),
    ("gray_background", "grey_background"),
    ("sakura_(tree)", "cherry_blossoms"),
    ("peace_sign", "v"),
    ("crossing_arms", "crossed_arms"),
    ("sad_face", "frown"),
    ("sparkles", "sparkle"),
    ("hearts", "heart"),
    ("parasol_(umbrella)", "umbrella"),
    ("book_shelf", "bookshelf"),
)

ARTISTS: tuple[str, ...] = (
    "mizutama_hako",
    "inkwell_fox",
    "yumeiro_pastel",
    "suna_gami",
    "neon_kumo",
    "mochi_daruma",
    "tsukishiro_ren",
)

COPYRIGHTS: tuple[str, ...] = ("hoshizora_academy", "lantern_isle")

# Character tags, costume variants after the one they belong to.
CHARACTER_TAGS: tuple[str, ...] = (
    "akari_(hoshizora_academy)",
    "akari_(festival)_(hoshizora_academy)",
    "shizuku_(hoshizora_academy)",
    "momone_(hoshizora_academy)",
    "tsumugi_(hoshizora_academy)",
    "reika_(hoshizora_academy)",
    "kohaku_(hoshizora_academy)",
    "yoru_(hoshizora_academy)",
    "ririn_(lantern_isle)",
    "ririn_(maid)_(lantern_isle)",
    "marina_(lantern_isle)",
    "beryl_(lantern_isle)",
    "grimalda_(lantern_isle)",
    "noelle_(lantern_isle)",
    "sabine_(lantern_isle)",
    "tilda_(lantern_isle)",
)

META: tuple[str, ...] = (
    *("highres", "absurdres", "lowres", "commentary", "commentary_request"),
    *("english_commentary", "translated", "bad_id", "animated", "video", "duplicate"),
)


def closed(tags: Iterable[str]) -> set[str]:
    """`tags` and all that they entail in a drawing or imply on the site."""
    found: set[str] = set()
    for tag in tags:
        found |= _closure(tag)
    return found


@cache
def _closure(tag: str) -> frozenset[str]:
    direct = ENTAILS.get(tag, ()) + tuple(then for if_, then in IMPLICATIONS if if_ == tag)
    return frozenset({tag}).union(*(_closure(then) for then in direct))


def _general() -> tuple[str, ...]:
    """Slot by slot: each value, then what is seen with it, each name once."""
    names: dict[str, None] = {"1girl": None, "solo": None}
    for values in SLOTS.values():
        for value in filter(None, values):
            names[value] = None
            names.update(dict.fromkeys(sorted(_closure(value))))
    return tuple(names)


VOCABULARY: tuple[Word, ...] = (
    *(Word(name, "general") for name in _general()),
    *(Word(name, "artist") for name in ARTISTS),
    *(Word(name, "copyright") for name in COPYRIGHTS),
    *(Word(name, "character") for name in CHARACTER_TAGS),
    *(Word(name, "meta") for name in META),
)
WORDS: dict[str, Word] = {word.name: word for word in VOCABULARY}
