"""What was done exactly: settings, what differs in each arm, prompts, and where the runs lie."""

from prep.report.html import Html, element, section, together
from schemas.experiment_results import Arm, ExperimentResult

TITLE = "What was done exactly"


def done(result: ExperimentResult) -> Html:
    """Show all that one needs to do it again."""
    facts = [
        ("training seeds", result.trained_with),
        ("picture seeds", ", ".join(map(str, result.picture_seeds))),
        ("picture size", f"{result.size[0]} × {result.size[1]} px"),
        *([("trained on", ", ".join(result.devices))] if result.devices else []),
        *((name, value) for name, value in result.settings if "\n" not in value),
    ]
    common = [
        together(element("h3", name[:1].upper() + name[1:]), element("pre", element("code", value)))
        for name, value in result.settings
        if "\n" in value
    ]
    pairs = (element("div", element("dt", name), element("dd", value)) for name, value in facts)
    prompts = (element("li", element("code", prompt)) for prompt in result.prompts)
    return section(
        "done",
        TITLE,
        "",
        element("dl", pairs, class_="facts"),
        common,
        element("h3", "What differs in each arm"),
        element("div", map(_arm, result.arms), class_="changes"),
        element("h3", "What was asked for"),
        element("ol", prompts, class_="prompts"),
    )


def _arm(arm: Arm) -> Html:
    folders = sorted({run.folder for run in arm.runs if run.folder})
    return element(
        "article",
        element("h4", arm.name),
        element("pre", element("code", arm.changes))
        if arm.changes
        else element("p", "as the experiment's recipes say"),
        element("small", f"runs: {', '.join(folders)}") if folders else None,
    )
