"""The embedded booru's file host: originals and smaller versions by md5, whole or in ranges."""

import re
from collections.abc import Mapping

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from prep.demo.posts import Post
from prep.demo.world import World, variant_ext, variant_kinds

MEDIA_TYPES = {
    **{"jpg": "image/jpeg", "png": "image/png", "gif": "image/gif", "webp": "image/webp"},
    **{"avif": "image/avif", "mp4": "video/mp4", "webm": "video/webm", "zip": "application/zip"},
    "swf": "application/x-shockwave-flash",
}
_NAME = re.compile(r"(?:__.+__)?(?:sample-)?([0-9a-f]{32})\.(\w+)")
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def file_response(world: World, request: Request, headers: Mapping[str, str]) -> Response:
    """The bytes at `/<kind>/ab/cd/<md5>.<ext>`; 404 for what is not there or withheld."""
    kind, post = _wanted(world, request)
    data = world.bytes_of(post) if kind == "original" else world.variant_of(post, kind)
    media_type = MEDIA_TYPES[variant_ext(post, kind)]
    tag = f'"{world.file(post).md5}-{kind}"'
    told = {**headers, "accept-ranges": "bytes", "etag": tag}
    asked = _RANGE.fullmatch(request.headers.get("range", ""))
    if asked is None or request.headers.get("if-range", tag) != tag:
        return Response(data, 200, told, media_type)
    start, end = _bounds(asked[1], asked[2], len(data))
    if start >= end:
        told["content-range"] = f"bytes */{len(data)}"
        return Response(b"", 416, told, media_type)
    told["content-range"] = f"bytes {start}-{end - 1}/{len(data)}"
    return Response(data[start:end], 206, told, media_type)


def _wanted(world: World, request: Request) -> tuple[str, Post]:
    """The kind of file and the post that a path names."""
    path = request.path_params
    name = _NAME.fullmatch(path["name"])
    post = world.with_md5(name[1]) if name else None
    if name and post and not post.is_banned:
        kinds = {*variant_kinds(post), "original"}
        folders = (name[1][:2], name[1][2:4])
        placed = path["kind"] in kinds and (path["first"], path["second"]) == folders
        if placed and name[2] == variant_ext(post, path["kind"]):
            return path["kind"], post
    raise HTTPException(404, "That record was not found.")


def _bounds(first: str, last: str, size: int) -> tuple[int, int]:
    """Start and end (exclusive) of `bytes=first-last`, of which either may be left out."""
    if not first:
        return (max(0, size - int(last)), size) if last else (size, size)
    return int(first), min(int(last) + 1, size) if last else size
