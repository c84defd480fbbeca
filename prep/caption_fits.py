"""What is fitted to all images at once, and then kept: found features, percentiles of scores.

Each fit lies in a file of its own, which says by which keys it was made. While these stay, so does
the fit, whatever comes and goes, until `prep caption --refit`: ten new posts do not change forty
thousand captions.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from prep.caption_sources import Sources
from prep.captions import percentiles
from prep.captions.columns import Images
from prep.captions.features import Counts
from prep.captions.percentiles import Groups, Ranking
from prep.captions.rules import Fitted
from prep.dataset import Dataset
from schemas.errors import DataError
from schemas.files import fingerprint, write_json
from schemas.progress import say
from schemas.recipes.prep import CaptionsSection, CollapseSection
from schemas.tables import FOUND_FEATURES, PERCENTILES


@dataclass(frozen=True)
class Features:
    """What the trigger was found to stand for."""

    tags: Sequence[str]  # canonical, sorted
    share: float  # the part of the images that have each, at least
    fitted: str  # fingerprint of what they were found by


@dataclass(frozen=True)
class Fits:
    """The fits that the recipe wants, as they are kept or as they will be."""

    features: Features | None = None
    percentiles: pa.Table | None = None  # PERCENTILES
    fresh: frozenset[str] = frozenset()  # the names of those above that are not kept yet

    def fitted(self, images: Images, recipe: CaptionsSection) -> Fitted:
        """Return what the rules go by, over these images, which are all of the dataset."""
        ranking = None
        if self.percentiles is not None:
            settled = percentiles.settled_by(images, recipe.quality.settle)
            ranking = Ranking(Groups.read(self.percentiles), settled)
        return Fitted(self.features.tags if self.features else (), ranking)


def fits(dataset: Dataset, sources: Sources, *, refit: bool = False) -> Fits:
    """Return the fits that the recipe wants, made where none is kept; `keep` writes them."""
    recipe, fresh = dataset.recipe.caption, set()
    features, table = None, None
    if "collapse" in recipe.rules and recipe.collapse.tags == "found":
        by, options = _features_made_by(recipe), recipe.collapse
        features = None if refit else _stored_features(dataset)
        if features is None or features.fitted != by:
            features = Features(_found(sources, options), options.share, by)
            fresh.add("features")
    if ranks(recipe):
        by = fingerprint(recipe.quality.settle)
        table = None if refit else dataset.table(PERCENTILES)
        if table is None or table["fitted"].unique().to_pylist() != [by]:
            settled = percentiles.settled_by(sources.images, recipe.quality.settle)
            table = percentiles.fit(sources.images, settled, by)
            fresh.add("percentiles")
    return Fits(features, table, frozenset(fresh))


def keep(dataset: Dataset, found: Fits) -> None:
    """Write the fits that are new, and tell what they are."""
    if found.features and "features" in found.fresh:
        features = found.features
        stored = {"share": features.share, "tags": features.tags, "fitted": features.fitted}
        write_json(features_path(dataset), stored)
        say(
            f"caption: the trigger stands for {', '.join(features.tags) or 'nothing'}, until"
            " --refit; --diff --refit shows how many images have each"
        )
    if found.percentiles is not None and "percentiles" in found.fresh:
        PERCENTILES.write(dataset.path_of(PERCENTILES), found.percentiles)
        groups = Groups.read(found.percentiles)
        if posts := int(groups.posts.sum()):
            few = np.count_nonzero(groups.posts < percentiles.ENOUGH)
            say(
                f"caption: scores are ranked among {posts:,} posts, by rating and time of upload"
                f" (groups: {len(groups):,}, of fewer than {percentiles.ENOUGH} posts: {few:,})"
            )


def tell(dataset: Dataset, found: Fits, images: Images) -> None:
    """Tell how many posts with a score are not ranked, and why."""
    recipe = dataset.recipe.caption
    ranking = found.fitted(images, recipe).ranking
    if ranking is None:
        return
    scored = percentiles.has_score(images)
    young = scored & (images.uploaded > ranking.settled)
    of_all = f"of {np.count_nonzero(scored):,} posts"
    if count := np.count_nonzero(young):
        newest = np.datetime64(int(images.uploaded.max()), "D")
        say(
            f"caption: no quality tag for {count:,} {of_all}, uploaded less than"
            f" {recipe.quality.settle} days before the newest ({newest}): too young to be ranked"
        )
    if count := np.count_nonzero(scored & ~young & np.isnan(ranking.of(images))):
        say(
            f"caption: no quality tag for {count:,} {of_all}, of a rating that no post had when"
            " scores were ranked: --refit ranks them"
        )


def ranks(recipe: CaptionsSection) -> bool:
    """Whether quality tags go by percentiles."""
    return "quality" in recipe.rules and recipe.quality.by == "percentile"


def stored_features(dataset: Dataset) -> Sequence[str]:
    """Return what the trigger was found to stand for; empty before."""
    features = _stored_features(dataset)
    return features.tags if features else ()


def features_path(dataset: Dataset) -> Path:
    """Where the found features are kept, for a person to look at."""
    return dataset.root / FOUND_FEATURES


def _stored_features(dataset: Dataset) -> Features | None:
    path = features_path(dataset)
    if not path.is_file():
        return None
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return Features(stored["tags"], stored["share"], stored.get("fitted", ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DataError(
            f"{path} is not what `prep caption` wrote: remove it and run that"
        ) from None


def _found(sources: Sources, options: CollapseSection) -> list[str]:
    """The features in the tags as the sources give them, so that no rule hides one."""
    counts = Counts()
    for start, stop in sources.blocks():
        counts.add(sources.taken(start, stop), sources.images.part(start, stop))
    return counts.features(options.share, options.spare)


def _features_made_by(recipe: CaptionsSection) -> str:
    few = [recipe.few] if recipe.source == "booru-first" else []
    return fingerprint(recipe.collapse.model_dump(mode="json"), recipe.source, *few)
