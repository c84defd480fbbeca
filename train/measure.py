"""What a model is asked, and how its pictures are read: by a dataset's own pictures and tagger."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy as np

from schemas.errors import DataError, DatasetError
from schemas.files import fingerprint
from schemas.progress import say
from schemas.tags import canonical
from taggers.stream import Dropped, stream
from taggers.wd14 import Tagger, load
from train import read_back
from train.prompts import own_prompts, prior_prompts, trigger_prompts
from train.read_back import SHOWN, Bools, Prompt, Reading
from train.real_pictures import (
    RealPictures,
    find_signature,
    find_tagger,
    read_pictures,
    read_prep,
)


class Measure(Protocol):
    """What every model of a comparison is asked, and what is read in its pictures."""

    @property
    def key(self) -> str:
        """Names how pictures are read: two measures of one key read the same in a picture."""

    @property
    def prompts(self) -> Sequence[Prompt]:
        """What is drawn; where there is a trigger, that alone comes first."""

    @property
    def figures(self) -> Collection[str]:
        """The figures that it reads, of schemas.figures.MEANINGS."""

    @property
    def settings(self) -> Sequence[tuple[str, str]]:
        """What it reads by, for people: names and values."""

    def of_pictures(self, pictures: Sequence[Path]) -> Reading:
        """Return what is read in drawn pictures, as many of each prompt, prompt by prompt."""

    def of_real(self) -> Reading:
        """Return what is read in real pictures: what each figure could be."""


@dataclass(frozen=True)
class DatasetMeasure:
    """A dataset's own pictures, the thresholds that follow from them, and what is asked."""

    pictures: RealPictures
    tagger: Tagger
    signature: tuple[str, ...]  # tags that the trigger stands for
    prompts: tuple[Prompt, ...]
    watch: str = ""  # canonical, one more tag that is looked for

    @cached_property
    def key(self) -> str:
        return fingerprint(
            self.tagger.key,
            self.pictures.thresholds.tolist(),
            self.signature,
            self.watch,
            [(prompt.asked, prompt.trigger) for prompt in self.prompts],
        )

    @property
    def figures(self) -> Collection[str]:
        real = self.of_real().figures
        found = {name for name, value in real.items() if value is not None}
        if all(prompt.asked for prompt in self.prompts):  # the trigger is never drawn alone
            found -= {"signature", "watched"}
        return found | ({"kept"} if "recall" in found else set())

    @property
    def settings(self) -> Sequence[tuple[str, str]]:
        return (
            ("read by", self.tagger.name),
            ("thresholds fitted to", f"{len(self.pictures.real.read)} pictures of the dataset"),
            ("the trigger stands for", ", ".join(self.signature)),
        )

    def read(self, pictures: Sequence[Path]) -> list[Bools]:
        """Return what is read in drawn pictures: of each prompt, [pictures, labels]."""
        rows: list[Bools] = []
        for _, outcome in stream(self.tagger, enumerate(pictures)):
            if isinstance(outcome, Dropped):
                raise DataError(f"a picture that was just drawn cannot be read: {outcome.text}")
            rows.append(outcome >= self.pictures.thresholds)
        return list(np.array(rows).reshape(len(self.prompts), -1, len(self.tagger.labels)))

    def of_pictures(self, pictures: Sequence[Path]) -> Reading:
        return read_back.reading(
            self.pictures.real, self.prompts, self.read(pictures), self.signature, self.watch
        )

    def of_real(self) -> Reading:
        return read_back.real_reading(
            *(self.pictures.real, self.prompts, self.signature, self.pictures.taught, self.watch)
        )


class Said(NamedTuple):
    """Where a person says what is asked, for messages."""

    prompts: str = "--prompts"
    signature: str = "--signature"
    watch: str = "ask.watch"


COMMAND = Said()


def dataset_measure(
    manifest: Path,
    device: Literal["auto", "cpu", "cuda"],
    *,
    tagger: str = "",
    signature: Sequence[str] = (),
    prompts: Sequence[str] | None = None,
    watch: str = "",
    trigger: str = "",
    said: Said = COMMAND,
) -> DatasetMeasure:
    """Return the measure that a dataset is; its pictures are read as far as they were not yet.

    tagger, signature, prompts, trigger: instead of those that the dataset names or that follow from
    it.
    Raises DatasetError where nothing could be measured, DataError or ModelError.
    """
    folder = manifest.parent
    prep = read_prep(folder)
    files = find_tagger(folder, prep, tagger)
    reader = load(files, "cpu" if device == "cpu" else "auto")
    say(reader.describe())
    pictures = read_pictures(manifest, prep, reader)
    if canonical(trigger) not in ("", canonical(pictures.trigger)):
        pictures = replace(pictures, trigger=trigger)
    stands_for = find_signature(folder, prep, pictures, signature, said.signature)
    if watch and watch not in pictures.real.columns:
        raise DatasetError(f'{said.watch}: the tagger knows no tag "{watch}"')
    asked = _prompts(pictures, stands_for, prompts, said.prompts, manifest, reader.name)
    return DatasetMeasure(pictures, reader, stands_for, tuple(asked), watch)


def _prompts(
    measure: RealPictures,
    signature: Sequence[str],
    lines: Sequence[str] | None,
    said: str,
    manifest: Path,
    tagger: str,
) -> list[Prompt]:
    """The prompts to draw, the trigger alone first. Raises DatasetError when they measure nothing.

    A person's own prompts take the place of all but the trigger alone.
    """
    real, trigger = measure.real, measure.trigger
    called = (
        trigger_prompts(
            *(real, measure.captioned, measure.texts),
            trigger=trigger,
            taught=measure.taught,
            signature=signature,
        )
        if trigger
        else []
    )
    if lines is None:
        prior = prior_prompts(real, measure.captioned, measure.texts)
        if not prior:
            raise DatasetError(
                f"no tag that the tagger {tagger} knows stands in {SHOWN} captions of {manifest},"
                f" and not in nearly all: give prompts of your own in {said}"
            )
        return [*called, *prior]
    written = own_prompts(lines, _readable(measure), trigger)
    own = [prompt for prompt in written if prompt.asked]
    if not own:
        raise DatasetError(
            f"the tagger {tagger} knows none of the tags that {said} asks for: ask for others, or"
            " read with another tagger"
        )
    for prompt in written:
        if not prompt.asked and canonical(prompt.text) != canonical(trigger):
            say(f'left out: "{prompt.text}" asks for no tag that the tagger knows')
    tags = sorted({tag for prompt in own for tag in prompt.asked})
    if not any(real.ceiling(tag) is not None for tag in tags):
        raise DatasetError(
            f"no picture of {manifest} shows a tag that {said} asks for ({', '.join(tags[:3])}):"
            " nothing says how well the tagger reads them"
        )
    return [*called[:1], *own]


def _readable(measure: RealPictures) -> set[str]:
    """The tags that a threshold can find: all but ratings."""
    finite = np.isfinite(measure.thresholds)
    return {name for name, able in zip(measure.real.names, finite, strict=True) if able}
