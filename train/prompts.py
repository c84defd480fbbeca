"""Prompts to read pictures back by: chosen from a dataset's tags, or a person's own, a line each.

The choice follows from the pictures alone, so that every run on a dataset is asked the same.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from schemas.errors import DatasetError
from schemas.tags import canonical, split
from train.read_back import SHOWN, Bools, Prompt, Real

COMMON = 0.9  # a tag on more of the pictures than this tells no prompt from another
SINGLES, PAIRS, VARIED = 8, 8, 3  # prompts of one tag, of two, of the trigger and a tag


def prior_prompts(real: Real, captioned: Bools, texts: Mapping[int, str]) -> list[Prompt]:
    """Return prompts without the trigger: single tags, and pairs that stand on one real picture.

    captioned: [pictures, labels], tags that captions name; texts: how they spell each label.
    A tag must stand on enough pictures to have a ceiling, and lack on some to be told from others.
    """
    able = [label for label in usable(real.truth, captioned) if label in texts]
    singles = spread(real.truth, able, SINGLES)
    chosen = [*((label,) for label in singles), *pairs(real.truth, able, singles, PAIRS)]
    return [prompt_of(real, texts, labels) for labels in chosen]


def trigger_prompts(
    real: Real,
    captioned: Bools,
    texts: Mapping[int, str],
    *,
    trigger: str,
    taught: Bools,
    signature: Sequence[str],
) -> list[Prompt]:
    """Return the trigger alone, then with tags that vary among the pictures it is taught by.

    taught: [pictures]; signature: tags that the trigger stands for, which no prompt asks for.
    """
    fixed = {real.columns[tag] for tag in signature}
    able = usable(real.truth[taught], captioned[taught])
    able = [label for label in able if label in texts and label not in fixed]
    varied = [
        prompt_of(real, texts, (label,)) for label in spread(real.truth[taught], able, VARIED)
    ]
    return [
        Prompt(trigger, (), trigger=True),
        *(Prompt(f"{trigger}, {prompt.text}", prompt.asked, trigger=True) for prompt in varied),
    ]


def own_prompts(lines: Sequence[str], names: Collection[str], trigger: str) -> list[Prompt]:
    """Return a person's prompts; asked are those of their tags that `names` hold."""
    called = canonical(trigger)
    prompts = []
    for line in lines:
        tags = split(line)
        asked = tuple(tag for tag in tags if tag in names and tag != called)
        prompts.append(Prompt(line, asked, trigger=bool(called) and called in tags))
    return prompts


def prompt_lines(path: Path) -> list[str]:
    """Return a person's prompts, a line each. Raises DatasetError where there are none."""
    lines = lines_of(path)
    if not lines:
        raise DatasetError(f"--prompts {path} holds no prompt: write one a line")
    return lines


def lines_of(path: Path) -> list[str]:
    """Return the lines of a file of prompts that hold something. Raises DatasetError."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"--prompts {path} cannot be read as UTF-8 text: {error}") from None
    return [line for line in map(str.strip, lines) if line]


def usable(truth: Bools, captioned: Bools) -> list[int]:
    """Return the labels that SHOWN pictures show, SHOWN captions name, and some pictures lack."""
    enough = (truth.sum(axis=0) >= SHOWN) & (captioned.sum(axis=0) >= SHOWN)
    return [int(label) for label in np.flatnonzero(enough & (truth.mean(axis=0) <= COMMON))]


def spread(truth: Bools, labels: Sequence[int], count: int) -> list[int]:
    """Return at most `count` of the labels, evenly from the commonest to the rarest."""
    ranked = sorted(labels, key=lambda label: (-int(truth[:, label].sum()), label))
    if len(ranked) <= count:
        return ranked
    return [ranked[round(place)] for place in np.linspace(0, len(ranked) - 1, count)]


def pairs(
    truth: Bools, labels: Sequence[int], used: Sequence[int], count: int
) -> list[tuple[int, int]]:
    """Return at most `count` pairs of labels that stand on one picture, over as many as can be.

    used: labels that were asked for already, and are taken last. Neither of a pair is always with
    the other: such a pair asks for one thing. Of equal pairs the commonest is taken.
    """
    shown = truth[:, labels].astype(np.int64)
    together = shown.T @ shown
    each = np.diag(together)
    possible = (together > 0) & (together < np.minimum(each[:, None], each[None, :]))
    possible &= np.triu(np.ones_like(possible), k=1)
    times = np.array([label in used for label in labels], dtype=np.int64)
    chosen: list[tuple[int, int]] = []
    while len(chosen) < count and possible.any():
        cost = (times[:, None] + times[None, :]) * (len(truth) + 1) - together
        cost[~possible] = np.iinfo(np.int64).max
        first, second = divmod(int(np.argmin(cost)), len(labels))
        chosen.append((labels[first], labels[second]))
        possible[first, second] = False
        times[[first, second]] += 1
    return chosen


def prompt_of(real: Real, texts: Mapping[int, str], labels: Sequence[int]) -> Prompt:
    """Return the prompt that asks for these labels as captions spell them."""
    text = ", ".join(texts[label] for label in labels)
    return Prompt(text, tuple(real.names[label] for label in labels))
