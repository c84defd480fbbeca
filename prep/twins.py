"""Posts of the same pixels, by the site's word: one file is fetched, and stands for all of them.

Of the posts that share a `pixel_hash` none is wanted once a sound image of one of them is here.
Until then the best by `dedup.keep` is, as far as the listing tells; where its file cannot be had,
or cannot be used, the next one. So what is here decides, not the order in which it came: a fetch
that is killed ends with the same tables.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from prep.dataset import Dataset
from prep.dedup import preference, worth
from prep.download import FIRST_FRAME, Download, Wanted
from prep.listing import Listing
from prep.missing_files import chosen
from prep.seals import Drop
from schemas.tables import EXCLUDED

SAME = "same pixels"


@dataclass
class Twins:
    """The posts whose pixels another has.

    picture: the pixel hash of each; rank: which is the better one, the lower the better;
    elsewhere: files of those that no set listed this time; unsound: images that stand for nothing.
    """

    picture: Mapping[int, str]
    rank: Mapping[int, int]
    elsewhere: Mapping[int, Wanted]
    removed: frozenset[str]
    unsound: set[str]
    _posts: dict[str, list[int]] = field(init=False)

    def __post_init__(self) -> None:
        self._posts = defaultdict(list)
        for post, picture in self.picture.items():
            self._posts[picture].append(post)

    def wanted(self, missing: Iterable[int], held: Mapping[int, str]) -> list[int]:
        """Return which of the posts without an image to fetch now: of one picture the best."""
        best: dict[int | str, int] = {}
        for post in missing:
            picture = self.picture.get(post)
            if picture is None:
                best[post] = post
            elif self._stand_in(self._posts[picture], held) is None:
                other = best.setdefault(picture, post)
                best[picture] = min(post, other, key=self.rank.__getitem__)
        return list(best.values())

    def came(self, outcome: Download) -> None:
        """Take note of a new image: a broken one stands for nothing but itself."""
        if outcome.header is not None and outcome.header.problem:
            self.unsound.add(outcome.md5)

    def settle(
        self, listing: Listing, held: Mapping[int, str], sets: Collection[str]
    ) -> dict[tuple[str, int], str]:
        """Drop the posts of these sets for which the image of another of the set's posts stands.

        Return the images that stand for the others, by set and post: where only another set has
        the picture, or an earlier fetch brought it, the best of the set's posts gets that image.
        """
        posts: dict[tuple[str, str], list[int]] = defaultdict(list)
        for name, _, post in listing.members:
            if name in sets and (picture := self.picture.get(post)):
                posts[name, picture].append(post)
        lent: dict[tuple[str, int], str] = {}
        for (name, picture), own in posts.items():
            lacking = sorted((p for p in own if p not in held), key=self.rank.__getitem__)
            stands = self._stand_in(own, held)
            md5 = "" if stands is None else held[stands]
            if lacking and stands is None:
                other = self._stand_in(self._posts[picture], held)
                if other is None:
                    continue  # no file of this picture could be had
                stands, *lacking = lacking
                lent[name, stands] = md5 = held[other]
            for post in lacking:
                listing.twins.append((name, md5, post))
                told = f"as post {stands}, image {md5}"
                listing.drops.append(Drop(name, f"post {post}", SAME, told))
        return lent

    def _stand_in(self, posts: Iterable[int], held: Mapping[int, str]) -> int | None:
        """The post whose image stands for all of these; None where there is no sound one.

        Of a picture that was removed by hand no other file is fetched, unless it is here already.
        """
        sound = [post for post in posts if post in held and held[post] not in self.unsound]
        return min(sound, key=lambda p: (held[p] in self.removed, self.rank[p]), default=None)


def twins_of(dataset: Dataset, files: Mapping[int, Wanted]) -> Twins:
    """Return what is to be known of the listed posts (by id, with their files) and their twins."""
    posts = dataset.posts.columns("pixel_hash", "score", "md5")
    posts = posts.filter(pc.greater(posts["id"], 0))  # of this site
    posts = posts.filter(pc.and_(posts["pixel_hash"].is_valid(), posts["md5"].is_valid()))
    listed = posts.filter(pc.is_in(posts["id"], pa.array(list(files), pa.int64())))
    posts = posts.filter(pc.is_in(posts["pixel_hash"], listed["pixel_hash"].combine_chunks()))
    counts = posts.group_by("pixel_hash").aggregate([("id", "count")])
    shared = counts.filter(pc.greater(counts["id_count"], 1))["pixel_hash"].combine_chunks()
    rows = posts.filter(pc.is_in(posts["pixel_hash"], shared)).to_pylist()
    blocked = set(dataset.recipe.fetch.blocked)
    elsewhere = chosen(dataset, {row["id"] for row in rows} - files.keys() - blocked)
    every = {**files, **elsewhere}
    scores = {row["id"]: row["score"] for row in rows if row["id"] in every}
    best_first = sorted(scores, key=lambda post: _preference(dataset, every[post], scores, post))
    removed, unsound = _unfit(dataset) if scores else (frozenset(), set())
    return Twins(
        picture={row["id"]: row["pixel_hash"] for row in rows if row["id"] in every},
        rank={post: place for place, post in enumerate(best_first)},
        elsewhere=elsewhere,
        removed=removed,
        unsound=unsound,
    )


def _preference(
    dataset: Dataset, file: Wanted, scores: Mapping[int, int], post: int
) -> tuple[object, ...]:
    """Sorts the better file first, as dedup would; of a smaller version the bytes are not told."""
    kind = "png" if file.kind == FIRST_FRAME else file.extension
    facts = {"width": file.width, "height": file.height, "path": f".{kind}", "bytes": file.size}
    return preference(worth(facts, scores[post], post), file.post_md5, dataset.recipe.dedup.keep)


def _unfit(dataset: Dataset) -> tuple[frozenset[str], set[str]]:
    """The images removed by hand, and those that cannot be used, unless a person replaced them."""
    removed = frozenset(dataset.table(EXCLUDED).column("md5").to_pylist())
    unsound: set[str] = set()
    for cache in (dataset.images, dataset.hashes):
        rows = cache.columns("problem")
        unsound |= set(rows.filter(rows["problem"].is_valid())["md5"].to_pylist())
    return removed, unsound - dataset.replacements().keys()
