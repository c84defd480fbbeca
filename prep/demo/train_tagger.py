"""Trains the demo's tagger on drawings made for it, and writes it as WD14 taggers are published.

    python -m prep.demo.train_tagger --out DIR [--seed N] [--drawings N] [--epochs N]

A small network of plain convolutions (He et al. 2015, arXiv:1512.03385) learns the general and
character tags of `prep.demo.vocabulary`; its normalisations are folded into the convolutions and
its weights stored in half precision. The same seed, drawings, epochs and threads give the same
weights. Needs the `dev` extra (onnx).
"""

import argparse
import io
import math
import random
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from prep.demo.drawing import draw
from prep.demo.portrait import COSTUMES, Portrait, sample
from prep.demo.precision import half
from prep.demo.vocabulary import VOCABULARY
from schemas import progress
from schemas.files import write_bytes, write_text
from taggers.images import preprocess
from taggers.locate import MODEL, TAGS
from taggers.stream import Dropped, stream
from taggers.vocabulary import CATEGORIES, Label
from taggers.wd14 import Tagger, load

SIZE = 160  # pixels, side of the input
DRAWINGS, EPOCHS = 16000, 30
EVALUATED = 2000  # unseen drawings
BATCH, RATE, DECAY, WARM_UP = 64, 4e-3, 0.02, 0.1  # WARM_UP: share of the steps
MOST_WEIGHT = 8.0  # of a rare tag's presence over its absence in the loss
SHIFT, ZOOM, LIGHT = 0.06, 0.10, 0.06  # of the augmentation, relative
COARSE = 96  # pixels, side at which the first third of the steps is made: four times as fast
STEM, LEVELS = (3, 24, 48), (48, 96, 160)  # channels; each at half the size of the one before

# Ratings are dealt at random by the demo's booru: their shares are all that can be known.
RATINGS = {"general": 0.45, "sensitive": 0.40, "questionable": 0.10, "explicit": 0.05}
FIRST_RATING_ID = 9_999_999  # WD14's files give ratings ids no tag has, counting down

ASPECTS = ((2, 3), (3, 4), (1, 1), (4, 3), (16, 9), (5, 7), (1, 4), (4, 1))
ASPECT_WEIGHTS = (30, 30, 16, 12, 7, 5, 1, 1)
SMALL = 0.15  # share of drawings smaller than the input, as models draw them
IN_COSTUME = 0.04  # a costume variant comes up once in a thousand drawings: too rarely to learn
NOISE = 0.02  # share of pictures that show nothing, so that nothing is said of such
CHUNK = 16  # drawings a job

Pixels = npt.NDArray[np.uint8]
Targets = npt.NDArray[np.float32]


def main() -> None:
    """Draw, train, write, and measure on drawings it has not seen."""
    parser = argparse.ArgumentParser(prog="python -m prep.demo.train_tagger")
    parser.add_argument("--out", type=Path, required=True, help="folder for the two files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--drawings", type=int, default=DRAWINGS)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    given = parser.parse_args()
    progress.show()
    pixels, targets = drawn_set(given.seed, given.drawings)
    network = train(pixels, targets, given.epochs, given.seed)
    write_tagger(network, targets, given.out)
    report(evaluate(load(given.out, "cpu"), given.seed + 1, EVALUATED), EVALUATED)


def labels() -> tuple[Label, ...]:
    """What the tagger answers, in the order of its outputs: ratings, general, characters."""
    words = [
        word for kind in ("general", "character") for word in VOCABULARY if word.category == kind
    ]
    return (
        *(Label(name, "rating") for name in RATINGS),
        *(Label(word.name, word.category) for word in words),
    )


def example(seed: int, index: int) -> tuple[Image.Image, frozenset[str]]:
    """A picture as a booru holds them (any aspect, size and JPEG quality) and its true tags."""
    rng = random.Random(f"tagger {seed} {index}")
    wide, high = rng.choices(ASPECTS, ASPECT_WEIGHTS)[0]
    longest = rng.uniform(112, SIZE) if rng.random() < SMALL else rng.uniform(SIZE, 600)
    scale = longest / max(wide, high)
    width, height = max(16, round(wide * scale)), max(16, round(high * scale))
    if rng.random() < NOISE:
        return _noise(rng, width, height), frozenset()
    portrait = _portrait(rng)
    image = draw(portrait, width, height)
    if rng.random() < 0.75:
        image = _as_jpeg(image, rng.randint(55, 95))
    return image, frozenset((*portrait.tags(), *portrait.character_tags))


def drawn_set(seed: int, count: int) -> tuple[Pixels, Targets]:
    """`count` examples as the tagger sees them: uint8 [n, size, size, 3], float32 [n, labels]."""
    answers = labels()
    pixels = np.empty((count, SIZE, SIZE, 3), np.uint8)
    targets = np.empty((count, len(answers)), np.float32)
    starts = range(0, count, CHUNK)
    with (
        ProcessPoolExecutor(mp_context=get_context("spawn")) as pool,
        progress.task("draw", count, "drawings") as advance,
    ):
        jobs = pool.map(_prepared, [(seed, start, min(count, start + CHUNK)) for start in starts])
        for start, chunk in zip(starts, jobs, strict=True):
            for row, (square, tags) in enumerate(chunk, start):
                pixels[row] = square
                targets[row] = [_target(label, tags) for label in answers]
            advance(len(chunk))
    return pixels, targets


def _prepared(job: tuple[int, int, int]) -> list[tuple[Pixels, frozenset[str]]]:
    seed, start, stop = job
    made = (example(seed, index) for index in range(start, stop))
    return [(preprocess(image, SIZE), tags) for image, tags in made]


def _target(label: Label, tags: frozenset[str]) -> float:
    return RATINGS[label.name] if label.category == "rating" else float(label.name in tags)


def _portrait(rng: random.Random) -> Portrait:
    if rng.random() < IN_COSTUME:
        character, clothes = rng.choice(list(COSTUMES))
        return replace(sample(rng, character=character), clothes=clothes, neckwear="")
    return sample(rng)


def _noise(rng: random.Random, width: int, height: int) -> Image.Image:
    grain = rng.choice((2, 4, 8, 16, 32, 64, 128, 256))
    coarse = Image.frombytes("RGB", (grain, grain), rng.randbytes(3 * grain * grain))
    return coarse.resize((width, height), Image.Resampling.BICUBIC)


def _as_jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


class ConvNorm(nn.Module):
    """Convolution of odd `kernel` and batch normalisation; export folds the two into one."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, kernel: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        normed: Tensor = self.norm(self.conv(x))
        return normed

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight [outputs, inputs, k, k] and bias [outputs] of the one convolution."""
        norm = self.norm
        assert norm.running_var is not None
        assert norm.running_mean is not None
        factor = norm.weight / (norm.running_var + norm.eps).sqrt()
        return self.conv.weight * factor[
            :, None, None, None
        ], norm.bias - norm.running_mean * factor


class Level(nn.Module):
    """Halves the size, then one residual block: x -> relu(y + conv(relu(conv(y))))."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.down = ConvNorm(inputs, outputs, stride=2)
        self.inner = ConvNorm(outputs, outputs)
        self.outer = ConvNorm(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.down(x))
        return F.relu(y + self.outer(F.relu(self.inner(y))))


class Network(nn.Module):
    """BGR 0..255 [n, 3, size, size] -> logits [n, labels]; mean and maximum over places are read.

    The maximum is what small things in one place (a tear, a star in an eye) are found by.
    """

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.stem = nn.ModuleList(ConvNorm(a, b, stride=2) for a, b in pairwise(STEM))
        self.levels = nn.ModuleList(Level(a, b) for a, b in pairwise(LEVELS))
        self.head = nn.Linear(2 * LEVELS[-1], outputs)

    def forward(self, bgr: Tensor) -> Tensor:
        x = bgr / 127.5 - 1
        for layer in self.stem:
            x = F.relu(layer(x))
        for level in self.levels:
            x = level(x)
        pooled = torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)
        logits: Tensor = self.head(F.dropout(pooled, 0.1, self.training))
        return logits


def train(pixels: Pixels, targets: Targets, epochs: int, seed: int) -> Network:
    """Binary cross-entropy over all labels, AdamW, one cycle of the rate (warm-up, then cosine).

    The presence of a rare tag weighs w = sqrt(odds against it), so that it is learnt as soon as a
    common one. That moves the best logit from logit(p) to logit(p) + ln w; the last bias takes it
    back, so that what comes out are probabilities.
    """
    torch.manual_seed(seed)
    network = Network(targets.shape[1])
    share = torch.from_numpy(targets.mean(0)).clamp(1e-3, 1 - 1e-3)
    weight = ((1 - share) / share).sqrt().clamp(1, MOST_WEIGHT)
    network.head.bias.data = torch.logit(share) + weight.log()
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.0, weight_decay=DECAY)
    steps = epochs * (len(pixels) // BATCH)
    start, recent = time.monotonic(), 0.0
    network.train()
    with progress.task("train", steps, "steps") as advance:
        for step, (images, wanted) in enumerate(_batches(pixels, targets, steps, seed)):
            for group in optimizer.param_groups:
                group["lr"] = RATE * _cycle(step / steps)
            with half("cpu"):
                logits = network(images)
            loss = F.binary_cross_entropy_with_logits(logits.float(), wanted, pos_weight=weight)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            recent = loss.item() if step == 0 else 0.98 * recent + 0.02 * loss.item()
            advance(1, note=f"loss {recent:.4f}")
    progress.say(f"loss {recent:.4f} after {steps} steps, {time.monotonic() - start:.0f} s")
    network.head.bias.data -= weight.log()
    network.eval()
    return network


def _cycle(done: float) -> float:
    """The rate as a part of the highest, when this part of the steps is done."""
    if done < WARM_UP:
        return done / WARM_UP
    return 0.5 * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP)))


def _batches(
    pixels: Pixels, targets: Targets, steps: int, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Each drawing once in an epoch, in another order each time; small pictures first."""
    rng = np.random.default_rng(seed)
    per_epoch = len(pixels) // BATCH
    for step in range(steps):
        if step % per_epoch == 0:
            order = rng.permutation(len(pixels))
        first = step % per_epoch * BATCH
        rows = np.sort(order[first : first + BATCH])
        bgr = torch.from_numpy(pixels[rows][..., ::-1].astype(np.float32)).permute(0, 3, 1, 2)
        size = COARSE if step < steps // 3 else SIZE
        yield _augmented(bgr, size, rng), torch.from_numpy(targets[rows])


def _augmented(images: Tensor, size: int, rng: np.random.Generator) -> Tensor:
    """Moved, scaled and lit a little differently, each image by itself; what comes in is white."""
    count = len(images)
    zoom = rng.uniform(1 - ZOOM, 1 + ZOOM, count).astype(np.float32)
    shift = rng.uniform(-2 * SHIFT, 2 * SHIFT, (count, 2)).astype(np.float32)
    place = np.zeros((count, 2, 3), np.float32)
    place[:, 0, 0], place[:, 1, 1], place[:, :, 2] = zoom, zoom, shift
    grid = F.affine_grid(torch.from_numpy(place), [count, 3, size, size], align_corners=False)
    moved = F.grid_sample(images.sub_(255), grid, align_corners=False).add_(255)
    light = rng.uniform(1 - LIGHT, 1 + LIGHT, (count, 1, 1, 1)).astype(np.float32)
    return moved.mul_(torch.from_numpy(light)).clamp_(0, 255)


def write_tagger(network: Network, targets: Targets, out: Path) -> None:
    """model.onnx and selected_tags.csv; `targets` give each label's count."""
    rows = ["tag_id,name,category,count"]
    numbers = {word: number for number, word in CATEGORIES.items()}
    counts = targets.sum(0).round().astype(int)
    for index, (label, count) in enumerate(zip(labels(), counts, strict=True)):
        rating = label.category == "rating"
        tag_id = FIRST_RATING_ID - index if rating else index - len(RATINGS) + 1
        rows.append(f"{tag_id},{label.name},{numbers[label.category]},{count}")
    write_text(out / TAGS, "\n".join(rows) + "\n")
    with torch.no_grad():
        write_bytes(out / MODEL, _Graph().model(network))
    progress.say(f"{out / MODEL}: {(out / MODEL).stat().st_size:,} bytes")


class _Graph:
    """The network as ONNX nodes: BGR 0..255 [n, size, size, 3] -> probabilities [n, labels]."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def model(self, network: Network) -> bytes:
        from onnx import TensorProto, helper

        x = self.add("Transpose", ["input"], perm=[0, 3, 1, 2])
        x = self.add("Div", [x, self.constant(torch.tensor(127.5))])
        x = self.add("Sub", [x, self.constant(torch.tensor(1.0))])
        for layer in network.stem:
            assert isinstance(layer, ConvNorm)
            x = self.add("Relu", [self.convolution(x, layer)])
        for level in network.levels:
            assert isinstance(level, Level)
            y = self.add("Relu", [self.convolution(x, level.down)])
            z = self.add("Relu", [self.convolution(y, level.inner)])
            x = self.add("Relu", [self.add("Add", [y, self.convolution(z, level.outer)])])
        pooled = [self.add(kind, [x]) for kind in ("GlobalAveragePool", "GlobalMaxPool")]
        flat = self.add("Flatten", [self.add("Concat", pooled, axis=1)])
        weight, bias = self.constant(network.head.weight), self.constant(network.head.bias)
        logits = self.add("Gemm", [flat, weight, bias], transB=1)
        self.nodes.append(helper.make_node("Sigmoid", [logits], ["output"]))
        shapes = {"input": ["n", SIZE, SIZE, 3], "output": ["n", network.head.out_features]}
        ends = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in shapes.items()
        ]
        graph = helper.make_graph(self.nodes, "tagger", ends[:1], ends[1:], self.constants)
        opsets = [helper.make_opsetid("", 17)]
        written: bytes = helper.make_model(
            graph, opset_imports=opsets, ir_version=8, producer_name="kiroku"
        ).SerializeToString()
        return written

    def convolution(self, x: str, layer: ConvNorm) -> str:
        weight, bias = layer.folded()
        side = layer.conv.kernel_size[0]
        return self.add(
            *("Conv", [x, self.constant(weight), self.constant(bias)]),
            kernel_shape=[side, side],
            strides=list(layer.conv.stride),
            pads=[side // 2] * 4,
        )

    def constant(self, value: Tensor) -> str:
        """A value kept in half precision; onnxruntime widens it once, when it opens the model."""
        from onnx import TensorProto, numpy_helper

        name = f"constant_{len(self.constants)}"
        half = value.detach().contiguous().numpy().astype(np.float16)
        self.constants.append(numpy_helper.from_array(half, name))
        return self.add("Cast", [name], to=TensorProto.FLOAT)

    def add(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        from onnx import helper

        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name


def evaluate(tagger: Tagger, seed: int, count: int) -> dict[str, float]:
    """Average precision of each tag on `count` examples of `seed`, read from files by `stream`.

    Tags that all or none of them show are left out, as precision then says nothing; ratings too.
    """
    truth: list[frozenset[str]] = []
    with TemporaryDirectory() as folder, progress.task("evaluate", count, "drawings") as advance:

        def written() -> Iterator[tuple[int, Path]]:
            for index in range(count):
                image, tags = example(seed, index)
                truth.append(tags)
                path = Path(folder) / f"{index}.png"
                image.save(path, compress_level=1)
                yield index, path

        rows = []
        for _, row in stream(tagger, written()):
            assert not isinstance(row, Dropped), row
            rows.append(row)
            advance()
    probabilities = np.stack(rows)
    found = {}
    for column, label in enumerate(tagger.labels):
        shown = np.array([label.name in tags for tags in truth])
        if label.category != "rating" and shown.any() and not shown.all():
            found[label.name] = average_precision(probabilities[:, column], shown)
    return found


def average_precision(scores: npt.NDArray[np.float32], shown: npt.NDArray[np.bool_]) -> float:
    """Mean, over the pictures that show the tag, of the precision among those ranked no lower."""
    hits = shown[np.argsort(-scores, kind="stable")]
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float(precision[hits].mean())


def report(found: dict[str, float], count: int) -> None:
    """Say the mean over the tags, measured on `count` drawings, and the weakest of them."""
    mean = sum(found.values()) / len(found)
    progress.say(f"mean average precision {mean:.4f} over {len(found)} tags, {count} drawings")
    for name, value in sorted(found.items(), key=lambda pair: pair[1])[:20]:
        progress.say(f"  {value:.3f}  {name}")


if __name__ == "__main__":
    main()
