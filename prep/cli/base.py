"""Which kind of model the `--base` of `prep init` is: its settings differ. Downloads nothing."""

from pathlib import Path

from schemas.errors import ModelError
from schemas.recipes.train import ModelKind, ModelSection


def kind_of(base: str) -> ModelKind:
    """Look into the file or folder; of a model that is yet to be downloaded only the name tells."""
    from train.model import find_model

    try:
        return find_model(ModelSection(path=base), Path(), download=False).kind
    except ModelError:
        return "sdxl" if "xl" in base.lower() else "sd15"
