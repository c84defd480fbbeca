"""Real onnxruntime sessions: what reaches the model in which channel; wrong files of all kinds."""

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import helper

from schemas.errors import DeviceError, ModelError
from taggers.vocabulary import Label
from taggers.wd14 import load

Networks = dict[str, Callable]
ORANGE = (250, 100, 10)


def orange(count: int = 1, size: int = 8) -> np.ndarray:
    return np.full((count, size, size, 3), ORANGE, np.uint8)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


def message(folder: Path, device: str = "cpu") -> str:
    with pytest.raises(ModelError) as caught:
        load(folder, device)
    return str(caught.value)


def test_the_wd14_export_gets_bgr_0_to_255_and_its_output_is_kept(make_tagger: Callable) -> None:
    tagger = load(make_tagger(), "cpu")
    assert tagger.labels == (
        Label("first", "general"),
        Label("second", "general"),
        Label("third", "character"),
    )
    assert tagger.size == 8
    got = tagger.probabilities(orange())
    assert got.dtype == np.float32
    assert got * 255 == pytest.approx(np.array([[10.0, 100.0, 250.0]]), abs=1e-3)


def test_the_timm_export_gets_normalised_bgr_and_a_sigmoid(
    make_tagger: Callable, networks: Networks
) -> None:
    tagger = load(make_tagger(networks["channel_means"](channels_first=True, scale=5.0)), "cpu")
    logits = 5 * (np.array(ORANGE[::-1]) / 255 - 0.5) / 0.5
    assert tagger.probabilities(orange())[0] == pytest.approx(sigmoid(logits), abs=1e-6)


def test_a_config_beside_the_timm_export_says_how_pixels_are_scaled(
    make_tagger: Callable, networks: Networks
) -> None:
    folder = make_tagger(networks["channel_means"](channels_first=True, scale=2.0))
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    config = folder / "config.json"
    config.write_text(json.dumps({"pretrained_cfg": {"mean": mean, "std": std}}))
    assert message(folder) == (
        f"{config} names a mean and std that are not WD14's, but not the order of colours: "
        'add "channels": "rgb" to it, or "bgr", as the model\'s page says'
    )
    for channels, pixel in (("rgb", ORANGE), ("bgr", ORANGE[::-1])):
        config.write_text(json.dumps({"mean": mean, "std": std, "channels": channels}))
        wanted = sigmoid(2 * (np.array(pixel) / 255 - mean) / std)
        assert load(folder, "cpu").probabilities(orange())[0] == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize(
    "text", ["{", "[1]", '{"mean": 0.5}', '{"std": ["a", 1, 1]}', '{"mean": [1]}']
)
def test_a_config_that_is_none_is_told(
    make_tagger: Callable, networks: Networks, text: str
) -> None:
    folder = make_tagger(networks["channel_means"](channels_first=True))
    (folder / "config.json").write_text(text)
    assert message(folder) == (
        f"{folder / 'config.json'} is no timm config: mean and std are to be three numbers each; "
        "download it again, or remove it where the model is one of WD14's"
    )


@pytest.mark.parametrize("channels_first", [False, True])
def test_probabilities_are_told_from_logits_whatever_the_layout(
    make_tagger: Callable, networks: Networks, channels_first: bool
) -> None:
    scale = 3.0 if channels_first else 0.01
    plain = networks["channel_means"](channels_first=channels_first, scale=scale)
    logits = load(make_tagger(plain, name="logits"), "cpu")
    sure = load(make_tagger(networks["with_sigmoid"](plain), name="probabilities"), "cpu")
    got = sure.probabilities(orange())
    assert got.max() > 0.9
    assert logits.probabilities(orange()) == pytest.approx(got)


def test_of_several_outputs_the_probabilities_of_the_labels_are_taken(
    make_tagger: Callable, networks: Networks
) -> None:
    network = networks["with_sigmoid"](networks["channel_means"](scale=0.01), keep_logits=True)
    assert [one.name for one in network.graph.output] == ["output", "sure", "embedding"]
    got = load(make_tagger(network), "cpu").probabilities(orange())[0]
    assert got == pytest.approx(sigmoid(np.array(ORANGE[::-1]) * 0.01), abs=1e-6)


def test_a_run_that_memory_does_not_hold_is_halved(
    make_tagger: Callable, networks: Networks
) -> None:
    tagger = load(make_tagger(networks["hungry"](most=2)), "cpu")
    assert tagger.batch == 2
    assert tagger.probabilities(orange(5)).tolist() == [[0.5, 0.5, 0.5]] * 5


def test_memory_that_does_not_hold_one_image_is_a_device_error(
    make_tagger: Callable, networks: Networks
) -> None:
    with pytest.raises(DeviceError) as caught:
        load(make_tagger(networks["hungry"](most=0)), "cpu")
    assert str(caught.value) == (
        "tagger tiny: memory does not hold a run of 1 of its images on the CPU: "
        'close what else uses it, or set device = "cpu"'
    )


def test_logits_far_from_zero_do_not_overflow(make_tagger: Callable, networks: Networks) -> None:
    tagger = load(make_tagger(networks["channel_means"](channels_first=True, scale=1e4)), "cpu")
    assert tagger.probabilities(orange()).tolist() == [[0.0, 0.0, 1.0]]


def test_any_number_of_images_gives_as_many_rows(make_tagger: Callable) -> None:
    tagger = load(make_tagger(), "cpu")
    for count in (0, 1, tagger.batch, 2 * tagger.batch + 1):
        assert tagger.probabilities(orange(count)).shape == (count, 3)


def test_a_row_has_the_same_bits_alone_at_any_place_and_beside_others(
    make_tagger: Callable, networks: Networks
) -> None:
    tags = "tag_id,name,category\n" + "".join(f"{i},tag_{i},0\n" for i in range(37))
    tagger = load(make_tagger(networks["convolution"](48, 37), tags), "cpu")
    images = np.random.default_rng(0).integers(0, 256, (11, 48, 48, 3), np.uint8)
    alone = np.concatenate([tagger.probabilities(image[None]) for image in images])
    together = tagger.probabilities(images)
    backwards = tagger.probabilities(images[::-1])[::-1]
    assert np.unique(together).size > 300
    assert alone.tobytes() == together.tobytes() == np.ascontiguousarray(backwards).tobytes()


def test_a_model_made_for_one_image_at_a_time_gets_one(
    make_tagger: Callable, networks: Networks
) -> None:
    tagger = load(make_tagger(networks["channel_means"](batch=1)), "cpu")
    assert tagger.batch == 1
    wanted = np.array([[10.0, 100.0, 250.0]] * 3) / 255
    assert tagger.probabilities(orange(3)) == pytest.approx(wanted)


def test_the_key_is_the_bytes_and_neither_path_nor_name(make_tagger: Callable) -> None:
    first, second = make_tagger(name="first"), make_tagger(name="second")
    digest = hashlib.sha256(
        (first / "model.onnx").read_bytes() + (first / "selected_tags.csv").read_bytes()
    )
    assert load(first, "cpu").key == load(second, "cpu").key == digest.hexdigest()[:16]
    tags = second / "selected_tags.csv"
    tags.write_text(tags.read_text().replace("third", "fourth"))
    assert load(second, "cpu").key != load(first, "cpu").key


def test_the_tagger_says_what_it_is_and_where_it_runs(make_tagger: Callable) -> None:
    tagger = load(make_tagger(), "cpu")
    assert (tagger.device, tagger.name) == ("cpu", "tiny")
    assert tagger.describe() == "tagger tiny: 3 labels, 8 px, on the CPU"


def test_pixels_of_another_size_or_type_are_refused(make_tagger: Callable) -> None:
    tagger = load(make_tagger(), "cpu")
    with pytest.raises(ValueError) as caught:
        tagger.probabilities(orange(2, size=9))
    assert str(caught.value) == "uint8 [n, 8, 8, 3] is wanted, not uint8 [2, 9, 9, 3]"
    with pytest.raises(ValueError) as caught:
        tagger.probabilities(orange().astype(np.float32))
    assert str(caught.value) == "uint8 [n, 8, 8, 3] is wanted, not float32 [1, 8, 8, 3]"


def test_a_csv_of_another_length_names_both_files(make_tagger: Callable) -> None:
    folder = make_tagger(tags="tag_id,name,category,count\n1,solo,0,2\n")
    assert message(folder) == (
        f"{folder / 'model.onnx'} gives 3 probabilities but {folder / 'selected_tags.csv'} lists "
        "1 tags: the two are not of the same model"
    )


def test_an_output_of_undeclared_width_is_counted(
    make_tagger: Callable, networks: Networks
) -> None:
    network = networks["channel_means"]()
    network.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "labels"
    assert load(make_tagger(network), "cpu").probabilities(orange()).shape == (1, 3)
    folder = make_tagger(network, "tag_id,name,category\n1,solo,0\n", "short")
    assert "gives 3 probabilities but" in message(folder)


def test_bytes_that_are_no_onnx_say_so(make_tagger: Callable) -> None:
    folder = make_tagger(b"<html>not found</html>")
    assert message(folder) == (
        f"{folder / 'model.onnx'} is no ONNX model that onnxruntime {onnxruntime.__version__} "
        "can open (InvalidProtobuf): download it again, or update onnxruntime"
    )


def test_a_git_lfs_pointer_says_what_it_is(make_tagger: Callable) -> None:
    folder = make_tagger(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    assert message(folder) == (
        f"{folder / 'model.onnx'} is a Git LFS pointer, not the model: run `git lfs pull` in its "
        "folder, or download the file from the model's page"
    )


def identity(networks: Networks, shape: list, out: list | None = None) -> object:
    node = helper.make_node("Identity", ["input"], ["output"])
    return networks["model"]([node], {}, shape, shape if out is None else out)


@pytest.mark.parametrize(
    "shape", [["n", 10], ["n", 8, 8, 4], ["n", 8, 9, 3], ["n", "h", "w", 3], ["n", 8, 8, 3, 1]]
)
def test_an_onnx_of_another_input_is_no_tagger(
    make_tagger: Callable, networks: Networks, shape: list
) -> None:
    folder = make_tagger(identity(networks, shape))
    assert message(folder) == (
        f"{folder / 'model.onnx'} is no WD14 tagger: its input is tensor(float) {shape}, "
        "but one tensor(float) [n, size, size, 3] or [n, 3, size, size] is wanted"
    )


def test_an_onnx_of_another_output_is_no_tagger(make_tagger: Callable, networks: Networks) -> None:
    folder = make_tagger(identity(networks, ["n", 8, 8, 3]))
    assert message(folder) == (
        f"{folder / 'model.onnx'} is no WD14 tagger: its output is ['n', 8, 8, 3], "
        "but [n, labels] is wanted"
    )


REMEDY = (
    "install an NVIDIA driver, `pip uninstall onnxruntime`, then `pip install --force-reinstall "
    '"onnxruntime-gpu[cuda,cudnn]"`, or set device = "auto"'
)


@pytest.mark.skipif(sys.platform == "darwin", reason="no CUDA there")
def test_cuda_demanded_and_not_there_is_a_device_error(make_tagger: Callable) -> None:
    folder = make_tagger()
    if load(folder).device == "cuda":
        pytest.skip("this machine has CUDA")
    with pytest.raises(DeviceError) as caught:
        load(folder, "cuda")
    offered = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    reason = (
        "onnxruntime could not start it here"
        if offered
        else "the installed onnxruntime is without it"
    )
    assert str(caught.value) == f"the tagger was to run on CUDA, but {reason}: {REMEDY}"


def test_cuda_that_onnxruntime_offers_but_cannot_create_is_a_device_error(
    make_tagger: Callable, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime is without CUDA")
    if load(folder := make_tagger()).device == "cuda":
        pytest.skip("this machine has CUDA")
    monkeypatch.setattr("taggers.wd14._nvidia_driver", lambda: True)
    capfd.readouterr()
    with pytest.raises(DeviceError, match="could not start it here"):
        load(folder, "cuda")
    tagger = load(folder, "auto")
    assert tagger.device == "cpu"
    assert tagger.describe() == (
        "tagger tiny: 3 labels, 8 px, on the CPU; the NVIDIA card here is not used: "
        "`pip uninstall onnxruntime`, then "
        '`pip install --force-reinstall "onnxruntime-gpu[cuda,cudnn]"`'
    )
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="CUDA is offered"
)
def test_auto_falls_back_to_the_cpu(make_tagger: Callable) -> None:
    assert load(make_tagger(), "auto").device == "cpu"
