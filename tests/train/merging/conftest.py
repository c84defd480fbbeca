"""What the tests of merging share: adapters of every kind for the small models."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_adapters import attached

from train.adapter_file import write_adapter

Make = Callable[..., Path]


@pytest.fixture(scope="session")
def bases(model: Path, sd15: Path, sdxl: Path, single_files: dict[str, Path]) -> dict[str, Path]:
    """Every small model by kind and layout."""
    return {
        "demo folder": model,
        "sd15 folder": sd15,
        "sd15 file": single_files["sd15"],
        "sdxl folder": sdxl,
        "sdxl file": single_files["sdxl"],
    }


@pytest.fixture
def make_adapter(tmp_path: Path) -> Make:
    """`make_adapter(name, model, kind=..., ...)`: write an adapter of a model; return the file."""

    def make(name: str, model: Path, **section: Any) -> Path:
        path = tmp_path / name
        write_adapter(path, attached(model, **section)[0].tensors(), {}, "fp32")
        return path

    return make
