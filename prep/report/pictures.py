"""Pictures as data URIs: thumbnails of the dataset's images, and drawn pictures within a budget."""

import io
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from prep.dataset import Dataset
from prep.report.html import Html, element
from taggers.images import Unreadable, read, upright_rgb

# longest side in pixels (0: as drawn) and WebP quality (0: lossless), the best first
FORMS = ((0, 0), (0, 92), (0, 80), (384, 80), (256, 75), (160, 70), (96, 60))
SAMPLED = 8  # pictures, or a few more, that tell how large all will be
DENSITY = 2  # pixels of a thumbnail for each pixel of the page: screens are fine


@dataclass(frozen=True)
class Images:
    """The dataset's images on disk, by md5."""

    root: Path
    paths: Mapping[str, str]  # from the root
    post_md5: Mapping[int, str]

    @classmethod
    def of(cls, dataset: Dataset) -> "Images":
        """Read where the images lie, and which post has which."""
        images = dataset.images.read()
        posts = dataset.posts.read()
        return cls(
            dataset.root,
            dict(zip(images["md5"].to_pylist(), images["path"].to_pylist(), strict=True)),
            dict(zip(posts["id"].to_pylist(), posts["md5"].to_pylist(), strict=True)),
        )

    def thumbnail(self, item: str, side: int, alt: str = "") -> Html | None:
        """Return an image of at most `side` pixels on the page; None when it cannot be shown.

        `item` is as in the tables of drops: "post 123", or an md5.
        """
        post = item.removeprefix("post ")
        md5 = self.post_md5.get(int(post), "") if post != item and post.isdigit() else item
        path = self.root / self.paths[md5] if md5 in self.paths else None
        if path is None or not path.is_file():
            return None
        try:
            picture = upright_rgb(read(path, side))
        except Unreadable:
            return None
        picture.thumbnail((side * DENSITY, side * DENSITY), Image.Resampling.LANCZOS)
        width, height = (max(1, round(edge / DENSITY)) for edge in picture.size)
        return element(
            "img", src=_uri(_webp(picture, 78)), alt=alt or md5, width=width, height=height
        )


def encoded(pictures: Sequence[Path], budget: int) -> list[str]:
    """Return the pictures as data URIs in the best form in which all take at most `budget` bytes.

    The poorest form is returned even when it does not keep to the budget.
    """
    uris: list[str] = []
    some = pictures[:: max(1, len(pictures) // SAMPLED)]
    for form in FORMS:
        sizes = sum(len(_encoded(path, *form)) for path in some)
        if sizes * len(pictures) > budget * len(some) and form != FORMS[-1]:
            continue
        uris = [_encoded(path, *form) for path in pictures]
        if sum(map(len, uris)) <= budget:
            break
    return uris


def _encoded(path: Path, side: int, quality: int) -> str:
    return _uri(_webp(_drawn(path, side), quality))


def whole(path: Path) -> bool:
    """Whether a picture is there and was written to its end."""
    try:
        with Image.open(path) as opened:
            opened.verify()
    except (OSError, SyntaxError):
        return False
    return True


def _drawn(path: Path, side: int) -> Image.Image:
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    if side:
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    return picture


def _webp(picture: Image.Image, quality: int) -> bytes:
    written = io.BytesIO()
    picture.save(written, "WEBP", quality=quality or 90, lossless=not quality, method=4)
    return written.getvalue()


def _uri(data: bytes) -> str:
    return f"data:image/webp;base64,{b64encode(data).decode()}"
