"""The files a booru really holds: a drawing written as every kind of file, the odd ones included.

`ENCODINGS` names them. Still files decode to the drawing (or to what their kind makes of it: grey,
palette, part of it); video is a plausible head and noise, since nothing here can encode video.
"""

import hashlib
import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageOps
from PIL.PngImagePlugin import PngInfo

FRAME_MS = 120  # how long each frame of an animation is shown
FRAMES = 3
KEPT_OF_TRUNCATED = 0.6

Frame = Callable[[int], Image.Image]


@dataclass(frozen=True)
class Picture:
    """What is to be written: `frame(i)` draws it (RGB, the post's size); `note` sets it apart.

    quality: of a lossy file, 1 to 100. note: a comment put into the file where its kind has room,
    so that no two posts share an md5, as no two on a booru do.
    """

    frame: Frame
    note: str
    quality: int = 90


@dataclass(frozen=True)
class Encoding:
    """One kind of file: its extension, how it is written, what the site's people tag it with."""

    ext: str
    write: Callable[[Picture], bytes]
    tags: tuple[str, ...] = ()
    seconds: float | None = None  # duration of what moves; None for stills


def pixel_hash(data: bytes) -> str:
    """md5 of the decoded pixels (RGB or RGBA, as a PAM file), or of the bytes if undecodable."""
    try:
        picture = _decoded(data)
    except (OSError, SyntaxError):
        return hashlib.md5(data, usedforsecurity=False).hexdigest()
    depth, kind = (4, "RGB_ALPHA") if picture.mode == "RGBA" else (3, "RGB")
    head = f"P7\nWIDTH {picture.width}\nHEIGHT {picture.height}\nDEPTH {depth}\nMAXVAL 255\n"
    pam = (head + f"TUPLTYPE {kind}\nENDHDR\n").encode() + picture.tobytes()
    return hashlib.md5(pam, usedforsecurity=False).hexdigest()


def shown(data: bytes) -> Image.Image:
    """The picture as a viewer shows it: RGB, upright, on white. Raises OSError if undecodable."""
    picture = ImageOps.exif_transpose(_decoded(data))
    if picture.mode == "RGB":
        return picture
    ground = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(ground, picture).convert("RGB")


def _decoded(data: bytes) -> Image.Image:
    """The pixels as they lie in the file, RGBA where some of them may be clear, else RGB."""
    with Image.open(io.BytesIO(data)) as image:
        deep = image.mode.startswith("I")  # 16 bits: Pillow's own conversion clips to white
        eight = image.point(lambda value: value / 257).convert("L") if deep else image
        return eight.convert("RGBA" if image.has_transparency_data else "RGB")


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _noted(picture: Picture) -> PngInfo:
    info = PngInfo()
    info.add_text("Comment", picture.note)
    return info


def _exif(picture: Picture) -> Image.Exif:
    exif = Image.Exif()
    exif[0x010E] = picture.note  # ImageDescription
    return exif


def _jpeg(picture: Picture) -> bytes:
    return _saved(picture.frame(0), "JPEG", quality=picture.quality, comment=picture.note)


def _png(picture: Picture) -> bytes:
    return _saved(picture.frame(0), "PNG", pnginfo=_noted(picture), compress_level=3)


def _webp(picture: Picture) -> bytes:
    exif = _exif(picture)
    return _saved(picture.frame(0), "WEBP", quality=picture.quality, method=2, exif=exif)


def _webp_lossless(picture: Picture) -> bytes:
    exif = _exif(picture)
    return _saved(picture.frame(0), "WEBP", lossless=True, quality=20, method=0, exif=exif)


def _avif(picture: Picture) -> bytes:
    options = {"quality": picture.quality, "speed": 9, "max_threads": 1}
    return _saved(picture.frame(0), "AVIF", exif=_exif(picture), **options)


def _rgba_png(picture: Picture) -> bytes:
    """Clear outside an oval, with black under what is clear: naive decoding shows black corners."""
    image = picture.frame(0)
    mask = Image.new("L", image.size)
    ImageDraw.Draw(mask).ellipse((-4, -4, image.width + 3, image.height + 3), fill=255)
    cut = Image.composite(image, Image.new("RGB", image.size), mask)
    cut.putalpha(mask)
    return _saved(cut, "PNG", pnginfo=_noted(picture), compress_level=3)


def _palette_png(picture: Picture) -> bytes:
    """Sixty-four colours, the commonest of them transparent."""
    image = picture.frame(0).quantize(64, dither=Image.Dither.NONE)
    amounts = image.histogram()
    commonest = amounts.index(max(amounts))
    return _saved(image, "PNG", transparency=commonest, pnginfo=_noted(picture))


def _rgb16_png(picture: Picture) -> bytes:
    """48 bits a pixel. Pillow cannot write these, so the chunks are put together here."""
    image = picture.frame(0)
    deep = np.asarray(image, dtype=np.uint16) * 257
    rows = deep.astype(">u2").reshape(image.height, -1).view(np.uint8)
    lines = np.pad(rows, ((0, 0), (1, 0))).tobytes()  # each row led by filter type 0
    header = struct.pack(">IIBBBBB", image.width, image.height, 16, 2, 0, 0, 0)
    chunks = (
        (b"IHDR", header),
        (b"tEXt", b"Comment\0" + picture.note.encode()),
        (b"IDAT", zlib.compress(lines, 3)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def _grey16_png(picture: Picture) -> bytes:
    """One 16-bit channel: clipped to white by those who convert it without scaling."""
    grey = np.asarray(picture.frame(0).convert("L"), dtype=np.uint16) * 257
    return _saved(Image.fromarray(grey), "PNG", pnginfo=_noted(picture), compress_level=3)


def _cmyk_jpeg(picture: Picture) -> bytes:
    image = picture.frame(0).convert("CMYK")
    return _saved(image, "JPEG", quality=picture.quality, comment=picture.note)


def _grey_jpeg(picture: Picture) -> bytes:
    image = picture.frame(0).convert("L")
    return _saved(image, "JPEG", quality=picture.quality, comment=picture.note)


def _rotated_jpeg(picture: Picture) -> bytes:
    """Lies on its side, with the EXIF orientation that says so."""
    exif = _exif(picture)
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    image = picture.frame(0).transpose(Image.Transpose.ROTATE_90)
    return _saved(image, "JPEG", quality=picture.quality, exif=exif)


def _truncated_jpeg(picture: Picture) -> bytes:
    whole = _jpeg(picture)
    return whole[: int(len(whole) * KEPT_OF_TRUNCATED)]


def _animated(kind: str, **options: Any) -> Callable[[Picture], bytes]:
    def write(picture: Picture) -> bytes:
        first, *rest = [picture.frame(number) for number in range(FRAMES)]
        timing: dict[str, Any] = {
            "save_all": True,
            "append_images": rest,
            "duration": FRAME_MS,
            "loop": 0,
        }
        notes: dict[str, dict[str, Any]] = {
            "GIF": {"comment": picture.note},
            "PNG": {"pnginfo": _noted(picture)},
            "WEBP": {"exif": _exif(picture)},
        }
        return _saved(first, kind, **timing, **notes[kind], **options)

    return write


def _ugoira(picture: Picture) -> bytes:
    """A zip of numbered frames; their delays are the site's to tell, not the file's."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as frames:
        for number in range(FRAMES):
            name = zipfile.ZipInfo(f"{number:06}.jpg", date_time=(2020, 1, 1, 0, 0, 0))
            frames.writestr(name, _saved(picture.frame(number), "JPEG", quality=picture.quality))
        frames.comment = picture.note.encode()
    return buffer.getvalue()


def _headed(head: bytes) -> Callable[[Picture], bytes]:
    def write(picture: Picture) -> bytes:
        return head + picture.note.encode() + random.Random(picture.note).randbytes(4096)

    return write


_MP4_HEAD = b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom\x00\x00\x10\x40mdat"
_WEBM_HEAD = bytes.fromhex("1a45dfa39f4286810142f7810142f2810442f381084282847765626d42878104428581")
_SWF_HEAD = b"FWS\x06\x20\x10\x00\x00"

write_webm = _headed(_WEBM_HEAD)  # also the sample of every ugoira

ENCODINGS: dict[str, Encoding] = {
    "jpg": Encoding("jpg", _jpeg),
    "png": Encoding("png", _png),
    "webp": Encoding("webp", _webp),
    "webp lossless": Encoding("webp", _webp_lossless),
    "avif": Encoding("avif", _avif),
    "rgba": Encoding("png", _rgba_png, ("transparent_background", "alpha_transparency")),
    "palette": Encoding("png", _palette_png, ("transparent_background",)),
    "16-bit": Encoding("png", _rgb16_png),
    "16-bit grey": Encoding("png", _grey16_png, ("greyscale", "monochrome")),
    "cmyk": Encoding("jpg", _cmyk_jpeg),
    "grey": Encoding("jpg", _grey_jpeg, ("greyscale", "monochrome")),
    "rotated": Encoding("jpg", _rotated_jpeg, ("exif_rotation",)),
    "truncated": Encoding("jpg", _truncated_jpeg, ("corrupted_file",)),
    "gif": Encoding(
        "gif", _animated("GIF"), ("animated", "animated_gif"), FRAMES * FRAME_MS / 1000
    ),
    "apng": Encoding(
        "png", _animated("PNG"), ("animated", "animated_png"), FRAMES * FRAME_MS / 1000
    ),
    "animated webp": Encoding(
        "webp", _animated("WEBP", method=0), ("animated",), FRAMES * FRAME_MS / 1000
    ),
    "ugoira": Encoding("zip", _ugoira, ("animated", "ugoira"), FRAMES * FRAME_MS / 1000),
    "mp4": Encoding("mp4", _headed(_MP4_HEAD), ("animated", "video"), 7.5),
    "webm": Encoding("webm", write_webm, ("animated", "video"), 4.25),
    "swf": Encoding("swf", _headed(_SWF_HEAD), ("flash",)),
}
