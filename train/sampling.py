"""Drawing with any model and any adapters: each prompt at each seed and strength, side by side."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from schemas.errors import DatasetError, RecipeError, UsageError
from schemas.progress import task
from schemas.recipes.train import ModelSection, Precision, SampleSection
from train.adapter_modules import Module, open_adapter
from train.adapters.layer import Base
from train.blocks import TEXT, Architecture, block_of_name
from train.device import find_device
from train.merging.block_weights import block_weights
from train.merging.match import ABSENT, Match, check_match
from train.merging.sources import Source
from train.model import Model, find_model
from train.precision import COMPUTE, autocast
from train.sample import Painter, at_once, lay_grid, parameters, write_png
from train.setup import load_tokens


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
    cells = list(product(section.prompts, section.seeds))
    columns: list[list[Image.Image]] = []
    with task("sample", len(cells) * len(asked.strengths), "pictures") as advance:
        for strength in asked.strengths:
            adapters = [Source(s.path, s.strength * strength, s.blocks) for s in asked.adapters]
            painter = painter_with(model, adapters, section, asked.precision, target)
            with autocast(target, asked.precision):
                columns.append(_drawn(painter, cells, section, advance))
            told = " ".join(f"<lora:{s.path.stem}:{s.strength:g}>" for s in adapters)
            for (prompt, seed), picture in zip(cells, columns[-1], strict=True):
                number = section.prompts.index(prompt) + 1
                end = f"-at{strength:g}" if len(asked.strengths) > 1 else ""
                text = parameters(prompt, seed, section, asked.model, told)
                write_png(asked.out / f"{number:02}-seed{seed}{end}.png", picture, text)
    rows = [list(row) for row in zip(*columns, strict=True)]
    labels = [f"{prompt} (seed {seed})" for prompt, seed in cells]
    titles = [f"strength {strength:g}" for strength in asked.strengths]
    title = " + ".join([Path(asked.model.path).stem, *(s.path.stem for s in asked.adapters)])
    write_png(grid, lay_grid(rows, labels, titles, title), title)
    return grid


def read_prompts(path: Path) -> list[str]:
    """Return the prompts of a file, a line each; lines that begin with # are none."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"--prompts {path} cannot be read as UTF-8 text: {error}") from None
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def painter_with(
    model: Model,
    adapters: Sequence[Source],
    section: SampleSection,
    precision: Precision,
    device: torch.device,
) -> Painter:
    """Return the parts that draw, with the adapters' changes added to their weights in fp32."""
    unet, text_encoders = model.unet(), model.text_encoders()
    layers = text_encoders[0].config.num_hidden_layers
    if model.section.clip_skip > layers:
        raise RecipeError(
            f"model.clip_skip is {model.section.clip_skip}, but the text encoder has only {layers}"
            " layers"
        )
    add_adapters(adapters, model.architecture, unet, text_encoders)
    for base in (unet, *text_encoders):
        torch.nn.Module.to(base, device, COMPUTE[precision])
    return Painter(
        *(unet, text_encoders, load_tokens(model, text_encoders), model.vae()),
        *(model.scheduler(), model.section.clip_skip, device, section.sampler),
    )


@torch.no_grad()
def add_adapters(
    adapters: Sequence[Source], architecture: Architecture, unet: Any, text_encoders: Sequence[Any]
) -> None:
    """Add adapters to the fp32 weights of loaded models, each by its strength and blocks.

    Every change is that of the weights as they were, as `train merge` has it. Raises ModelError for
    what has no place in the models, UsageError for blocks that are unknown.
    """
    named = modules_by_name(architecture, unet, text_encoders)
    sums: dict[str, torch.Tensor] = {}
    for source in adapters:
        file = open_adapter(source.path, architecture)
        factors = block_weights(source.blocks, architecture)
        check_match(_match(source, file.modules, named), allow_unmatched=False)
        for module in file.modules:
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


def _match(source: Source, modules: Sequence[Module], named: Mapping[str, Base]) -> Match:
    unmatched = {
        module.written: "of a kind not known here" if not module.kind else ABSENT
        for module in modules
        if not module.kind or module.name not in named
    }
    return Match(
        source.path.name, {}, source.strength, {}, len(modules) - len(unmatched), unmatched
    )


def _drawn(
    painter: Painter,
    cells: Sequence[tuple[str, int]],
    section: SampleSection,
    advance: Callable[[], object],
) -> list[Image.Image]:
    found: list[Image.Image] = []
    for part in _batches(cells, at_once(section.size)):
        prompts, seeds = zip(*part, strict=True)
        found += painter.draw_batch(
            *(prompts, section.negative, seeds),
            *(section.size, section.steps, section.guidance),
        )
        for _ in part:
            advance()
    return found


def _batches(cells: Sequence[tuple[str, int]], size: int) -> Iterator[Sequence[tuple[str, int]]]:
    for start in range(0, len(cells), size):
        yield cells[start : start + size]
