"""Writes docs/experiments.md from docs/experiments.json: `python docs/make_experiments.py`.

`--add demo/experiments/rank.json ...` first takes in what `train compare` has left there, in the
place of older results of the same name.
"""

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from pydantic import TypeAdapter

from schemas.errors import KirokuError
from schemas.experiment_results import Arm, Difference, ExperimentResult, Figures, read_result
from schemas.figures import MEANINGS, meaning
from schemas.files import write_text
from schemas.intervals import Interval

DOCS = Path(__file__).parent
RESULTS, SERIES, TARGET = (
    DOCS / name for name in ("experiments.json", "rank_series.json", "experiments.md")
)
LIST = TypeAdapter(tuple[ExperimentResult, ...])
HEAD = """# Experiments

<!-- written by docs/make_experiments.py; do not edit -->

Findings of people who train adapters, tried on the demo's small base model. Each experiment is a
file in `train/recipes/experiments`, as [`train compare`](compare.md) runs them; its arms were
trained with the same seeds and read back by the same prompts and the same thresholds. What holds
for a model this small need not hold for a large one: read "not decided" as such, and the rest as a
reason to try it.

Figures are means over training seeds, in brackets the 95 % interval of the mean (Student's t). A
verdict rests on differences seed by seed between each arm and the first, corrected for the number
of comparisons in the experiment (Holm); the interval beside a difference is not corrected. A spread
below 0.01 counts as 0.01 (of a loss 0.0001), for no figure comes of more than some hundred
readings. Where nothing else is said every arm takes equally many steps: one with regularization
images sees its subject less often. Seconds were taken on a machine that may have been doing other
things as well.
"""


def page(results: Iterable[ExperimentResult], series: Mapping[str, Any] | None = None) -> str:
    """Return the page: all experiments, each with its table and verdict.

    series: an adapter cut to several ranks, as bench_resize.py measures it.
    """
    meanings = [f"- **{name}**: {one.text}" for name, one in MEANINGS.items()]
    parts = [line for result in results for line in _part(result)]
    return "\n".join([HEAD, *meanings, "", *parts, *(_series(series) if series else [])])


def _part(result: ExperimentResult) -> list[str]:
    said = [f"*What was said:* {result.notes}", ""] if result.notes else []
    return [
        f"## {result.name}",
        "",
        result.question,
        "",
        *said,
        *_table(result),
        "",
        f"**{result.verdict}**",
        "",
        *(_difference(one) for one in result.differences if one.p is not None),
        "",
        *_done(result),
        "",
    ]


def _table(result: ExperimentResult) -> list[str]:
    """Arms as rows, then the base model and real drawings."""
    names = result.read
    titles = " | ".join(map(result.title, names))
    lines = [f"| | {titles} | seconds | adapter KiB |", "|---" * (len(names) + 3) + "|"]
    for arm in result.arms:
        cells = " | ".join(_shown(arm.mean(name), name) for name in names)
        seconds = fmean(run.seconds for run in arm.runs)
        size = max(run.bytes for run in arm.runs) / 1024
        lines.append(f"| {arm.name} | {cells} | {seconds:.0f} | {size:.0f} |")
    references: tuple[tuple[str, Figures], ...] = (
        ("base model", result.base),
        ("real drawings", {**result.real, "kept": None}),  # no model: there is nothing to keep
    )
    for title, figures in references:
        values = ((meaning(name), figures.get(name)) for name in names)
        cells = " | ".join("" if value is None else told.shown(value) for told, value in values)
        lines.append(f"| *{title}* | {cells} | | |")
    return lines


def _shown(found: Interval | None, figure: str) -> str:
    told = meaning(figure)
    if found is None or found.low is None or found.high is None:
        return told.shown(found.mean if found else None)
    return f"{told.shown(found.mean)} [{told.shown(found.low)}, {told.shown(found.high)}]"


def _difference(one: Difference) -> str:
    digits = meaning(one.figure).digits + 1
    mean, low, high = (f"{value:+.{digits}f}" for value in (one.mean, one.low, one.high))
    return f"- {one.arm}, {one.figure}: {mean} [{low}, {high}], p = {one.p:.3f} (corrected)"


def _done(result: ExperimentResult) -> list[str]:
    """What was done exactly."""
    width, height = result.size
    facts = [
        *((name, value) for name, value in result.settings if "\n" not in value),
        ("training seeds", result.trained_with),
        ("pictures", f"{len(result.picture_seeds)} of each prompt, {width} × {height} px"),
        *(("trained on", device) for device in result.devices),
    ]
    common = [
        line
        for name, value in result.settings
        if "\n" in value
        for line in (f"{name.capitalize()}:", "", "```toml", value, "```", "")
    ]
    return [
        f"Done: {'; '.join(f'{name} {value}' for name, value in facts)}.",
        "",
        *common,
        *map(_arm, result.arms),
        "",
        f"Prompts: {'; '.join(result.prompts)}.",
    ]


def _arm(arm: Arm) -> str:
    told = f"{arm.images - arm.regularization} images"
    if arm.regularization:
        told += f" and {arm.regularization} for regularization"
    changes = ", ".join(f"`{line}`" for line in arm.changes.splitlines()) or "as above"
    return f"- {arm.name}: {told}; {changes}"


def _series(series: Mapping[str, Any]) -> list[str]:
    """The part on ranks cut after training."""
    rows = [
        f"| {row['target']} | {row['ranks']} | {row['size'] / 1024:.0f} | {row['error']:.3f} |"
        f" {row['worst']:.3f} ({row['block']}) | {row['noise']:.3f} |"
        for row in series["rows"]
    ]
    return [
        "## Ranks cut after training",
        "",
        "How much of a trained adapter is lost when it is resized?",
        "",
        "| to | ranks | KiB | error | worst block | noise |",
        "|---|---|---|---|---|---|",
        *rows,
        "",
        "`train resize` of the demo's adapter. Error: the share of the change's Frobenius norm that"
        " is cut away, of the whole and of the block that loses most. Noise: how far the noise that"
        " the U-Net predicts moves, as a share of how far the whole adapter moves it (root mean"
        f" square over {series['inputs']} inputs at timesteps of all sizes).",
        "",
        f"Done: {series['made']}",
        "",
    ]


def kept() -> tuple[ExperimentResult, ...]:
    """Return the experiments of docs/experiments.json."""
    return LIST.validate_json(RESULTS.read_bytes(), strict=True)


def with_added(
    results: Sequence[ExperimentResult], added: Sequence[ExperimentResult]
) -> list[ExperimentResult]:
    """Return all of them by name, those added in the place of others of their name."""
    by_name = {one.name: one for one in (*results, *map(_without_curves, added))}
    return [by_name[name] for name in sorted(by_name)]


def _without_curves(result: ExperimentResult) -> ExperimentResult:
    """A result without what the page does not show: of its losses the last are kept."""

    def short(arm: Arm) -> Arm:
        ends = ({"losses": run.losses[-1:], "validation": run.validation[-1:]} for run in arm.runs)
        runs = (run.model_copy(update=end) for run, end in zip(arm.runs, ends, strict=True))
        return arm.model_copy(update={"runs": tuple(runs)})

    return result.model_copy(update={"arms": tuple(map(short, result.arms))})


def written() -> str:
    """Return docs/experiments.md as the results beside it say."""
    return page(kept(), json.loads(SERIES.read_text(encoding="utf-8")))


def main() -> None:
    """Take in what is to be added, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--add", nargs="+", type=Path, default=[], metavar="FILE")
    given = parser.parse_args()
    try:
        added = [read_result(path) for path in given.add]
    except KirokuError as error:
        parser.exit(1, f"make_experiments: {error}\n")
    if added:
        whole = with_added(kept(), added)
        write_text(RESULTS, LIST.dump_json(tuple(whole), indent=1).decode() + "\n")
    write_text(TARGET, written())


if __name__ == "__main__":
    main()
