"""Tiny real ONNX models whose output tells what reached them, and tagger folders made of them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

LABELS = "tag_id,name,category,count\n9,first,0,1\n8,second,0,1\n7,third,4,1\n"
MakeTagger = Callable[..., Path]


def channel_means(
    size: int = 8, channels_first: bool = False, scale: float = 1 / 255, batch: int | str = "n"
) -> onnx.ModelProto:
    """[n, size, size, 3] or [n, 3, size, size] -> each channel's mean times `scale`: [n, 3]."""
    shape = [batch, 3, size, size] if channels_first else [batch, size, size, 3]
    axes = [2, 3] if channels_first else [1, 2]
    nodes = [
        helper.make_node("ReduceMean", ["input", "axes"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "scale"], ["output"]),
    ]
    constants = {"axes": np.array(axes, np.int64), "scale": np.array(scale, np.float32)}
    return model(nodes, constants, shape, [batch, 3])


def convolution(size: int, labels: int, seed: int = 0) -> onnx.ModelProto:
    """A network with convolutions and a matrix product, where kernels may depend on the batch."""
    rng = np.random.default_rng(seed)
    constants = {
        "first": rng.normal(0, 0.002, (24, 3, 5, 5)).astype(np.float32),
        "second": rng.normal(0, 0.1, (40, 24, 3, 3)).astype(np.float32),
        "last": rng.normal(0, 0.5, (40, labels)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Transpose", ["input"], ["nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["nchw", "first"], ["a"], strides=[2, 2]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "second"], ["c"], strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("GlobalAveragePool", ["d"], ["e"]),
        helper.make_node("Flatten", ["e"], ["f"]),
        helper.make_node("MatMul", ["f", "last"], ["g"]),
        helper.make_node("Sigmoid", ["g"], ["output"]),
    ]
    return model(nodes, constants, ["n", size, size, 3], ["n", labels])


def with_sigmoid(network: onnx.ModelProto, keep_logits: bool = False) -> onnx.ModelProto:
    """The same with a sigmoid as its end; or with logits, probabilities and an embedding."""
    graph = network.graph
    graph.node.append(helper.make_node("Sigmoid", ["output"], ["sure"]))
    graph.output.append(helper.make_tensor_value_info("sure", TensorProto.FLOAT, ["n", 3]))
    if keep_logits:
        graph.node.append(helper.make_node("Concat", ["output", "sure"], ["embedding"], axis=1))
        graph.output.append(helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 6]))
    else:
        del graph.output[0]
    return network


def hungry(most: int) -> onnx.ModelProto:
    """Answers 0.5, and wants more memory than there is for more than `most` images a run.

    Beyond `most` a vector of 2^44 floats is made, 64 tebibytes.
    """
    numbers = {"most": most, "zero": 0, "one": 1, "two": 2, "bits": 40, "least": 4, "half": 0.5}
    constants = {name: np.array(value, np.float32) for name, value in numbers.items()}
    constants |= {"first": np.array([0], np.int64), "axes": np.array([1, 2], np.int64)}
    nodes = [
        helper.make_node("Shape", ["input"], ["shape"]),
        helper.make_node("Gather", ["shape", "first"], ["images"]),
        helper.make_node("Cast", ["images"], ["count"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["count", "most"], ["over"]),
        helper.make_node("Max", ["over", "zero"], ["beyond"]),
        helper.make_node("Min", ["beyond", "one"], ["is_beyond"]),
        helper.make_node("Mul", ["is_beyond", "bits"], ["more"]),
        helper.make_node("Add", ["more", "least"], ["power"]),
        helper.make_node("Pow", ["two", "power"], ["size"]),
        helper.make_node("Cast", ["size"], ["length"], to=TensorProto.INT64),
        helper.make_node("ConstantOfShape", ["length"], ["zeros"]),
        helper.make_node("ReduceMax", ["zeros"], ["nothing"], keepdims=0),
        helper.make_node("ReduceMean", ["input", "axes"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "nothing"], ["gone"]),
        helper.make_node("Add", ["gone", "half"], ["output"]),
    ]
    return model(nodes, constants, ["n", 8, 8, 3], ["n", 3])


def model(
    nodes: list[onnx.NodeProto],
    constants: dict[str, np.ndarray],
    input_shape: list[int | str],
    output_shape: list[int | str],
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, input_shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, output_shape)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opset = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opset, ir_version=9)


@pytest.fixture
def make_tagger(tmp_path: Path) -> MakeTagger:
    """make_tagger(model or bytes, csv text, folder name) -> a folder with both files."""

    def make(
        network: onnx.ModelProto | bytes | None = None, tags: str = LABELS, name: str = "tiny"
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        network = channel_means() if network is None else network
        data = network if isinstance(network, bytes) else network.SerializeToString()
        (folder / "model.onnx").write_bytes(data)
        (folder / "selected_tags.csv").write_text(tags, encoding="utf-8")
        return folder

    return make


@pytest.fixture
def networks() -> dict[str, Callable[..., onnx.ModelProto]]:
    made = (channel_means, convolution, with_sigmoid, hungry, model)
    return {one.__name__: one for one in made}
