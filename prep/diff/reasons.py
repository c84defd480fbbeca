"""Which rule did it: those of now are watched, those of before are asked what they would do."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from prep.captions.columns import KINDS, Bools, Images, Ints, Tags
from prep.captions.render import source_of
from prep.captions.rules import Aliases, Rename, Rule
from prep.diff.changes import NOTHING, RULES, SAID_BY, Changes, Kind, all_of
from prep.diff.compare import Compared, are_in, pairs
from prep.diff.sides import BITS, Side, Words
from prep.edits.operations import REMOVE, REPLACE, Standing

SOURCE, ALIASES, EDITS, RENAME, RENDER, ORDER = (
    RULES.index(name) for name in ("source", "aliases", "edits", "rename", "render", "order")
)

STAYS = -2  # beside the rules by which a tag goes, and NOTHING

Step = tuple[str, Tags]  # a rule's name, and the tags as it left them


@dataclass(frozen=True)
class Reasons:
    """What is needed to say which rule made a change."""

    words: Words
    rules: Mapping[str, Rule]  # of now, in their order
    earlier: Mapping[str, Rule]  # as they were when the captions were made
    reordered: bool  # categories are not in the order they had
    undone: Standing  # edits that stood when the captions were made, and stand no more

    def of(self, found: Compared, steps: Sequence[Step], images: Images, start: int) -> Changes:
        """Return the changes of a block of images, of which the first is image `start` of all.

        steps: what each rule left of the block's tags, the sources' first.
        """
        gone, came = found.before.take(found.removed), found.after.take(found.added)
        gone_by, becomes = self._removed(gone, found.after, steps)
        came_by, was = self._added(came, found.before, steps[0][1], images, start)
        into = _among(gone.image, becomes, found.after)
        met = are_in(pairs(came.image, came.tag), pairs(gone.image, becomes)[into])
        back = _among(came.image, was, gone.take(~into)) & ~met
        back &= _first(came.image, np.where(back, was, NOTHING))  # of several one
        left = are_in(pairs(gone.image, gone.tag), pairs(came.image, was)[back])
        gone_rows = self._rows(gone, gone_by)
        came_rows = self._rows(came, came_by)
        return all_of(
            [
                _as(Kind.REMOVED, gone_rows.take(~into & ~left)),
                _as(Kind.ADDED, came_rows.take(~met & ~back)),
                _as(Kind.RENAMED, replace(gone_rows, now=becomes).take(into)),
                _as(Kind.RENAMED, replace(came_rows, now=came.tag, tag=was).take(back)),
                *self._kept(found),
            ]
        )

    def _removed(self, gone: Side, after: Side, steps: Sequence[Step]) -> tuple[Ints, Ints]:
        """By which rule tags go, and the names that they have become."""
        rule = fates(gone.image, gone.tag, steps, self.words)
        rule[rule == STAYS] = RENDER  # the text leaves it out
        never = rule == NOTHING
        gave = self._gave(gone)
        rule[never] = gave[never]
        renamed = np.flatnonzero(never & np.isin(gave, (RENAME, ALIASES)))
        rule[renamed] = SOURCE
        for rows, names in self._earlier_names(self.earlier, gone.tag[renamed]):
            fate = fates(gone.image[renamed[rows]], names, steps, self.words)
            told = fate != NOTHING
            rule[renamed[rows[told]]] = np.where(fate == STAYS, RENAME, fate)[told]
        becomes = np.full(len(gone), NOTHING)
        for place, name in ((RENAME, "rename"), (ALIASES, "aliases")):
            if name in self.rules:
                of_it = (rule == place) | (never & (rule == SOURCE) & (place == ALIASES))
                becomes[of_it] = self._renamed(self.rules[name], gone.tag[of_it])
        new = becomes != NOTHING
        there = _among(gone.image, becomes, after)
        rule[new & there & never] = ALIASES
        lost = np.flatnonzero(new & ~there)  # by what took the new name away
        later = fates(gone.image[lost], becomes[lost], steps, self.words)
        rule[lost] = np.where(later < 0, rule[lost], later)
        return rule, becomes

    def _added(
        self, came: Side, before: Side, given: Tags, images: Images, start: int
    ) -> tuple[Ints, Ints]:
        """By which rule tags come, and the names that the rules of before gave them.

        given: what sources give now.
        """
        rule = self._gave(came)
        named = np.flatnonzero(np.isin(rule, (RENAME, ALIASES)))
        tag = came.tag.copy()  # as sources name it
        for rows, names in self._earlier_names(self.rules, tag[named]):
            there = (
                fates(came.image[named[rows]], names, [("source", given)], self.words) != NOTHING
            )
            tag[named[rows[there]]] = names[there]
        given_now = (rule == SOURCE) | np.isin(rule, (RENAME, ALIASES))
        undone = given_now & self._undone(came.image, tag, start, len(images))
        rule[undone] = EDITS
        asked = np.flatnonzero(given_now & ~undone)
        was = np.full(len(came), NOTHING)
        rule[asked], was[asked] = self._taken_before(
            replace(came, tag=tag).take(asked), before, images
        )
        same = was == came.tag  # it was renamed so before as well, had sources given it
        rule[same], was[same] = SOURCE, NOTHING
        return rule, was

    def _gave(self, side: Side) -> Ints:
        """The rule that put tags into captions: a person's, the rule that made or named them."""
        places = np.append(self.words.places(RULES, SOURCE), SOURCE)  # -1: no rule
        person, rule = (self.words.code(name) for name in ("person", "rule"))
        made = np.where(side.source == rule, side.first, side.last)
        return np.where(side.source == person, EDITS, places[made])

    def _renamed(self, rule: Rule, tags: Ints) -> Ints:
        """The codes of the names that a rule gives to tags, NOTHING where it gives none."""
        given = self._names(rule)
        codes, which = np.unique(tags, return_inverse=True)
        new = [given.get(self.words.all[code]) for code in codes.tolist()]
        names = [NOTHING if name is None else self.words.code(name) for name in new]
        return np.array(names, np.int64)[which]

    def _earlier_names(self, rules: Mapping[str, Rule], tags: Ints) -> Iterator[tuple[Ints, Ints]]:
        """Yield which of these tags rules may have named so, and one of their earlier names each.

        A tag of which several have become one is yielded with each of them.
        """
        old_names: dict[int, list[int]] = {}
        for name in ("aliases", "rename"):
            for old, new in self._names(rules.get(name)).items():
                old_names.setdefault(self.words.code(new), []).append(self.words.code(old))
        codes, which = np.unique(tags, return_inverse=True)
        held = [old_names.get(code, []) for code in codes.tolist()]
        for n in range(max(map(len, held), default=0)):
            nth = np.array([names[n] if n < len(names) else NOTHING for names in held])[which]
            rows = np.flatnonzero(nth != NOTHING)
            yield rows, nth[rows]

    def _names(self, rule: Rule | None) -> Mapping[str, str]:
        """The names that a rule gives, by those that it takes."""
        if isinstance(rule, Rename):
            return rule.names
        return rule.renames if isinstance(rule, Aliases) else {}

    def _undone(self, image: Ints, tag: Ints, start: int, count: int) -> Bools:
        """Which tags come back because the edit that took them away is undone."""
        done, tagged = self.undone.operations, self.undone.tagged
        here = done.take((done.image >= start) & (done.image < start + count))
        if not len(here):
            return np.zeros(len(image), bool)
        single = np.isin(here.kind, (REMOVE, REPLACE))
        names = self.words.codes(tagged.names)
        taken = pairs(here.image[single] - start, names[here.tag[single]])
        whole = np.zeros(count, bool)
        whole[here.image[~single] - start] = True
        return are_in(pairs(image, tag), taken) | whole[image]

    def _taken_before(self, came: Side, before: Side, images: Images) -> tuple[Ints, Ints]:
        """Which of the earlier rules would take these tags out of the captions as they stand.

        Where none would, sources did not give them. With it the name that it would give them.
        """
        rule, was = np.full(len(came), SOURCE), np.full(len(came), NOTHING)
        if not len(came):
            return rule, was
        held = np.zeros(len(images), bool)
        held[came.image] = True
        tags = self._as_tags([before.take(held[before.image]), came])
        steps = [("source", tags)]
        for name, one in self.earlier.items():
            tags = one(tags, images, 0)
            steps.append((name, tags))
        by = fates(came.image, came.tag, steps, self.words)
        rule = np.where(by < 0, SOURCE, by)
        for place, name in ((RENAME, "rename"), (ALIASES, "aliases")):
            if name in self.earlier:
                was[rule == place] = self._renamed(self.earlier[name], came.tag[rule == place])
        return rule, was

    def _as_tags(self, sides: Sequence[Side]) -> Tags:
        """Tags of captions as rules take them."""
        image, tag, category, source = (
            np.concatenate([getattr(side, name) for side in sides])
            for name in ("image", "tag", "category", "source")
        )
        codes, which = np.unique(tag, return_inverse=True)
        kinds, bits = (np.zeros(len(self.words), np.uint8) for _ in range(2))
        kinds[self.words.codes(KINDS)] = range(len(KINDS))
        for held in reversed(BITS):
            bits[self.words.code(source_of(held))] = held
        count = len(image)
        tags = Tags(
            tuple(self.words.all[code] for code in codes.tolist()),
            image.astype(np.int32), which.astype(np.int32), kinds[category], bits[source],
            np.zeros(count, np.uint32), np.full(count, -1, np.int8),
        )  # fmt: skip
        return tags.take(np.argsort(image, kind="stable"))

    def _rows(self, side: Side, rule: Ints) -> Changes:
        said_by = np.where(rule == SOURCE, self.words.places(SAID_BY, 0)[side.source], 0)
        return Changes.of(Kind.ADDED, side.image, rule, side.tag, side.category, said_by=said_by)

    def _kept(self, found: Compared) -> list[Changes]:
        """What became of tags that are on both sides."""
        before, after = found.before.take(found.kept_before), found.after.take(found.kept_after)
        person = self.words.code("person")
        by_person = (before.source == person) | (after.source == person)
        gave = self._gave(after)
        spelt = np.where(gave == SOURCE, RENDER, gave)
        order = np.full(len(after), ORDER if self.reordered else SOURCE)
        kinds = (
            (Kind.PART, before.part != after.part, np.full(len(after), RENDER), after.part),
            (Kind.SPELT, before.text != after.text, spelt, after.text),
            (Kind.CATEGORY, before.category != after.category, gave, after.category),
            (Kind.MOVED, found.moved, order, np.full(len(after), NOTHING)),
        )
        changes = []
        for kind, mask, rule, now in kinds:
            rows = self._rows(after, np.where(by_person, EDITS, rule))
            changes.append(_as(kind, replace(rows, now=now).take(mask)))
        return changes


def fates(image: Ints, tag: Ints, steps: Sequence[Step], words: Words) -> Ints:
    """Return by which rule each tag of an image went.

    NOTHING: no step ever had it; STAYS: the last one has. tag: code of `words`.
    """
    fate = np.full(len(image), NOTHING)
    if not len(image):
        return fate
    names = words.codes_of(steps[-1][1].names)  # those of earlier steps are its beginning
    local = np.full(len(words), NOTHING)
    local[names] = np.arange(len(names))
    wanted = local[tag]
    known = wanted != NOTHING
    asked_image = np.zeros(int(image.max()) + 1, bool)
    asked_image[image[known]] = True
    asked_tag = np.zeros(len(names), bool)
    asked_tag[wanted[known]] = True
    keys = np.where(known, pairs(image, wanted), NOTHING)
    there = np.zeros(len(image), bool)
    for name, tags in steps:
        end = np.searchsorted(tags.image, len(asked_image))
        mask = np.flatnonzero(asked_image[tags.image[:end]] & asked_tag[tags.tag[:end]])
        here = are_in(keys, pairs(tags.image[mask], tags.tag[mask]))
        fate[there & ~here] = RULES.index(name)
        fate[here] = STAYS
        there = here
    return fate


def _among(image: Ints, tag: Ints, side: Side) -> Bools:
    """Which pairs of image and tag a side has; NOTHING is none."""
    keys = np.where(tag == NOTHING, NOTHING, pairs(image, tag))
    return are_in(keys, pairs(side.image, side.tag))


def _first(image: Ints, tag: Ints) -> Bools:
    """Which pairs of image and tag stand where none like them stands before."""
    first = np.zeros(len(image), bool)
    first[np.unique(pairs(image, tag), return_index=True)[1]] = True
    return first


def _as(change: Kind, rows: Changes) -> Changes:
    return replace(rows, change=np.full(len(rows), change))
