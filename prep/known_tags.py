"""Tags whose meaning is known here: who is there, colours and lengths of hair, what is worn.

The meanings are those of Danbooru's wiki.
"""

# who is there, and how many
PEOPLE = (
    "1girl", "1boy", "1other", "solo", "multiple_girls", "multiple_boys", "multiple_others",
)  # fmt: skip
GIRLS = ("2girls", "3girls", "4girls", "5girls", "6+girls")
BOYS = ("2boys", "3boys", "4boys", "5boys", "6+boys")
COUNTS = (*GIRLS, *BOYS)

# several pictures in one, or one person several times
SEVERAL = (
    "multiple_views", "comic", "4koma", "3koma", "2koma", "split_screen", "reference_sheet",
    "character_sheet", "variations", "expressions", "expression_chart", "multiple_persona",
    "dual_persona", "before_and_after", "comparison", "collage", "reflection", "mirror",
)  # fmt: skip

_COLOURS = (
    "aqua", "black", "blonde", "blue", "brown", "green", "grey", "light_brown", "orange", "pink",
    "purple", "red", "silver", "white", "yellow",
)  # fmt: skip
HAIR = tuple(f"{colour}_hair" for colour in _COLOURS)
EYES = tuple(f"{colour}_eyes" for colour in _COLOURS if colour != "blonde")
LENGTHS = (
    "very_short_hair", "short_hair", "medium_hair", "long_hair", "very_long_hair",
    "absurdly_long_hair",
)  # fmt: skip

# the last word of what is worn, or bare because of it
GARMENTS = frozenset(
    (
        "apron", "armor", "bikini", "blazer", "blouse", "bodysuit", "boots", "cape", "cardigan",
        "cloak", "clothes", "coat", "collar", "dress", "footwear", "gloves", "hoodie", "jacket",
        "jeans", "kimono", "leotard", "maid", "miniskirt",
        "necktie", "neckerchief", "obi", "overalls", "pants", "pantyhose", "robe", "sash", "scarf",
        "serafuku", "shirt", "shoes", "shorts", "shoulders", "skirt", "sleeveless", "sleeves",
        "socks", "suit", "sweater", "swimsuit", "thighhighs", "turtleneck", "uniform", "vest",
    )
)  # fmt: skip
