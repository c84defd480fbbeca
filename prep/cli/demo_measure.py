"""How `prep demo --compare` reads pictures: by fresh drawings of known tags, and for their style.

Another dataset's own pictures would fit other thresholds; here every arm of every experiment is
read by the same: those fitted to drawings that nothing was trained on, whose tags are true.
"""

import json
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from prep.demo.characters import CHARACTERS
from prep.demo.drawings import Pixels, drawn
from prep.demo.model import SIDE
from prep.demo.portrait import Portrait, sample
from prep.demo.recipes import TAGGER
from prep.demo.style_probe import StyleProbe, accuracy, by_artist, fit_probe, given_back
from prep.demo.vocabulary import ARTISTS, WORDS
from schemas.errors import RecipeError
from schemas.files import fingerprint, write_json, writing
from schemas.progress import task
from schemas.tags import canonical
from taggers.images import preprocess, read
from taggers.wd14 import Tagger, load
from train.compare.experiment import Experiment
from train.measure import Measure
from train.model import Model
from train.prompts import own_prompts
from train.read_back import Bools, Floats, Prompt, Reading, Real, fit_thresholds, real_reading
from train.read_back import reading as reading_of

FRESH, PROBED = 1500, 1050  # drawings that thresholds, and the reader of styles, are fitted to
UNSEEN = 350  # drawings that the reader of styles is judged by
SEED = 3_000  # of drawings that nothing was trained on
USUAL = 0.35  # threshold of a tag too rare to fit one
AT_ONCE = 64  # pictures that the tagger reads together


@dataclass(frozen=True)
class Styles:
    """A reader of styles, and how good it is at drawings that the model's autoencoder gave back."""

    probe: StyleProbe
    accuracy: float  # on drawings that it has not seen
    real: float  # how sure it is of such drawings by the learnt artist
    vae: str  # SHA-256 of the autoencoder


@dataclass(frozen=True)
class DemoMeasure:
    """What is asked of every arm, and how it is read, for one thing that is learnt."""

    learnt: str  # canonical
    tagger: Tagger
    real: Real
    thresholds: Floats
    taught: Bools  # fresh drawings that show what is learnt
    prompts: tuple[Prompt, ...]
    watch: str  # canonical, or ""
    styles: Styles | None  # where an artist is learnt

    @property
    def signature(self) -> tuple[str, ...]:
        """The tags of what never changes about a character; of anything else there are none."""
        return CHARACTERS[self.learnt].signature if self.learnt in CHARACTERS else ()

    @cached_property
    def key(self) -> str:
        return fingerprint(
            *(self.tagger.key, len(self.real.read), SEED, SIDE, self.learnt, self.watch),
            [(prompt.asked, prompt.trigger) for prompt in self.prompts],
            self.styles.vae if self.styles else "",
        )

    @property
    def figures(self) -> Collection[str]:
        there = {name for name, value in self.of_real().figures.items() if value is not None}
        alone = {"signature", "watched"}  # read in pictures of the trigger alone
        return (there if self.prompts[0].trigger else there - alone) | {"kept"}

    @property
    def settings(self) -> Sequence[tuple[str, str]]:
        told = [
            ("read by", self.tagger.name),
            ("thresholds fitted to", f"{len(self.real.read)} fresh drawings of {SIDE} px"),
            ("the trigger stands for", ", ".join(self.signature)),
        ]
        if self.styles:
            told.append(
                (
                    "the reader of styles",
                    f"right about {self.styles.accuracy:.1%} of drawings that it has not seen, as"
                    " the model's autoencoder gives them back",
                )
            )
        return told

    def of_pictures(self, pictures: Sequence[Path]) -> Reading:
        opened = [read(path) for path in pictures]
        seen = read_all(self.tagger, opened, "read") >= self.thresholds
        groups = list(seen.reshape(len(self.prompts), -1, seen.shape[1]))
        found = reading_of(self.real, self.prompts, groups, self.signature, self.watch)
        if self.styles is None:
            return found
        pixels = np.stack([np.asarray(one) for one in opened])
        return _with_style(found, _likeness(self.styles.probe, pixels, self.learnt))

    def of_real(self) -> Reading:
        taught = self.taught if self.prompts[0].trigger else np.zeros_like(self.taught)
        found = real_reading(self.real, self.prompts, self.signature, taught, self.watch)
        return found if self.styles is None else _with_style(found, self.styles.real)


def demo_measure(experiment: Experiment, model: Model, kept: Path, fresh: int = FRESH) -> Measure:
    """Return what an experiment is read by; what takes long is kept in the folder `kept`.

    model: whose autoencoder style is read through. fresh: how many drawings to fit to. Raises
    RecipeError where the demo's world lacks a tag, or the tagger cannot read what is asked for.
    """
    learnt, watch = canonical(experiment.recipe.learnt), experiment.watch
    for tag in filter(None, (learnt, watch)):
        if tag not in WORDS:
            raise RecipeError(f'the demo\'s world has no tag "{tag}"')
    tagger = load(TAGGER, "cpu")
    shown = [fresh_portrait(SEED, row) for row in range(fresh)]
    real, thresholds = judged(tagger, shown, _probabilities(tagger, kept, fresh))
    readable = [n for n, able in zip(real.names, np.isfinite(thresholds), strict=True) if able]
    trigger = experiment.trigger
    own = own_prompts(experiment.recipe.ask.prompts, readable, trigger)
    if silent := [prompt.text for prompt in own if not prompt.asked]:
        raise RecipeError(f'ask.prompts: "{silent[0]}" asks for nothing that the tagger knows')
    return DemoMeasure(
        learnt=learnt,
        tagger=tagger,
        real=real,
        thresholds=thresholds,
        taught=np.array([learnt in {*one.tags(), *one.character_tags} for one in shown]),
        prompts=(*((Prompt(trigger, (), trigger=True),) if trigger else ()), *own),
        watch=watch,
        styles=_styles(learnt, model, kept, fresh) if learnt in ARTISTS else None,
    )


def fresh_portrait(seed: int, row: int) -> Portrait:
    """Return anybody, in anybody's manner; what the base model never saw included."""
    return sample(random.Random(f"fresh {seed} {row}"))


def judged(tagger: Tagger, shown: Sequence[Portrait], probabilities: Floats) -> tuple[Real, Floats]:
    """Return thresholds fitted to drawings of known tags, with what is read in these by them.

    probabilities: what the tagger sees in the drawings of `shown`, [drawings, labels].
    """
    names = tuple(label.name for label in tagger.labels)
    tags = [{*one.tags(), *one.character_tags} for one in shown]
    truth = np.array([[name in has for name in names] for has in tags])
    usual = np.array([np.inf if lb.category == "rating" else USUAL for lb in tagger.labels])
    thresholds = fit_thresholds(probabilities, truth, usual.astype(np.float32))
    return Real(names, truth, probabilities >= thresholds), thresholds


def read_all(tagger: Tagger, pictures: Sequence[Image.Image], label: str) -> Floats:
    """Return what the tagger sees in the pictures, [pictures, labels]."""
    rows = []
    with task(label, len(pictures), "pictures") as advance:
        for start in range(0, len(pictures), AT_ONCE):
            part = pictures[start : start + AT_ONCE]
            squares = np.stack([preprocess(one, tagger.size) for one in part])
            rows.append(tagger.probabilities(squares))
            advance(len(part))
    return np.concatenate(rows)


def _with_style(found: Reading, likeness: float) -> Reading:
    figures: Mapping[str, float | None] = {**found.figures, "style": likeness}
    return Reading(figures, found.recall)


def _probabilities(tagger: Tagger, kept: Path, fresh: int) -> Floats:
    """What the tagger sees in the fresh drawings, [drawings, labels]."""
    path = kept / f"fresh-{fresh}-{SIDE}px-{tagger.key}.npy"
    if not path.is_file():
        pixels = drawn(fresh_portrait, SEED, range(fresh), SIDE, SIDE)
        found = read_all(tagger, [Image.fromarray(one) for one in pixels], "fit thresholds")
        with writing(path) as aside, aside.open("wb") as file:
            np.save(file, found)
    probabilities: Floats = np.load(path)
    return probabilities


def _styles(artist: str, model: Model, kept: Path, fresh: int) -> Styles:
    """The reader, fitted and judged once for each autoencoder."""
    count, unseen, name = min(PROBED, fresh), min(UNSEEN, fresh), model.vae_sha256()
    path = kept / f"style-{count}-{SIDE}px-{name[:16]}.npz"
    judged_at = kept / f"{path.stem}-{artist}.json"
    if not path.is_file():
        fit_probe(count, SIDE, SEED, model.vae()).save(path)
    probe = StyleProbe.load(path)
    if not judged_at.is_file():
        vae = model.vae()
        pixels = given_back(vae, drawn(by_artist, SEED + 1, range(unseen), SIDE, SIDE))
        own = pixels[ARTISTS.index(artist) :: len(ARTISTS)]
        right = accuracy(probe, unseen, SIDE, SEED + 1, vae)
        write_json(judged_at, {"accuracy": right, "real": _likeness(probe, own, artist)})
    told = json.loads(judged_at.read_text(encoding="utf-8"))
    return Styles(probe, told["accuracy"], told["real"], name)


def _likeness(probe: StyleProbe, pixels: Pixels, artist: str) -> float:
    """How likely the artist drew the pictures, on average."""
    return float(probe.probabilities(pixels)[:, ARTISTS.index(artist)].mean())
