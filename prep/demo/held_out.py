"""The small world that the demo's base model is taught, and what it has never seen.

    python -m prep.demo.held_out [--seed N] [--drawings N]

draws again, as data, every portrait the base model was trained on, and shows that none of them has
anything held out, so that adapters have something to learn: one of each kind that people make
adapters of, two of the commonest. Besides, the base is spared what a model of its size cannot show
at its size of picture.
"""

import argparse
import random
from collections import Counter

from prep.demo.characters import CHARACTERS
from prep.demo.portrait import Portrait, sample
from prep.demo.vocabulary import SLOTS

HELD_OUT_CHARACTERS = ("akari_(hoshizora_academy)", "noelle_(lantern_isle)")
STYLE, OBJECT, BACKGROUND = "neon_kumo", "teddy_bear", "cherry_blossoms"
HELD_OUT = frozenset((*HELD_OUT_CHARACTERS, STYLE, OBJECT, BACKGROUND))

# Not taught: signs of a few pixels, hands, busy backgrounds, manners of hatching and of heavy ink,
# and values that differ by little from a neighbour that is taught.
LEFT_OUT = frozenset(
    (
        *SLOTS["effects"],
        *filter(None, SLOTS["pose"]),
        *("inkwell_fox", "suna_gami"),
        *("streaked_hair", "gradient_hair", "ahoge", "single_braid", "single_hair_bun"),
        *("parted_bangs", "swept_bangs", "aqua_hair", "grey_hair"),
        *("heterochromia", "brown_eyes", "pink_eyes", "aqua_eyes", "half-closed_eyes"),
        *("^_^", ">_<", "blank_eyes", "@_@", "heart-shaped_pupils", "star-shaped_pupils"),
        *("looking_to_the_side", "looking_up", "head_tilt"),
        *("grin", "frown", ":p", ":3", "pout", "wavy_mouth"),
        *("horns", "halo", "beret", "maid_headdress", "hair_ribbon"),
        *("blazer", "striped_shirt", "hoodie", "armor", "overalls"),
        *("striped_scarf", "black_choker", "neck_bell"),
        *("holding_book", "holding_sword", "holding_cup", "holding_gun", "holding_microphone"),
        "lollipop",
        *("polka_dot_background", "striped_background", "grey_background", "window"),
        *("classroom", "bookshelf", "cityscape", "snowing", "rain", "underwater"),
    )
)
UNSEEN = HELD_OUT | LEFT_OUT

DRAWINGS = 30_000  # that the base model learns from
KNOWN = 0.4  # share in which one of the remaining characters may be met; the rest is nobody known


def portrait(seed: int, index: int) -> Portrait:
    """The portrait of training drawing `index`: anything of the small world."""
    rng = random.Random(f"model {seed} {index}")
    return sample(rng, character=None if rng.random() < KNOWN else "", without=UNSEEN)


def violations(seed: int, count: int) -> Counter[str]:
    """How often each held-out thing comes up in `count` training portraits; empty where none does.

    A character counts where its tag does, and where all of its features are drawn together.
    """
    found: Counter[str] = Counter()
    for index in range(count):
        drawn = portrait(seed, index)
        tags = {*drawn.tags(), *drawn.character_tags, drawn.artist}
        found.update(tags & HELD_OUT)
        found.update(
            f"the look of {name}"
            for name in HELD_OUT_CHARACTERS
            if tags.issuperset(CHARACTERS[name].signature)
        )
    return found


def attributes_seen(seed: int, count: int) -> dict[str, Counter[str]]:
    """Per held-out character, in how many portraits each of its features is drawn by itself."""
    seen: dict[str, Counter[str]] = {name: Counter() for name in HELD_OUT_CHARACTERS}
    for index in range(count):
        tags = set(portrait(seed, index).tags())
        for name, counts in seen.items():
            counts.update(tags.intersection(CHARACTERS[name].signature))
    return seen


def main() -> None:
    """Print what is held out, how often its parts are met, and fail if any of it was drawn."""
    parser = argparse.ArgumentParser(prog="python -m prep.demo.held_out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--drawings", type=int, default=DRAWINGS)
    given = parser.parse_args()
    for name, counts in attributes_seen(given.seed, given.drawings).items():
        parts = ", ".join(f"{tag} {count:,}" for tag, count in sorted(counts.items()))
        print(f"{name}, never drawn; its features, each by itself: {parts}")
    found = violations(given.seed, given.drawings)
    if found:
        raise SystemExit(f"held out, but drawn: {dict(found)}")
    print(f"none of {', '.join(sorted(HELD_OUT))} in {given.drawings:,} portraits")


if __name__ == "__main__":
    main()
