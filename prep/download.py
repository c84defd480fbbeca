"""One file from the site: streamed aside, md5 verified, moved to its place, its header read."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import requests

from prep.booru.session import BooruSession
from prep.booru.statuses import NotFoundOnSite
from prep.headers import Header, read_header
from schemas.errors import SiteError
from schemas.files import CHUNK, md5_of, writing

TRIES = 3  # for a body that is cut short or has another md5


@dataclass(frozen=True)
class Wanted:
    """A file that a post names and we do not hold."""

    post_id: int
    md5: str
    url: str
    size: int  # bytes, as the site says
    path: Path


@dataclass(frozen=True)
class Download:
    """What came of it: a header, or the reason why there is no file."""

    wanted: Wanted
    header: Header | None = None
    reason: str = ""
    detail: str = ""

    def row(self, root: Path) -> dict[str, object]:
        """The row of the table of images."""
        assert self.header is not None
        return self.header.row(self.wanted.md5, self.wanted.path, root)


class _Wrong(Exception):
    """The body is not the file that the post names."""


def download(session: BooruSession, wanted: Wanted) -> Download:
    """Fetch one file. A file already in place with the right md5 costs no request.

    Raises SiteError when the host cannot be had at all; a fault of this file alone is a reason.
    """
    if wanted.path.is_file() and md5_of(wanted.path) == wanted.md5:
        return Download(wanted, read_header(wanted.path))
    fault = ""
    for _ in range(TRIES):
        try:
            _stream(session, wanted)
            return Download(wanted, read_header(wanted.path))
        except NotFoundOnSite as error:
            return Download(wanted, reason="file not on the site", detail=str(error))
        except (_Wrong, requests.RequestException) as error:
            fault = str(error)
    return Download(wanted, reason="download failed", detail=fault)


def _stream(session: BooruSession, wanted: Wanted) -> None:
    digest = hashlib.md5(usedforsecurity=False)
    received = 0
    with writing(wanted.path) as aside, session.file(wanted.url) as response:
        if response.status_code != 200:
            raise SiteError(f"{wanted.url} answered HTTP {response.status_code} to a plain request")
        with aside.open("wb") as file:
            for chunk in response.iter_content(CHUNK):
                digest.update(chunk)
                received += len(chunk)
                file.write(chunk)
        if received != wanted.size:
            raise _Wrong(f"{received} bytes came instead of {wanted.size}")
        if digest.hexdigest() != wanted.md5:
            raise _Wrong(f"the bytes have md5 {digest.hexdigest()}")
