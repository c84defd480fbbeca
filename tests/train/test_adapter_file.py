"""Adapter files: readable by others, the same bytes for the same values, with metadata for UIs."""

import hashlib
import json
import re
import struct
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load

from schemas.errors import ModelError
from schemas.recipes.train import TrainRecipe
from train import train
from train.adapter_file import read_adapter, to_bytes, write_adapter

Make = Callable[..., TrainRecipe]


@given(
    shapes=st.dictionaries(
        st.text("abc_.", min_size=1), st.lists(st.integers(0, 4), max_size=4), max_size=5
    ),
    metadata=st.dictionaries(st.text(min_size=1), st.text(), max_size=4),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
)
@settings(max_examples=40, deadline=None)
def test_the_safetensors_library_reads_what_is_written(
    shapes: dict[str, list[int]], metadata: dict[str, str], dtype: torch.dtype
) -> None:
    tensors = {name: torch.randn(shape).to(dtype) for name, shape in shapes.items()}
    data = to_bytes(tensors, metadata)
    back = load(data)
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in tensors.items())
    assert data == to_bytes(dict(reversed(tensors.items())), dict(reversed(metadata.items())))
    header = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])
    assert header["__metadata__"] == metadata


def test_hashes_are_those_that_interfaces_look_up(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    tensors = {"x.lora_down.weight": torch.randn(700, 700), "x.alpha": torch.tensor(4.0)}
    write_adapter(path, tensors, {"ss_seed": "1", "modelspec.title": "a"}, "fp32")
    data = path.read_bytes()
    _, metadata = read_adapter(path)
    body = data[8 + struct.unpack("<Q", data[:8])[0] :]
    assert metadata["sshs_model_hash"] == hashlib.sha256(body).hexdigest()
    narrow = to_bytes(tensors, {"ss_seed": "1"})
    legacy = hashlib.sha256(narrow[0x100000:0x110000]).hexdigest()[:8]
    assert metadata["sshs_legacy_hash"] == legacy


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("fp16", torch.float16), ("bf16", torch.bfloat16), ("fp32", torch.float32)],
)
def test_precision_is_that_of_the_file(tmp_path: Path, precision: str, dtype: torch.dtype) -> None:
    write_adapter(tmp_path / "a", {"x": torch.randn(3)}, {}, precision)
    assert read_adapter(tmp_path / "a")[0]["x"].dtype == dtype


def test_metadata_tells_what_was_trained_on(dataset: Path, recipe: Make) -> None:
    asked = recipe(
        latents={"flip": True}, steps={"total": 0, "epochs": 1}, save={"precision": "fp16"}
    )
    result = train(asked, dataset, device="cpu")
    with safe_open(result.adapter, "pt") as file:
        metadata = file.metadata()
    rows = pq.read_table(dataset / "manifest.parquet").to_pylist()
    main = [row for row in rows if row["set"] == "main"]
    frequency = json.loads(metadata["ss_tag_frequency"])
    assert frequency["main"]["azusa"] == len(main) == 5
    assert frequency["plain"]["hat"] == 1
    assert json.loads(metadata["ss_dataset_dirs"])["main"]["img_count"] == 5
    buckets = json.loads(metadata["ss_bucket_info"])["buckets"]
    assert sum(bucket["count"] for bucket in buckets.values()) == 6
    assert {bucket_size for b in buckets.values() for bucket_size in b["resolution"]} == {64, 96}
    expected = {
        "ss_network_module": "networks.lora",
        "ss_network_dim": "4",
        "ss_network_alpha": "2.0",
        "ss_output_name": "first",
        "ss_flip_aug": "True",
        "ss_color_aug": "False",
        "ss_steps": str(result.steps),
        "ss_max_train_steps": str(result.steps),
        "ss_epoch": "1",
        "ss_num_epochs": "1",
        "ss_learning_rate": "0.001",
        "ss_seed": "42",
        "ss_clip_skip": "1",
        "ss_resolution": "(80, 80)",
        "ss_base_model_version": "sd_v1",
        "ss_num_reg_images": "3",
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": "stable-diffusion-v1/lora",
        "modelspec.title": "first",
    }
    assert {key: metadata[key] for key in expected} == expected


def test_the_same_run_writes_the_same_bytes_but_for_times(dataset: Path, recipe: Make) -> None:
    files = []
    for folder in ("a/x", "b/x"):
        path = train(recipe(out=folder), dataset, device="cpu").adapter
        tensors, metadata = read_adapter(path)
        timed = ("ss_training_started_at", "ss_training_finished_at", "modelspec.date")
        times = {key: metadata.pop(key) for key in timed}
        assert len(times) == 3
        metadata.pop("sshs_legacy_hash")  # covers the times too
        metadata.pop("ss_session_id")  # names the run, so its folder too
        files.append(to_bytes(tensors, metadata))
    assert files[0] == files[1]


def test_what_is_no_adapter_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(ModelError, match=f"^{re.escape(f'adapter {path} is missing')}$"):
        read_adapter(path)
    path.write_bytes(b"nothing of the kind")
    message = f"adapter {path} is no safetensors file (its header is cut): get it again"
    with pytest.raises(ModelError, match=f"^{re.escape(message)}$"):
        read_adapter(path)
