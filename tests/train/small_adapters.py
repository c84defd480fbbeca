"""Small models opened, with adapters beside them that have something learnt."""

from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import torch

from schemas.recipes.train import AdapterSection, ModelSection
from train.adapters.adapter import Adapter, attach_adapter
from train.model import Model, find_model


def opened(path: Path) -> Model:
    return find_model(ModelSection(path=str(path)), Path())


@cache
def _networks(path: Path) -> tuple[Any, tuple[Any, ...]]:
    found = opened(path)
    return found.unet(), found.text_encoders()


def attached(path: Path, **section: Any) -> tuple[Adapter, Any, tuple[Any, ...]]:
    """An adapter with something learnt, and the model's networks, which it is beside."""
    found = opened(path)
    unet, texts = deepcopy(_networks(path))
    values: dict[str, Any] = {"dim": 4, "alpha": 2, "blocks": "all", **section}
    adapter = attach_adapter(
        found.architecture, unet, texts, AdapterSection.model_validate(values), seed=0
    )
    generator = torch.Generator().manual_seed(1)
    for weight in adapter.parameters():
        weight.data += torch.randn(weight.shape, generator=generator) * 0.03
    return adapter, unet, texts
