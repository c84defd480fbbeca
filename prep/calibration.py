"""Thresholds per tag, fitted to the booru's own tags: the best F1, nearer the usual with few posts.

A category has one threshold for all its tags, but a tagger gives one tag 0.9 wherever it is there,
and another never more than 0.2. Which threshold tells a tag best is known where the booru has
tagged the same images. A fit is kept until `prep tag --refit`, and counts where the recipe says
`calibrated`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from prep.captions.columns import Bools, Images, Ints
from prep.captions.combined import Block, Read, blocks, names_of
from prep.captions.post_tags import COLUMNS, PostTags
from prep.captions.sources import from_booru
from prep.dataset import Dataset
from prep.probabilities import keys_of, reads_of
from schemas.errors import DatasetError
from schemas.files import fingerprint
from schemas.recipes.prep import TagSection
from schemas.tables import THRESHOLDS
from taggers.thresholds import best_f1, thresholds, without_gaps
from taggers.vocabulary import Label

EVIDENCE = 10  # posts with a tag, from which its threshold is fitted
PRIOR = 20  # posts that the usual threshold counts for beside them
DRAWS = 20  # of the images, each giving a threshold: their mean is steadier than the best of all
MOST = 100_000  # posts: with more of them no threshold moves

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Known:
    """What taggers say of images whose tags the booru knows: one element a kept probability."""

    image: Ints
    tag: Ints  # place in the names
    probability: Floats
    shown: Bools  # whether the booru has the tag on the image
    has_image: Ints  # all that the booru has: image and tag, also where no probability was kept
    has_tag: Ints

    def of(self, image: Bools) -> "Known":
        """Return the same of some images alone, `image`: [images]."""
        kept, has = image[self.image], image[self.has_image]
        return Known(
            self.image[kept], self.tag[kept], self.probability[kept], self.shown[kept],
            self.has_image[has], self.has_tag[has],
        )  # fmt: skip


def calibrate(dataset: Dataset) -> pa.Table:
    """Fit the thresholds to all images that have a post; return and keep the table.

    Each tag's F1 is that of images it was not fitted to: one half judged by a fit to the other.
    Raises DatasetError where no image has both probabilities and a post.
    """
    reads, images = _images(dataset)
    options = without_gaps(dataset.recipe.tag.model_copy(update={"threshold": {}}))
    categories = names_of(reads)
    usual = thresholds([Label(*one) for one in categories.items()], options).astype(np.float64)
    posts = PostTags.of(dataset.posts.parts(*COLUMNS))
    known = _known(reads, options, images, posts, list(categories))
    fitted = fit(known, usual)
    half = np.arange(len(images)) % 2 == 0
    counts = [_counts(known.of(judged), fit(known.of(~judged), usual)) for judged in (half, ~half)]
    table = pa.table(
        {
            "tag": list(categories),
            "category": list(categories.values()),
            "posts": np.bincount(known.has_tag, minlength=len(usual)).astype(np.int32),
            "usual": usual.astype(np.float32),
            "threshold": fitted.astype(np.float32),
            "f1_usual": f1(_counts(known, usual)).astype(np.float32),
            "f1": f1(counts[0] + counts[1]).astype(np.float32),
        },
        schema=THRESHOLDS.schema,
    )
    table = table.filter(pc.greater_equal(table["posts"], EVIDENCE))
    THRESHOLDS.write(dataset.path_of(THRESHOLDS), table)
    return dataset.table(THRESHOLDS)


def made_by(dataset: Dataset) -> str:
    """What a fit is made by; while that stays, so does the fit."""
    options = dataset.recipe.tag
    return fingerprint(
        list(keys_of(dataset).values()), options.combine, sorted(options.weight.items())
    )


def in_force(dataset: Dataset) -> TagSection:
    """The recipe's thresholds, with the fitted ones below its own where it says `calibrated`."""
    options = dataset.recipe.tag
    if not options.calibrated:
        return options
    table = dataset.table(THRESHOLDS)
    fitted = dict(zip(table["tag"].to_pylist(), table["threshold"].to_pylist(), strict=True))
    return options.model_copy(update={"threshold": {**fitted, **options.threshold}})


def fit(known: Known, usual: Floats) -> Floats:
    """Return the threshold of each tag, [tags]: `usual` where fewer than EVIDENCE images have it.

    The best threshold of few images is much by chance. So it is the mean over DRAWS of the images
    (Breiman 1996, bagging), and that, from n posts, is averaged with the usual one as if PRIOR more
    had said the latter.
    """
    posts = np.bincount(known.has_tag, minlength=len(usual))
    order = np.argsort(known.tag, kind="stable")
    ends = np.cumsum(np.bincount(known.tag, minlength=len(usual)))
    fitted = usual.copy()
    for tag in np.flatnonzero((posts >= EVIDENCE) & np.isfinite(usual)):
        own = order[ends[tag - 1] if tag else 0 : ends[tag]]
        best = _bagged(known.probability[own], known.shown[own], usual[tag], int(posts[tag]))
        fitted[tag] = (posts[tag] * best + PRIOR * usual[tag]) / (posts[tag] + PRIOR)
    return fitted


def _bagged(probability: Floats, shown: Bools, usual: float, posts: int) -> float:
    rng = np.random.default_rng(posts)
    missed = posts - int(shown.sum())
    found = []
    for _ in range(DRAWS):
        weight = rng.poisson(1.0, len(shown))
        drawn = weight > 0
        found.append(
            best_f1(probability[drawn], shown[drawn], usual, weight[drawn], rng.poisson(missed))
        )
    return float(np.mean(found))


def f1(counts: Ints) -> Floats:
    """F1 of each tag, from `_counts`; 0 where it is neither there nor said."""
    right, said, there = counts
    return np.asarray(2 * right / np.maximum(said + there, 1), np.float64)


def _counts(known: Known, least: Floats) -> Ints:
    """Of each tag: how often it is rightly said, said, and there, [3, tags]."""
    said = known.probability >= least[known.tag]
    tags = (known.tag[said & known.shown], known.tag[said], known.has_tag)
    return np.stack([np.bincount(one, minlength=len(least)) for one in tags])


def _images(dataset: Dataset) -> tuple[list[Read], Images]:
    """The images that were tagged and have a post, at most MOST, evenly over their md5s."""
    members = dataset.members()
    members = members.filter(pc.greater(members["post_id"], 0))
    rows = members.group_by("md5").aggregate([("post_id", "min")]).sort_by("md5")
    for key in keys_of(dataset).values():
        table = dataset.probabilities(key).columns("problem")
        sound = table.filter(pc.is_null(table["problem"]))["md5"].combine_chunks()
        rows = rows.filter(pc.is_in(rows["md5"], value_set=sound))
    if not rows.num_rows:
        raise DatasetError(
            f"{dataset.root}: no tagged image has a post to fit thresholds to: "
            "leave `calibrated` out of [tag]"
        )
    rows = rows.take(
        np.unique(np.linspace(0, rows.num_rows - 1, min(MOST, rows.num_rows)).astype(int))
    )
    md5s = rows["md5"].to_pylist()
    images = Images.of_posts([""] * len(md5s), md5s, rows["post_id_min"].to_numpy())
    return reads_of(dataset, md5s), images


def _known(
    reads: Sequence[Read], options: TagSection, images: Images, posts: PostTags, names: list[str]
) -> Known:
    booru = from_booru(images, posts)
    place = {name: n for n, name in enumerate(names)}
    code = np.array([place.get(name, -1) for name in booru.names], np.int64)[booru.tag]
    has_image, has_tag = booru.image[code >= 0], code[code >= 0]
    parts = list(blocks(reads, options))
    kept = Block(
        np.concatenate([one.image for one in parts]),
        np.concatenate([one.tag for one in parts]),
        np.concatenate([one.probability for one in parts]),
    )
    is_tag = kept.tag < len(names)
    image, tag = kept.image[is_tag], kept.tag[is_tag]
    shown = np.isin(
        image.astype(np.int64) * len(names) + tag, has_image.astype(np.int64) * len(names) + has_tag
    )
    return Known(image, tag, kept.probability[is_tag], shown, has_image, has_tag)
