"""Captions that do not vary are encoded once, and what is read back is what would be computed."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from schemas.errors import DataError
from schemas.recipes.train import CaptionSection, TrainRecipe
from train import text_cache, train
from train.data import read_data
from train.setup import Setup, setup
from train.step import batch_losses
from train.text import encode
from train.text_cache import varies

Make = Callable[..., TrainRecipe]

FIXED: dict[str, Any] = {
    "adapter": {"blocks": "unet"},
    "caption": {"shuffle": False, "drop_caption": 0.3},
}


def ready(recipe: TrainRecipe, dataset: Path) -> Setup:
    return setup(recipe, dataset, resume=False, overwrite=False, device="cpu")


def ids_of(run: Setup) -> torch.Tensor:
    """The tokens of every caption; a long one makes all of them two chunks."""
    captions = [run.data.caption(run.tokens, row, 225) for row in range(6)]
    return run.tokens.stacked([*captions, run.tokens.caption(())])


def lengthen(dataset: Path, write_manifest: Callable[..., None], row: int) -> None:
    rows = pq.read_table(dataset / "manifest.parquet").to_pylist()
    tag = {"category": "general", "part": "flex"}
    rows[row]["tags"] += [{"tag": f"qzx{number}", **tag} for number in range(30)]
    write_manifest(dataset, rows)


@pytest.mark.parametrize("kind", ["sd15", "sdxl"])
def test_what_is_read_is_what_the_encoders_say_bit_for_bit(
    dataset: Path, recipe: Make, sdxl: Path, kind: str, write_manifest: Callable[..., None]
) -> None:
    lengthen(dataset, write_manifest, 2)
    model = {"path": str(sdxl), "clip_skip": 2} if kind == "sdxl" else {"clip_skip": 2}
    run = ready(recipe(model=model, **FIXED), dataset)
    assert run.texts is not None
    ids = ids_of(run)
    assert ids.shape[1] > 1
    with torch.no_grad():
        expected = encode(run.model.text_encoders(), ids, 2)
    found = run.texts.read(ids)
    assert torch.equal(found.context, expected.context)
    assert (found.pooled is None) == (kind == "sd15")
    if found.pooled is not None:
        assert torch.equal(found.pooled, expected.pooled)


def test_a_training_is_the_same_bit_for_bit_with_and_without(
    dataset: Path, recipe: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = {"loss": {"prior": "model"}, "validate": {"share": 0.3}, "steps": {"total": 5}}
    adapters = []
    for name in ("with", "without"):
        with monkeypatch.context() as patch:
            if name == "without":
                patch.setattr("train.setup.varies", lambda *_: True)
            result = train(recipe(out=f"runs/{name}", **FIXED, **more), dataset, device="cpu")
        adapters.append({k: t.numpy().tobytes() for k, t in load_file(result.adapter).items()})
    assert adapters[0] == adapters[1]
    assert (dataset / "texts").is_dir()


def test_only_what_is_new_is_encoded_and_another_model_or_setting_is_another_cache(
    dataset: Path, recipe: Make, sdxl: Path, write_manifest: Callable[..., None]
) -> None:
    def encoded(**changes: Any) -> int:
        run = ready(recipe(**FIXED, **changes), dataset)
        assert run.texts is not None
        return run.texts.encoded

    assert encoded() == 2  # six captions alike, and the empty one
    assert encoded() == 0
    assert encoded(seed=7, optimizer={"lr": 1e-5}) == 0
    lengthen(dataset, write_manifest, 0)
    assert encoded() == ids_of(ready(recipe(), dataset)).shape[1]
    assert encoded() == 0
    assert encoded(model={"clip_skip": 2}) > 0
    assert encoded(steps={"precision": "bf16"}) > 0
    assert encoded(model={"path": str(sdxl), "clip_skip": 2}) > 0
    assert len(list((dataset / "texts").iterdir())) == 4
    assert encoded() == 0
    key = text_cache.key_of(recipe(**FIXED), ready(recipe(), dataset).model_sha256)
    assert text_cache.gc(dataset, key) > 0
    assert [path.name for path in (dataset / "texts").iterdir()] == [key]
    assert encoded() == 0


def test_damaged_files_are_encoded_again_and_turned_bytes_refused(
    dataset: Path, recipe: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(text_cache, "say", said.append)
    run = ready(recipe(**FIXED), dataset)
    assert run.texts is not None
    (path,) = run.texts.folder.glob("*.safetensors")
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    again = ready(recipe(**FIXED), dataset).texts
    assert again is not None
    assert again.encoded == 2
    assert said == [f"texts: {path} is damaged; its captions are encoded again"]
    data = bytearray(path.read_bytes())
    # the middle of the context, which is by far the largest tensor
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    turned = ready(recipe(**FIXED), dataset).texts
    assert turned is not None
    message, ids = f"{path} is damaged: remove it and run `train` again", ids_of(run)
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        turned.read(ids)


def test_the_encoders_leave_memory_unless_samples_want_them(dataset: Path, recipe: Make) -> None:
    run = ready(recipe(**FIXED), dataset)
    assert {weight.device.type for weight in run.text_encoders[0].parameters()} == {"meta"}
    assert batch_losses(run, run.batches[0], 0).isfinite().all()
    asked = recipe(sample={"prompts": ["hat"], "every": 2}, **FIXED)
    assert train(asked, dataset, device="cpu").grid is not None


def test_captions_vary_where_they_are_shuffled_or_dropped_in_part(
    dataset: Path, recipe: Make, write_manifest: Callable[..., None]
) -> None:
    data = read_data(recipe(), dataset / "manifest.parquet")
    assert varies(CaptionSection(), data)
    assert not varies(CaptionSection(shuffle=False, drop_caption=0.5), data)
    assert varies(CaptionSection(shuffle=False, drop_tag={"general": 0.1}), data)
    assert not varies(CaptionSection(shuffle=False, drop_tag={"general": 0.0}), data)
    assert ready(recipe(caption={"shuffle": False}), dataset).texts is None  # it trains the encoder
    rows = pq.read_table(dataset / "manifest.parquet").to_pylist()
    write_manifest(dataset, [row | {"tags": row["tags"][:2]} for row in rows])
    data = read_data(recipe(), dataset / "manifest.parquet")
    assert not varies(CaptionSection(), data)
    assert np.all([len(data.tags(row).texts) == 2 for row in range(6)])
