"""`prep caption --diff`: what captions would become, against what they are, and nothing written.

    reports/caption_diff.parquet    every change of every image: CAPTION_DIFF

Block by block: captions as they would be now beside those of the same images as they are stored.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from prep.caption import Making, after_rules, as_text, check_tokens, collapsed, known
from prep.captions.columns import Bools, Ints, Tags
from prep.captions.features import Counts as FeatureCounts
from prep.captions.rules import Collapse, Fitted, rules_of
from prep.dataset import Dataset
from prep.diff.coming import coming
from prep.diff.compare import compared
from prep.diff.counts import Counts, Example, Group, captions
from prep.diff.earlier import MadeBy, differences
from prep.diff.reasons import Reasons, Step
from prep.diff.sides import Side, Stored, Words, nothing, side_of
from prep.diff.why import Why
from prep.edits import conflicts, journal
from prep.edits.operations import standing
from prep.edits.places import places_of
from schemas.files import writing
from schemas.progress import task
from schemas.recipes.change import Change
from schemas.tables import CAPTION_DIFF, CAPTIONS, WRITTEN

SHOWN = 6  # captions, where there are none yet to be compared with
NEARLY = 0.75  # part of the share from which a feature that misses it is shown


@dataclass(frozen=True)
class Feature:
    """A tag that the trigger was found to stand for, or that is not on enough images."""

    tag: str
    share: float  # of the images, or of those that tell one of its family
    images: int  # that sources give it to
    taken: bool  # the trigger stands for it
    before: bool  # it did when the captions were made


@dataclass(frozen=True)
class Diff:
    """What `prep caption` would change."""

    images: int  # that would have captions
    stored: int | None  # that have captions now; None: there are none yet
    changed: int  # of the images that have captions now and then
    recipe: Sequence[tuple[Change, Any]] | None  # since then, with what it was; None: not known
    groups: Sequence[Group]
    by_rule: Mapping[str, int]  # images
    coming: Mapping[tuple[str, str], int]  # images that come or leave, and by what
    examples: Sequence[Example]
    features: Sequence[Feature]
    path: Path  # of the full list


def diff(dataset: Dataset, *, refit: bool = False) -> Diff:
    """Compare captions as they would be made now with those that are stored.

    `refit`: with what is fitted found anew. Writes reports/caption_diff.parquet and nothing else.
    Raises DatasetError or DataError.
    """
    return _Comparison.of(dataset, refit=refit).run()


def report_path(dataset: Dataset) -> Path:
    """Where every change of every image is listed."""
    return dataset.root / "reports" / f"{CAPTION_DIFF.name}.parquet"


@dataclass(frozen=True)
class _Comparison:
    """Both sides, and what is counted while they are compared."""

    dataset: Dataset
    making: Making
    stored: Stored
    place: Ints  # of each stored caption's image among those of now; -1: it is none of them
    coming: pa.Table  # CAPTION_DIFF
    remains: Bools  # [images] whether no edit excludes it
    recipe: Sequence[tuple[Change, Any]] | None
    reasons: Reasons
    counts: Counts
    features: FeatureCounts
    collapsed: Sequence[str]  # what the trigger stood for when the captions were made

    @classmethod
    def of(cls, dataset: Dataset, *, refit: bool) -> "_Comparison":
        """Read what is needed of both sides."""
        check_tokens(dataset)
        making, words = Making.of(dataset, refit=refit), Words()
        images, remains = making.sources.images, conflicts.remains(making.standing)
        held = journal.read(dataset.root)
        now, told = MadeBy.of(dataset.recipe, held.done), MadeBy.read(dataset.root)
        before = told or now
        recipe = differences(before, now)
        stored = Stored(dataset.path_of(CAPTIONS), words)
        keys = stored.keys()
        place = images.places(keys["set"], keys["md5"])
        undone = standing(
            [one for one in held.entries if one.id in before.edits - now.edits],
            places_of(dataset, images),
            len(images),
        )
        options = before.caption.render.order, before.caption.rules
        features = collapsed(dataset)
        reasons = Reasons(
            words=words,
            rules=making.rules,
            earlier=rules_of(before.caption, Fitted(features), known(dataset)),
            reordered=options != (now.caption.render.order, now.caption.rules),
            undone=undone,
        )
        return cls(
            dataset=dataset,
            making=making,
            stored=stored,
            place=place,
            coming=coming(
                dataset, making.sources, remains, keys, place, before.caption, undone.excluded
            ),
            remains=remains,
            recipe=recipe if told else None,
            reasons=reasons,
            counts=Counts(words, Why.of(before.caption, now.caption, [one for one, _ in recipe])),
            features=FeatureCounts(),
            collapsed=features,
        )

    def run(self) -> Diff:
        """Compare all, and write the list."""
        path = report_path(self.dataset)
        coded = pa.schema([(column.name, _coded(column.name)) for column in CAPTION_DIFF.schema])
        shown: list[Example] = []
        images = self.making.sources.images
        with (
            closing(self.stored),
            writing(path) as aside,
            # read back, words are words
            pq.ParquetWriter(aside, coded, store_schema=False, **WRITTEN) as file,
            task("caption: comparing", len(images), "images") as advance,
        ):
            file.write_table(self.coming.cast(coded))
            for start, stop in self.making.sources.blocks():
                file.write_table(self._block(start, stop, shown).cast(coded))
                advance(stop - start)
        return Diff(
            images=int(np.count_nonzero(self.remains)),
            stored=len(self.place) if self.stored.there else None,
            changed=self.counts.changed,
            recipe=self.recipe,
            groups=self.counts.groups,
            by_rule=self.counts.by_rule,
            coming=_by(self.coming),
            examples=shown or self.counts.examples,
            features=list(self._found()),
            path=path,
        )

    def _block(self, start: int, stop: int, shown: list[Example]) -> pa.Table:
        """Compare the images from `start` to before `stop`; return rows of CAPTION_DIFF."""
        words, images = self.reasons.words, self.making.sources.images.part(start, stop)
        after, steps = self._now(start, stop)
        before, held = self._before(start, stop)
        if not self.stored.there:
            shown += captions(after, images, words, SHOWN - len(shown))
        after = after.take((held & self.remains[start:stop])[after.image])
        found = compared(before, after, len(images))
        changes = self.reasons.of(found, steps, images, start)
        return self.counts.add(changes, found, images)

    def _now(self, start: int, stop: int) -> tuple[Side, list[Step]]:
        """The captions of a block as they would be, and what each rule left of its tags."""
        recipe, steps = self.making.recipe, []

        def watch(rule: str, tags: Tags) -> None:
            steps.append((rule, tags))

        now = self.making.now(start, stop, watch)
        if recipe.collapse.tags == "found":
            self.features.add(steps[0][1], now.images)
        written = after_rules(recipe, now, watch)
        steps.append(("edits", written))  # whole captions that persons wrote
        tags, texts = as_text(recipe, now, written)
        return side_of(tags, texts, recipe.rules, self.reasons.words), steps

    def _before(self, start: int, stop: int) -> tuple[Side, Bools]:
        """The captions of a block as they stand, and which of its images have one."""
        rows = np.flatnonzero((self.place >= start) & (self.place < stop))
        held = np.zeros(stop - start, bool)
        held[self.place[rows] - start] = True
        if not len(rows):
            return nothing(), held
        first, last = int(rows[0]), int(rows[-1]) + 1
        side = self.stored.rows(first, last)
        place = np.maximum(self.place[first:last][side.image] - start, -1)
        kept = (place >= 0) & np.append(self.remains[start:stop], False)[place]
        return replace(side, image=place).take(kept), held

    def _found(self) -> Iterator[Feature]:
        """The features that the trigger stands for, and those that nearly are."""
        collapse = self.making.rules.get("collapse")
        options = self.making.recipe.collapse
        if options.tags != "found":
            return
        taken = collapse.names if isinstance(collapse, Collapse) else frozenset()
        shares, counts = self.features.shares(), self.features.tags
        shown = {*self.features.features(NEARLY * options.share, options.spare), *taken}
        shown |= set(self.collapsed)
        for tag in sorted(shown, key=lambda tag: (-shares.get(tag, 0), tag)):
            share = shares.get(tag, 0.0)
            yield Feature(tag, share, counts[tag], tag in taken, tag in self.collapsed)


def _by(rows: pa.Table) -> Mapping[tuple[str, str], int]:
    """How many images come or leave, by what."""
    return Counter(zip(rows["change"].to_pylist(), rows["rule"].to_pylist(), strict=True))


def _coded(name: str) -> pa.DataType:
    return pa.string() if name == "md5" else pa.dictionary(pa.int32(), pa.string())
