"""Which of an experiment's many pictures a page shows, and the choice of seeds among them."""

from collections.abc import Sequence
from dataclasses import dataclass

from prep.report.html import Html, element
from schemas.experiment_results import ExperimentResult

MOST = 640  # pictures on a page: more would have to be poor ones


@dataclass(frozen=True)
class Shown:
    """The seeds whose pictures are on the page: of training, and of the pictures themselves."""

    training: tuple[int, ...]
    pictures: tuple[int, ...]


def choose(result: ExperimentResult) -> Shown:
    """Return as many seeds as a page can show: at least one of each, then as many of both."""
    columns = len(result.arms) + bool(result.base_pictures)
    able = max(1, MOST // max(1, len(result.prompts) * columns))  # pairs of seeds
    training = min(len(result.seeds), max(1, able // 2))
    pictures = min(len(result.picture_seeds), max(1, able // max(1, training)))
    return Shown(result.seeds[:training], result.picture_seeds[:pictures])


def rules(shown: Shown) -> str:
    """Return the style by which only the pictures of the chosen seeds are seen."""
    return "".join(
        f"body:has(#{name}-{place}:checked) .frame > .{name}:not(.{name}-{place}) "
        "{ display: none; }\n"
        for name, seeds in (("training", shown.training), ("noise", shown.pictures))
        for place in range(len(seeds))
    )


def choices(shown: Shown) -> Html | None:
    """Show what can be chosen: nothing where there is one seed of each."""
    groups = [
        _group(name, told, seeds)
        for name, told, seeds in (
            ("training", "training seed", shown.training),
            ("noise", "picture seed", shown.pictures),
        )
        if len(seeds) > 1
    ]
    return element("div", groups, class_="choices") if groups else None


def _group(name: str, told: str, seeds: Sequence[int]) -> Html:
    return element(
        "fieldset",
        element("legend", told),
        (
            element(
                "label",
                element(
                    "input",
                    type="radio",
                    name=name,
                    id=f"{name}-{place}",
                    checked=None if place else "",
                ),
                element("span", seed),
            )
            for place, seed in enumerate(seeds)
        ),
    )
