"""What the tests of merging share: adapters of every kind for the small models."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file
from single_file_layout import as_single_file
from small_adapters import attached

from prep.demo.model import ASSETS
from train.adapter_file import write_adapter

Make = Callable[..., Path]


@pytest.fixture(scope="session")
def bases(
    sd15: Path,
    sdxl: Path,
    single_files: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Path]:
    """Every small model, and the demo's own, by kind and layout."""
    demo = tmp_path_factory.mktemp("demo") / "demo.safetensors"
    save_file(as_single_file(ASSETS, "sd15"), demo)
    return {
        "demo folder": ASSETS,
        "demo file": demo,
        "sd15 folder": sd15,
        "sd15 file": single_files["sd15"],
        "sdxl folder": sdxl,
        "sdxl file": single_files["sdxl"],
    }


@pytest.fixture
def make_adapter(bases: dict[str, Path], tmp_path: Path) -> Make:
    """`make_adapter(name, "sdxl", kind=..., ...)`: write an adapter of a model; return the file."""

    def make(name: str, of: str, **section: Any) -> Path:
        path = tmp_path / name
        adapter, _, _ = attached(bases[f"{of} folder"], **section)
        write_adapter(path, adapter.tensors(), {}, "fp32")
        return path

    return make
