"""docs/experiments.md from docs/experiments.json: what was asked, tried, seen, and what follows."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from schemas.intervals import Interval, interval
from train.compare.statistics import Comparison, Runs, compare, verdict

HEAD = """# Experiments

<!-- written by tests/bench/run_experiments.py --report; do not edit -->

Findings of people who train adapters, tried on the demo's small base model. Each experiment is a
file in `train/recipes/experiments`; its arms were trained with the same seeds and read back by the
same prompts and the same thresholds. What holds for a model this small need not hold for a large
one: read "not decided" as such, and the rest as a reason to try it.

    python tests/bench/run_experiments.py            # trains what is missing; killed, it goes on
    python tests/bench/run_experiments.py --report   # writes this page

Figures are means over training seeds, in brackets the 95 % interval of the mean (Student's t). A
verdict rests on differences seed by seed between each arm and the first, corrected for the number
of comparisons in the experiment (Holm); the interval beside a difference is not corrected. A spread
below 0.01 counts as 0.01, for no figure comes of more than some hundred readings. Every arm takes
equally many steps: one with regularization images sees its subject less often. Seconds were taken
on a machine that may have been doing other things as well.
"""

MEANING = {
    "signature": "share of the character's fixed features read in pictures of the trigger alone",
    "kept": "recall of tags asked for without the trigger, as a share of the base model's own",
    "unasked": "tags read in a picture that nobody asked for, in pictures without the trigger",
    "obeyed": "recall of tags asked for beside the trigger",
    "style": "how likely the learnt artist drew the pictures, by a linear classifier",
    "watched": "share of pictures of the trigger alone in which this tag is read",
}


def page(experiments: Sequence[Mapping[str, Any]], series: Mapping[str, Any] | None = None) -> str:
    """Return the page: all experiments, each with its table and verdict.

    series: an adapter cut to several ranks, as bench_resize.py measures it.
    """
    meanings = [f"- **{name}**: {text}" for name, text in MEANING.items()]
    parts = [line for experiment in experiments for line in _part(experiment)]
    cut = _series(series) if series else []
    return "\n".join([HEAD, *meanings, "", *parts, *cut])


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


def judged(experiment: Mapping[str, Any]) -> tuple[list[Comparison], str]:
    """Return the comparisons of an experiment, and its verdict in one sentence."""
    arms: dict[str, Runs] = {
        arm["name"]: {name: [run[name] for run in arm["runs"]] for name in MEANING}
        for arm in experiment["arms"]
    }
    comparisons = compare(arms, experiment["figures"])
    return comparisons, verdict(next(iter(arms)), comparisons)


def _part(experiment: Mapping[str, Any]) -> list[str]:
    comparisons, sentence = judged(experiment)
    return [
        f"## {experiment['name']}",
        "",
        f"{experiment['question']}",
        "",
        f"*What was said:* {experiment['notes']}",
        "",
        *_table(experiment),
        "",
        f"**{sentence}**",
        "",
        *_differences(comparisons),
        "",
        *_made(experiment),
        "",
    ]


def _table(experiment: Mapping[str, Any]) -> list[str]:
    """Arms as rows, then the base model and real drawings; figures nothing was read for are out."""
    names = [
        name
        for name in MEANING
        if all(run[name] is not None for arm in experiment["arms"] for run in arm["runs"])
    ]
    titles = [experiment["watch"] if name == "watched" else name for name in names]
    lines = [
        f"| | {' | '.join(titles)} | seconds | adapter KiB |",
        "|---" * (len(names) + 3) + "|",
    ]
    for arm in experiment["arms"]:
        cells = [_shown(interval([run[name] for run in arm["runs"]], 0.01)) for name in names]
        seconds = sum(run["seconds"] for run in arm["runs"]) / len(arm["runs"])
        size = max(run["bytes"] for run in arm["runs"]) / 1024
        lines.append(f"| {arm['name']} | {' | '.join(cells)} | {seconds:.0f} | {size:.0f} |")
    for title, row in (("base model", "base"), ("real drawings", "real")):
        values = [experiment[row][name] for name in names]
        cells = ["" if value is None else f"{value:.2f}" for value in values]
        if row == "real" and "kept" in names:  # drawings are no model: there is nothing to keep
            cells[names.index("kept")] = ""
        lines.append(f"| *{title}* | {' | '.join(cells)} | | |")
    return lines


def _shown(found: Interval) -> str:
    if found.low is None or found.high is None:
        return f"{found.mean:.2f}"
    return f"{found.mean:.2f} [{found.low:.2f}, {found.high:.2f}]"


def _differences(comparisons: Sequence[Comparison]) -> list[str]:
    """Every comparison, decided or not."""
    return [
        f"- {one.arm}, {one.figure}: {one.difference.mean:+.3f}"
        f" [{one.difference.low:+.3f}, {one.difference.high:+.3f}], p = {one.p:.3f} (corrected)"
        for one in comparisons
        if one.p is not None
    ]


def _made(experiment: Mapping[str, Any]) -> list[str]:
    """What was done exactly."""
    made, arms = experiment["settings"], experiment["arms"]
    runs = [run for arm in arms for run in arm["runs"]]
    seeds = ", ".join(map(str, experiment["seeds"]))
    missing = experiment["asked_seeds"] - len(experiment["seeds"])
    cores = "/".join(sorted({f"{run['threads']} of {run['cores']}" for run in runs}))
    devices = ", ".join(sorted({run["device"] for run in runs}))
    lines = [
        f"Done: {experiment['learnt']}; {made['steps']} steps of {made['batch']} images,"
        f" {made['optimizer']} at {made['lr']:g}, {made['precision']}, rank {made['dim']}"
        f" (alpha {made['alpha']:g}), blocks {made['blocks']}, {made['resolution']} px, but for"
        f" what differs; training seeds {seeds}"
        + (f" ({missing} more not yet trained)" if missing else "")
        + f". Read in {made['pictures']} pictures of {made['drawn']} px of each prompt,"
        f" {made['denoising']} steps, guidance {made['guidance']:g}, by thresholds fitted to"
        f" {made['fresh']} fresh drawings. On {devices}, {cores} cores; torch {made['torch']}; base"
        f" model {made['model']}."
        + (
            f" The classifier of artists is right about {experiment['probe']:.1%} of drawings that"
            " it has not seen, as the model's autoencoder gives them back."
            if experiment["probe"] is not None
            else ""
        ),
        "",
    ]
    for arm in arms:
        changes = json.dumps(arm["changes"], ensure_ascii=False)
        differs = f"`{changes}`" if arm["changes"] else "as above"
        reg = f" and {arm['reg']} for regularization" if arm["reg"] else ""
        lines.append(f"- {arm['name']}: {arm['images']} images{reg}; {differs}")
    prompts = "; ".join(made["prompts"])
    return [*lines, "", f"Prompts, beside the trigger alone where there is one: {prompts}."]
