"""What a file says of itself: the size a viewer shows, and why some are no images."""

from pathlib import Path

import pytest
from PIL import Image

from prep.headers import Header, read_header


def saved(path: Path, size: tuple[int, int] = (7, 4), **options: object) -> Path:
    Image.new("RGB", size, "red").save(path, **options)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize("extension", ["png", "jpg", "webp", "bmp", "gif", "avif"])
def test_the_size_of_each_kind_of_file(tmp_path: Path, extension: str) -> None:
    assert read_header(saved(tmp_path / f"a.{extension}")) == Header(7, 4)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_on_its_side_is_measured_upright(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / "a.jpg", exif=exif.tobytes())
    assert read_header(path) == (Header(4, 7) if orientation >= 5 else Header(7, 4))


@pytest.mark.parametrize("extension", ["gif", "png", "webp"])
def test_what_moves_is_a_problem(tmp_path: Path, extension: str) -> None:
    more = [Image.new("RGB", (7, 4), colour) for colour in ("blue", "green")]
    path = saved(tmp_path / f"a.{extension}", save_all=True, append_images=more)
    assert read_header(path) == Header(7, 4, "animated")


def test_a_camera_file_with_a_preview_does_not_move(tmp_path: Path) -> None:
    second = Image.new("RGB", (7, 4), "blue")
    path = saved(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[second])
    assert read_header(path) == Header(7, 4)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image_is_a_problem_and_no_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    problem = "no image that can be read (UnidentifiedImageError)"
    assert read_header(tmp_path / "a.png") == Header(problem=problem)


def test_a_missing_file_is_a_problem(tmp_path: Path) -> None:
    problem = "no image that can be read (FileNotFoundError)"
    assert read_header(tmp_path / "a.png") == Header(problem=problem)


def test_the_row_names_the_file_from_the_root(tmp_path: Path) -> None:
    (tmp_path / "images" / "ab").mkdir(parents=True)
    path = saved(tmp_path / "images" / "ab" / "ab1.png")
    assert read_header(path).row("ab1", path, tmp_path) == {
        "md5": "ab1",
        "path": "images/ab/ab1.png",
        "bytes": path.stat().st_size,
        "width": 7,
        "height": 4,
        "problem": None,
    }
