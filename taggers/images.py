"""Image files to square RGB pixels, as WD14 taggers were trained to see them. Pillow only.

The steps: EXIF orientation, alpha over white, white bars to a square, bicubic to the model's size.
"""

import errno
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from schemas.errors import DataError

Pixels = npt.NDArray[np.uint8]  # [height, width, 3], RGB

WHITE = (255, 255, 255)
REDUCE_TO = 3  # a JPEG may be decoded smaller as long as its long side keeps this many model sizes
OF_THE_MACHINE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # no fault of the image's

# Posts of 100 megapixels exist; Pillow still refuses those above twice its own limit (179 million),
# and `read` makes that a reason. The warning at half of it would tell a person nothing to act on.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

Image.init()  # all formats now: loaded at need by several threads at once, one may be overlooked

_TURNS = {  # EXIF orientation -> what brings the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112  # EXIF tag


class Unreadable(DataError):
    """One image cannot be decoded. `reason` is one of few, to be counted; the text says which file.

    Reasons: missing, not an image, truncated, too large, broken.
    """

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


def read(path: Path, size: int = 0) -> Image.Image:
    """Decode the first frame of the file, in the mode it is stored in; EXIF is not yet applied.

    `size`: the model's input size, which lets a large JPEG be decoded at 1/2, 1/4 or 1/8 (0: as it
    is). Preprocessed, it then differs from the whole decode by about one level on average, and by
    up to 48 of 255 where a hard edge moves by a fraction of a pixel. Raises Unreadable.
    """
    try:
        with Image.open(path) as image:
            if size:
                factor = max(1, max(image.size) // (REDUCE_TO * size))
                image.draft(image.mode, (image.width // factor, image.height // factor))
            image.load()
            return image
    except Exception as error:  # decoders raise anything from KeyError to struct.error
        if isinstance(error, OSError) and error.errno in OF_THE_MACHINE:
            raise
        reason = _reason(error)
        raise Unreadable(reason, f"{path}: {reason} ({_first_line(error)})") from error


def preprocess(image: Image.Image, size: int) -> Pixels:
    """Upright, over white, white bars to a centred square, bicubic: uint8 [size, size, 3]."""
    rgb = upright_rgb(image)
    side = max(rgb.size)
    square = rgb
    if rgb.width != rgb.height:
        square = Image.new("RGB", (side, side), WHITE)
        square.paste(rgb, ((side - rgb.width) // 2, (side - rgb.height) // 2))
    if side != size:
        square = square.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(square, dtype=np.uint8)


def upright_rgb(image: Image.Image) -> Image.Image:
    """The picture as a person sees it on white: EXIF orientation applied, any mode as RGB."""
    turn = _TURNS.get(orientation(image))
    flat = _over_white(image)
    return flat if turn is None else flat.transpose(turn)


def _over_white(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return _from_16_bit(image)
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    rgba = _with_alpha(image)
    flat = Image.new("RGBA", rgba.size, (*WHITE, 255))
    return Image.alpha_composite(flat, rgba).convert("RGB")


def upright_alpha(image: Image.Image) -> Image.Image | None:
    """How opaque each pixel of the upright picture is, mode L; None where all of it is opaque."""
    if not image.has_transparency_data:
        return None
    if image.mode.startswith("I"):
        hidden = image.info.get("transparency")
        alpha = Image.fromarray(np.where(np.asarray(image) == hidden, 0, 255).astype(np.uint8))
    else:
        alpha = _with_alpha(image).getchannel("A")
    if alpha.getextrema() == (255, 255):
        return None
    turn = _TURNS.get(orientation(image))
    return alpha if turn is None else alpha.transpose(turn)


def _with_alpha(image: Image.Image) -> Image.Image:
    straight = image.convert("LA") if image.mode == "La" else image  # Pillow knows no shorter way
    return straight if straight.mode == "RGBA" else straight.convert("RGBA")


def _from_16_bit(image: Image.Image) -> Image.Image:
    # Pillow's own conversion clips at 255 in some versions, which turns grey pictures white.
    levels = np.asarray(image)
    grey = (np.clip(levels, 0, 65535) >> 8).astype(np.uint8)
    hidden = image.info.get("transparency")
    if isinstance(hidden, int):
        grey[levels == hidden] = 255
    return Image.fromarray(grey).convert("RGB")


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 5 to 8 lie on their side."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # broken EXIF is common and viewers ignore it: the picture is upright
        return 1


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "missing"
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    if isinstance(error, Image.DecompressionBombError | MemoryError):
        return "too large"
    words = str(error).lower()
    return "truncated" if "truncated" in words or isinstance(error, EOFError) else "broken"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0] or type(error).__name__
