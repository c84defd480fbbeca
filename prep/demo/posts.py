"""What the demo's booru says of each post: a pure function of the world's seed and the post's id.

Nothing is drawn here. Ids lie in slots, one to three apart; slots come in blocks, within which some
posts are variants or copies of an earlier one; kinds of file are dealt from decks, so that even a
small world holds each kind.
"""

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from prep.demo.held_out import LEFT_OUT
from prep.demo.oddities import ENCODINGS
from prep.demo.portrait import ARTISTS, CHARACTERS, Portrait, sample, variant
from prep.demo.vocabulary import IMPLICATIONS, META, VOCABULARY

CATEGORIES = ("general", "artist", "character", "copyright", "meta")
POPULAR = ("akari_(hoshizora_academy)", "ririn_(lantern_isle)")
POPULARITY = 0.2  # share of posts that show each of them
NOBODY = 0.08  # share of posts that show nobody known
BANNED_ARTIST = "kuroyagi_sato"
GOLD_LEVEL = 30  # accounts from this level up see posts that need Gold
CATEGORY_OF: dict[str, str] = {
    **{word.name: word.category for word in VOCABULARY},
    **{tag: "meta" for encoding in ENCODINGS.values() for tag in encoding.tags},
    **dict.fromkeys(("transparent_background", "greyscale", "monochrome"), "general"),
    **dict.fromkeys((*META, "duplicate", "pixel-perfect_duplicate", "resized"), "meta"),
    "original": "copyright",
    BANNED_ARTIST: "artist",
}

FIRST_ID, STRIDE = 1001, 3
BLOCK = 16  # slots; a variant or copy follows its original within the block
DECK = {
    **{"jpg": 141, "png": 60, "webp": 10, "avif": 2, "gif": 2, "apng": 2, "animated webp": 2},
    **{"ugoira": 3, "mp4": 2, "webm": 2, "swf": 1, "rgba": 6, "palette": 3, "16-bit": 2},
    **{"16-bit grey": 1, "cmyk": 3, "grey": 3, "rotated": 3, "truncated": 2},
}
PLAIN = ("jpg", "png", "webp")  # files that copies are made of
EXTREME = 0.015  # share of posts several times as long as wide, or as wide as long
ASPECTS = ((2, 3), (3, 4), (1, 1), (4, 3), (16, 9), (5, 7))
ASPECT_WEIGHTS = (30, 30, 16, 12, 7, 5)
# the middle of a drawing has all that matters only where it is no higher than wide
SMALL_ASPECTS = ((1, 1), (5, 4), (4, 3))
UNTAGGED = 0.03  # chance that the site's people overlooked a general tag
SCORE_MEDIAN, SCORE_SPREAD = 10.0, 1.1  # of the log-normal from which votes are drawn
EPOCH = datetime(2008, 1, 1, tzinfo=UTC)
YEARS, HALF_AT = 18.0, 200  # half of the site's life is past at this slot: it grows ever faster

_IMPLIED: dict[str, tuple[str, ...]] = {
    tag: tuple(then for if_, then in IMPLICATIONS if if_ == tag) for tag, _ in IMPLICATIONS
}


@dataclass(frozen=True)
class Post:
    """The facts of one post that need no drawing.

    relation: "original", "variant" (another picture of the same scene), "re-encoded", "resized" or
    "pixel twin" (same pixels, other file); the last four are made after post `base_id`.
    declared: the site's people made the base this post's parent.
    hidden: "" or why the file is withheld, "banned" (artist) or "gold" (needs that account).
    unlisted: where hidden, also taken out of listings, though it still counts.
    """

    id: int
    relation: str
    base_id: int
    declared: bool
    portrait: Portrait
    encoding: str
    quality: int
    width: int
    height: int
    by_category: Mapping[str, tuple[str, ...]]
    tags: frozenset[str]
    rating: str
    up_score: int
    down_score: int
    fav_count: int
    uploader_id: int
    approver_id: int | None
    created_at: datetime
    updated_at: datetime
    commented_at: datetime | None
    noted_at: datetime | None
    source: str
    pixiv_id: int | None
    hidden: str
    unlisted: bool
    is_deleted: bool
    is_pending: bool
    is_flagged: bool

    @property
    def file_ext(self) -> str:
        return ENCODINGS[self.encoding].ext

    @property
    def duration(self) -> float | None:
        return ENCODINGS[self.encoding].seconds

    @property
    def is_banned(self) -> bool:
        return self.hidden == "banned"

    @property
    def is_copy(self) -> bool:
        """Shows the very picture of its base."""
        return self.relation in ("re-encoded", "resized", "pixel twin")

    def visible_to(self, level: int) -> bool:
        """Whether an account of this level may see the file."""
        return not self.hidden or (self.hidden == "gold" and level >= GOLD_LEVEL)

    def listed_for(self, level: int) -> bool:
        """Whether listings show the post to an account of this level."""
        return not self.unlisted or self.visible_to(level)


def post_id(seed: int, slot: int) -> int:
    """The id of a slot; ids rise with slots and leave gaps."""
    return FIRST_ID + STRIDE * slot + random.Random(f"id {seed} {slot}").randrange(STRIDE)


def slot_of(seed: int, id: int) -> int | None:
    """The slot whose post has this id, or None where the site never had such a post."""
    slot = (id - FIRST_ID) // STRIDE
    return slot if slot >= 0 and post_id(seed, slot) == id else None


@lru_cache(maxsize=4096)
def make_post(seed: int, size: int, slot: int, small: bool = False) -> Post:
    """The post in a slot. size: about the longest side of its picture, in pixels.

    small: nothing is drawn but what the demo's base model knows and what is held out from it.
    """
    id = post_id(seed, slot)
    rng = random.Random(f"post {seed} {id}")
    encoding, relation, base_slot = _block(seed, slot // BLOCK)[slot % BLOCK]
    base = make_post(seed, size, base_slot, small) if base_slot != slot else None
    hidden = _hidden(rng) if base is None else base.hidden
    portrait = _portrait(rng, relation, base, LEFT_OUT if small else frozenset())
    shape = _shape(rng, size, relation, base, small)
    declared = base is not None and rng.random() < (0.8 if relation == "variant" else 0.5)
    by_category = _tags(rng, portrait, encoding, relation if declared else "", hidden)
    created = _created(rng, slot)
    up, down = _votes(rng, base)
    pixiv_id, source = _origin(rng, slot, created)
    deleted = rng.random() < (0.3 if base and base.is_copy else 0.05)
    pending = not deleted and rng.random() < 0.015
    return Post(
        id=id,
        relation=relation,
        base_id=base.id if base else id,
        declared=declared,
        portrait=portrait,
        encoding=encoding,
        quality=rng.choice((88, 90, 92, 95)) if base is None else rng.choice((60, 72, 80)),
        width=shape[0],
        height=shape[1],
        by_category=by_category,
        tags=frozenset(tag for tags in by_category.values() for tag in tags),
        rating=base.rating if base else rng.choices("gsqe", (45, 40, 10, 5))[0],
        up_score=up,
        down_score=down,
        fav_count=int(up * rng.uniform(0.8, 1.6)),
        uploader_id=1 + int(rng.paretovariate(0.6)) % 90_000,
        approver_id=None if pending or rng.random() < 0.4 else 100 + rng.randrange(40),
        created_at=created,
        updated_at=created + timedelta(days=rng.expovariate(1 / 60)),
        commented_at=created + timedelta(days=rng.random() * 30) if rng.random() < 0.2 else None,
        noted_at=created + timedelta(days=rng.random() * 30) if rng.random() < 0.05 else None,
        source=source,
        pixiv_id=pixiv_id,
        hidden=hidden,
        unlisted=bool(hidden) and rng.random() < 0.4,
        is_deleted=deleted,
        is_pending=pending,
        is_flagged=not deleted and not pending and rng.random() < 0.015,
    )


@lru_cache(maxsize=256)
def _block(seed: int, number: int) -> tuple[tuple[str, str, int], ...]:
    """Per slot of a block: encoding, relation, and the slot of its base (its own: an original)."""
    rng = random.Random(f"block {seed} {number}")
    first = number * BLOCK
    plan: list[tuple[str, str, int]] = []
    for slot in range(first, first + BLOCK):
        encoding, lot = _dealt(seed, slot), rng.random()
        bases = [at for kind, relation, at in plan if relation == "original" and kind in PLAIN]
        if lot >= 0.15 or encoding not in PLAIN or not bases:
            plan.append((encoding, "original", slot))
            continue
        base = rng.choice(bases)
        kind = plan[base - first][0]
        if lot < 0.065:
            plan.append((encoding, "variant", base))
        elif lot < 0.105:
            plan.append(("jpg", "re-encoded", base))
        elif lot < 0.135:
            plan.append((encoding, "resized", base))
        else:
            plan.append(("webp lossless" if kind == "png" else "png", "pixel twin", base))
    return tuple(plan)


def _dealt(seed: int, slot: int) -> str:
    deck = _deck(seed, slot // sum(DECK.values()))
    return deck[slot % len(deck)]


@lru_cache(maxsize=64)
def _deck(seed: int, number: int) -> tuple[str, ...]:
    deck = [kind for kind, count in DECK.items() for _ in range(count)]
    random.Random(f"deck {seed} {number}").shuffle(deck)
    return tuple(deck)


def _hidden(rng: random.Random) -> str:
    lot = rng.random()
    return "banned" if lot < 0.025 else "gold" if lot < 0.045 else ""


def _portrait(
    rng: random.Random, relation: str, base: Post | None, without: frozenset[str]
) -> Portrait:
    if base is not None:
        return variant(base.portrait, rng, without) if relation == "variant" else base.portrait
    drawn = [name for name, one in CHARACTERS.items() if without.isdisjoint(one.signature)]
    popular = [name for name in POPULAR if name in drawn]
    others = [name for name in drawn if name not in POPULAR]
    lot = rng.random()
    known = popular[int(lot / POPULARITY)] if lot < POPULARITY * len(popular) else None
    character = known or (rng.choice(others) if lot < 1 - NOBODY else "")
    artist = rng.choice([name for name in ARTISTS if name not in without])
    return sample(rng, character=character, artist=artist, without=without)


def _shape(
    rng: random.Random, size: int, relation: str, base: Post | None, small: bool
) -> tuple[int, int]:
    """Width and height in pixels."""
    if base is not None:
        factor = rng.choice((0.5, 0.6, 0.75)) if relation == "resized" else 1.0
        return max(1, round(base.width * factor)), max(1, round(base.height * factor))
    wide, high = rng.choice(SMALL_ASPECTS) if small else rng.choices(ASPECTS, ASPECT_WEIGHTS)[0]
    if not small and rng.random() < EXTREME:
        wide, high = rng.choice(((1, 5), (4, 1), (1, 4)))
    longest = size * (rng.uniform(0.75, 1.15) if rng.random() < 0.95 else 0.45)
    scale = longest / max(wide, high)
    return max(16, round(wide * scale)), max(16, round(high * scale))


def _tags(
    rng: random.Random, portrait: Portrait, encoding: str, declared: str, hidden: str
) -> dict[str, tuple[str, ...]]:
    """Tags by category, each sorted: what is drawn, less what was overlooked, and of the file."""
    general = {
        tag for tag in portrait.tags() if tag in ("1girl", "solo") or rng.random() >= UNTAGGED
    }
    tags = general | set(portrait.character_tags) | set(ENCODINGS[encoding].tags)
    tags |= {portrait.copyright_tag or "original"}
    tags.add(BANNED_ARTIST if hidden == "banned" else portrait.artist_tag)
    tags |= {tag for tag, chance in _META_CHANCES.items() if rng.random() < chance}
    tags |= set(_DECLARED_TAGS.get(declared, ()))
    pending = list(tags)
    while pending:
        implied = set(_IMPLIED.get(pending.pop(), ())) - tags
        tags |= implied
        pending.extend(implied)
    found: dict[str, list[str]] = {category: [] for category in CATEGORIES}
    for tag in sorted(tags):
        found[CATEGORY_OF[tag]].append(tag)
    return {category: tuple(names) for category, names in found.items()}


_META_CHANCES = {"commentary": 0.2, "commentary_request": 0.1, "bad_id": 0.06, "translated": 0.03}
_DECLARED_TAGS = {
    "re-encoded": ("duplicate",),
    "resized": ("duplicate", "resized"),
    "pixel twin": ("duplicate", "pixel-perfect_duplicate"),
}


def _created(rng: random.Random, slot: int) -> datetime:
    """Rises with the slot, ever more slowly: the site's years pass however many posts there are."""
    position = slot + rng.random()
    return EPOCH + timedelta(days=365.25 * YEARS * position / (position + HALF_AT))


def _votes(rng: random.Random, base: Post | None) -> tuple[int, int]:
    """Up and down votes (down <= 0), heavy-tailed around scores of 6, 18 and 60."""
    up = int(math.exp(rng.gauss(math.log(SCORE_MEDIAN), SCORE_SPREAD)))
    if base is not None:
        up = int(up * 0.5)
    down = -int(rng.expovariate(1 / 1.2)) if rng.random() < 0.3 else 0
    return up, down


def _origin(rng: random.Random, slot: int, created: datetime) -> tuple[int | None, str]:
    lot = rng.random()
    if lot < 0.5:
        pixiv_id = 1_000_000 + slot * 1000 + rng.randrange(1000)
        day = created.strftime("%Y/%m/%d/%H/%M/%S")
        return pixiv_id, f"https://i.pximg.net/img-original/img/{day}/{pixiv_id}_p0.png"
    if lot < 0.8:
        name, number = f"artist{rng.randrange(900)}", rng.randrange(10**17, 10**18)
        return None, f"https://twitter.com/{name}/status/{number}"
    return None, "" if lot < 0.95 else "Comiket 97"
