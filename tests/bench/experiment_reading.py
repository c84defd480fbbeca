"""Reading the pictures of experiments back: one measure for every arm, whatever its dataset.

`train evaluate` fits its thresholds to a run's own dataset; arms with different data would each be
read by a measure of their own. Here it is fresh drawings with their true tags, the same for all.
The figures themselves are those of `train.read_back`.
"""

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from bench_base_model import judged, read_all
from PIL import Image

from prep.demo.characters import CHARACTERS
from prep.demo.drawings import drawn
from prep.demo.model import SIDE
from prep.demo.portrait import Portrait, sample
from prep.demo.recipes import TAGGER
from prep.demo.style_probe import StyleProbe, accuracy, by_artist, fit_probe, given_back
from prep.demo.vocabulary import ARTISTS
from schemas.errors import RecipeError
from schemas.files import writing
from schemas.recipes.experiment import AskSection
from schemas.recipes.train import SampleSection
from taggers import images
from taggers.wd14 import Tagger, load
from train.finished import OpenedRun
from train.prompts import own_prompts
from train.read_back import (
    Bools,
    Floats,
    Prompt,
    Real,
    figures,
    mean,
    real_figures,
    shares,
)
from train.sample import draw_grid

FRESH, PROBED = 1500, 1050  # drawings that thresholds, and the reader of styles, are fitted to
UNSEEN = 350  # drawings that the reader of styles is judged by
SEED = 3_000  # of drawings that nothing was trained on
LEAST = 0.05  # share of pictures below which a tag read in them is not written down


@dataclass(frozen=True)
class Reading:
    """What is read in the pictures of one model; None where nothing was there to be read.

    recall, signature, unasked: as in `train.read_back`. obeyed: recall of what is asked for beside
    the trigger. style: how likely the learnt artist is, mean over all pictures. alone: the share of
    pictures of the trigger alone in which each tag is read.
    """

    recall: float | None
    signature: float | None
    unasked: float | None
    obeyed: float | None
    style: float | None
    alone: dict[str, float]


@dataclass(frozen=True)
class Measure:
    """What is asked and how it is read, for one thing that is learnt."""

    learnt: str
    trigger: str
    ask: AskSection
    tagger: Tagger
    real: Real
    thresholds: Floats
    taught: Bools  # fresh drawings that show what is learnt
    prompts: tuple[Prompt, ...]
    probe: StyleProbe | None
    probe_accuracy: float | None  # on unseen drawings, as the model's autoencoder gives them back
    real_style: float | None  # of such drawings by the learnt artist

    @property
    def signature(self) -> tuple[str, ...]:
        """The tags of what never changes about a character; of anything else there are none."""
        return CHARACTERS[self.learnt].signature if self.learnt in CHARACTERS else ()

    def of_real(self) -> Reading:
        """What is read in fresh drawings: what each figure could be."""
        found = real_figures(self.real, self.prompts, self.signature, self.taught)
        called = [tag for prompt in self.prompts if prompt.trigger for tag in prompt.asked]
        obeyed = mean(map(self.real.ceiling, called))
        alone = self._alone(self.real.read[self.taught]) if self.trigger else {}
        return Reading(
            *(found.recall, found.signature, found.unasked, obeyed, self.real_style, alone)
        )

    def of_run(self, opened: OpenedRun, adapter: Path | None, folder: Path) -> Reading:
        """Draw into `folder` with a run's adapter, or with its base model, and read what comes."""
        section = SampleSection(
            prompts=tuple(prompt.text for prompt in self.prompts),
            seeds=tuple(range(self.ask.seed, self.ask.seed + self.ask.pictures)),
            size=(SIDE, SIDE),
            steps=self.ask.steps,
            guidance=self.ask.guidance,
        )
        with opened.at(adapter):
            draw_grid(opened.painter, section, opened.recipe.model, folder, title=folder.name)
        pictures = [
            images.read(folder / f"{number:02}-seed{seed}.png")
            for number in range(1, len(self.prompts) + 1)
            for seed in section.seeds
        ]
        read = read_all(self.tagger, pictures, "read") >= self.thresholds
        return self._reading(list(read.reshape(len(self.prompts), -1, read.shape[1])), pictures)

    def _reading(self, read: list[Bools], pictures: list[Image.Image]) -> Reading:
        found = figures(self.real, self.prompts, read, self.signature)
        pairs = list(zip(self.prompts, read, strict=True))
        called = [
            share for p, seen in pairs if p.trigger for share in shares(self.real, p.asked, seen)
        ]
        style = None
        if self.probe is not None:
            pixels = np.stack([np.asarray(one) for one in pictures])
            style = likeness(self.probe, pixels, self.learnt)
        alone = self._alone(read[0]) if self.trigger else {}
        return Reading(found.recall, found.signature, found.unasked, mean(called), style, alone)

    def _alone(self, read: Bools) -> dict[str, float]:
        means = read.mean(axis=0) if len(read) else np.zeros(len(self.real.names))
        found = {name: float(share) for name, share in zip(self.real.names, means, strict=True)}
        return {name: share for name, share in found.items() if share >= LEAST}


def measure_of(
    learnt: str, trigger: str, ask: AskSection, prompts: Path, work: Path, vae: object, fresh: int
) -> Measure:
    """Make what experiments are read by; what takes long is kept in `work`.

    prompts: the file that `ask.prompts` stand in. fresh: how many drawings to fit to. Raises
    RecipeError where the tagger cannot read what is asked for.
    """
    tagger = load(TAGGER, "cpu")
    shown = [fresh_portrait(SEED, row) for row in range(fresh)]
    real, thresholds = judged(tagger, shown, _probabilities(tagger, work, fresh))
    able = np.isfinite(thresholds)
    readable = [name for name, can in zip(real.names, able, strict=True) if can]
    own = own_prompts(ask.prompts, readable, trigger)
    if silent := [prompt.text for prompt in own if not prompt.asked]:
        raise RecipeError(f'ask.prompts: "{silent[0]}" asks for nothing that the tagger knows')
    first = (Prompt(trigger, (), trigger=True),) if trigger else ()
    probe = _probe(work, vae, fresh) if learnt in ARTISTS else None
    right, ceiling = _probed(probe, learnt, vae, fresh) if probe else (None, None)
    return Measure(
        learnt=learnt,
        trigger=trigger,
        ask=ask,
        tagger=tagger,
        real=real,
        thresholds=thresholds,
        taught=np.array([learnt in {*one.tags(), *one.character_tags} for one in shown]),
        prompts=(*first, *own),
        probe=probe,
        probe_accuracy=right,
        real_style=ceiling,
    )


def fresh_portrait(seed: int, row: int) -> Portrait:
    """Anybody, in anybody's manner; what the base model never saw included."""
    return sample(random.Random(f"fresh {seed} {row}"))


def _probabilities(tagger: Tagger, work: Path, fresh: int) -> Floats:
    """What the tagger sees in the fresh drawings, [drawings, labels]."""
    path = work / f"fresh-{fresh}-{SIDE}px-{tagger.key}.npy"
    if not path.is_file():
        pixels = drawn(fresh_portrait, SEED, range(fresh), SIDE, SIDE)
        found = read_all(tagger, [Image.fromarray(one) for one in pixels], "fit thresholds")
        with writing(path) as aside, aside.open("wb") as file:
            np.save(file, found)
    probabilities: Floats = np.load(path)
    return probabilities


def likeness(probe: StyleProbe, pixels: np.ndarray, artist: str) -> float:
    """How likely the artist drew the pictures, on average."""
    return float(probe.probabilities(pixels)[:, ARTISTS.index(artist)].mean())


def _probe(work: Path, vae: object, fresh: int) -> StyleProbe:
    count = min(PROBED, fresh)
    path = work / f"style-{count}-{SIDE}px.npz"
    if not path.is_file():
        fit_probe(count, SIDE, SEED, vae).save(path)
    return StyleProbe.load(path)


def _probed(probe: StyleProbe, artist: str, vae: object, fresh: int) -> tuple[float, float]:
    """How often the probe is right about unseen drawings, and how sure of the artist's own."""
    count = min(UNSEEN, fresh)
    pixels = given_back(vae, drawn(by_artist, SEED + 1, range(count), SIDE, SIDE))
    own = pixels[ARTISTS.index(artist) :: len(ARTISTS)]
    right = accuracy(probe, count, SIDE, SEED + 1, vae)
    return right, likeness(probe, own, artist)
