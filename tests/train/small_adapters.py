"""Small models opened, with adapters beside them that have something learnt.

All of a model's adapters are beside the same networks, each off until a test lets it count.
"""

import json
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import torch

from schemas.recipes.train import AdapterSection, ModelSection
from train.adapters.adapter import Adapter, attach_adapter
from train.model import Model, find_model

_off = ExitStack()  # of every adapter, while there are tests


def opened(path: Path) -> Model:
    return find_model(ModelSection(path=str(path)), Path())


@cache
def _networks(path: Path) -> tuple[Any, tuple[Any, ...]]:
    found = opened(path)
    return found.unet(), found.text_encoders()


def attached(path: Path, **section: Any) -> tuple[Adapter, Any, tuple[Any, ...]]:
    """An adapter with something learnt, and the model's networks, which it is beside."""
    return _adapter(path, json.dumps(section, sort_keys=True)), *_networks(path)


@cache
def _adapter(path: Path, section: str) -> Adapter:
    unet, texts = _networks(path)
    values: dict[str, Any] = {"dim": 4, "alpha": 2, "blocks": "all", **json.loads(section)}
    adapter = attach_adapter(
        opened(path).architecture, unet, texts, AdapterSection.model_validate(values), seed=0
    )
    generator = torch.Generator().manual_seed(1)
    for weight in adapter.parameters():
        weight.data += torch.randn(weight.shape, generator=generator) * 0.03
    _off.enter_context(adapter.off())
    return adapter
