"""Reading pictures back: what a tagger sees in them, against what was asked for. Numbers only.

recall      the share of pictures in which a tag that was asked for is read, over prompts and tags
ceiling     the same on real pictures that, by the booru's word, show the tag
floor       the same on pictures of the prompts that did not ask for the tag: what shuffled prompts
            get, averaged over all shufflings that give no picture a tag it was asked for
unasked     how many tags are read in a picture that nobody asked for
signature   the share of pictures of the trigger alone in which a tag that it stands for is read
obeyed      recall of what is asked for beside the trigger
watched     the share of pictures of the trigger alone in which one more tag is read

Everything is judged by one threshold per tag, fixed beforehand on real pictures alone
(`fit_thresholds`): one that is chosen on drawn pictures could be chosen to flatter them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from taggers.thresholds import best_f1

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]

EVIDENCE = 8  # real pictures with and without a tag, from which its threshold can be fitted
SHOWN = 5  # real pictures with a tag, from which it is known what always comes with it


@dataclass(frozen=True)
class Prompt:
    """What is drawn, and the tags that must then be read."""

    text: str
    asked: tuple[str, ...]  # canonical, known to the tagger
    trigger: bool = False  # whether the adapter is called


@dataclass(frozen=True)
class Figures:
    """What is read in the pictures of one model; None where nothing was there to be read."""

    recall: float | None
    signature: float | None
    unasked: float | None


@dataclass(frozen=True)
class Reading:
    """All that is read in the pictures of one model, or in real ones.

    figures: those of Figures, obeyed and watched, and whatever else a measure has. recall: of each
    tag that any prompt asks for, over the pictures of all prompts that do.
    """

    figures: Mapping[str, float | None]
    recall: Mapping[str, float]


@dataclass(frozen=True)
class Real:
    """Real pictures: what is on them, and what the tagger reads in them."""

    names: tuple[str, ...]  # canonical tag of each of the tagger's labels
    truth: Bools  # [pictures, labels]: the booru's word
    read: Bools  # [pictures, labels]: the thresholds reached

    @cached_property
    def columns(self) -> dict[str, int]:
        """The label of each tag."""
        return {name: place for place, name in reversed(list(enumerate(self.names)))}

    def ceiling(self, tag: str) -> float | None:
        """Return the share of the pictures showing the tag in which it is read; None: no such."""
        column = self.columns[tag]
        shown = self.read[self.truth[:, column], column]
        return float(shown.mean()) if shown.size else None

    def expected(self, asked: Iterable[str]) -> Bools:
        """Return [labels]: the asked tags and those that every picture with one of them shows."""
        found = np.zeros(len(self.names), dtype=bool)
        for tag in asked:
            showing = self.truth[self.truth[:, self.columns[tag]]]
            if len(showing) >= SHOWN:
                found |= showing.all(axis=0)
            found[self.columns[tag]] = True
        return found

    def showing(self, asked: Iterable[str]) -> Bools:
        """Return what is read in the pictures that show all the tags, [pictures, labels]."""
        found: Bools = self.read[self.truth[:, [self.columns[tag] for tag in asked]].all(axis=1)]
        return found


def fit_thresholds(probabilities: Floats, truth: Bools, usual: Floats) -> Floats:
    """Return the probability from which each label counts as read, float32 [labels].

    probabilities: of real pictures, [pictures, labels]. truth: what the booru says is on them.
    Where EVIDENCE pictures have the tag and as many lack it, the threshold with the best F1: it
    makes missing a tag and inventing one equally bad, while `usual`, made for captions, may lie far
    off for a tag that this tagger is seldom sure of. Other labels keep `usual`; where that is
    infinite (ratings), always.
    """
    shown = truth.sum(axis=0)
    known = (shown >= EVIDENCE) & (len(truth) - shown >= EVIDENCE) & np.isfinite(usual)
    fitted = usual.astype(np.float32)
    for label in np.flatnonzero(known):
        fitted[label] = best_f1(probabilities[:, label], truth[:, label], float(usual[label]))
    return fitted


def shares(real: Real, tags: Iterable[str], read: Bools) -> list[float]:
    """Return of each tag the share of the pictures `read` [pictures, labels] in which it stands."""
    return [float(read[:, real.columns[tag]].mean()) for tag in tags]


def figures(
    real: Real, prompts: Sequence[Prompt], read: Sequence[Bools], signature: Sequence[str]
) -> Figures:
    """Return the figures of one model's pictures; read: of each prompt, [pictures, labels]."""
    prior = [(p, found) for p, found in zip(prompts, read, strict=True) if is_prior(p)]
    alone = [found for p, found in zip(prompts, read, strict=True) if p.trigger and not p.asked]
    return Figures(
        recall=mean(share for p, found in prior for share in shares(real, p.asked, found)),
        signature=mean(shares(real, signature, np.concatenate(alone))) if alone else None,
        unasked=mean(_unasked(real, p, found) for p, found in prior),
    )


def real_figures(
    real: Real, prompts: Sequence[Prompt], signature: Sequence[str], taught: Bools
) -> Figures:
    """Return the same figures of the real pictures; its recall is the ceiling.

    taught: [pictures], those that the trigger stands for.
    """
    prior = [prompt for prompt in prompts if is_prior(prompt)]
    shown = [(prompt, real.showing(prompt.asked)) for prompt in prior]
    return Figures(
        recall=mean(real.ceiling(tag) for prompt in prior for tag in prompt.asked),
        signature=mean(shares(real, signature, real.read[taught])) if taught.any() else None,
        unasked=mean(_unasked(real, prompt, found) for prompt, found in shown if len(found)),
    )


def shuffled_figures(
    real: Real, prompts: Sequence[Prompt], read: Sequence[Bools], signature: Sequence[str]
) -> Figures:
    """Return the same figures of the same pictures under shuffled prompts; its recall is the floor.

    Its signature is what is read in the pictures of prompts without the trigger.
    """
    prior = [(p, found) for p, found in zip(prompts, read, strict=True) if is_prior(p)]
    recalls: list[float] = []
    unasked: list[float] = []
    for prompt, own in prior:
        unasked += [_unasked(real, prompt, seen) for _, seen in prior if seen is not own]
        for tag in prompt.asked:
            others = [seen for other, seen in prior if tag not in other.asked]
            if others:
                recalls += shares(real, [tag], np.concatenate(others))
    everything = [seen for _, seen in prior]
    leaks = shares(real, signature, np.concatenate(everything)) if everything else []
    return Figures(mean(recalls), mean(leaks), mean(unasked))


def reading(
    real: Real,
    prompts: Sequence[Prompt],
    read: Sequence[Bools],
    signature: Sequence[str],
    watch: str = "",
) -> Reading:
    """Return all that is read in one model's pictures; read: of each prompt, [pictures, labels]."""
    pairs = list(zip(prompts, read, strict=True))
    called = [shares(real, p.asked, found) for p, found in pairs if p.trigger and p.asked]
    alone = [found for p, found in pairs if p.trigger and not p.asked]
    recall = {
        tag: shares(real, [tag], np.concatenate([found for p, found in pairs if tag in p.asked]))
        for tag in sorted({tag for prompt in prompts for tag in prompt.asked})
    }
    return Reading(
        asdict(figures(real, prompts, read, signature))
        | {
            "obeyed": mean(share for found in called for share in found),
            "watched": mean(shares(real, [watch], np.concatenate(alone)))
            if watch and alone
            else None,
        },
        {tag: share for tag, (share,) in recall.items()},
    )


def real_reading(
    real: Real, prompts: Sequence[Prompt], signature: Sequence[str], taught: Bools, watch: str = ""
) -> Reading:
    """Return the same of the real pictures; taught: those that the trigger stands for."""
    called = [tag for prompt in prompts if prompt.trigger for tag in prompt.asked]
    shown = {tag: real.ceiling(tag) for prompt in prompts for tag in prompt.asked}
    watched = mean(shares(real, [watch], real.read[taught])) if watch and taught.any() else None
    return Reading(
        asdict(real_figures(real, prompts, signature, taught))
        | {"obeyed": mean(map(real.ceiling, called)), "watched": watched},
        {tag: share for tag, share in sorted(shown.items()) if share is not None},
    )


def is_prior(prompt: Prompt) -> bool:
    """Whether the prompt asks for what the base model is to know by itself."""
    return bool(prompt.asked) and not prompt.trigger


def mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of the values that there are; None of nothing."""
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there else None


def _unasked(real: Real, prompt: Prompt, read: Bools) -> float:
    return float((read & ~real.expected(prompt.asked)).sum(axis=1).mean())
