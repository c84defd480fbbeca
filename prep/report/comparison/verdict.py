"""What came of an experiment in one sentence, and how much was trained to know it."""

from prep.report.html import Html, count, element, together
from schemas.experiment_results import ExperimentResult

LONG = 280  # characters of a verdict that is set smaller


def verdict(result: ExperimentResult) -> Html:
    """Show the verdict, large, and beneath it on how much it rests."""
    long = len(result.verdict) > LONG
    return together(
        element("p", result.verdict, class_="verdict long" if long else "verdict"),
        element("p", _extent(result), class_="extent"),
    )


def _extent(result: ExperimentResult) -> str:
    told = f"{count(len(result.arms), 'arm')}, {count(len(result.seeds), 'training seed')} each"
    if not result.missing_seeds:
        return f"{told}."
    return f"{told}; {result.missing_seeds} of {result.asked_seeds} seeds are not yet trained."
