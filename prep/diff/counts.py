"""What is counted of changes, block by block: how many images of each kind, and a few of them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from prep.captions.columns import Images, Ints
from prep.diff.changes import NOTHING, RULES, SAID_BY, Changes, Kind
from prep.diff.compare import Compared
from prep.diff.sides import Side, Words
from prep.diff.why import Why

FIRST = 3  # images that are named for each kind of change
EXAMPLES = 2  # captions that are shown for each rule
KIND = ("rule", "change", "said_by", "tag", "now")  # what changes have in common that are counted
BITS = (6, 4, 4, 24, 24)  # that each of these needs


@dataclass
class Group:
    """Changes of one kind: one rule does the same with one tag."""

    rule: str
    change: str
    tag: str  # canonical; of "renamed" the old name
    now: str  # the new name, part, text or category
    said_by: str  # of what sources give or gave: booru, tagger, both
    why: str  # line of prep.toml
    images: int = 0
    first: list[str] = field(default_factory=list)  # md5s


@dataclass(frozen=True)
class Word:
    """A tag of a caption on one side, as captions have it."""

    text: str
    change: str = ""  # the word of a Kind; "" for one that stays as it was
    rule: str = ""


@dataclass(frozen=True)
class Example:
    """An image whose caption a rule changes."""

    rule: str
    set: str
    md5: str
    before: tuple[Word, ...]
    after: tuple[Word, ...]


class Counts:
    """The sums over all blocks so far."""

    def __init__(self, words: Words, why: Why) -> None:
        self.changed = 0  # images whose captions change
        self.by_rule: Counter[str] = Counter()  # images
        self.examples: list[Example] = []
        self._words, self._why = words, why
        self._groups: dict[tuple[int, ...], Group] = {}

    @property
    def groups(self) -> list[Group]:
        """All kinds of change, rule by rule, the most frequent first."""
        order = {name: place for place, name in enumerate(RULES)}
        return sorted(
            self._groups.values(),
            key=lambda one: (order[one.rule], -one.images, one.change, one.tag, one.now),
        )

    def add(self, changes: Changes, found: Compared, images: Images) -> pa.Table:
        """Count the changes of a block of images; return them as rows of CAPTION_DIFF."""
        order, starts, which = _grouped(changes)
        many = np.diff(starts, append=len(changes))
        first = order[starts]
        groups = [self._group(changes, row) for row in first.tolist()]
        for group, start, count in zip(groups, starts.tolist(), many.tolist(), strict=True):
            group.images += count
            rows = order[start : start + min(count, FIRST - len(group.first))]
            group.first += [images.md5s[n] for n in changes.image[rows].tolist()]
        for rule in np.unique(changes.rule).tolist():
            touched = changes.image[changes.rule == rule]
            self.by_rule[RULES[rule]] += int(np.count_nonzero(np.diff(touched, prepend=-1)))
        self.changed += int(np.count_nonzero(np.diff(changes.image, prepend=-1)))
        frequent = np.argsort(-many, kind="stable").tolist()
        self._show([(groups[n].rule, int(changes.image[first[n]])) for n in frequent],
                   changes, found, images)  # fmt: skip
        return _rows(groups, which, changes, images)

    def _group(self, changes: Changes, row: int) -> Group:
        kind = tuple(int(getattr(changes, name)[row]) for name in KIND)
        if kind not in self._groups:
            rule, change, said_by, tag, now = kind
            name, category = self._words.all[tag], self._words.all[int(changes.category[row])]
            self._groups[kind] = Group(
                RULES[rule], Kind(change).word, name,
                "" if now == NOTHING else self._words.all[now], SAID_BY[said_by],
                self._why.line(RULES[rule], change, name, category, said_by),
            )  # fmt: skip
        return self._groups[kind]

    def _show(
        self,
        candidates: Iterable[tuple[str, int]],
        changes: Changes,
        found: Compared,
        images: Images,
    ) -> None:
        """Keep the captions of some images for each rule, of its most frequent changes first."""
        shown = Counter(example.rule for example in self.examples)
        seen: set[tuple[str, int]] = set()
        for rule, image in candidates:
            if shown[rule] < EXAMPLES and (rule, image) not in seen:
                shown[rule] += 1
                seen.add((rule, image))
                self.examples.append(self._example(rule, image, changes, found, images))

    def _example(
        self, rule: str, image: int, changes: Changes, found: Compared, images: Images
    ) -> Example:
        low, high = np.searchsorted(changes.image, [image, image + 1]).tolist()
        before: dict[int, tuple[str, str]] = {}
        after: dict[int, tuple[str, str]] = {}
        for row in range(low, high):
            kind, tag, now = (int(getattr(changes, one)[row]) for one in ("change", "tag", "now"))
            told = Kind(kind).word, RULES[changes.rule[row]]
            if kind in (Kind.REMOVED, Kind.RENAMED):
                before[tag] = told
            if kind != Kind.REMOVED:
                after[now if kind == Kind.RENAMED else tag] = told
        return Example(
            rule, images.sets[image], images.md5s[image],
            tuple(_caption(found.before, image, before, self._words)),
            tuple(_caption(found.after, image, after, self._words)),
        )  # fmt: skip


def captions(side: Side, images: Images, words: Words, most: int) -> list[Example]:
    """Return the captions of some images, spread over all of a block."""
    places = np.unique(np.linspace(0, len(images) - 1, max(0, min(most, len(images)))).astype(int))
    return [
        Example("", images.sets[n], images.md5s[n], (), tuple(_caption(side, n, {}, words)))
        for n in places.tolist()
    ]


def _caption(
    side: Side, image: int, told: Mapping[int, tuple[str, str]], words: Words
) -> Iterator[Word]:
    """The tags of an image. told: by the code of a tag what changes of it, and by which rule."""
    low, high = np.searchsorted(side.image, [image, image + 1]).tolist()
    for text, tag in zip(side.text[low:high].tolist(), side.tag[low:high].tolist(), strict=True):
        yield Word(words.all[text], *told.get(tag, ()))


def _grouped(changes: Changes) -> tuple[Ints, Ints, Ints]:
    """The changes kind by kind: their order, where each kind starts in it, and the kind of each."""
    key = np.zeros(len(changes), np.int64)
    for name, bits in zip(KIND, BITS, strict=True):
        key = key << bits | (getattr(changes, name) - NOTHING)
    order = np.argsort(key, kind="stable")
    starts = np.flatnonzero(np.diff(key[order], prepend=-1))
    which = np.empty(len(changes), np.int64)
    which[order] = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(changes)))
    return order, starts, which


def _rows(groups: Sequence[Group], which: Ints, changes: Changes, images: Images) -> pa.Table:
    place = pa.array(changes.image)
    columns = {"set": pa.array(images.sets, pa.string()).dictionary_encode().take(place)}
    columns["md5"] = pa.array(images.md5s, pa.string()).take(place)
    for name in ("rule", "change", "tag", "now", "said_by", "why"):
        told = pa.array([getattr(group, name) for group in groups], pa.string())
        columns[name] = told.dictionary_encode().take(pa.array(which))
    return pa.table(columns)
