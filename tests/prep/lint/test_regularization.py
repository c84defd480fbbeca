"""Regularization images without content, and those a generator made, as their headers say."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import ExifTags, Image, PngImagePlugin

from prep.dataset import Dataset
from prep.likeness import small
from prep.lint.lint import lint
from prep.lint.regularization import made_by_generator
from prep.lint.words import Words, words_alone

PLAIN = small(Image.new("RGB", (64, 64), (255, 255, 254)))


def png(path: Path, **texts: str) -> Path:
    info = PngImagePlugin.PngInfo()
    for key, value in texts.items():
        info.add_text(key, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path, pnginfo=info)
    return path


def with_comment(path: Path, comment: bytes) -> Path:
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = comment
    Image.new("RGB", (8, 8)).save(path, exif=exif)
    return path


@pytest.mark.parametrize(
    "texts",
    [
        {"parameters": "1girl\nSteps: 20, Sampler: Euler a"},
        {"prompt": "{}", "workflow": "{}"},
        {"Software": "NovelAI", "Comment": '{"sampler": "k_euler"}'},
        {"Dream": "1girl -s 50"},
    ],
)
def test_texts_that_generators_write(tmp_path: Path, texts: dict[str, str]) -> None:
    assert made_by_generator(png(tmp_path / "a.png", **texts))


@pytest.mark.parametrize("extension", ["jpg", "webp"])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "ascii"])
def test_user_comments_that_generators_write(tmp_path: Path, extension: str, encoding: str) -> None:
    begin = b"ASCII\0\0\0" if encoding == "ascii" else b"UNICODE\0"
    comment = begin + "1girl\nSteps: 20, Sampler: Euler a".encode(encoding)
    assert made_by_generator(with_comment(tmp_path / f"a.{extension}", comment))


def test_what_painters_and_cameras_write_is_no_sign(tmp_path: Path) -> None:
    assert not made_by_generator(
        png(tmp_path / "a.png", Software="CLIP STUDIO PAINT", Comment="hi")
    )
    assert not made_by_generator(with_comment(tmp_path / "b.jpg", b"ASCII\0\0\0a fine day"))
    (tmp_path / "c.png").write_bytes(b"no picture")
    assert not made_by_generator(tmp_path / "c.png")
    assert not made_by_generator(tmp_path / "gone.png")


def test_empty_pictures_are_told_by_set(linted: Callable[..., Any], picture: Any) -> None:
    found = linted(
        "", picture("hat", small=PLAIN), picture("hat", set="plain"),
        picture("cat", set="plain", small=PLAIN),
    )  # fmt: skip
    finding = found.one("empty picture")
    assert finding.grave
    assert finding.what == (
        "1 image of the reg set plain is transparent or of one colour: training sees nothing in it"
    )
    assert finding.images.tolist() == [2]  # what is learnt is not judged


def test_pictures_that_the_site_says_were_generated(
    linted: Callable[..., Any], picture: Any
) -> None:
    found = linted("", picture("hat", meta="ai-generated"), picture("hat", set="plain"),
                   picture("cat", set="plain", meta="ai-generated"))  # fmt: skip
    finding = found.one("made by a generator")
    assert finding.images.tolist() == [2]
    assert [change.line for change in finding.changes] == [
        'sets.plain.query = "1girl -ai-generated"'
    ]


def test_pictures_whose_header_says_so(dataset_of: Callable[..., Path], picture: Any) -> None:
    root = dataset_of("", picture("hat"), *[picture("cat", set="plain")] * 2)
    dataset = Dataset.open(root)
    paths = sorted(dataset.images.columns("path")["path"].to_pylist())
    png(root / paths[0], parameters="learnt, not judged")
    png(root / paths[1])
    png(root / paths[2], parameters="1girl")
    _, found = lint(dataset, Words(words_alone, "no model", exact=False))
    (finding,) = [one for one in found if one.name == "made by a generator"]
    assert finding.what == (
        "1 image of the reg set plain was made by a generator, as its metadata or the site says:"
        " its flaws are learnt"
    )
    assert (finding.images.tolist(), finding.changes) == ([2], ())
    assert finding.remedy == "take its file out of images/, which excludes it"
