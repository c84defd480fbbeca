"""Which images a query finds, by the tags of their captions as they now stand."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from prep import caption
from prep.captions.columns import KINDS, Bools, Ints, Tags
from prep.dataset import Dataset
from prep.edits import conflicts, journal
from prep.edits.journal import EditTag
from prep.probabilities import keys_of, labels_path
from prep.query.columns import Posts
from prep.query.evaluate import select
from prep.query.parse import parse
from schemas.tables import GROUPS, PARTS, POSTS
from schemas.tags import CATEGORIES, SENTENCE, canonical
from taggers.vocabulary import read_labels


@dataclass(frozen=True)
class Captions:
    """The captions of a dataset where edits act on them, and who they belong to."""

    dataset: Dataset
    now: caption.Now

    @classmethod
    def of(cls, dataset: Dataset) -> "Captions":
        """Read the captions as the stored tables and the journal make them now."""
        return cls(dataset, caption.up_to_edits(dataset))

    def found(self, query: str, *, excluded: bool = False) -> Ints:
        """Return the places of the images that a query finds, in its order.

        Tags are those of captions after select, collapse and edits; all else is the post's, or, of
        an image without one, the file's. `excluded`: of the images that edits took out. Raises
        QueryError.
        """
        posts = Posts(_as_posts(self.dataset, self.now))
        rows = select(parse(query), posts)
        remains = conflicts.remains(self.now.edited.standing)
        wanted: Ints = rows[remains[rows] != excluded]
        return wanted

    def having(self, tag: str) -> Bools:
        """Return which images have the tag."""
        tags = self.now.edited.tags
        mask = np.zeros(len(self.now.images), bool)
        mask[tags.image[tags.named([tag])]] = True
        return mask

    def place(self, name: str) -> int | None:
        """Return where the caption of an image is that the journal names so; None: nowhere."""
        return self._places.get(name)

    def places_of(self, names: Iterable[str]) -> Ints:
        """Return where the captions of these images are, of those that have one."""
        places = (self.place(name) for name in names)
        return np.array(sorted(place for place in places if place is not None), np.int64)

    def has(self, name: str, tag: str) -> bool:
        """Return whether the image that the journal names so has the tag."""
        place = self.place(name)
        return place is not None and bool(self._having(tag)[place])

    def sentences(self, name: str) -> list[EditTag]:
        """Return the sentences that a person wrote into the caption of an image."""
        place, tags = self.place(name), self.now.edited.tags
        if place is None or SENTENCE not in self._kinds:
            return []
        own = tags.where((tags.image == place) & (tags.category == KINDS.index(SENTENCE)))
        parts = (PARTS[part] if part >= 0 else "" for part in own.part.tolist())
        names = (tags.names[code] for code in own.tag.tolist())
        return [EditTag(text, SENTENCE, part) for text, part in zip(names, parts, strict=True)]

    @cached_property
    def _kinds(self) -> set[str]:
        return {KINDS[kind] for kind in np.unique(self.now.edited.tags.category).tolist()}

    def was_said(self, do: str, tag: str, name: str) -> bool:
        """Return whether an edit that stands adds the tag to this image, or removes it."""
        return (do, tag, name) in self._said

    def names(self, images: Ints) -> tuple[str, ...]:
        """Return how the journal names these images: by the md5s they came with, each once."""
        came = self.dataset.originals()
        md5s = (self.now.images.md5s[n] for n in images.tolist())
        return tuple(dict.fromkeys(came.get(md5, md5) for md5 in md5s))

    def copies(self, names: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
        """Return the other images of the groups that these are the keepers of."""
        wanted = set(names)
        return {name: others for name, others in self._copies.items() if name in wanted}

    @cached_property
    def _places(self) -> dict[str, int]:
        came = self.dataset.originals()
        found: dict[str, int] = {}
        for n, md5 in enumerate(self.now.images.md5s):
            found.setdefault(came.get(md5, md5), n)
        return found

    @cached_property
    def _said(self) -> set[tuple[str, str, str]]:
        return {
            (change.do, tag.tag, name)
            for entry in journal.read(self.dataset.root).counting
            for change in entry.changes
            if change.do in ("add", "remove")
            for tag in change.tags
            for name in change.images
        }

    def _having(self, tag: str) -> Bools:
        if tag not in self._masks:
            self._masks[tag] = self.having(tag)
        return self._masks[tag]

    @cached_property
    def _masks(self) -> dict[str, Bools]:
        return {}

    @cached_property
    def _copies(self) -> dict[str, tuple[str, ...]]:
        groups = self.dataset.table(GROUPS)
        rows = groups.filter(pc.not_equal(groups["md5"], groups["keeper"]))
        came = self.dataset.originals()
        found: dict[str, dict[str, None]] = {}
        for md5, keeper in zip(rows["md5"].to_pylist(), rows["keeper"].to_pylist(), strict=True):
            found.setdefault(came.get(keeper, keeper), {})[came.get(md5, md5)] = None
        return {keeper: tuple(others) for keeper, others in found.items()}

    def tag(self, name: str, part: str = "") -> EditTag:
        """Return a tag with its category: the recipe's, else as captions, taggers, posts have it.

        `name` is canonical. What nothing knows is general.
        """
        return EditTag(name, self._categories.get(name) or self._by_posts(name) or "general", part)

    def knows(self, name: str) -> bool:
        """Return whether anything in the dataset has this tag."""
        return name in self._categories or bool(self._by_posts(name))

    @property
    def known(self) -> list[str]:
        """The tags that captions, the recipe and taggers know."""
        return list(self._categories)

    @cached_property
    def _categories(self) -> dict[str, str]:
        recipe, tags = self.dataset.recipe.caption, self.now.edited.tags
        first = np.unique(tags.tag, return_index=True)[1]
        kinds = tags.category[first].tolist()
        found = {
            canonical(label.name): label.category
            for key in keys_of(self.dataset).values()
            for label in read_labels(labels_path(self.dataset, key))
            if label.category in CATEGORIES
        }
        codes = tags.tag[first].tolist()
        found |= {tags.names[code]: KINDS[kind] for code, kind in zip(codes, kinds, strict=True)}
        for kind, texts in recipe.added().items():
            found |= dict.fromkeys(map(canonical, texts), kind)
        return found

    def _by_posts(self, name: str) -> str:
        for category, column in self._posts.items():
            if pc.any(pc.equal(column, name)).as_py():
                return category
        return ""

    @cached_property
    def _posts(self) -> dict[str, pa.Array]:
        posts = self.dataset.posts.columns(*CATEGORIES)
        return {name: posts[name].combine_chunks().flatten().unique() for name in CATEGORIES}


def _as_posts(dataset: Dataset, now: caption.Now) -> pa.Table:
    """A row of the table of posts for each image, with the tags of its caption."""
    posts = dataset.posts.read()
    ids = pa.array(now.images.post_ids)
    rows = posts.take(pc.index_in(ids, value_set=posts["id"].combine_chunks()))
    md5s = pa.array(list(now.images.md5s), pa.string())
    files = dataset.images.read()
    files = files.take(pc.index_in(md5s, value_set=files["md5"].combine_chunks()))
    ending = pc.replace_substring_regex(files["path"], r"^.*\.", "")
    own = {
        "md5": md5s, "file_size": files["bytes"], "width": files["width"],
        "height": files["height"], "file_ext": ending, "is_deleted": pa.scalar(False),
        "is_banned": pa.scalar(False), "source": pa.scalar(""),
    }  # fmt: skip
    columns = dict(zip(rows.column_names, rows.columns, strict=True))
    columns |= {name: pc.coalesce(columns[name], value) for name, value in own.items()}
    columns["md5"] = md5s  # of the picture that is here, if another took the post's place
    columns |= {name: _lists(now.edited.tags, name, len(md5s)) for name in CATEGORIES}
    return pa.table({name: columns[name] for name in POSTS.schema.names})


def _lists(tags: Tags, category: str, count: int) -> pa.ListArray:
    """The tags of a category, image by image; what rules made counts as general."""
    kinds = [KINDS.index(category)]
    if category == "general":
        kinds += range(len(CATEGORIES), len(KINDS))
    own = tags.where(np.isin(tags.category, kinds))
    ends = np.cumsum(np.bincount(own.image, minlength=count))
    offsets = pa.array(np.concatenate([[0], ends]).astype(np.int32))
    names = pa.array(list(tags.names), pa.string()).take(pa.array(own.tag))
    return pa.ListArray.from_arrays(offsets, names)
