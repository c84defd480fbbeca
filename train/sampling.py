"""Drawing with any model and any adapters: each prompt at each seed and strength, side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from schemas.errors import DatasetError, UsageError
from schemas.progress import task
from schemas.recipes.train import ModelSection, Precision, SampleSection
from train.adapter_modules import open_adapter
from train.adapters.layer import Base
from train.blocks import TEXT, Architecture, block_of_name
from train.device import find_device
from train.merging.block_weights import block_weights
from train.merging.match import check_found, find_modules
from train.merging.sources import Source
from train.model import Model, find_model
from train.precision import autocast
from train.prompts import lines_of
from train.sample import Painter, draw_all, lay_grid, parameters, picture_files, write_png
from train.setup import load_text_encoders, painter_of, to_compute


@dataclass(frozen=True)
class Asked:
    """What is to be drawn. Paths start at the current folder."""

    model: ModelSection
    adapters: Sequence[Source]
    section: SampleSection  # prompts, seeds, size and the like
    strengths: Sequence[float]  # each multiplies those of the adapters
    precision: Precision
    out: Path


def sample(asked: Asked, device: str = "auto") -> Path:
    """Draw all pictures into `asked.out`, and the grid of them beside it; return the grid's path.

    A row of the grid is a prompt at a seed, a column a strength. Raises UsageError, DatasetError,
    RecipeError, ModelError or DeviceError.
    """
    section, grid = asked.section, asked.out.with_name(f"{asked.out.name}.png")
    if not section.prompts:
        raise UsageError("nothing to draw: give --prompt, or a file with --prompts")
    if any(side % 8 for side in section.size):
        raise UsageError(f"--size {section.size[0]} {section.size[1]}: both are multiples of 8")
    if asked.out.exists() or grid.exists():
        raise DatasetError(f"{asked.out} holds pictures already: name another folder with --out")
    target = find_device(device, "drawing")
    model = find_model(asked.model, Path())
    columns: list[list[Image.Image]] = []
    labels = [f"{prompt} (seed {seed})" for prompt, seed in product(section.prompts, section.seeds)]
    with task("sample", len(labels) * len(asked.strengths), "pictures") as advance:
        for strength in asked.strengths:
            adapters = [Source(s.path, s.strength * strength, s.blocks) for s in asked.adapters]
            painter = painter_with(model, adapters, section, asked.precision, target)
            told = in_words(adapters)
            end = f"-at{strength:g}" if len(asked.strengths) > 1 else ""
            files = picture_files(asked.out, section, end)
            columns.append([])
            with autocast(target, asked.precision):
                drawn = draw_all(painter, section)
                for file, (prompt, seed, picture) in zip(files, drawn, strict=True):
                    text = parameters(prompt, seed, section, asked.model, told)
                    write_png(file, picture, text)
                    columns[-1].append(picture)
                    advance()
    rows = [list(row) for row in zip(*columns, strict=True)]
    titles = [f"strength {strength:g}" for strength in asked.strengths]
    title = " + ".join([Path(asked.model.path).stem, *(s.path.stem for s in asked.adapters)])
    write_png(grid, lay_grid(rows, labels, titles, title), title)
    return grid


def read_prompts(path: Path) -> list[str]:
    """Return the prompts of a file, a line each; lines that begin with # are none."""
    return [line for line in lines_of(path) if not line.startswith("#")]


def in_words(adapters: Sequence[Source]) -> str:
    """Return adapters and their strengths as the common user interfaces write them in a prompt."""
    return " ".join(f"<lora:{one.path.stem}:{one.strength:g}>" for one in adapters)


def painter_with(
    model: Model,
    adapters: Sequence[Source],
    section: SampleSection,
    precision: Precision,
    device: torch.device,
) -> Painter:
    """Return the parts that draw, with the adapters' changes added to their weights in fp32."""
    text_encoders = load_text_encoders(model)
    unet = model.unet()
    add_adapters(adapters, model.architecture, unet, text_encoders)
    to_compute((unet, *text_encoders), device, precision)
    return painter_of(model, unet, text_encoders, section.sampler, device)


@torch.no_grad()
def add_adapters(
    adapters: Sequence[Source], architecture: Architecture, unet: Any, text_encoders: Sequence[Any]
) -> None:
    """Add adapters to the fp32 weights of loaded models, each by its strength and blocks.

    Every change is that of the weights as they were, as `train merge` has it. Raises ModelError for
    what has no place in the models, UsageError for blocks that are unknown.
    """
    named = modules_by_name(architecture, unet, text_encoders)
    shapes = {name: tuple(module.weight.shape) for name, module in named.items()}
    sums: dict[str, torch.Tensor] = {}
    for source in adapters:
        file = open_adapter(source.path, architecture)
        factors = block_weights(source.blocks, architecture)
        matched, unmatched = find_modules(file, shapes)
        check_found(source.path.name, len(matched), unmatched, "`train merge --dry-run` lists them")
        for module in matched.values():
            factor = source.strength * factors[block_of_name(module.name) or TEXT]
            if factor:
                weight = named[module.name].weight
                change = file.read(module).delta(weight, slice(0, weight.shape[0]))
                sums[module.name] = factor * change + sums.get(module.name, 0.0)
    for name, change in sums.items():
        named[name].weight += change


def modules_by_name(
    architecture: Architecture, unet: Any, text_encoders: Sequence[Any]
) -> dict[str, Base]:
    """Return every Linear and convolution of the models by its name in adapter files."""
    kinds = torch.nn.Linear | torch.nn.Conv2d
    found: dict[str, Base] = {
        architecture.unet_name(path): module
        for path, module in unet.named_modules()
        if isinstance(module, kinds)
    }
    for number, encoder in enumerate(text_encoders):
        for path, module in encoder.named_modules():
            if isinstance(module, kinds):
                found[architecture.text_name(number, path)] = module
    return found
