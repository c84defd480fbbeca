"""What booru, imported text and taggers say of a dataset's images, read block by block of images.

Read once: who has which tags, as small numbers. Made for each block: the columns that rules take.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from prep.calibration import in_force
from prep.captions import sources
from prep.captions.columns import NO_DAY, Bools, Images, Ints, Names, Tags
from prep.captions.combined import Read, names_of
from prep.captions.knowledge import Knowledge
from prep.captions.post_tags import COLUMNS, PostTags
from prep.captions.render import Sentences
from prep.captions.rules import Aliases
from prep.dataset import Dataset
from prep.probabilities import keys_of, reads_of
from schemas.errors import DatasetError
from schemas.recipes.prep import CaptionsSection, TagSection
from schemas.tables import GROUPS, RATINGS

BLOCK = 16_384  # images that are worked on at once
DAY = 24 * 3600 * 1000  # milliseconds


@dataclass(frozen=True)
class Sources:
    """All that is said of the images; nothing of it depends on caption rules."""

    images: Images  # that get captions
    low: Images  # that get none, for their score
    names: Names  # of all tags that are in here
    posts: PostTags
    imported: pa.Table
    imported_at: Ints  # whose each row of it is, in the order of images; -1: nobody's
    losers: Images  # images that a keeper stands for, whose tags it takes; by their keepers
    keeper: Ints  # [losers] places in images
    reads: list[Read]
    thresholds: TagSection
    recipe: CaptionsSection
    knowledge: Knowledge

    @classmethod
    def of(cls, dataset: Dataset, knowledge: Knowledge) -> "Sources":
        """Read a dataset's keepers and what is said of them.

        Raises DatasetError when the recipe wants a tagger that has not run yet.
        """
        every, recipe = keepers(dataset), dataset.recipe
        low = is_low(every, recipe.caption)
        images = every.where(~low) if low.any() else every
        posts = PostTags.of(dataset.posts.parts(*COLUMNS))
        imported = dataset.imported()
        losers, keeper = _losers(dataset, images)
        reads = _reads(dataset, images)
        if recipe.caption.added()["rating"]:
            images = _rated(images, reads, recipe.tag)
        known = [*names_of(reads), *Aliases(knowledge).renames.values()]
        return cls(
            images=images,
            low=every.where(low),
            names=posts.names.with_(known),
            posts=posts,
            imported=imported,
            imported_at=images.places(imported["set"], imported["md5"]),
            losers=losers,
            keeper=keeper,
            reads=reads,
            thresholds=in_force(dataset),
            recipe=recipe.caption,
            knowledge=knowledge,
        )

    def blocks(self) -> Iterator[tuple[int, int]]:
        """Yield where blocks of images start and stop: at least one."""
        count = len(self.images)
        for start in range(0, max(count, 1), BLOCK):
            yield start, min(start + BLOCK, count)

    def vocabulary(self) -> set[str]:
        """Return all tags that posts and imports have or taggers know, canonical."""
        imported = self.imported["tags"].combine_chunks().flatten().unique()
        return {*self.posts.names, *imported.to_pylist(), *names_of(self.reads)}

    def sentences(self, start: int, stop: int) -> Sentences:
        """Return what stood beside the images from `start` to before `stop`, which begin at 0."""
        image, text = self.imported_at, self.imported["sentence"]
        told = (image >= start) & (image < stop) & np.asarray(pc.not_equal(text, ""))
        rows = np.flatnonzero(told)
        rows = rows[np.argsort(image[rows], kind="stable")]
        return Sentences(image[rows] - start, text.take(pa.array(rows)).combine_chunks())

    def both(self, start: int, stop: int) -> Tags:
        """Return all that booru and taggers say of the images from `start` to before `stop`."""
        booru = self._from_booru(start, stop)
        if not self.reads:
            return booru.once()
        return sources.together(booru, self._from_taggers(start, stop)).once()

    def taken(self, start: int, stop: int) -> Tags:
        """Return the tags of booru (or imported text) and taggers, as the recipe takes them.

        Aliases are resolved in each first: what has two names is one tag to both.
        """
        options, images = self.recipe.source, self.images.part(start, stop)
        booru = self._resolved(self._from_booru(start, stop), images)
        if options == "booru" or not self.reads:
            return booru.once()
        tagger = self._resolved(self._from_taggers(start, stop), images)
        if options == "taggers":
            return tagger
        both = sources.together(booru, tagger).once()
        return sources.taken(both, options, self.recipe.few)

    def _resolved(self, tags: Tags, images: Images) -> Tags:
        rules = self.recipe.rules
        if "aliases" not in rules:
            return tags
        return Aliases(self.knowledge)(tags, images, 1 << rules.index("aliases"))

    def _from_taggers(self, start: int, stop: int) -> Tags:
        tags = sources.from_taggers(
            [read.part(start, stop) for read in self.reads], self.thresholds
        )
        wider, codes = replace(tags, names=self.names).with_names(tags.names)
        return replace(wider, tag=codes[tags.tag])

    def _from_booru(self, start: int, stop: int) -> Tags:
        """The tags of posts and of imported text files."""
        mine = (self.imported_at >= start) & (self.imported_at < stop)
        imported = self.imported.filter(pa.array(mine))
        tags = self._told(self.images.part(start, stop), imported)
        low, high = np.searchsorted(self.keeper, [start, stop])
        if low == high:
            return tags
        theirs = self._told(self.losers.part(low, high), self.imported)
        keeper = self.keeper[low:high] - start
        return sources.together(tags, replace(theirs, image=keeper[theirs.image])).once()

    def _told(self, images: Images, imported: pa.Table) -> Tags:
        booru = replace(sources.from_booru(images, self.posts), names=self.names)
        if not imported.num_rows:
            return booru
        categories = {**self.knowledge.categories, **names_of(self.reads)}
        return sources.together(booru, sources.from_imports(images, imported, categories))


def keepers(dataset: Dataset) -> Images:
    """Return the keepers of every set, with their posts."""
    groups = dataset.table(GROUPS)
    rows = groups.filter(pc.equal(groups.column("md5"), groups.column("keeper")))
    members = dataset.members().group_by(["set", "md5"]).aggregate([("post_id", "min")])
    rows = rows.select(["set", "md5"]).join(members, ["set", "md5"])
    rows = rows.sort_by([("set", "ascending"), ("md5", "ascending")])
    posts = dataset.posts.columns("id", "score", "created_at", "rating")
    ids = rows.column("post_id_min")
    places = pc.index_in(ids, value_set=posts.column("id").combine_chunks())
    posts = posts.take(places).combine_chunks()
    uploaded = pc.fill_null(posts["created_at"].cast(pa.int64()), NO_DAY * DAY)
    ratings = pc.fill_null(pc.index_in(posts["rating"], value_set=pa.array(RATINGS)), -1)
    reg = dataset.sets("reg")
    return Images(
        sets=_shared(rows.column("set")),
        md5s=rows.column("md5").to_pylist(),
        post_ids=ids.to_numpy(),
        is_reg=np.asarray(pc.is_in(rows.column("set"), value_set=pa.array(list(reg), pa.string()))),
        scores=posts["score"].cast(pa.float64()).to_numpy(),
        uploaded=(uploaded.to_numpy() // DAY).astype(np.int32),
        ratings=ratings.to_numpy().astype(np.int8),
    )


def is_low(images: Images, recipe: CaptionsSection) -> Bools:
    """Return which images the rule that drops by score leaves out."""
    least = recipe.drop.below if "drop" in recipe.rules else None
    return images.scores < (-np.inf if least is None else least)  # NaN never is


def _rated(images: Images, reads: list[Read], options: TagSection) -> Images:
    """The images with the taggers' rating where the site has none."""
    unrated = images.ratings < 0
    if not (reads and unrated.any()):
        return images
    by_taggers = sources.ratings(reads, options).astype(np.int8)
    return replace(images, ratings=np.where(unrated, by_taggers, images.ratings))


def _losers(dataset: Dataset, images: Images) -> tuple[Images, Ints]:
    """The images that a keeper stands for, if it takes their tags, and which of `images` it is.

    Posts of the keeper's own pixels, whose files were never fetched, are among them.
    """
    groups = dataset.table(GROUPS).select(["set", "md5", "keeper"])
    if not dataset.recipe.dedup.merge_tags:
        groups = groups.slice(0, 0)
    others = groups.filter(pc.not_equal(groups.column("md5"), groups.column("keeper")))
    twins = groups.join(dataset.twins(), ["set", "md5"], join_type="inner")
    rows = pa.concat_tables([others.join(dataset.members(), ["set", "md5"]), twins])
    rows = rows.sort_by([("set", "ascending"), ("md5", "ascending"), ("post_id", "ascending")])
    keeper = images.places(rows.column("set"), rows.column("keeper"))
    order = np.argsort(keeper, kind="stable")
    rows, keeper = rows.take(pa.array(order)), keeper[order]
    # the keeper's role counts, as does its score
    losers = Images.of_posts(
        _shared(rows["set"]), rows["md5"].to_pylist(), rows["post_id"].to_numpy()
    )
    return losers, keeper


def _reads(dataset: Dataset, images: Images) -> list[Read]:
    """The probabilities of these images. Raises DatasetError when tags must come from taggers."""
    needed = dataset.recipe.caption.source in ("taggers", "intersection")
    if needed and len(keys_of(dataset)) < len(dataset.recipe.tag.taggers):
        raise DatasetError(
            f"{dataset.root}: a tagger of the recipe has not run yet: `prep tag` runs it"
        )
    return reads_of(dataset, images.md5s)


def _shared(column: pa.ChunkedArray) -> list[str]:
    """The words of a column; what stands a million times is one object."""
    words = column.combine_chunks().dictionary_encode()
    names = words.dictionary.to_pylist()
    return [names[code] for code in words.indices.to_pylist()]
