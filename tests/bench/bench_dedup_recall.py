"""Which planted copies dedup finds, and which planted variants it leaves alone: docs/dedup.md.

    python tests/bench/bench_dedup_recall.py [--drawings N] [--bits N] [--seed N]

Each drawing is saved as PNG; its copies and its variants are saved as JPEG, hashed from the files
as `prep dedup` does, and compared with it; a variant that shows no difference is none. Pictures
without structure are compared each with each of their kind. Prints a table in Markdown: how many
pairs are near by pHash alone, and how many are duplicates, which must look alike as well.
"""

import argparse
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from prep.demo.drawing import draw
from prep.demo.portrait import SLOTS, Portrait, sample
from prep.hashes import hash_one
from prep.likeness import Likeness

WIDTH, HEIGHT = 480, 640
# Display P3 from sRGB, linear: what a wide-gamut file shows where its profile is ignored
WIDE = np.array([[0.8225, 0.1774, 0.0], [0.0332, 0.9669, 0.0], [0.0171, 0.0724, 0.9108]])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--drawings", type=int, default=60)
    parser.add_argument("--bits", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    pairs: dict[str, list[tuple[int, bool]]] = {}
    with TemporaryDirectory() as scratch:
        for number in range(given.drawings):
            rng = random.Random(1000 * given.seed + number)
            portrait = sample(rng)
            drawing = draw(portrait, WIDTH, HEIGHT)
            base = hashed(drawing, Path(scratch) / "base.png")
            for name, other in (*copies(drawing), *variants(portrait, drawing, rng)):
                if other == drawing and name.startswith("variant"):
                    continue  # the eyes are shut: it is no variant
                one = hashed(other, Path(scratch) / "other.jpg")
                pairs.setdefault(name, []).append(compared(base, one))
        for name, pictures in structureless(random.Random(given.seed), given.drawings):
            rows = [hashed(picture, Path(scratch) / "plain.jpg") for picture in pictures]
            pairs[name] = [compared(a, b) for a, b in combinations(rows, 2)]
    print(table(pairs, given.bits))


def hashed(picture: Image.Image, path: Path) -> dict[str, object]:
    picture.save(path, quality=90)
    return hash_one(path.name, path)


def compared(one: dict[str, object], other: dict[str, object]) -> tuple[int, bool]:
    """Bits between two hashes, and whether the small pictures are alike."""
    likeness = Likeness.of([one["small"], other["small"]])  # type: ignore[list-item]
    alike = likeness.alike(np.array([0]), np.array([1]))
    return (one["phash"] ^ other["phash"]).bit_count(), bool(alike[0])  # type: ignore[operator]


def copies(drawing: Image.Image) -> Iterator[tuple[str, Image.Image]]:
    x, y = WIDTH // 100, HEIGHT // 100
    yield "copy: JPEG", drawing
    yield "copy: half the size", drawing.resize((WIDTH // 2, HEIGHT // 2), Image.Resampling.LANCZOS)
    yield "copy: cropped by 2 %, all sides", drawing.crop((x, y, WIDTH - x, HEIGHT - y))
    yield "copy: cropped by 2 %, one side", drawing.crop((2 * x, 0, WIDTH, HEIGHT))
    yield "copy: colour profile ignored", in_wide_gamut(drawing)
    yield "copy: greyscale", drawing.convert("L").convert("RGB")
    yield "copy: watermark in a corner", marked(drawing, 0.05, (0.6, 0.93), 200)
    yield "copy: watermark across", marked(drawing, 0.14, (0.1, 0.5), 90)


def variants(
    portrait: Portrait, drawing: Image.Image, rng: random.Random
) -> Iterator[tuple[str, Image.Image]]:
    def other(slot: str, **more: str) -> Image.Image:
        own = getattr(portrait, slot)
        value = rng.choice([value for value in SLOTS[slot] if value and value != own])
        return draw(replace(portrait, **{slot: value, **more}), WIDTH, HEIGHT)

    yield "variant: expression", other("expression")
    yield "variant: clothes", other("clothes", neckwear="")
    yield "variant: colour of hair", other("hair_color")
    yield "variant: colour of eyes", other("eye_color")
    hue, saturation, value = drawing.convert("HSV").split()
    by = rng.choice((40, 85, 128, 170))
    turned = hue.point([(level + by) % 256 for level in range(256)])
    yield "variant: all colours", Image.merge("HSV", (turned, saturation, value)).convert("RGB")


def structureless(rng: random.Random, count: int) -> Iterator[tuple[str, list[Image.Image]]]:
    def colour() -> tuple[int, int, int]:
        return rng.randrange(256), rng.randrange(256), rng.randrange(256)

    def ramp(one: tuple[int, ...], other: tuple[int, ...]) -> Image.Image:
        share = np.linspace(0, 1, HEIGHT)[:, None, None]
        rows = np.array(one) * (1 - share) + np.array(other) * share
        return Image.fromarray(np.broadcast_to(rows, (HEIGHT, WIDTH, 3)).astype(np.uint8))

    size = (WIDTH, HEIGHT)
    dark: Callable[[int], int] = lambda level: level // 10  # noqa: E731
    yield "unlike: plain colours", [Image.new("RGB", size, colour()) for _ in range(count)]
    yield "unlike: gradients", [ramp(colour(), colour()) for _ in range(count)]
    night = [draw(sample(rng), WIDTH // 2, HEIGHT // 2).point(dark) for _ in range(count // 2)]
    yield "unlike: drawings, almost black", night


def in_wide_gamut(picture: Image.Image) -> Image.Image:
    linear = (np.asarray(picture) / 255.0) ** 2.2
    levels = np.clip(linear @ WIDE.T, 0, 1) ** (1 / 2.2) * 255
    return Image.fromarray(levels.round().astype(np.uint8))


def marked(
    picture: Image.Image, size: float, place: tuple[float, float], alpha: int
) -> Image.Image:
    over = Image.new("RGBA", picture.size)
    font = ImageFont.load_default(int(WIDTH * size))
    at = (WIDTH * place[0], HEIGHT * place[1])
    ImageDraw.Draw(over).text(at, "@an_artist", font=font, fill=(255, 255, 255, alpha))
    return Image.alpha_composite(picture.convert("RGBA"), over).convert("RGB")


def table(pairs: dict[str, list[tuple[int, bool]]], bits: int) -> str:
    lines = ["| pairs | | near by pHash alone | duplicates |", "|---|--:|--:|--:|"]
    counts = {True: [0, 0, 0], False: [0, 0, 0]}  # of copies, and of all others
    for name, found in pairs.items():
        near = sum(apart <= bits for apart, _ in found)
        both = sum(apart <= bits and alike for apart, alike in found)
        lines.append(
            f"| {name} | {len(found)} | {near / len(found):.1%} | {both / len(found):.1%} |"
        )
        for place, value in enumerate((len(found), near, both)):
            counts[name.startswith("copy")][place] += value
    variants_only = [
        [apart <= bits, apart <= bits and alike]
        for name, found in pairs.items()
        if name.startswith("variant")
        for apart, alike in found
    ]
    lines.append("")
    for column, what in ((1, "pHash alone"), (2, "both")):
        right = counts[True][column]
        wrong = sum(row[column - 1] for row in variants_only)
        recall, precision = right / counts[True][0], right / max(1, right + wrong)
        lines.append(f"{what}: recall {recall:.3f}, precision {precision:.3f} against variants")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
