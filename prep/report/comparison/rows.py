"""The pictures of an experiment: a row for each prompt, base and arms beside each other."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from prep.report.comparison.models import Model, models_of, path_of, paths_of, uris_of
from prep.report.comparison.seeds import Shown, choices
from prep.report.html import Html, element, missing, section, together
from schemas.experiment_results import ExperimentResult

BUDGET = 8_000_000  # bytes of all pictures, as they stand in the page
TITLE = "The pictures"
WIDE, TALL = 1.7, 0.5  # width to height of the windows that a row is laid out for
HINT = "wheel, two fingers or + − to zoom · drag or arrows to move · Esc to close"


def rows(result: ExperimentResult, shown: Shown, root: Path) -> Html:
    """Show the pictures of the chosen seeds; root: the folder that theirs start from."""
    models = models_of(result, shown)
    uris = uris_of(paths_of(result, shown), root, BUDGET)
    if not uris:
        why = "No pictures are there any more: `train compare` draws them anew."
        return section("pictures", TITLE, "", missing(why))
    lead = (
        "Along a row every picture starts from the same noise. Choose a picture to enlarge its row;"
        " zooming or moving one of them does so in all."
    )
    blocks = (
        _row(result, models, shown, number, uris) for number in range(1, len(result.prompts) + 1)
    )
    left = _left_out(result, shown)
    return section(
        "pictures",
        TITLE,
        lead,
        choices(shown),
        element("div", blocks, class_="rows"),
        element("p", left, class_="settings") if left else None,
    )


def _row(
    result: ExperimentResult, models: Sequence[Model], shown: Shown, number: int,
    uris: Mapping[str, str],
) -> Html:  # fmt: skip
    """One prompt; its checkbox makes the row fill the page, without a script."""
    prompt, box = result.prompts[number - 1], f"row-{number}"
    width, height = result.size
    facts = {
        "models": len(models),
        "width": f"{width}px",
        "shape": f"{width}/{height}",
        "wide": _across(len(models), width / height, WIDE),
        "tall": _across(len(models), width / height, TALL),
    }
    cells = (_cell(model, prompt, number, shown, box, uris) for model in models)
    return element(
        "figure",
        element("figcaption", element("code", prompt)),
        element("input", type="checkbox", id=box, aria_label=f"enlarge the row of {prompt}"),
        element("div", cells, class_="models"),
        element("p", element("code", prompt), element("span", HINT, class_="hint"), class_="foot"),
        class_="row",
        style=";".join(f"--{name}:{value}" for name, value in facts.items()),
    )


def _across(models: int, shape: float, window: float) -> int:
    """How many pictures stand beside each other so that they are largest in a window."""

    def height(across: int) -> float:
        """Of a picture, in heights of the window."""
        return min(window / across / shape, 1 / math.ceil(models / across))

    return max(range(1, models + 1), key=height)


def _cell(
    model: Model, prompt: str, number: int, shown: Shown, box: str, uris: Mapping[str, str]
) -> Html:
    pictures = []
    for seed, folder in model.folders.items():
        for place, noise in enumerate(shown.pictures):
            kinds = [f"noise noise-{place}"]
            told = f"{prompt} · {model.name} · picture seed {noise}"
            if seed is not None:
                kinds.append(f"training training-{shown.training.index(seed)}")
                told += f" · training seed {seed}"
            uri = uris.get(path_of(folder, number, noise))
            kind = " ".join(kinds)
            pictures.append(
                element("img", src=uri, alt=told, class_=kind)
                if uri
                else element("span", "no picture", class_=f"{kind} none")
            )
    return element(
        "label",
        element("b", model.name, title=model.name),
        element("span", together(pictures), class_="frame"),
        for_=box,
    )


def _left_out(result: ExperimentResult, shown: Shown) -> str:
    """What is drawn and not shown."""
    parts = [
        f"{len(seen)} of {len(every)} {told}"
        for told, seen, every in (
            ("training seeds", shown.training, result.seeds),
            ("picture seeds", shown.pictures, result.picture_seeds),
        )
        if len(seen) < len(every)
    ]
    if not parts:
        return ""
    folders = {str(PurePosixPath(run.pictures).parent) for arm in result.arms for run in arm.runs}
    return f"Shown: {' and '.join(parts)}. All pictures lie in {', '.join(sorted(folders))}."
