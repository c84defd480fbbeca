"""Pictures of a model and its adapters: drawn once, read once, both kept."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from schemas.errors import DeviceError
from schemas.files import fingerprint, write_json
from schemas.progress import task
from schemas.recipes.train import ModelSection, Precision, SampleSection
from train.compare import FOLDER
from train.compare.experiment import Arm, Experiment
from train.compare.training import Training, model_key
from train.device import find_device
from train.measure import Measure
from train.merging.sources import Source
from train.model import find_model
from train.precision import autocast
from train.read_back import Reading
from train.sample import at_once, draw_all, parameters, picture_files, write_png
from train.sampling import in_words, painter_with


@dataclass(frozen=True)
class Drawing:
    """All pictures of one model: each prompt at each seed."""

    root: Path  # of the dataset, where the model's path starts
    model: ModelSection
    adapters: tuple[Source, ...]
    section: SampleSection  # with its prompts
    precision: Precision
    key: str

    @property
    def folder(self) -> Path:
        return self.root / FOLDER / "pictures" / self.key

    @property
    def pictures(self) -> list[Path]:
        """Where they lie, prompt by prompt, seed by seed."""
        return picture_files(self.folder, self.section)

    def reading_file(self, measure: Measure) -> Path:
        """Where what a measure reads in them is kept."""
        return self.folder / f"read-{measure.key}.json"

    def reading(self, measure: Measure) -> Reading | None:
        """Return what was read in them; None where they are not drawn and read yet."""
        file = self.reading_file(measure)
        if not file.is_file():
            return None
        return Reading(**json.loads(file.read_text(encoding="utf-8")))

    def read(self, measure: Measure, device: str, title: str) -> Reading:
        """Draw what is not drawn and read it, unless that is done; return what is read."""
        found = self.reading(measure)
        if found is None:
            self._draw(device, title)
            found = measure.of_pictures(self.pictures)
            write_json(self.reading_file(measure), asdict(found))
        return found

    def _draw(self, device: str, title: str) -> None:
        """Draw by whole batches, from the first that lacks a picture: each is drawn as ever."""
        files = self.pictures
        missing = [place for place, file in enumerate(files) if not file.is_file()]
        if not missing:
            return
        step = at_once(self.section.size)
        start = missing[0] // step * step
        target = find_device(device, "drawing")
        painter = painter_with(
            *(find_model(self.model, self.root), self.adapters, self.section),
            *(self.precision, target),
        )
        told = in_words(self.adapters)
        try:
            with (
                autocast(target, self.precision),
                task(f"draw {title}", len(files) - start, "pictures") as advance,
            ):
                drawn = draw_all(painter, self.section, start)
                for file, (prompt, seed, picture) in zip(files[start:], drawn, strict=True):
                    text = parameters(prompt, seed, self.section, self.model, told)
                    write_png(file, picture, text)
                    advance()
        except torch.OutOfMemoryError as error:
            raise DeviceError(
                "the device's memory is too small to draw this: make ask.size smaller"
            ) from error


def of_training(training: Training, measure: Measure) -> Drawing:
    """Return the pictures of a training, drawn as its arm says."""
    draw = training.arm.section.draw
    key = (training.key, training.seed, draw.checkpoint, draw.strength)
    sources = (Source(training.adapter, draw.strength),)
    return _drawing(training.experiment, training.arm, measure, sources, *key)


def of_base(experiment: Experiment, arm: Arm, measure: Measure) -> Drawing:
    """Return the pictures of the base that an arm's are drawn on, without any adapter."""
    return _drawing(experiment, arm, measure, ())


def _drawing(
    experiment: Experiment, arm: Arm, measure: Measure, adapters: tuple[Source, ...], *key: object
) -> Drawing:
    prompts = tuple(prompt.text for prompt in measure.prompts)
    section = experiment.section.model_copy(update={"prompts": prompts})
    asked = section.model_dump(mode="json", exclude={"every"})
    model, precision = arm.drawn_on, arm.recipe.steps.precision
    name = fingerprint(key, model_key(model, experiment.root), asked, precision)
    return Drawing(experiment.root, model, adapters, section, precision, name)
