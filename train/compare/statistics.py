"""Several trainings against several others: paired differences, corrected, and one sentence.

The unit is the training seed: what one run's many pictures say is one number. Arms are compared by
their differences seed by seed (Student's t), several differences are corrected for (Holm 1979, "A
simple sequentially rejective multiple test procedure").
"""

from collections.abc import Mapping, Sequence
from statistics import fmean

from schemas.experiment_results import Difference, undecided
from schemas.figures import meaning
from schemas.intervals import chance, interval

LEAST = 3  # seeds: with fewer nothing is decided

Runs = Mapping[str, Sequence[float | None]]  # of each figure, a value per seed


def holm(chances: Sequence[float]) -> list[float]:
    """Return the probabilities corrected for their number, in the order given."""
    order = sorted(range(len(chances)), key=chances.__getitem__)
    found, least = [0.0] * len(chances), 0.0
    for rank, place in enumerate(order):
        least = max(least, min(1.0, chances[place] * (len(chances) - rank)))
        found[place] = least
    return found


def compare(arms: Mapping[str, Runs], figures: Sequence[str]) -> list[Difference]:
    """Return each arm against the first by each figure, corrected over all of them.

    Values stand in the order of the seeds, the same in every arm; a figure that some run lacks is
    left out.
    """
    reference, *_ = arms.values()
    found: list[tuple[str, str, list[float]]] = []
    for arm, runs in list(arms.items())[1:]:
        for figure in figures:
            pairs = list(zip(reference[figure], runs[figure], strict=True))
            differences = [b - a for a, b in pairs if a is not None and b is not None]
            if len(differences) == len(pairs) > 0:
                found.append((arm, figure, differences))
    grains = [meaning(figure).grain for _, figure, _ in found]
    if any(len(xs) < LEAST for *_, xs in found):
        return [Difference(arm=arm, figure=figure, mean=fmean(xs)) for arm, figure, xs in found]
    chances = [chance(xs, grain) for (*_, xs), grain in zip(found, grains, strict=True)]
    corrected = holm([p for p in chances if p is not None])
    spread = [interval(xs, grain) for (*_, xs), grain in zip(found, grains, strict=True)]
    return [
        Difference(arm=arm, figure=figure, mean=one.mean, low=one.low, high=one.high, p=p)
        for (arm, figure, _), one, p in zip(found, spread, corrected, strict=True)
    ]


def verdict(first: str, differences: Sequence[Difference], seeds: int) -> str:
    """Return in one sentence what is decided, by how much; else that nothing is."""
    if not differences:
        return "Not decided: no figure that decides was read in every run."
    if seeds < LEAST:
        return f"{undecided(seeds).capitalize()}."
    parts = []
    for arm in dict.fromkeys(one.arm for one in differences):
        changes = [_told(one) for one in differences if one.arm == arm and one.decided]
        if changes:
            parts.append(f"with {arm} {' and '.join(changes)}")
    if not parts:
        return f"Not decided: no arm differs from {first} by more than chance may explain."
    left = [f"{one.arm}: {one.figure}" for one in differences if not one.decided]
    rest = f"; not decided: {', '.join(left)}" if left else ""
    return f"Against {first}, {'; '.join(parts)}{rest}."


def _told(one: Difference) -> str:
    """A difference in words, to as many digits as its figure is known."""
    digits = meaning(one.figure).digits
    way = "higher" if one.mean > 0 else "lower"
    return (
        f"{one.figure} is {way} by {abs(one.mean):.{digits}f}"
        f" ({one.low:+.{digits}f} to {one.high:+.{digits}f})"
    )
