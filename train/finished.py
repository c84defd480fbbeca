"""A run opened again, finished or stopped: its models, and its adapters at any strength."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from schemas.errors import DatasetError, ModelError
from schemas.recipes.load import load_train
from schemas.recipes.train import TrainRecipe
from train.adapter_file import read_adapter
from train.adapters.adapter import Adapter
from train.device import find_device
from train.model import find_model
from train.precision import autocast
from train.run_folder import RunFolder
from train.sample import Painter
from train.setup import networks, offload, painter_of, to_compute


class Checkpoint(NamedTuple):
    """An adapter that a run has kept."""

    step: int
    path: Path


@dataclass
class OpenedRun:
    """A run's models on a device, ready to draw with any of its adapters."""

    folder: RunFolder
    recipe: TrainRecipe
    root: Path  # where the recipe's paths start
    painter: Painter
    checkpoints: tuple[Checkpoint, ...]  # by step; a finished run's adapter is the last
    adapter: Adapter
    _loaded: Path | None = field(default=None, init=False)

    @contextmanager
    def at(self, checkpoint: Path | None, strength: float = 1.0) -> Iterator[None]:
        """Within the block the painter draws with this adapter; None is the base model alone.

        strength: 1 is as trained, 0 the base model. Raises ModelError when the file is missing,
        broken, or of another kind than the recipe's adapter.
        """
        before = self._loaded
        self._load(checkpoint)
        try:
            with (
                self.adapter.at(0.0 if checkpoint is None else strength),
                autocast(self.painter.device, self.recipe.steps.precision),
            ):
                yield
        finally:
            self._load(before)

    def _load(self, path: Path | None) -> None:
        if path is not None and path != self._loaded:
            self.adapter.load(read_adapter(path)[0], str(path))
            self._loaded = path


def open_run(folder: Path, device: str = "auto", *, root: Path | None = None) -> OpenedRun:
    """Load what a run was trained on, with its adapter beside it.

    root: the folder that the recipe's paths start at; found from the recipe's `out` when left out.
    Raises DatasetError (no run, no adapter in it yet, its root not to be found), RecipeError,
    ModelError or DeviceError.
    """
    run = RunFolder(folder)
    if not run.recipe.is_file():
        raise DatasetError(
            f"{folder} is no run: it has no recipe.toml; name the folder that `train` made, such as"
            " runs/first"
        )
    if (folder / "cycle-01").is_dir():
        raise DatasetError(
            f"{folder} holds cycles of `train relora`: name one of them, such as"
            f" {folder / 'cycle-01'}; `train sample` draws with what they add up to"
        )
    recipe = load_train(run.recipe)
    kept = kept_checkpoints(run, recipe)
    if not kept:
        raise DatasetError(
            f"{folder} holds no adapter yet: `train --resume` ends the run, and save.every keeps"
            " some on the way"
        )
    start = find_root(folder, recipe) if root is None else root
    target = find_device(device, "drawing")
    model = find_model(recipe.model, start)
    unet, text_encoders, adapter = networks(recipe, model, run.merged())
    offload(recipe, target, unet, text_encoders, adapter)
    to_compute((unet, *text_encoders), target, recipe.steps.precision)
    adapter.to(target)
    painter = painter_of(model, unet, text_encoders, recipe.sample.sampler, target)
    return OpenedRun(run, recipe, start, painter, kept, adapter)


def kept_checkpoints(run: RunFolder, recipe: TrainRecipe) -> tuple[Checkpoint, ...]:
    """Return the adapters in a run's folder, by step, the finished one last."""
    found = [
        Checkpoint(int(path.stem.rpartition("-")[2]), path)
        for path in sorted(run.checkpoints.glob("*-????????.safetensors"))
    ]
    # named for the folder it was trained in, which may have been renamed since
    final = run.path / f"{Path(recipe.out).name}.safetensors"
    if final.is_file():
        _, metadata = read_adapter(final)
        if not metadata.get("ss_steps", "").isdecimal():
            raise ModelError(
                f"{final} does not say after how many steps it was saved: it is not this run's"
                " adapter; take it away, or train the run anew"
            )
        found.append(Checkpoint(int(metadata["ss_steps"]), final))
    return tuple(found)


def find_root(folder: Path, recipe: TrainRecipe) -> Path:
    """Return the folder that a run's recipe lay in: the run's without the parts of `out`.

    Raises DatasetError when the run lies elsewhere than `out` says.
    """
    out = Path(recipe.out)
    for place in (folder.absolute(), folder.resolve()):
        parts = out.parts
        if not out.is_absolute() and ".." not in parts and place.parts[-len(parts) :] == parts:
            return Path(*place.parts[: -len(parts)])
    raise DatasetError(
        f'{folder} was trained as "{recipe.out}" and lies elsewhere now, so that the paths of its'
        " recipe lead nowhere: name the folder that they start at with --data"
    )
