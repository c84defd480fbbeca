"""The demo's booru as data: which posts there are now, their files, relations, tags and counts.

Facts cost nothing to ask for; what needs bytes (md5, size, pixel_hash) is drawn when asked, kept
for good, while the bytes themselves are kept only as far as `CACHED_BYTES` allows.
"""

import hashlib
import io
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image, ImageChops

from prep.demo.drawing import draw
from prep.demo.oddities import ENCODINGS, Picture, pixel_hash, shown, write_webm
from prep.demo.posts import BLOCK, CATEGORY_OF, Post, make_post, post_id, slot_of
from prep.demo.vocabulary import ALIASES, IMPLICATIONS

CACHED_BYTES = 192 * 1024 * 1024
THUMBNAILS = {"180x180": 180, "360x360": 360, "720x720": 720}  # longest side, pixels
SAMPLE_WIDTH = 850  # wider pictures have a sample of this width


@dataclass(frozen=True)
class File:
    """What a post's bytes say: md5 (hex), size in bytes, pixel_hash (hex)."""

    md5: str
    size: int
    pixel_hash: str


class World:
    """The posts of one seed, `size` pixels or so on the longest side.

    A `small` world has only what the demo's base model knows how to draw, and what is held out from
    it, in pictures about as high as wide. `absent` ids do not exist for now; `rescored` gives posts
    new scores. Both may be changed at any time, also while the world is served: an id taken out of
    `absent` appears among the others as if just uploaded, with the facts and the file it always
    has.
    """

    def __init__(
        self, posts: int = 600, seed: int = 0, size: int = 512, small: bool = False
    ) -> None:
        self.seed, self.size, self.small = seed, size, small
        self.ids = tuple(post_id(seed, slot) for slot in range(posts))  # absent ones included
        self.absent: set[int] = set()
        self.rescored: dict[int, int] = {}
        self._posts: dict[int, Post] = {}
        self._files: dict[int, File] = {}
        self._owners: dict[str, int] = {}  # md5 -> id, of the files drawn so far
        self._bytes = _Bytes(CACHED_BYTES)
        self._drawing = threading.RLock()  # one at a time: drawing is the processor's work

    def post(self, id: int) -> Post | None:
        """The post with this id, or None where there is none now."""
        return None if id in self.absent else self._known(id)

    def newest_first(self, below: int | None = None) -> Iterator[Post]:
        """Every post there is, by falling id, starting under `below`."""
        for id in reversed(self.ids):
            if (below is None or id < below) and (post := self.post(id)):
                yield post

    def oldest_first(self, above: int) -> Iterator[Post]:
        """Every post there is with an id over `above`, by rising id."""
        for id in self.ids:
            if id > above and (post := self.post(id)):
                yield post

    def state(self) -> tuple[object, ...]:
        """Changes whenever `absent` or `rescored` do."""
        return frozenset(self.absent), tuple(sorted(self.rescored.items()))

    def score(self, post: Post) -> int:
        return self.rescored.get(post.id, post.up_score + post.down_score)

    def up_score(self, post: Post) -> int:
        return self.score(post) - post.down_score

    def parent_of(self, post: Post) -> int | None:
        """The id of its parent, if the site's people named one and it still exists."""
        return post.base_id if post.declared and self.post(post.base_id) else None

    def children_of(self, post: Post) -> list[Post]:
        """The posts that name this one as parent, by rising id."""
        if post.base_id != post.id:
            return []
        slot = slot_of(self.seed, post.id)
        assert slot is not None
        block_end = min((slot // BLOCK + 1) * BLOCK, len(self.ids))
        others = (self.post(self.ids[at]) for at in range(slot + 1, block_end))
        return [other for other in others if other and self.parent_of(other) == post.id]

    def tag_counts(self) -> Counter[str]:
        """How many posts there are of each tag, deleted and hidden ones included."""
        return Counter(tag for post in self.newest_first() for tag in post.tags)

    def file(self, post: Post) -> File:
        """md5, size and pixel_hash of a post's file; draws it the first time."""
        if post.id not in self._files:
            self.bytes_of(post)
        return self._files[post.id]

    def with_md5(self, md5: str) -> Post | None:
        """The post whose file has this md5; draws files until it is found."""
        for id in self.ids:
            if md5 in self._owners:
                break
            if post := self._known(id):
                self.file(post)
        return self.post(self._owners[md5]) if md5 in self._owners else None

    def bytes_of(self, post: Post) -> bytes:
        """The bytes of a post's original file: always the same ones."""
        key = (post.id, "original")
        if (data := self._bytes.get(key)) is not None:
            return data
        with self._drawing:
            if (data := self._bytes.get(key)) is None:
                data = ENCODINGS[post.encoding].write(self._picture(post))
                self._note(post, data)
                self._bytes.put(key, data)
        return data

    def variant_of(self, post: Post, kind: str) -> bytes:
        """The bytes of a smaller version: a kind of `THUMBNAILS`, "sample", or "full"."""
        key = (post.id, kind)
        if (data := self._bytes.get(key)) is None:
            with self._drawing:
                data = self._shrunk(post, kind)
                self._bytes.put(key, data)
        return data

    def _known(self, id: int) -> Post | None:
        if id not in self._posts:
            slot = slot_of(self.seed, id)
            if slot is None or slot >= len(self.ids):
                return None
            self._posts[id] = make_post(self.seed, self.size, slot, self.small)
        return self._posts[id]

    def _note(self, post: Post, data: bytes) -> None:
        if post.id not in self._files:
            md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
            self._files[post.id] = File(md5, len(data), pixel_hash(data))
            self._owners[md5] = post.id

    def _picture(self, post: Post) -> Picture:
        note = f"post {post.id} of world {self.seed}"
        if post.is_copy:
            base = self._known(post.base_id)
            assert base is not None
            picture = shown(self.bytes_of(base))
            if post.relation == "resized":
                picture = picture.resize((post.width, post.height), Image.Resampling.LANCZOS)
            return Picture(lambda number: picture, note, post.quality)
        drawn = draw(post.portrait, post.width, post.height)
        # What moves in an animation breathes: each frame lies a little lower than the one before.
        step = max(1, post.height // 100)
        return Picture(
            lambda number: ImageChops.offset(drawn, 0, number * step), note, post.quality
        )

    def _shrunk(self, post: Post, kind: str) -> bytes:
        if kind == "sample" and post.file_ext == "zip":
            return write_webm(Picture(lambda number: Image.new("RGB", (1, 1)), f"sample {post.id}"))
        try:
            picture = shown(self.bytes_of(post))
        except (OSError, SyntaxError):  # video, or a file that breaks off
            picture = draw(post.portrait, post.width, post.height)
        picture = picture.resize(variant_size(post, kind), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        if kind == "720x720":
            picture.save(buffer, "WEBP", quality=75, method=2)
        else:
            picture.save(buffer, "JPEG", quality=85)
        return buffer.getvalue()


def variant_kinds(post: Post) -> tuple[str, ...]:
    """The kinds of file the site holds of a post, smallest first; none of Flash."""
    if post.file_ext == "swf":
        return ()
    still = post.duration is None
    sample = post.file_ext == "zip" or (still and post.width > SAMPLE_WIDTH)
    full = still and post.file_ext in ("webp", "avif")
    return (*THUMBNAILS, *("sample",) * sample, *("full",) * full, "original")


def variant_ext(post: Post, kind: str) -> str:
    """The extension of a post's file of this kind."""
    if kind == "original":
        return post.file_ext
    if kind == "sample" and post.file_ext == "zip":
        return "webm"
    return "webp" if kind == "720x720" else "jpg"


def variant_size(post: Post, kind: str) -> tuple[int, int]:
    """Width and height of a post's file of this kind, in pixels; never larger than the original."""
    factor = 1.0
    if kind in THUMBNAILS:
        factor = min(1.0, THUMBNAILS[kind] / max(post.width, post.height))
    elif kind == "sample":
        factor = min(1.0, SAMPLE_WIDTH / post.width)
    return max(1, round(post.width * factor)), max(1, round(post.height * factor))


@dataclass(frozen=True)
class TagRow:
    """A tag as `/tags.json` has it: its id, name, category and whether it fell out of use."""

    id: int
    name: str
    category: str
    is_deprecated: bool = False


def tag_rows() -> tuple[TagRow, ...]:
    """Every tag of the site, also those without posts, by rising id."""
    current = [
        TagRow(number, name, kind) for number, (name, kind) in enumerate(CATEGORY_OF.items(), 1)
    ]
    old = sorted({name for name, _ in ALIASES} - set(CATEGORY_OF))
    return (
        *current,
        *(TagRow(len(current) + number, name, "general") for number, name in enumerate(old, 1)),
        TagRow(len(current) + len(old) + 1, "cute", "general", is_deprecated=True),
    )


# (antecedent, consequent, status). One of each was taken back: only `active` ones hold.
ALIAS_ROWS = (*((a, b, "active") for a, b in ALIASES), ("sword", "holding_weapon", "deleted"))
IMPLICATION_ROWS = (
    *((a, b, "active") for a, b in IMPLICATIONS),
    ("twintails", "long_hair", "deleted"),
)


class _Bytes:
    """The files used last, as many as fit into `room` bytes; several threads may use it."""

    def __init__(self, room: int) -> None:
        self.room, self.used = room, 0
        self._held: OrderedDict[tuple[int, str], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[int, str]) -> bytes | None:
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
            return self._held.get(key)

    def put(self, key: tuple[int, str], data: bytes) -> None:
        with self._lock:
            self.used += len(data) - len(self._held.pop(key, b""))
            self._held[key] = data
            while self.used > self.room and len(self._held) > 1:
                self.used -= len(self._held.popitem(last=False)[1])
