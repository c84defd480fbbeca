"""Compiled blocks compute what plain ones do; what cannot be compiled is refused."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from schemas.errors import RecipeError
from schemas.recipes.train import TrainRecipe
from train import compiling
from train.captions import COUNTED
from train.compiling import check_compile, compile_blocks
from train.setup import setup
from train.step import train_step

Make = Callable[..., TrainRecipe]
CPU = torch.device("cpu")


@pytest.fixture
def graphs() -> Iterator[list[int]]:
    """How many operations each traced graph has. Nothing is compiled, which would take minutes."""
    limit, found = torch._dynamo.config.recompile_limit, []

    def kept(graph: Any, inputs: Any) -> Any:
        found.append(len(graph.graph.nodes))
        return graph.forward

    torch._dynamo.reset()
    torch._dynamo.register_backend(kept, name="kept")
    yield found
    torch._dynamo.reset()
    torch._dynamo.config.recompile_limit = limit


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # torch's own tracing
def test_compiled_blocks_learn_as_plain_ones(
    dataset: Path, recipe: Make, graphs: list[int]
) -> None:
    counts = np.zeros((6, len(COUNTED)), dtype=np.int64)
    runs = [setup(recipe(), dataset, resume=False, overwrite=False, device="cpu") for _ in range(2)]
    compile_blocks(runs[1].unet, backend="kept")
    losses = [[train_step(run, step, counts)[0] for step in range(2)] for run in runs]
    assert losses[0] == losses[1]
    own, other = (run.adapter.tensors() for run in runs)
    assert all(torch.equal(own[name], other[name]) for name in own)
    # 16 blocks of three widths, in batches of two shapes: each is traced whole, and not 16 times
    assert 3 <= len(graphs) <= 6
    assert min(graphs) > 100


@pytest.mark.parametrize(
    ("section", "said"),
    [({"storage": "fp8"}, 'model.storage = "fp8"'), ({"offload": "all"}, 'model.offload = "all"')],
)
def test_what_must_not_be_held_is_not_compiled(
    recipe: Make, section: dict[str, str], said: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        check_compile(recipe(model=section, steps={"compile": True}), CPU)
    assert str(caught.value) == (
        f"steps.compile does not go with {said}: a compiled block may hold weights that were cast"
        " or fetched until its backward pass; leave one of them out"
    )


def test_without_a_compiler_it_is_refused(
    recipe: Make, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_there(*_: object, **__: object) -> bytes:
        raise FileNotFoundError

    from torch._inductor import cpp_builder

    cpp_builder.cpp_compiler_search.cache_clear()
    monkeypatch.setattr(subprocess, "check_output", none_there)
    with pytest.raises(RecipeError) as caught:
        setup(recipe(steps={"compile": True}), dataset, resume=False, overwrite=False, device="cpu")
    cpp_builder.cpp_compiler_search.cache_clear()
    assert str(caught.value) == (
        "steps.compile needs a C++ compiler for the CPU (g++, or cl on Windows): install it, or"
        " set compile = false"
    )
    assert compiling._lacking(torch.device("cuda")).startswith("Triton")
