"""One file from the site: streamed aside, resumed where it broke off, verified, put in its place.

What has come lies beside its place as `<name>.part` and survives a kill: the next run asks for the
rest. An original is what its md5 says it is. Of a smaller version the site tells no md5: it is held
to its length and its pixels.
"""

import contextlib
import hashlib
import io
import os
from dataclasses import dataclass
from pathlib import Path

import requests
from PIL import ImageOps

from prep.booru.session import BooruSession, Stopped, cause_of
from prep.booru.statuses import NotFoundOnSite, Unavailable
from prep.dataset import Dataset
from prep.headers import Header, read_header
from schemas.files import disk_error, md5_of, write_bytes
from taggers.images import Unreadable, read, upright_rgb

PART = ".part"  # suffix of files of which some bytes have come; `prep gc` frees forgotten ones
TRIES = 3  # that bring nothing, or other bytes than the post names
MOST_RESUMES = 50  # times that a file may break off further on than before
READ = 1 << 14  # bytes at a time; fewer than these are lost where a file breaks off
ORIGINAL, FIRST_FRAME = "original", "first-frame"
ROUNDED = 1  # pixels by which a smaller version may differ from what the site says


@dataclass(frozen=True)
class Wanted:
    """A file that a post names and we do not hold.

    post_md5: of the post's original. kind: ORIGINAL, FIRST_FRAME, or the site's name of a smaller
    version. size: bytes, 0 where the site does not tell. width, height: of the file, in pixels.
    """

    post_md5: str
    kind: str
    url: str
    extension: str
    size: int
    width: int
    height: int

    @property
    def is_smaller(self) -> bool:
        """Whether this is a smaller version, of which no md5 is known."""
        return self.kind not in (ORIGINAL, FIRST_FRAME)

    @property
    def source(self) -> str:
        """What the table of variants knows it by."""
        return f"{self.post_md5}/{self.kind}"


@dataclass(frozen=True)
class Download:
    """What came of it: an image named by its md5, or the reason why there is none."""

    wanted: Wanted
    md5: str = ""
    path: Path = Path()
    header: Header | None = None
    reason: str = ""
    detail: str = ""

    def row(self, root: Path) -> dict[str, object]:
        """The row of the table of images."""
        assert self.header is not None
        return self.header.row(self.md5, self.path, root)


@dataclass
class _Part:
    """What has come of a file, and the ETag of the version that it is of."""

    path: Path
    version: str = ""

    @property
    def length(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self.version = ""


class _Wrong(Exception):
    """The bytes are not the file that the post names."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


def download(session: BooruSession, dataset: Dataset, wanted: Wanted) -> Download:
    """Fetch one file. An original already in place with the right md5 costs no request.

    Raises SiteError when the host cannot be had at all, DiskError when nothing can be written; a
    fault of this file alone is a reason.
    """
    place = dataset.root / dataset.image_path(wanted.post_md5, wanted.extension)
    if wanted.kind == ORIGINAL and place.is_file() and md5_of(place) == wanted.post_md5:
        return Download(wanted, wanted.post_md5, place, read_header(place))
    suffix = f"-{wanted.kind}" if wanted.is_smaller else ""
    part = _Part(place.with_name(f"{wanted.post_md5}{suffix}.{wanted.extension}{PART}"))
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        return _persist(session, dataset, wanted, part)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.discard()  # a full disk needs the room; what is whole stays
        if told := disk_error(error, place):
            raise told from error
        raise


def _persist(session: BooruSession, dataset: Dataset, wanted: Wanted, part: _Part) -> Download:
    failures = resumes = 0
    while True:
        before = part.length
        try:
            _stream(session, wanted, part)
            return _placed(dataset, wanted, part)
        except NotFoundOnSite as error:
            part.discard()
            return Download(wanted, reason="file not on the site", detail=str(error))
        except Unavailable as error:
            return Download(wanted, reason="download failed", detail=str(error))
        except Unreadable as error:
            part.discard()
            return Download(wanted, reason="unreadable image", detail=error.reason)
        except _Wrong as error:
            part.discard()
            reason, detail = error.reason, error.detail
            failures += 1
        except requests.RequestException as error:
            reason, detail = "download failed", cause_of(error)
            resumes += part.length > before
            failures += part.length <= before
        if failures >= TRIES or resumes > MOST_RESUMES:
            return Download(wanted, reason=reason, detail=detail)
        session.pause(max(failures, 1))


def _stream(session: BooruSession, wanted: Wanted, part: _Part) -> None:
    """Bring the part to the whole file."""
    offset = part.length
    if wanted.size and offset >= wanted.size:
        return  # whole, or more than that: the md5 tells
    if wanted.is_smaller and not part.version:
        offset = 0  # without md5 or ETag nobody could tell two versions apart
    with session.file(wanted.url, offset, part.version) as response:
        if response.status_code == 416:
            raise _Wrong("wrong size", f"the file ends before byte {offset}")
        if offset and not _continues(response, offset):
            offset = 0
        _check_length(response, wanted, offset)
        tag = response.headers.get("ETag", "")
        part.version = "" if tag.startswith("W/") else tag  # a weak one is no promise of bytes
        with part.path.open("ab" if offset else "wb") as file:
            for chunk in response.iter_content(READ):
                if session.stopped:
                    raise Stopped(f"{wanted.url} was not read to its end")
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())


def _continues(response: requests.Response, offset: int) -> bool:
    """Whether this is the rest from `offset` on, rather than the whole again."""
    told = response.headers.get("Content-Range", "")
    return response.status_code == 206 and told.startswith(f"bytes {offset}-")


def _check_length(response: requests.Response, wanted: Wanted, offset: int) -> None:
    """Another length than the post's is told before it is read."""
    told = response.headers.get("Content-Length", "")
    if wanted.size and told.isdigit() and offset + int(told) != wanted.size:
        raise _Wrong("wrong size", f"{offset + int(told)} bytes instead of {wanted.size}")


def _placed(dataset: Dataset, wanted: Wanted, part: _Part) -> Download:
    """Verify the part and put the image in its place, named by the md5 of its bytes."""
    md5 = md5_of(part.path)
    if not wanted.is_smaller and md5 != wanted.post_md5:
        raise _Wrong("wrong md5", f"the bytes have md5 {md5}")
    if wanted.kind == FIRST_FRAME:
        frame = _first_frame(part.path)
        md5 = hashlib.md5(frame, usedforsecurity=False).hexdigest()
        path = dataset.root / dataset.image_path(md5, "png")
        write_bytes(path, frame)
        part.discard()
    else:
        if wanted.is_smaller:
            _check_pixels(part.path, wanted)
        path = dataset.root / dataset.image_path(md5, wanted.extension)
        path.parent.mkdir(parents=True, exist_ok=True)
        part.path.replace(path)
    return Download(wanted, md5, path, read_header(path))


def _first_frame(path: Path) -> bytes:
    """The first frame as png, upright, its transparency kept. Raises Unreadable."""
    frame = ImageOps.exif_transpose(read(path))
    clear = frame.has_transparency_data
    buffer = io.BytesIO()
    (frame.convert("RGBA") if clear else upright_rgb(frame)).save(buffer, "PNG")
    return buffer.getvalue()


def _check_pixels(path: Path, wanted: Wanted) -> None:
    """A smaller version decodes, to the size that the site says; it may lie on its side."""
    width, height = read(path).size
    for one, other in ((width, height), (height, width)):
        if abs(one - wanted.width) <= ROUNDED and abs(other - wanted.height) <= ROUNDED:
            return
    told = f"{width} x {height} pixels instead of {wanted.width} x {wanted.height}"
    raise _Wrong("wrong size", told)
