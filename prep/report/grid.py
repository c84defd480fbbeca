"""The grid that matters: prompts x (base, adapter at several strengths and steps), same seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prep.report.html import Html, element, missing, section, together
from prep.report.pictures import encoded
from schemas.recipes.train import SampleSection

BUDGET = 2_400_000  # bytes of all its pictures, as they stand in the page
TITLE = "The base, and what the adapter makes of it"


@dataclass(frozen=True)
class Column:
    """One model that draws: the base at strength 0, or the adapter as it was after a step."""

    strength: float
    step: int
    checkpoint: Path | None = None  # the adapter's file; None for the base
    earlier: bool = False  # saved before the last step

    @property
    def label(self) -> tuple[str, str]:
        """What stands above its pictures: a line, and a smaller one."""
        if not self.strength:
            return "base", "no adapter"
        strength, step = f"strength {self.strength:g}", f"step {self.step:,}"
        return (step, strength) if self.earlier else (strength, step)


@dataclass(frozen=True)
class Grid:
    """Pictures of every prompt and seed by every column; None where one is not drawn."""

    section: SampleSection
    columns: Sequence[Column]
    pictures: Mapping[tuple[str, int, Column], Path]


def grid(shown: Grid | None, why: str = "") -> Html:
    """Show the grid; `why` says what is missing when there is none."""
    if shown is None or not shown.pictures:
        return section("grid", TITLE, "", missing(why))
    keys = [
        (prompt, seed, column)
        for prompt in shown.section.prompts
        for seed in shown.section.seeds
        for column in shown.columns
        if (prompt, seed, column) in shown.pictures
    ]
    uris = dict(zip(keys, encoded([shown.pictures[key] for key in keys], BUDGET), strict=True))
    lead = (
        "Each line of pictures starts from the same noise; only the strength of the adapter, or the"
        " step it was saved at, differs. Choose a picture to enlarge it."
    )
    blocks = (_block(prompt, shown, uris) for prompt in shown.section.prompts)
    return section("grid", TITLE, lead, blocks, element("p", _settings(shown), class_="settings"))


def _block(prompt: str, shown: Grid, uris: Mapping[tuple[str, int, Column], str]) -> Html:
    """One prompt: on wide pages a row per seed and a column per model, on phones turned round."""
    width, height = shown.section.size
    heads = (
        _placed("b", 0, place, together(label, " ", element("small", small)), "head")
        for place, (label, small) in enumerate((column.label for column in shown.columns), start=1)
    )
    seeds = (
        _placed("b", place, 0, element("small", f"seed {seed}"), "seed")
        for place, seed in enumerate(shown.section.seeds, start=1)
    )
    cells = (
        _placed(
            "label", row, column, _zoomable(uris[key], _told(*key), width, height), "cell"
        )
        for row, seed in enumerate(shown.section.seeds, start=1)
        for column, model in enumerate(shown.columns, start=1)
        if (key := (prompt, seed, model)) in uris
    )  # fmt: skip
    size = (
        f"--models:{len(shown.columns)};--seeds:{len(shown.section.seeds)};"
        f"--width:{width}px;--shape:{width}/{height}"
    )
    return element(
        "figure",
        element("figcaption", element("code", prompt)),
        element("div", heads, seeds, cells, class_="grid", style=size),
        class_="prompt",
    )


def _placed(name: str, seed: int, model: int, inner: Html, kind: str) -> Html:
    return element(name, inner, class_=kind, style=f"--s:{seed + 1};--m:{model + 1}")


def _zoomable(uri: str, told: str, width: int, height: int) -> Html:
    """A picture that fills the page while its checkbox is checked: no script is needed."""
    return together(
        element("input", type="checkbox", aria_label=f"enlarge: {told}"),
        element("img", src=uri, alt=told, width=width, height=height),
        element("span", told),
    )


def _told(prompt: str, seed: int, column: Column) -> str:
    if not column.strength:
        return f"{prompt} · seed {seed} · base"
    return f"{prompt} · seed {seed} · strength {column.strength:g} · step {column.step:,}"


def _settings(shown: Grid) -> str:
    options = shown.section
    told = (
        f"{options.size[0]} × {options.size[1]} px, DDIM, {options.steps} steps, guidance"
        f" {options.guidance:g}, seeds {', '.join(map(str, options.seeds))}"
    )
    return f"{told}; negative prompt: {options.negative}" if options.negative else f"{told}."
