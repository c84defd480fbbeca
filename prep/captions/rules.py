"""The caption rules: small frozen values that turn columns of tags into columns of tags.

Each tells with its bit (`touched`) which tags it added or changed. Rules that are about what is
learnt (trigger, collapse) leave regularization images alone.
"""

import fnmatch
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Protocol

import numpy as np

from prep.captions.columns import (
    KINDS,
    NO_DAY,
    RULE,
    Floats,
    Images,
    Ints,
    Names,
    Tags,
    joined,
    made,
)
from prep.captions.knowledge import UNKNOWN, Implied, Knowledge
from prep.captions.percentiles import Ranking
from schemas.recipes.prep import CaptionsSection, QualitySection, RatingSection, RenderSection
from schemas.tables import PARTS, RATINGS
from schemas.tags import canonical


class Rule(Protocol):
    """Columns in, columns out. `bit` is 1 << the rule's place in the recipe."""

    def __call__(self, tags: Tags, images: Images, bit: int) -> Tags: ...


@dataclass(frozen=True)
class Drop:
    """Leave out tags by category, name or pattern."""

    categories: frozenset[str]
    names: frozenset[str]
    patterns: tuple[str, ...]

    def __call__(self, tags: Tags, images: Images, bit: int) -> Tags:
        """Return the tags that nothing drops."""
        kinds = [KINDS.index(category) for category in self.categories]
        named = set(self.names)
        if self.patterns:
            named |= _matching(self.patterns, Names.of(tags.names))
        return tags.where(~(np.isin(tags.category, kinds) | tags.named(named)))


@dataclass(frozen=True)
class Trigger:
    """Put the trigger in front of every image that is trained on."""

    trigger: str

    def __call__(self, tags: Tags, images: Images, bit: int) -> Tags:
        """Return the tags with the trigger; one that was there already moves to the front."""
        wider, code = tags.with_names([self.trigger])
        learnt = np.flatnonzero(~images.is_reg)
        new = made(wider.names, learnt, np.repeat(code, len(learnt)), "trigger", RULE, bit)
        held = wider.where((wider.tag != code) | images.is_reg[wider.image])
        return joined(new, held)


@dataclass(frozen=True)
class Collapse:
    """Leave out fixed features: the trigger stands for them."""

    names: frozenset[str]

    def __call__(self, tags: Tags, images: Images, bit: int) -> Tags:
        """Return the tags without the features; the trigger of an image that had any is touched."""
        features = tags.named(self.names) & ~images.is_reg[tags.image]
        features &= tags.category != KINDS.index("trigger")
        had = np.zeros(len(images), dtype=bool)
        had[tags.image[features]] = True
        stands_in = (tags.category == KINDS.index("trigger")) & had[tags.image]
        return _touch(tags, stands_in, bit).where(~features)


@dataclass(frozen=True)
class Rename:
    """Give tags other names; two that become one stand once."""

    names: Mapping[str, str]

    def __call__(self, tags: Tags, images: Images, bit: int) -> Tags:
        """Return the tags under their new names."""
        wider, codes = tags.with_names(list(self.names.values()))
        becomes = np.arange(len(wider.names), dtype=np.int32)
        own = Names.of(wider.names).codes
        for name, code in zip(self.names, codes, strict=True):
            if name in own:
                becomes[own[name]] = code
        renamed = becomes[wider.tag] != wider.tag
        if not renamed.any():
            return tags
        after = replace(_touch(wider, renamed, bit), tag=becomes[wider.tag])
        given = np.zeros(len(wider.names), bool)
        given[codes] = True
        return after.once(given[after.tag])  # of others no two have become one


@dataclass(frozen=True)
class Aliases:
    """Give tags the names that the site has for them now."""

    knowledge: Knowledge

    def __call__(self, tags: Tags, images: Images, bit: int) -> Tags:
        """Return the tags under their present names."""
        own = Names.of(tags.names).codes
        names = {old: new for old, new in self.renames.items() if old in own}
        return Rename(names)(tags, images, bit) if names else tags

    @cached_property
    def renames(self) -> Mapping[str, str]:
        """The present name of each alias that has another."""
        present = {name: self.knowledge.present(name) for name in self.knowledge.aliases}
        return {name: new for name, new in present.items() if new != name}


@dataclass(frozen=True)
class Graded:
    """Add tags by a number that an image has: quality by its score or percentile, its year.

    What has no number, such as an imported image, gets none.
    """

    category: str
    least: tuple[tuple[str, int], ...]  # the number from which each is given, the highest first
    highest_only: bool
    of: Callable[[Images], Floats]  # [images], NaN where there is none

    def __call__(self, tags: Tags, images: Images, bit: int) -> Tags:
        """Return the tags with those of the category behind them, the highest first."""
        if not self.least:
            return tags
        wider, codes = tags.with_names([name for name, _ in self.least])
        values = self.of(images)
        given = np.zeros(len(images), dtype=bool)
        image, tag = [], []
        for (_, least), code in zip(self.least, codes, strict=True):
            with_it = values >= least  # NaN is never
            if self.highest_only:
                with_it &= ~given
            given |= with_it
            image.append(np.flatnonzero(with_it))
            tag.append(np.full(len(image[-1]), code))
        new = made(
            wider.names, np.concatenate(image), np.concatenate(tag), self.category, RULE, bit
        )
        both = joined(wider, new.take(np.argsort(new.image, kind="stable")))
        return both.once(np.isin(both.tag, codes))


@dataclass(frozen=True)
class Rating:
    """Add a word for the rating; an image that neither site nor tagger has rated gets none."""

    words: tuple[str, ...]  # by the places of RATINGS; "": no word

    def __call__(self, tags: Tags, images: Images, bit: int) -> Tags:
        """Return the tags with the word of its rating behind those of each image."""
        wider, codes = tags.with_names(self.words)
        worded = np.array([*map(bool, self.words), False])  # the last place is that of no rating
        image = np.flatnonzero(worded[images.ratings])
        new = made(wider.names, image, codes[images.ratings[image]], "rating", RULE, bit)
        both = joined(wider, new)
        return both.once(np.isin(both.tag, codes))


@dataclass(frozen=True)
class Order:
    """Sort each image's tags by category; within one they stay as they stand."""

    categories: tuple[str, ...]

    def __call__(self, tags: Tags, images: Images, bit: int) -> Tags:
        """Return the tags in order; categories not named come last."""
        rank = np.full(len(KINDS), len(self.categories))
        for place, category in enumerate(self.categories):
            rank[KINDS.index(category)] = place
        return tags.sorted(rank[tags.category])


@dataclass(frozen=True)
class Fixed:
    """Put words at both ends of every caption; one that was there already moves."""

    prefix: tuple[str, ...]
    suffix: tuple[str, ...]

    def __call__(self, tags: Tags, images: Images, bit: int) -> Tags:
        """Return the tags with the words as parts of head and tail."""
        wider, codes = tags.with_names([*self.prefix, *self.suffix])
        held = wider.where(~np.isin(wider.tag, codes))
        before, behind = codes[: len(self.prefix)], codes[len(self.prefix) :]

        def fixed(codes: Ints, part: str) -> Tags:
            image = np.repeat(np.arange(len(images)), len(codes))
            new = made(wider.names, image, np.tile(codes, len(images)), "general", RULE, bit)
            return replace(new, part=np.full(len(new), PARTS.index(part), np.int8))

        return joined(joined(fixed(before, "head"), held), fixed(behind, "tail"))


@dataclass(frozen=True)
class Fitted:
    """What rules go by that follows from all images together, and therefore comes from outside."""

    features: Sequence[str] = ()  # that the trigger stands for where the recipe says "found"
    ranking: Ranking | None = None  # of scores, where quality goes by percentiles


def rules_of(
    recipe: CaptionsSection, fitted: Fitted, knowledge: Knowledge = UNKNOWN
) -> dict[str, Rule]:
    """Return the rules behind source, by name, in the recipe's order; text is made by `render`.

    The recipe's own names are those of the site now where it wants aliases resolved.
    """

    def named(text: str) -> str:
        name = canonical(text)
        return knowledge.present(name) if "aliases" in recipe.rules else name

    features = fitted.features if recipe.collapse.tags == "found" else recipe.collapse.tags
    renames = {named(old): canonical(new) for old, new in recipe.rename.items()}
    # what is called otherwise by then implies what it did
    renamed = renames if "rename" in recipe.rules[: _place("implied", recipe)] else {}
    known: dict[str, Rule | None] = {
        "aliases": Aliases(knowledge),
        "drop": Drop(
            frozenset(recipe.drop.categories),
            frozenset(map(named, recipe.drop.tags)),
            tuple(map(canonical, recipe.drop.patterns)),
        ),
        "trigger": Trigger(canonical(recipe.trigger)) if recipe.trigger.strip() else None,
        "collapse": Collapse(frozenset(map(named, features))) if features else None,
        "rename": Rename(renames),
        "implied": Implied(knowledge.implications_as(renamed)),
        "quality": _quality(recipe.quality, fitted.ranking),
        "year": Graded("year", _by_name(recipe.year.since), True, years),
        "rating": _rating(recipe.rating),
        "order": Order(recipe.render.order),
        "render": _fixed(recipe.render),
    }
    return {name: rule for name in recipe.rules if (rule := known.get(name)) is not None}


@lru_cache(maxsize=1)  # blocks of images have the same names
def _matching(patterns: tuple[str, ...], names: Names) -> frozenset[str]:
    """The names that one of the patterns fits."""
    either = re.compile("|".join(fnmatch.translate(pattern) for pattern in patterns))
    return frozenset(name for name in names if either.match(name))


def years(images: Images) -> Floats:
    """Return the year of each image's upload: [images], NaN where there is none."""
    when = images.uploaded.astype("M8[D]").astype("M8[Y]").astype(np.float64) + 1970
    return np.where(images.uploaded == NO_DAY, np.nan, when)


def _scores(images: Images) -> Floats:
    return images.scores


def _quality(options: QualitySection, ranking: Ranking | None) -> Graded | None:
    if options.by == "percentile" and ranking is None:
        return None  # nothing is fitted yet
    of = ranking.of if ranking is not None and options.by == "percentile" else _scores
    return Graded("quality", _by_name(options.least), options.which == "highest", of)


def _rating(options: RatingSection) -> Rating | None:
    words = tuple(canonical(getattr(options, letter)) for letter in RATINGS)
    return Rating(words) if any(words) else None


def _fixed(options: RenderSection) -> Fixed | None:
    prefix, suffix = (tuple(map(canonical, words)) for words in (options.prefix, options.suffix))
    return Fixed(prefix, suffix) if prefix or suffix else None


def _by_name(least: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple((canonical(name), number) for name, number in least.items())


def _place(name: str, recipe: CaptionsSection) -> int:
    return recipe.rules.index(name) if name in recipe.rules else 0


def _touch(tags: Tags, mask: np.ndarray, bit: int) -> Tags:
    touched = tags.touched.copy()
    touched[mask] |= np.uint32(bit)
    return replace(tags, touched=touched)
