"""From posts, probabilities and the recipe's rules to a caption for every keeper."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from prep import seals
from prep.calibration import in_force
from prep.captions import sources
from prep.captions.columns import Images, Ints, Tags
from prep.captions.combined import Read, names_of
from prep.captions.features import find_features
from prep.captions.knowledge import Knowledge
from prep.captions.render import blocks
from prep.captions.rules import Aliases, Rule, rules_of
from prep.dataset import Dataset
from prep.edits import conflicts, journal
from prep.edits.apply import Edited, edited
from prep.edits.operations import standing
from prep.edits.places import places_of
from prep.probabilities import keys_of, reads_of, warn_of_unknown
from prep.seals import Seal
from schemas.errors import DatasetError
from schemas.files import fingerprint, sha256_of, write_json
from schemas.progress import say
from schemas.recipes.prep import CaptionsSection
from schemas.tables import CAPTIONS, FOUND_FEATURES, GROUPS, SITE_TAGS
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
    site = snapshot(dataset).drop_columns("asked").to_pylist()  # when it was asked changes nothing
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
        now = up_to_edits(dataset, refit=refit)
        drops = conflicts.excluded(now.edited.standing, now.images)
        path = dataset.path_of(CAPTIONS)
        rows = CAPTIONS.write_blocks(path, remaining(dataset, now))
        conflicts.report(dataset, now.edited, now.images)
        return seals.write_seal(
            dataset.root,
            STAGE,
            inputs=shaped_by,
            output=sha256_of(path)[:16],
            rows_in=len(now.images),
            rows_out=rows,
            drops=drops,
            fitted=now.fitted,
        )


def remaining(dataset: Dataset, now: "Now") -> Iterator[pa.Table]:
    """Yield the captions of the images that no edit excludes, block by block."""
    remains, start = conflicts.remains(now.edited.standing), 0
    for block in in_blocks(dataset, now):
        stop = start + block.num_rows
        yield block.filter(pa.array(remains[start:stop]))
        start = stop


@dataclass(frozen=True)
class Now:
    """Where edits find their images: tags after select and collapse, and what comes behind."""

    images: Images
    edited: Edited
    later: dict[str, Rule]
    fitted: str  # fingerprint of what the found features were found by


def up_to_edits(dataset: Dataset, *, refit: bool = False) -> Now:
    """Return the keepers' tags with the edits that stand, before the rules that follow them.

    Edits are left aside where the recipe's rules leave out "edits", which is told.
    """
    images = _images(dataset)
    tags = _from_sources(dataset, images)
    recipe = dataset.recipe.caption
    names: list[str] = list(recipe.rules)
    found, fitted = _found(dataset, tags, images, refit)
    rules = rules_of(recipe, found, known(dataset))
    entries = journal.read(dataset.root).counting
    if "edits" not in names and entries:
        say(f'caption: {len(entries)} edits wait: caption.rules leaves out "edits"')
        entries = []
    place = names.index("edits") if "edits" in names else len(names)
    for name in names[:place]:
        if name in rules:
            tags = rules[name](tags, images, 1 << names.index(name))
    held = standing(entries, places_of(dataset, images), len(images))
    later = {name: rules[name] for name in names[place:] if name in rules}
    return Now(images, edited(tags, held, 1 << place), later, fitted)


def captions_of(dataset: Dataset, now: Now) -> pa.Table:
    """Return the table of captions, of excluded images too: the later rules, then text."""
    return pa.concat_tables(in_blocks(dataset, now))


def in_blocks(dataset: Dataset, now: Now) -> Iterator[pa.Table]:
    """Yield the same, block by block."""
    names: list[str] = list(dataset.recipe.caption.rules)
    tags = now.edited.tags
    for name, rule in now.later.items():
        tags = rule(tags, now.images, 1 << names.index(name))
    yield from blocks(
        now.edited.as_written(tags),
        now.images,
        dataset.recipe.caption.render,
        names,
        _spellings(dataset.recipe.caption),
    )


def before_rules(dataset: Dataset) -> tuple[Images, Tags]:
    """Return the keepers and all that booru and taggers say of them, whichever the recipe takes.

    Raises DatasetError when the recipe wants a tagger that has not run yet.
    """
    images = _images(dataset)
    reads = _reads(dataset, images)
    booru = _from_booru(dataset, images, reads)
    if not reads:
        return images, booru.once()
    return images, sources.together(booru, sources.from_taggers(reads, in_force(dataset))).once()


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


def _images(dataset: Dataset) -> Images:
    """The keepers of every set, with their posts."""
    groups = dataset.table(GROUPS)
    keepers = groups.filter(pc.equal(groups.column("md5"), groups.column("keeper")))
    members = dataset.members().group_by(["set", "md5"]).aggregate([("post_id", "min")])
    rows = keepers.select(["set", "md5"]).join(members, ["set", "md5"])
    rows = rows.sort_by([("set", "ascending"), ("md5", "ascending")])
    posts = dataset.posts.columns("id", "score")
    ids = rows.column("post_id_min")
    place = pc.index_in(ids, value_set=posts.column("id").combine_chunks())
    scores = posts.column("score").combine_chunks().cast(pa.float64()).take(place.combine_chunks())
    reg = dataset.sets("reg")
    return Images(
        sets=rows.column("set").to_pylist(),
        md5s=rows.column("md5").to_pylist(),
        post_ids=ids.to_numpy(),
        is_reg=np.asarray(pc.is_in(rows.column("set"), value_set=pa.array(list(reg), pa.string()))),
        scores=np.asarray(scores.to_numpy(zero_copy_only=False), np.float64),
    )


def _losers(dataset: Dataset, images: Images) -> tuple[Images, Ints]:
    """The images that a keeper stands for, with their posts, and which of `images` it is.

    Posts of the keeper's own pixels, whose files were never fetched, are among them.
    """
    groups = dataset.table(GROUPS).select(["set", "md5", "keeper"])
    others = groups.filter(pc.not_equal(groups.column("md5"), groups.column("keeper")))
    twins = groups.join(dataset.twins(), ["set", "md5"], join_type="inner")
    rows = pa.concat_tables([others.join(dataset.members(), ["set", "md5"]), twins])
    rows = rows.sort_by([("set", "ascending"), ("md5", "ascending"), ("post_id", "ascending")])
    md5s = rows.column("md5").to_pylist()
    losers = Images(
        sets=rows.column("set").to_pylist(),
        md5s=md5s,
        post_ids=rows.column("post_id").to_numpy(),
        is_reg=np.zeros(len(md5s), bool),  # the keeper's role counts, as does its score
        scores=np.full(len(md5s), np.nan),
    )
    return losers, images.places(rows.column("set"), rows.column("keeper")).astype(np.int32)


def _from_sources(dataset: Dataset, images: Images) -> Tags:
    """The tags of booru (or imported text) and taggers, as the recipe puts them together.

    Aliases are resolved in each first: what has two names is one tag to both.
    """
    options, rules = dataset.recipe.caption.source, dataset.recipe.caption.rules
    reads = _reads(dataset, images)
    aliases = Aliases(known(dataset))

    def resolved(tags: Tags) -> Tags:
        if "aliases" not in rules:
            return tags
        return aliases(tags, images, 1 << rules.index("aliases"))

    booru = resolved(_from_booru(dataset, images, reads))
    if options == "booru" or not reads:
        return booru.once()
    warn_of_unknown(dataset.recipe.tag.threshold, reads)
    tagger = resolved(sources.from_taggers(reads, in_force(dataset)))
    if options == "taggers":
        return tagger
    both = sources.together(booru, tagger).once()
    return sources.taken(both, options, dataset.recipe.caption.few)


def _from_booru(dataset: Dataset, images: Images, reads: list[Read]) -> Tags:
    """The tags of posts and of imported text files."""
    categories = {**known(dataset).categories, **names_of(reads)}
    posts, imported = dataset.posts.read(), dataset.imported()
    tags = sources.together(
        sources.from_booru(images, posts), sources.from_imports(images, imported, categories)
    )
    if not dataset.recipe.dedup.merge_tags:
        return tags
    losers, keeper = _losers(dataset, images)
    theirs = sources.together(
        sources.from_booru(losers, posts), sources.from_imports(losers, imported, categories)
    )
    return sources.together(tags, replace(theirs, image=keeper[theirs.image])).once()


def _spellings(recipe: CaptionsSection) -> dict[str, str]:
    """What the recipe's rules add, by canonical form, as the person spelt it."""
    added = (recipe.trigger, *recipe.rename.values(), *recipe.quality.scores)
    return {canonical(text): plain(text) for text in added}


def _reads(dataset: Dataset, images: Images) -> list[Read]:
    """The probabilities of these images. Raises DatasetError when tags must come from taggers."""
    needed = dataset.recipe.caption.source in ("taggers", "intersection")
    if needed and len(keys_of(dataset)) < len(dataset.recipe.tag.taggers):
        raise DatasetError(
            f"{dataset.root}: a tagger of the recipe has not run yet: `prep tag` runs it"
        )
    return reads_of(dataset, images.md5s)


def _found(dataset: Dataset, tags: Tags, images: Images, refit: bool) -> tuple[list[str], str]:
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
    features = find_features(tags, images, options.share, options.spare)
    write_json(path, {"share": options.share, "tags": features})
    say(f"caption: the trigger stands for {', '.join(features) or 'nothing'}")
    return features, shaped_by
