"""What one drawing shows: the attributes of a portrait, its true tags, and chances to draw one.

Pure data and chances; `prep.demo.drawing` turns a portrait into pixels.
"""

import difflib
import random
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from itertools import accumulate

from prep.demo.characters import CHARACTERS, COSTUMES, Character
from prep.demo.vocabulary import ALIASES, ARTISTS, SLOTS, VOCABULARY, WORDS, closed
from schemas.errors import UsageError

__all__ = [
    "ARTISTS",
    "CHARACTERS",
    "COSTUMES",
    "Character",
    "Portrait",
    "from_tags",
    "sample",
    "variant",
]

_ORDER = {word.name: index for index, word in enumerate(VOCABULARY)}
_SHUT = frozenset({"closed_eyes", "^_^", ">_<"})  # no iris to be seen
_NO_IRIS = _SHUT | {"blank_eyes", "@_@"}


@dataclass(frozen=True)
class Portrait:
    """Everything that is drawn. Each attribute is a value of the slot it is named for.

    "" means nothing of the kind; `ornaments` holds headwear, hair ornament and eyewear;
    `eye_color2` is that of the eye on the right of the picture where the two differ. `seed` moves
    small things: offsets, tones, how tails hang, where clouds are.
    """

    hair_color: str
    hair_length: str
    eye_color: str
    expression: str
    clothes: str
    background: str
    framing: str
    artist: str
    hair_style: str = ""
    hair_accent: str = ""
    bangs: str = ""
    ahoge: str = ""
    eye_color2: str = ""
    eyes: str = ""
    gaze: str = "looking_at_viewer"
    ornaments: tuple[str, ...] = ()
    blush: str = ""
    effects: tuple[str, ...] = ()
    neckwear: str = ""
    object: str = ""
    pose: str = ""
    head_tilt: str = ""
    character: str | None = None
    seed: int = 0

    def tags(self) -> tuple[str, ...]:
        """Every true general tag, implied ones included, in the vocabulary's order."""
        seen = closed(
            (
                *("1girl", "solo", self.hair_color, self.hair_accent, self.hair_length),
                *(self.hair_style, self.bangs, self.ahoge, self.eyes, self.expression),
                *(self.blush, self.clothes, self.neckwear, self.object, self.pose),
                *(self.head_tilt, self.framing, self.background),
                *self.ornaments,
                *self.effects,
                *self._irises(),
            )
        )
        seen.discard("")
        return tuple(sorted(seen, key=_ORDER.__getitem__))

    def _irises(self) -> tuple[str, ...]:
        """Tags that need an iris to be seen: colours, where they look."""
        if self.eyes in _NO_IRIS:
            return ()
        if self.eye_color2:
            return (self.eye_color, self.eye_color2, "heterochromia", self.gaze)
        return (self.eye_color, self.gaze)

    @property
    def character_tags(self) -> tuple[str, ...]:
        """The character's tag, after that of the costume variant worn, if there is one."""
        if self.character is None:
            return ()
        costume = COSTUMES.get((self.character, self.clothes))
        return (costume, self.character) if costume else (self.character,)

    @property
    def copyright_tag(self) -> str | None:
        return CHARACTERS[self.character].copyright if self.character else None

    @property
    def artist_tag(self) -> str:
        return self.artist


# Chances of a slot's values where they are not equal. A missing value shares what is left.
_CHANCES: dict[str, dict[str, float]] = {
    "hair_accent": {"": 0.84},
    "hair_style": {"": 0.38, "single_hair_bun": 0.11, "double_bun": 0.1},
    "bangs": {"": 0.22},
    "ahoge": {"": 0.78},
    "heterochromia": {"": 0.94},
    "eyes": {"": 0.52},
    "gaze": {"looking_at_viewer": 0.62},
    "headwear": {"": 0.35},
    "hair_ornament": {"": 0.5},
    "eyewear": {"": 0.82, "glasses": 0.11},
    "expression": {"smile": 0.16},
    "blush": {"": 0.62},
    "neckwear": {"": 0.7},
    "object": {"": 0.55},
    "pose": {"": 0.4},
    "head_tilt": {"": 0.75},
    "framing": {"upper_body": 0.68},
    "background": {"white_background": 0.08},
}
_USUAL_CLOTHES = 0.7
_KNOWN_CHARACTER = 0.6

# What a portrait has where nothing is asked for.
_NEUTRAL: dict[str, tuple[str, ...]] = {
    "hair_length": ("medium_hair",),
    "expression": ("smile", "expressionless"),
    "gaze": ("looking_at_viewer",),
    "clothes": ("white_shirt", "blue_shirt", "red_shirt", "green_shirt"),
    "framing": ("upper_body",),
    "background": ("white_background", "grey_background"),
    "hair_color": SLOTS["hair_color"],
    "eye_color": SLOTS["eye_color"],
}

_TIED = frozenset(
    ("twintails", "ponytail", "side_ponytail", "single_braid", "twin_braids", "twin_drills")
)
_HATS = frozenset({"beret", "witch_hat", "straw_hat"})
_TALL = frozenset({"cat_ears", "rabbit_ears", "horns", "crown", "headphones", "maid_headdress"})
_HOLDING = frozenset(SLOTS["object"]) - {""}
_ARMS = frozenset(SLOTS["pose"]) - {""}

# Values that would hide or contradict each other: with any of the first, none of the second.
_CONFLICTS: tuple[tuple[frozenset[str], str, frozenset[str]], ...] = (
    (frozenset({"short_hair"}), "hair_style", _TIED),
    (_HATS, "hair_style", frozenset({"ponytail", "single_hair_bun", "double_bun"})),
    (_HATS, "ahoge", frozenset({"ahoge"})),
    (_TALL, "hair_style", frozenset({"single_hair_bun", "double_bun"})),
    (frozenset({"halo", "crown"}), "hair_style", frozenset({"ponytail", "single_hair_bun"})),
    (
        frozenset({"hair_over_one_eye", "eyepatch"}),
        "heterochromia",
        frozenset({"heterochromia"}),
    ),
    (frozenset({"hair_over_one_eye"}), "eyewear", frozenset({"eyepatch"})),
    (
        frozenset({"hair_over_one_eye", "eyepatch", "heterochromia"}),
        "eyes",
        frozenset({"one_eye_closed"}),
    ),
    (_HOLDING, "pose", _ARMS),
    (_HOLDING, "framing", frozenset({"portrait"})),
    (
        frozenset({"arms_up", "crossed_arms", "own_hands_together"}),
        "framing",
        frozenset({"portrait"}),
    ),
    (
        frozenset({"serafuku", "hoodie", "pink_kimono", "blue_kimono", "blazer"}),
        "neckwear",
        frozenset({"red_scarf", "striped_scarf"}),
    ),
    (
        frozenset({"turtleneck_sweater", "pink_kimono", "blue_kimono", "blazer"}),
        "neckwear",
        frozenset({"black_choker", "neck_bell"}),
    ),
    (
        frozenset({"turtleneck_sweater"}),
        "neckwear",
        frozenset({"red_scarf", "striped_scarf"}),
    ),
)

_Table = tuple[tuple[str, ...], tuple[float, ...]]  # values, cumulative chances up to 1


def sample(
    rng: random.Random,
    *,
    character: str | None = None,
    artist: str | None = None,
    without: frozenset[str] = frozenset(),
) -> Portrait:
    """A portrait at random.

    character: a character's tag, "" for nobody known, None to draw that too (60 % somebody).
        Fixed features are kept always, usual clothes in 70 of 100.
    without: tags that must not be drawn: attributes, artists, characters, copyrights; a character
        kept out is not met as a nameless look-alike either.

    Raises UsageError where something is asked for and kept out, or nothing is left to draw.
    """
    if not without:
        return _sample(rng, character, artist, without)
    asked = {character or "", artist or ""}
    asked |= set(CHARACTERS[character].signature if character else ())
    if both := sorted(asked & without):
        raise UsageError(
            f"{', '.join(both)} is asked for and kept out at the same time: "
            "take it from one of the two."
        )
    absent = [CHARACTERS[name] for name in sorted(without) if name in CHARACTERS]
    while True:
        portrait = _sample(rng, character, artist, without)
        seen = any(_looks_like(portrait, other) for other in absent)
        if not seen and without.isdisjoint(portrait.character_tags):
            return portrait


def variant(
    portrait: Portrait, rng: random.Random, without: frozenset[str] = frozenset()
) -> Portrait:
    """The same picture with another expression or clothes, none of `without`; all else stays."""
    if rng.random() < 0.5:
        no = without | {portrait.expression}
        others = [value for value in SLOTS["expression"] if value not in no]
        return replace(portrait, expression=rng.choice(others))
    hidden = {
        cover
        for covers, slot, values in _CONFLICTS
        if slot == "neckwear" and portrait.neckwear in values
        for cover in covers
    }
    no = without | hidden | {portrait.clothes}
    return replace(portrait, clothes=rng.choice([v for v in SLOTS["clothes"] if v not in no]))


def from_tags(tags: Iterable[str], rng: random.Random) -> Portrait:
    """A portrait that shows all of `tags`, and else nothing special.

    A copyright alone brings one of its characters; meta tags are not drawn and change nothing.
    Raises UsageError for a tag that is not drawn here and for tags that cannot be drawn together.
    """
    wanted = {name for tag in tags if WORDS[name := _known(tag)].category != "meta"}
    character, clothes = _person(wanted, rng)
    values: dict[str, str] = {"clothes": clothes} if clothes else {}
    if character:
        values.update(CHARACTERS[character].fixed)
        values.setdefault("clothes", CHARACTERS[character].clothes)
    general = {tag for tag in wanted if WORDS[tag].category == "general"}
    held = frozenset(values)
    for slot, choices in SLOTS.items():
        if slot in ("effects", "gaze") or (slot in held and slot != "clothes"):
            continue
        best = _closest(choices, general)
        if best:
            values[slot] = rng.choice(best)
        elif slot not in held:
            values[slot] = rng.choice(_NEUTRAL.get(slot, ("",)))
            continue
        held |= {slot}
    gaze = [value for value in SLOTS["gaze"] if value in general]
    values["gaze"] = gaze[0] if gaze else "looking_at_viewer"
    if values["heterochromia"] and "eye_color2" not in values:
        colors = [value for value in SLOTS["eye_color"] if value in general]
        values["eye_color"] = colors[0] if colors else values["eye_color"]
        rest = colors[1:] or [c for c in SLOTS["eye_color"] if c != values["eye_color"]]
        values["eye_color2"] = rng.choice(rest)
    effects = tuple(value for value in SLOTS["effects"] if value in general)
    _settle(values, held)
    artist = next((name for name in ARTISTS if name in wanted), None) or rng.choice(ARTISTS)
    portrait = _portrait(values, effects, artist, character, rng.getrandbits(32))
    missing = wanted - {*portrait.tags(), *portrait.character_tags, portrait.artist}
    missing.discard(portrait.copyright_tag or "")
    if missing:
        named = ", ".join(sorted(missing))
        raise UsageError(
            f"The demo world cannot draw {named} together with the other tags asked for: "
            "ask for fewer tags at once."
        )
    return portrait


def _person(wanted: set[str], rng: random.Random) -> tuple[str | None, str | None]:
    """Who is meant by the tags, and in which costume, if the tags tell."""
    for (character, clothes), costume in COSTUMES.items():
        if costume in wanted:
            return character, clothes
    named = [name for name in CHARACTERS if name in wanted]
    if not named:
        named = [name for name, one in CHARACTERS.items() if one.copyright in wanted]
        rng.shuffle(named)
    return (named[0] if named else None), None


def _sample(
    rng: random.Random, character: str | None, artist: str | None, without: frozenset[str]
) -> Portrait:
    tables = _tables(without)
    values = {slot: _pick(rng, table) for slot, table in tables.items()}
    other_eye = _pick(rng, tables["eye_color"])
    if values["heterochromia"]:
        values["eye_color2"] = other_eye
    if character is None:
        known = _known_characters(without)
        character = rng.choice(known) if rng.random() < _KNOWN_CHARACTER and known else ""
    held: frozenset[str] = frozenset()
    if character:
        person = CHARACTERS[character]
        values.update(_WITHOUT_SECOND_EYE)
        values.update(person.fixed)
        held = frozenset(slot for slot, _ in person.fixed)
        if rng.random() < _USUAL_CLOTHES and person.clothes in tables["clothes"][0]:
            values["clothes"] = person.clothes
    _settle(values, held)
    if values.get("eye_color2") == values["eye_color"]:
        values.update(_WITHOUT_SECOND_EYE)
    effects = _effects(rng, tuple(filter(None, tables["effects"][0])))
    artist = artist or rng.choice(_artists(without))
    return _portrait(values, effects, artist, character or None, rng.getrandbits(32))


_WITHOUT_SECOND_EYE = {"heterochromia": "", "eye_color2": ""}


def _portrait(
    values: dict[str, str],
    effects: tuple[str, ...],
    artist: str,
    character: str | None,
    seed: int,
) -> Portrait:
    worn = (values["headwear"], values["hair_ornament"], values["eyewear"])
    return Portrait(
        hair_color=values["hair_color"],
        hair_length=values["hair_length"],
        eye_color=values["eye_color"],
        expression=values["expression"],
        clothes=values["clothes"],
        background=values["background"],
        framing=values["framing"],
        artist=artist,
        hair_style=values["hair_style"],
        hair_accent=values["hair_accent"],
        bangs=values["bangs"],
        ahoge=values["ahoge"],
        eye_color2=values.get("eye_color2", "") if values["heterochromia"] else "",
        eyes=values["eyes"],
        gaze=values["gaze"],
        ornaments=tuple(filter(None, worn)),
        blush=values["blush"],
        effects=effects,
        neckwear=values["neckwear"],
        object=values["object"],
        pose=values["pose"],
        head_tilt=values["head_tilt"],
        character=character,
        seed=seed,
    )


def _settle(values: dict[str, str], held: frozenset[str]) -> None:
    """Take back what conflicts, a slot that is not `held` first."""
    present = set(values.values())
    for covers, slot, hidden in _CONFLICTS:
        if values[slot] not in hidden or covers.isdisjoint(present):
            continue
        free = [name for name in values if values[name] in covers and name not in held]
        for given_up in free if slot in held and free else (slot,):
            values[given_up] = _NEUTRAL.get(given_up, ("",))[0]
        present = set(values.values())


def _effects(rng: random.Random, choices: tuple[str, ...]) -> tuple[str, ...]:
    lot = rng.random()
    count = min(0 if lot < 0.5 else 1 if lot < 0.82 else 2, len(choices))
    chosen = rng.sample(choices, count)
    return tuple(value for value in choices if value in chosen)


def _pick(rng: random.Random, table: _Table) -> str:
    values, chances = table
    return values[bisect_right(chances, rng.random())]


@cache
def _tables(without: frozenset[str]) -> dict[str, _Table]:
    """Per slot the values whose tags avoid `without`, with cumulative chances."""
    tables: dict[str, _Table] = {}
    for slot, choices in SLOTS.items():
        values = tuple(value for value in choices if closed([value]).isdisjoint(without))
        if slot == "effects":  # of these there need not be any
            values = values or ("",)
        if not values:
            raise UsageError(
                f"Nothing is left to draw for {slot}: keep fewer of its tags out of the demo."
            )
        given = _CHANCES.get(slot, {})
        rest = [value for value in values if value not in given]
        share = (1 - sum(given.values())) / len(rest) if rest else 0.0
        weights = [given.get(value, share) for value in values]
        total = sum(weights)
        sums = [part / total for part in accumulate(weights)]
        tables[slot] = (values, (*sums[:-1], 1.0))
    return tables


@cache
def _artists(without: frozenset[str]) -> tuple[str, ...]:
    names = tuple(name for name in ARTISTS if name not in without)
    if not names:
        raise UsageError("No artist is left to draw: keep fewer of them out of the demo.")
    return names


@cache
def _known_characters(without: frozenset[str]) -> tuple[str, ...]:
    """The characters of whom nothing that is fixed is kept out."""
    return tuple(
        name
        for name, character in CHARACTERS.items()
        if without.isdisjoint((name, character.copyright, *character.signature))
    )


def _looks_like(portrait: Portrait, character: Character) -> bool:
    return set(character.signature) <= set(portrait.tags())


def _known(tag: str) -> str:
    name = dict(ALIASES).get(tag, tag)
    if name not in WORDS:
        near = difflib.get_close_matches(tag, WORDS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "see prep.demo.vocabulary for its words."
        raise UsageError(f"The demo world has no tag {tag!r}: {hint}")
    return name


def _closest(choices: tuple[str, ...], wanted: set[str]) -> list[str]:
    """The values that show most of `wanted`, then least else; none if they show nothing of it."""
    ranked = [
        (len(shown & wanted), -len(shown - wanted), value)
        for value in choices
        if value and (shown := closed([value])) & wanted
    ]
    if not ranked:
        return []
    best = max(ranked)[:2]
    return [value for *rank, value in ranked if tuple(rank) == best]
