"""How much of bare onnxruntime's rate is left when `stream` reads files, decodes and keeps order.

    python tests/bench/bench_tagger.py [--images N] [--size PIXELS] [--model FOLDER] [--device D]

Bare: the same session run on preloaded batches of float pixels. Without a model, one of about ten
billion multiplications an image is made, a fifth of the taggers people use: with theirs decoding
weighs less still. Prints one line of JSON; `ratio` is stream's rate over bare's.
"""

import argparse
import json
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from taggers.stream import Dropped, stream
from taggers.wd14 import Tagger, load

SIDE, LABELS = 448, 1000  # of the made model
CHANNELS, STRIDES = (3, 64, 128, 256, 256, 256, 256, 256), (2, 2, 2, 1, 1, 1, 1)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--size", type=int, default=1200, help="long side of the files, pixels")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="cpu")
    given = parser.parse_args()
    with TemporaryDirectory() as scratch:
        folder = given.model or made_model(Path(scratch))
        paths = made_images(Path(scratch), given.images, given.size)
        tagger = load(folder, given.device)
        bare = best(lambda: run_bare(tagger, len(paths)))
        streamed = best(lambda: run_stream(tagger, paths))
    rates = {"bare": len(paths) / bare, "stream": len(paths) / streamed}
    result = {"device": tagger.device, "size": tagger.size, "batch": tagger.batch, **rates}
    print(json.dumps({**result, "ratio": bare / streamed}))


def best(timed: Callable[[], None], rounds: int = 3) -> float:
    """Seconds of the fastest of some rounds."""
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        timed()
        taken.append(time.perf_counter() - start)
    return min(taken)


def run_bare(tagger: Tagger, count: int) -> None:
    entry = tagger._session.get_inputs()[0]
    shape = [tagger.batch, *entry.shape[1:]]
    values = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
    for _ in range(-(-count // tagger.batch)):
        tagger._session.run(None, {entry.name: values})


def run_stream(tagger: Tagger, paths: list[Path]) -> None:
    for _, row in stream(tagger, ((path, path) for path in paths)):
        assert not isinstance(row, Dropped)


def made_images(folder: Path, count: int, size: int) -> list[Path]:
    """JPEG and PNG files in turn, with as much detail as drawings have."""
    rng = np.random.default_rng(0)
    paths = []
    for number in range(count):
        coarse = rng.integers(0, 256, (24, 18, 3), np.uint8)
        image = Image.fromarray(coarse).resize((size * 3 // 4, size), Image.Resampling.BICUBIC)
        paths.append(folder / f"{number}.{'png' if number % 4 == 0 else 'jpg'}")
        image.save(paths[-1])
    return paths


def made_model(folder: Path) -> Path:
    """A chain of 3x3 convolutions in WD14's convention."""
    rng = np.random.default_rng(0)
    nodes = [helper.make_node("Transpose", ["input"], ["x0"], perm=[0, 3, 1, 2])]
    constants = {}
    for index, (inputs, outputs) in enumerate(pairwise(CHANNELS)):
        weight = rng.normal(0, 0.05, (outputs, inputs, 3, 3)).astype(np.float32)
        constants[f"w{index}"] = weight
        made = {"strides": [STRIDES[index]] * 2, "pads": [1, 1, 1, 1]}
        nodes.append(helper.make_node("Conv", [f"x{index}", f"w{index}"], [f"c{index}"], **made))
        nodes.append(helper.make_node("Relu", [f"c{index}"], [f"x{index + 1}"]))
    constants["head"] = rng.normal(0, 0.01, (CHANNELS[-1], LABELS)).astype(np.float32)
    nodes += [
        helper.make_node("GlobalAveragePool", [f"x{len(CHANNELS) - 1}"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "head"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "bench",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["n", LABELS])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), folder / "model.onnx")
    rows = [f"{index},tag_{index},0,1" for index in range(LABELS)]
    text = "\n".join(["tag_id,name,category,count", *rows]) + "\n"
    (folder / "selected_tags.csv").write_text(text)
    return folder


if __name__ == "__main__":
    main()
