"""What lies beside the images of a folder: texts, JSON, lists; found once, read per image."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from prep.headers import Header
from prep.imports import lists, metadata
from prep.imports.texts import Caption, decoded, parse
from prep.seals import Drop
from schemas.progress import say
from schemas.tags import canonical

EXTENSIONS = {
    ".jpg": "jpg", ".jpeg": "jpg", ".jfif": "jpg", ".png": "png", ".webp": "webp",
    ".avif": "avif", ".bmp": "bmp", ".gif": "gif",
}  # fmt: skip
TEXTS = (".txt", ".caption")
BESIDE = (*TEXTS, ".json")
KOHYA_FOLDER = re.compile(r"(\d+)_(.+)")  # how often an image is seen, what it is called by
ORPHAN = "caption without an image"
UNREAD = "caption that cannot be read"
NAMED = 3  # files named in a told line


@dataclass(frozen=True)
class Beside:
    """All that is said of one image. Tags are canonical; a category is "" where nothing told it."""

    tags: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    sentence: str = ""
    first: str = ""  # the first tag as it is spelt: a trigger leads
    post: Mapping[str, Any] | None = None  # a row of the table of posts


@dataclass
class Folder:
    """A folder's files by what they are, and what is met while reading them."""

    path: Path
    images: list[Path]
    drops: list[Drop] = field(default_factory=list)
    _texts: dict[str, Path] = field(default_factory=dict)  # by name, folded
    _entries: dict[str, dict[str, Any]] = field(default_factory=dict)  # of lists, by image
    _listed_in: dict[str, str] = field(default_factory=dict)
    _categories: dict[str, str] = field(default_factory=dict)  # of tags, by `prep export`
    _used: set[str] = field(default_factory=set)
    _told: dict[str, list[str]] = field(default_factory=dict)
    _set: str = ""

    @classmethod
    def of(cls, name: str, path: Path, files: Iterable[Path]) -> "Folder":
        """Sort the files of the folder of set `name`; its lists are read at once."""
        images, beside, found_lists, categories = [], {}, [], []
        for file in files:
            suffix = file.suffix.lower()
            if lists.is_list(file):
                found_lists.append(file)
            elif file.name == lists.CATEGORIES:
                categories.append(file)
            elif suffix in EXTENSIONS:
                images.append(file)
            elif suffix in BESIDE:
                beside[lists.key(file.relative_to(path))] = file
        folder = cls(path, images, _texts=beside, _set=name)
        for file in lists.in_order(found_lists):
            folder._read_list(file)
        for file in categories:
            folder._read_categories(file)
        return folder

    def beside(self, image: Path, md5: str, header: Header, site: str) -> Beside:
        """Return what is said of the image. `site`: the dataset's own, as posts are named by it.

        Everything counts together: the texts first, then JSON, then the lists. A folder named as
        sd-scripts names them speaks for the images that nothing else speaks of.
        """
        relative = image.relative_to(self.path)
        texts = self._beside(relative, TEXTS)
        captions = [self._caption(path) for path in texts]
        objects = [self._object(path) for path in self._beside(relative, (".json",))]
        size = image.stat().st_size
        found = [
            metadata.read(entry, site, md5, header, size)
            for entry in (*objects, *self._listed(relative))
            if entry
        ]
        captions += [one.caption for one in found]
        tags: dict[str, str] = {}
        spelt = [tag for caption in captions for tag in caption.tags]
        posts = [one.post for one in found if one.post is not None]
        for name in filter(None, map(canonical, spelt)):
            tags.setdefault(name, "")
        for one in found:
            for tag in one.tags:
                tags.setdefault(tag, "")
            if one.post is None:  # else the post has them
                for category, names in one.by_category.items():
                    tags |= {tag: tags.get(tag) or category for tag in names}
            for tag, category in one.stated.items():
                tags[tag] = tags.get(tag) or category
        tags = {tag: category or self._categories.get(tag, "") for tag, category in tags.items()}
        sentence = " ".join(caption.sentence for caption in captions if caption.sentence)
        if not (tags or posts or sentence or texts):  # an empty text says: no tags
            tags = dict.fromkeys(self._by_folder(), "")
            spelt = list(self._by_folder())
        self._note(relative, sentence, captions)
        first = next(iter(spelt), "")
        post = self._completed(posts[0], image) if posts else None
        return Beside(tuple(tags), tuple(tags.values()), sentence, first, post)

    def finish(self) -> None:
        """Tell what was met, and drop the captions that no image has."""
        for name, path in self._texts.items():
            if name not in self._used:
                relative = path.relative_to(self.path).as_posix()
                self.drops.append(Drop(self._set, relative, ORPHAN))
        for name, source in self._listed_in.items():
            if name not in self._used:
                self.drops.append(Drop(self._set, name, ORPHAN, f"listed in {source}"))
        for what, names in self._told.items():
            shown = ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
            say(f"import {self._set}: {len(names)} {what} ({shown})")

    def _beside(self, image: PurePath, suffixes: Iterable[str]) -> list[Path]:
        """`name.txt` and `name.png.txt`, in any case of letters."""
        found = []
        for suffix in suffixes:
            for name in (image.with_suffix(suffix), image.with_name(image.name + suffix)):
                key = lists.key(name)
                if key in self._texts:
                    self._used.add(key)
                    found.append(self._texts[key])
        return found

    def _listed(self, image: PurePath) -> list[dict[str, Any]]:
        names = (image, image.with_suffix(""), PurePath(image.name), PurePath(image.stem))
        for name in map(lists.key, names):
            if name in self._entries:
                self._used.add(name)
                return [self._entries[name]]
        return []

    def _caption(self, path: Path) -> Caption:
        try:
            text, encoding = decoded(path.read_bytes())
        except UnicodeError as error:
            self._unread(path, f"no text: {error}")
            return Caption()
        if encoding:
            self._tell(f"captions are not UTF-8 but read as {encoding}", path)
        return parse(text, self._categories)

    def _object(self, path: Path) -> dict[str, Any]:
        try:
            value = json.loads(decoded(path.read_bytes())[0])
        except (ValueError, RecursionError) as error:
            self._unread(path, f"no JSON: {error}")
            return {}
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if not isinstance(value, dict):
            self._unread(path, "no JSON object")
            return {}
        return value

    def _read_list(self, path: Path) -> None:
        try:
            entries = lists.read(path, self.path)
        except lists.NoList as error:
            self._unread(path, str(error))
            return
        source = path.relative_to(self.path).as_posix()
        for name, entry in entries.items():
            self._entries[name] = self._entries.get(name, {}) | entry
            self._listed_in[name] = source

    def _read_categories(self, path: Path) -> None:
        try:
            self._categories |= lists.read_categories(path)
        except lists.NoList as error:
            self._unread(path, str(error))

    def _by_folder(self) -> tuple[str, ...]:
        """The words that sd-scripts would take as the caption: of `4_azusa 1girl` both."""
        named = KOHYA_FOLDER.fullmatch(self.path.resolve().name)
        if not named:
            return ()
        return tuple(dict.fromkeys(map(canonical, named[2].split(maxsplit=1))))

    def _completed(self, post: Mapping[str, Any], image: Path) -> Mapping[str, Any]:
        return {**post, "file_ext": post["file_ext"] or EXTENSIONS[image.suffix.lower()]}

    def _note(self, image: PurePath, sentence: str, captions: Iterable[Caption]) -> None:
        if sentence:
            self._tell("images have sentences, kept apart from their tags", image)
        if any(caption.weighted for caption in captions):
            self._tell('captions have weights such as "(hat:1.2)", taken as text', image)

    def _unread(self, path: Path, why: str) -> None:
        relative = path.relative_to(self.path).as_posix()
        self.drops.append(Drop(self._set, relative, UNREAD, why))

    def _tell(self, what: str, path: PurePath) -> None:
        self._told.setdefault(what, []).append(path.name)
