"""Rank, alpha and rate of each block that is trained, from the recipe's [adapter]."""

from collections.abc import Mapping
from dataclasses import dataclass

from schemas.errors import RecipeError
from schemas.recipes.train import AdapterSection
from train.blocks import Architecture


@dataclass(frozen=True)
class Figures:
    """What holds for the modules of a block."""

    dim: int
    alpha: float
    conv_dim: int  # of 3x3 convolutions; 0: they are not changed
    conv_alpha: float
    lr: float  # a factor of the optimizer's rate


def figures_by_block(section: AdapterSection, architecture: Architecture) -> dict[str, Figures]:
    """Return the figures of each block that is trained.

    A block with a rate or a dim of 0 is none of them. Raises RecipeError for names of blocks that
    are unknown or not among `adapter.blocks`, for a figure given twice, and when nothing is left.
    """
    chosen = architecture.parse(section.blocks, conv=section.conv_dim > 0)
    given = _given(section, architecture, chosen)
    found = {}
    for block in architecture.blocks:
        own = given.get(block, {})
        figures = Figures(
            dim=int(own.get("dim", section.dim)),
            alpha=own.get("alpha", section.alpha),
            conv_dim=section.conv_dim,
            conv_alpha=section.conv_alpha or section.alpha,
            lr=own.get("lr", 1.0),
        )
        if block in chosen and figures.dim and figures.lr:
            found[block] = figures
    if not found:
        raise RecipeError("adapter.block leaves nothing to train: every block has dim or lr 0")
    return found


def _given(
    section: AdapterSection, architecture: Architecture, chosen: frozenset[str]
) -> Mapping[str, Mapping[str, float]]:
    """The figures that [adapter.block] gives, by block and key."""
    given: dict[str, dict[str, float]] = {}
    for name, own in section.block.items():
        where = f'adapter.block."{name}"'
        blocks = architecture.parse(name, conv=section.conv_dim > 0, where=where)
        for block in sorted(blocks, key=architecture.blocks.index):
            if block not in chosen:
                raise RecipeError(
                    f'{where}: {block} is not trained, adapter.blocks = "{section.blocks}": name it'
                    " there too, or leave it out here"
                )
            for key, value in own.model_dump(exclude_none=True).items():
                if key in given.setdefault(block, {}):
                    raise RecipeError(f"{where}: another name in adapter.block gives {block} {key}")
                given[block][key] = value
    return given
