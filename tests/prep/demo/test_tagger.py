"""The tagger that comes with the demo: what it knows, how large it is, how well it reads."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import prep.demo
from prep.demo.vocabulary import VOCABULARY
from taggers.wd14 import Tagger, load

FOLDER = Path(prep.demo.__file__).parent / "assets" / "tagger"
UNSEEN = 9001  # a seed that training does not use
MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def tagger() -> Tagger:
    return load(FOLDER, "cpu")


def test_both_files_are_at_most_two_megabytes() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {"model.onnx", "selected_tags.csv"}
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 2 * MEGABYTE


def test_it_follows_the_wd14_convention() -> None:
    import onnx

    model = onnx.load(FOLDER / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    [entry], [result] = model.graph.input, model.graph.output
    shape = [d.dim_param or d.dim_value for d in entry.type.tensor_type.shape.dim]
    assert entry.name == "input"
    assert entry.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert shape[1] == shape[2]
    assert (shape[0], shape[3]) == ("n", 3)
    assert result.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    with (FOLDER / "selected_tags.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["tag_id", "name", "category", "count"]
    names = ["general", "sensitive", "questionable", "explicit"]
    assert [(row["name"], row["category"]) for row in rows[:4]] == [(name, "9") for name in names]


def test_it_knows_every_general_and_character_tag_of_the_demo(tagger: Tagger) -> None:
    for category in ("general", "character"):
        known = [label.name for label in tagger.labels if label.category == category]
        assert known == [word.name for word in VOCABULARY if word.category == category]
    assert {label.category for label in tagger.labels} == {"rating", "general", "character"}


def tags_seen(tagger: Tagger, pictures: np.ndarray) -> float:
    """The share of tags, ratings apart, that the tagger sees in such pictures."""
    got = tagger.probabilities(pictures)
    assert got.min() >= 0
    assert got.max() <= 1
    ratings = sum(label.category == "rating" for label in tagger.labels)
    return float((got[:, ratings:] > 0.5).mean())


@pytest.mark.parametrize("grain", [4, 8, 16, 32, 64, 128])
def test_it_sees_nothing_in_noise_such_as_an_untrained_model_draws(
    tagger: Tagger, grain: int
) -> None:
    rng = np.random.default_rng(grain)
    size = (tagger.size, tagger.size)
    pictures = [
        Image.fromarray(rng.integers(0, 256, (grain, grain, 3), np.uint8)).resize(size)
        for _ in range(8)
    ]
    assert tags_seen(tagger, np.stack([np.asarray(picture) for picture in pictures])) < 0.002


def test_noise_of_single_pixels_which_it_never_saw_misleads_it_little(tagger: Tagger) -> None:
    shape = (8, tagger.size, tagger.size, 3)
    assert tags_seen(tagger, np.random.default_rng(0).integers(0, 256, shape, np.uint8)) < 0.05


@pytest.mark.slow
def test_mean_average_precision_on_unseen_drawings_is_at_least_nine_tenths(tagger: Tagger) -> None:
    from prep.demo.train_tagger import evaluate

    found = evaluate(tagger, UNSEEN, 300)
    assert len(found) > 0.9 * len(tagger.labels)
    assert sum(found.values()) / len(found) >= 0.9


def test_average_precision_is_the_mean_precision_at_each_hit() -> None:
    from prep.demo.train_tagger import average_precision

    scores = np.array([0.9, 0.8, 0.7, 0.6], np.float32)
    assert average_precision(scores, np.array([True, True, False, False])) == 1.0
    assert average_precision(scores, np.array([False, True, False, True])) == 0.5
    assert average_precision(scores, np.array([False, False, False, True])) == 0.25


def test_an_exported_network_answers_as_the_trained_one(tmp_path: Path) -> None:
    import torch

    from prep.demo.train_tagger import SIZE, Network, labels, write_tagger

    torch.manual_seed(0)
    network = Network(len(labels()))
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.2, 0.2)
    write_tagger(network.eval(), np.ones((3, len(labels())), np.float32), tmp_path)
    rgb = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), np.uint8)
    bgr = torch.from_numpy(rgb[..., ::-1].astype(np.float32)).permute(0, 3, 1, 2)
    with torch.no_grad():
        wanted = torch.sigmoid(network(bgr)).numpy()
    got = load(tmp_path, "cpu").probabilities(rgb)
    assert np.ptp(wanted) > 0.1
    assert np.abs(got - wanted).max() < 5e-3  # weights are kept in half precision
