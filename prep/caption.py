"""From posts, probabilities and the recipe's rules to a caption for every keeper."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from prep import caption_fits, caption_names, seals
from prep.caption_fits import Fits
from prep.caption_sources import Sources
from prep.captions.columns import Images, Tags
from prep.captions.knowledge import Knowledge
from prep.captions.render import Sentences, Words, laid_out, render
from prep.captions.rules import Rule, rules_of
from prep.captions.tokens import Cut
from prep.dataset import Dataset
from prep.diff.earlier import MadeBy
from prep.edits import conflicts, journal
from prep.edits.apply import Conflicts, Edited, edited
from prep.edits.operations import Standing, standing
from prep.edits.places import places_of
from prep.probabilities import warn_of_unknown
from prep.seals import Drop, Seal
from schemas.errors import DatasetError
from schemas.files import fingerprint, sha256_of
from schemas.progress import say
from schemas.recipes.prep import CaptionsSection
from schemas.tables import CAPTIONS, SITE_TAGS
from schemas.tags import canonical, plain

STAGE = "caption"
Watch = Callable[[str, Tags], None]  # told what each rule leaves of the tags, by its name


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
        dataset.tokenizer.key if dataset.tokenizer else "",
    )


def caption(dataset: Dataset, *, refit: bool = False) -> Seal:
    """Make all captions anew from what is stored; no image is opened, nothing is inferred."""
    shaped_by = inputs(dataset)
    check_tokens(dataset)
    with seals.timed(dataset.root, STAGE):
        making = Making.of(dataset, refit=refit)
        sources = making.sources
        caption_names.tell(making.recipe, sources.vocabulary(), sources.knowledge)
        caption_fits.keep(dataset, making.fits)
        caption_fits.tell(dataset, making.fits, sources.images)
        found: list[Conflicts] = []
        path = dataset.path_of(CAPTIONS)
        rows = CAPTIONS.write_blocks(path, making.remaining(found))
        images, standing = sources.images, making.standing
        conflicts.report(dataset, Conflicts.joined(found), images, standing.waiting)
        MadeBy.of(dataset.recipe, journal.read(dataset.root).done).write(dataset.root)
        return seals.write_seal(
            dataset.root,
            STAGE,
            inputs=shaped_by,
            output=sha256_of(path)[:16],
            rows_in=len(images) + len(sources.low),
            rows_out=rows,
            drops=[*conflicts.excluded(standing, images), *_low(sources)],
        )


def check_tokens(dataset: Dataset) -> None:
    """Raise DatasetError where tokens are to be counted and nothing tells how."""
    most = dataset.recipe.caption.render.max_tokens
    if most and dataset.tokenizer is None:
        raise DatasetError(
            f"caption.render.max_tokens = {most} counts as train.toml's model does, which is not on"
            " this machine: put it there, or set max_tokens = 0; training cuts captions itself"
        )


@dataclass(frozen=True)
class Now:
    """Where edits find their images: tags after select and collapse, and what comes behind."""

    images: Images
    edited: Edited
    later: Mapping[str, Rule]
    sentences: Sentences
    cut: Cut | None  # into tokens, where that is known


@dataclass(frozen=True)
class Making:
    """All that captions are made of: what is said of images, the rules, the edits that stand."""

    recipe: CaptionsSection
    sources: Sources
    rules: Mapping[str, Rule]
    standing: Standing
    fits: Fits
    cut: Cut | None

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
        fits = caption_fits.fits(dataset, sources, refit=refit)
        entries = journal.read(dataset.root).counting
        if "edits" not in recipe.rules and entries:
            say(f'caption: {len(entries)} edits wait: caption.rules leaves out "edits"')
            entries = []
        images = sources.images
        held = standing(entries, places_of(dataset, images), len(images))
        names = sources.names.with_([*held.tagged.names, *spellings(recipe)])
        rules = rules_of(recipe, fits.fitted(images, recipe), knowledge)
        cut = dataset.tokenizer.cut if dataset.tokenizer else None
        return cls(recipe, replace(sources, names=names), rules, held, fits, cut)

    def now(self, start: int, stop: int, watch: Watch = lambda rule, tags: None) -> Now:
        """Return where edits find the images from `start` to before `stop`, which begin at 0."""
        images = self.sources.images.part(start, stop)
        tags = self.sources.taken(start, stop)
        watch("source", tags)
        names: list[str] = list(self.recipe.rules)
        place = names.index("edits") if "edits" in names else len(names)
        for name in names[:place]:
            if name in self.rules:
                tags = self.rules[name](tags, images, 1 << names.index(name))
                watch(name, tags)
        later = {name: self.rules[name] for name in names[place:] if name in self.rules}
        after = edited(tags, self.standing.part(start, stop), 1 << place)
        return Now(images, after, later, self.sources.sentences(start, stop), self.cut)

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
    tags, words = as_text(recipe, now, after_rules(recipe, now))
    return render(tags, words, now.images, recipe.rules)


def as_text(recipe: CaptionsSection, now: Now, tags: Tags) -> tuple[Tags, Words]:
    """Return what `after_rules` leaves as captions have it, and each tag's text."""
    return laid_out(
        *(tags, now.images, recipe.render, recipe.rules),
        *(spellings(recipe), now.sentences, now.cut),
    )


def after_rules(recipe: CaptionsSection, now: Now, watch: Watch = lambda rule, tags: None) -> Tags:
    """Return the tags that become text: what the later rules leave, and what persons wrote."""
    names: list[str] = list(recipe.rules)
    tags = now.edited.tags
    watch("edits", tags)
    for name, rule in now.later.items():
        tags = rule(tags, now.images, 1 << names.index(name))
        watch(name, tags)
    return now.edited.as_written(tags)


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


def collapsed(dataset: Dataset) -> list[str]:
    """Return the features that the trigger stands for now, canonical."""
    recipe = dataset.recipe.caption
    if "collapse" not in recipe.rules:
        return []
    stored = recipe.collapse.tags == "found"
    names = caption_fits.stored_features(dataset) if stored else recipe.collapse.tags
    name = known(dataset).present if "aliases" in recipe.rules else str
    return [name(canonical(one)) for one in names]


def _low(sources: Sources) -> list[Drop]:
    """A drop for each image whose score is too low."""
    low, least = sources.low, sources.recipe.drop.below
    return [
        Drop(part, md5, f"score below {least}", f"score {score:.0f}")
        for part, md5, score in zip(low.sets, low.md5s, low.scores.tolist(), strict=True)
    ]


def spellings(recipe: CaptionsSection) -> dict[str, str]:
    """Return what the recipe's rules add, by canonical form, as the person spelt it."""
    fixed = (*recipe.render.prefix, *recipe.render.suffix)
    added = [recipe.rename.values(), fixed, *recipe.added().values()]
    return {canonical(text): plain(text) for texts in added for text in texts}
