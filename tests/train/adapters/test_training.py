"""Adapters in a run: going on from a file, what never changes, what is drawn at a step."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from schemas.errors import ModelError, RecipeError
from schemas.recipes.train import AdapterSection, TrainRecipe
from train.adapter_file import write_adapter
from train.captions import COUNTED
from train.setup import Setup, setup
from train.step import train_step
from train.unchanged import tell_unchanged

Make = Callable[..., TrainRecipe]


def ready(recipe: TrainRecipe, dataset: Path, **adapter: Any) -> Setup:
    own = AdapterSection.model_validate({**recipe.adapter.model_dump(), **adapter})
    asked = recipe.model_copy(update={"adapter": own})
    return setup(asked, dataset, resume=False, overwrite=False, device="cpu")


def test_a_step_with_dropout_follows_from_seed_and_step(dataset: Path, recipe: Make) -> None:
    found = []
    for noise in (1, 2):
        run = ready(recipe(), dataset, kind="dylora", dropout=0.3, blocks="M00")
        torch.manual_seed(noise)
        marks = run.adapter.marks()
        for step in range(2):
            train_step(run, step, np.zeros((6, len(COUNTED)), dtype=np.int64))
        found.append(run.adapter.tensors())
    assert all(torch.equal(found[0][name], tensor) for name, tensor in found[1].items())
    assert tell_unchanged(run, marks) == []
    assert len(tell_unchanged(run, run.adapter.marks())) == 12


def test_start_goes_on_from_a_file_of_the_same_kind(
    dataset: Path, recipe: Make, tmp_path: Path
) -> None:
    first = ready(recipe(), dataset, blocks="M00")
    for weight in first.adapter.parameters():
        torch.nn.init.normal_(weight)
    path = tmp_path / "a.safetensors"
    write_adapter(path, first.adapter.tensors(), {}, "fp32")
    run = ready(recipe(), dataset, blocks="M00", start=str(path))
    found = run.adapter.tensors()
    assert all(torch.equal(found[n], t) for n, t in first.adapter.tensors().items())
    with pytest.raises(ModelError, match=r"^adapter\.start: .* it is another kind of adapter$"):
        ready(recipe(), dataset, blocks="M00", kind="dora", start=str(path))


def test_a_rank_above_a_modules_size_is_refused(dataset: Path, recipe: Make) -> None:
    with pytest.raises(RecipeError) as caught:
        ready(recipe(), dataset, dim=4096, blocks="TE")
    assert str(caught.value) == (
        "adapter.dim = 4096 is above the size of"
        " lora_te_text_model_encoder_layers_0_self_attn_k_proj, 128: a change of that weight has no"
        " higher rank than 128"
    )
