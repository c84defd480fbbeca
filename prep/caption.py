"""From posts, probabilities and the recipe's rules to a caption for every keeper."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from prep import seals
from prep.caption_sources import Sources
from prep.captions.columns import Images, Tags
from prep.captions.features import Counts
from prep.captions.knowledge import Knowledge
from prep.captions.render import render
from prep.captions.rules import Rule, rules_of
from prep.dataset import Dataset
from prep.edits import conflicts, journal
from prep.edits.apply import Conflicts, Edited, edited
from prep.edits.operations import Standing, standing
from prep.edits.places import places_of
from prep.probabilities import warn_of_unknown
from prep.seals import Seal
from schemas.files import fingerprint, sha256_of, write_json
from schemas.progress import say
from schemas.recipes.prep import CaptionsSection
from schemas.tables import CAPTIONS, FOUND_FEATURES, SITE_TAGS
from schemas.tags import canonical, plain

STAGE = "caption"


def inputs(dataset: Dataset) -> str:
    """What shapes this stage: posts, keepers, probabilities, thresholds, rules, the site's tags."""
    upstream = [seals.read_seal(dataset.root, name) for name in ("fetch", "dedup", "tag")]
    tag, caption = (
        dataset.recipe.tag.model_dump(mode="json", exclude={"device", "taggers"}),
        dataset.recipe.caption.model_dump(mode="json"),
    )
    roles = {name: part.role for name, part in dataset.recipe.sets.items()}
    merged = dataset.recipe.dedup.merge_tags
    edits = journal.changes_as_json(journal.read(dataset.root).counting)
    site = snapshot(dataset).drop_columns("asked").to_pydict()  # when it was asked changes nothing
    return fingerprint(
        [seal and seal.output for seal in upstream],
        tag,
        caption,
        roles,
        merged,
        edits,
        site,
    )


def caption(dataset: Dataset, *, refit: bool = False) -> Seal:
    """Make all captions anew from what is stored; no image is opened, nothing is inferred."""
    shaped_by = inputs(dataset)
    with seals.timed(dataset.root, STAGE):
        making = Making.of(dataset, refit=refit)
        found: list[Conflicts] = []
        path = dataset.path_of(CAPTIONS)
        rows = CAPTIONS.write_blocks(path, making.remaining(found))
        images, standing = making.sources.images, making.standing
        conflicts.report(dataset, Conflicts.joined(found), images, standing.waiting)
        return seals.write_seal(
            dataset.root,
            STAGE,
            inputs=shaped_by,
            output=sha256_of(path)[:16],
            rows_in=len(images),
            rows_out=rows,
            drops=conflicts.excluded(standing, images),
            fitted=making.fitted,
        )


@dataclass(frozen=True)
class Now:
    """Where edits find their images: tags after select and collapse, and what comes behind."""

    images: Images
    edited: Edited
    later: Mapping[str, Rule]


@dataclass(frozen=True)
class Making:
    """All that captions are made of: what is said of images, the rules, the edits that stand."""

    recipe: CaptionsSection
    sources: Sources
    rules: Mapping[str, Rule]
    standing: Standing
    fitted: str  # fingerprint of what the found features were found by

    @classmethod
    def of(cls, dataset: Dataset, *, refit: bool = False) -> "Making":
        """Read it. Edits are left aside where the recipe's rules leave out "edits", which is told.

        Raises DatasetError when the recipe wants a tagger that has not run yet.
        """
        recipe = dataset.recipe.caption
        knowledge = known(dataset)
        sources = Sources.of(dataset, knowledge)
        if sources.reads and recipe.source != "booru":
            warn_of_unknown(dataset.recipe.tag.threshold, sources.reads)
        found, fitted = _found(dataset, sources, refit)
        entries = journal.read(dataset.root).counting
        if "edits" not in recipe.rules and entries:
            say(f'caption: {len(entries)} edits wait: caption.rules leaves out "edits"')
            entries = []
        images = sources.images
        held = standing(entries, places_of(dataset, images), len(images))
        names = sources.names.with_([*held.tagged.names, *_spellings(recipe)])
        rules = rules_of(recipe, found, knowledge)
        return cls(recipe, replace(sources, names=names), rules, held, fitted)

    def now(self, start: int, stop: int) -> Now:
        """Return where edits find the images from `start` to before `stop`, which begin at 0."""
        images = self.sources.images.part(start, stop)
        tags = self.sources.taken(start, stop)
        names: list[str] = list(self.recipe.rules)
        place = names.index("edits") if "edits" in names else len(names)
        for name in names[:place]:
            if name in self.rules:
                tags = self.rules[name](tags, images, 1 << names.index(name))
        later = {name: self.rules[name] for name in names[place:] if name in self.rules}
        return Now(images, edited(tags, self.standing.part(start, stop), 1 << place), later)

    def remaining(self, found: list[Conflicts]) -> Iterator[pa.Table]:
        """Yield the captions of the images that no edit excludes, block by block.

        `found` collects the edits that could not be done.
        """
        for start, stop in self.sources.blocks():
            now = self.now(start, stop)
            found.append(now.edited.conflicts.behind(start))
            table = captions_of(self.recipe, now)
            remains = conflicts.remains(now.edited.standing)
            yield table if remains.all() else table.filter(pa.array(remains))


def up_to_edits(dataset: Dataset) -> Now:
    """Return the keepers' tags with the edits that stand, before the rules that follow them."""
    making = Making.of(dataset)
    return making.now(0, len(making.sources.images))


def captions_of(recipe: CaptionsSection, now: Now) -> pa.Table:
    """Return the table of captions, of excluded images too: the later rules, then text."""
    names: list[str] = list(recipe.rules)
    tags = now.edited.tags
    for name, rule in now.later.items():
        tags = rule(tags, now.images, 1 << names.index(name))
    written = now.edited.as_written(tags)
    return render(written, now.images, recipe.render, names, _spellings(recipe))


def before_rules(dataset: Dataset) -> tuple[Images, Tags]:
    """Return the keepers and all that booru and taggers say of them, whichever the recipe takes.

    Raises DatasetError when the recipe wants a tagger that has not run yet.
    """
    sources = Sources.of(dataset, known(dataset))
    return sources.images, sources.both(0, len(sources.images))


def snapshot(dataset: Dataset) -> pa.Table:
    """Return what the dataset's site knows of tags, as it was last asked."""
    rows = dataset.table(SITE_TAGS)
    return rows.filter(pc.equal(rows["site"], dataset.recipe.fetch.site))


def known(dataset: Dataset) -> Knowledge:
    """Return the same, for the rules."""
    return Knowledge.of(snapshot(dataset))


def found_path(dataset: Dataset) -> Path:
    """Where the found features are kept, for a person to look at."""
    return dataset.root / FOUND_FEATURES


def collapsed(dataset: Dataset) -> list[str]:
    """Return the features that the trigger stands for now, canonical."""
    recipe = dataset.recipe.caption
    path = found_path(dataset)
    if "collapse" not in recipe.rules:
        return []
    names: Sequence[str] = () if recipe.collapse.tags == "found" else recipe.collapse.tags
    if recipe.collapse.tags == "found" and path.is_file():
        names = json.loads(path.read_text(encoding="utf-8"))["tags"]
    name = known(dataset).present if "aliases" in recipe.rules else str
    return [name(canonical(one)) for one in names]


def _spellings(recipe: CaptionsSection) -> dict[str, str]:
    """What the recipe's rules add, by canonical form, as the person spelt it."""
    added = (recipe.trigger, *recipe.rename.values(), *recipe.quality.scores)
    return {canonical(text): plain(text) for text in added}


def _found(dataset: Dataset, sources: Sources, refit: bool) -> tuple[list[str], str]:
    """The features that the trigger stands for, found once and then kept until `refit`.

    They are found in the tags as the sources give them, so that no other rule hides a feature.
    """
    recipe = dataset.recipe.caption
    options = recipe.collapse
    if options.tags != "found":
        return [], ""
    taken_by = [recipe.source, *([recipe.few] if recipe.source == "booru-first" else [])]
    shaped_by = fingerprint(options.model_dump(mode="json"), *taken_by)
    seal = seals.read_seal(dataset.root, STAGE)
    path = found_path(dataset)
    if not refit and seal is not None and seal.fitted == shaped_by and path.is_file():
        return list(json.loads(path.read_text(encoding="utf-8"))["tags"]), shaped_by
    counts = Counts()
    for start, stop in sources.blocks():
        counts.add(sources.taken(start, stop), sources.images.part(start, stop))
    features = counts.features(options.share, options.spare)
    write_json(path, {"share": options.share, "tags": features})
    say(f"caption: the trigger stands for {', '.join(features) or 'nothing'}")
    return features, shaped_by
