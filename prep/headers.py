"""What a file says of itself without being decoded: its size upright, or why it is no image."""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from taggers.images import orientation

ANIMATED = "animated"
SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that swap width and height


@dataclass(frozen=True)
class Header:
    """Width and height as a viewer shows the picture; or a problem."""

    width: int = 0
    height: int = 0
    problem: str | None = None

    def row(self, md5: str, path: Path, root: Path) -> dict[str, object]:
        """The row of the table of images."""
        return {
            "md5": md5,
            "path": path.relative_to(root).as_posix(),
            "bytes": path.stat().st_size,
            "width": self.width,
            "height": self.height,
            "problem": self.problem,
        }


def read_header(path: Path) -> Header:
    """Read an image file's header. What cannot be read, or moves, is a problem, not an error."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            # the further frames of an MPO, as cameras write it, are previews or a second eye
            if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
                return Header(width, height, ANIMATED)
            if orientation(image) in SIDEWAYS:
                width, height = height, width
            return Header(width, height)
    except Exception as error:  # decoders raise anything from SyntaxError to struct.error
        return Header(problem=f"no image that can be read ({type(error).__name__})")
