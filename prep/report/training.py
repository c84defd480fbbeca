"""The run on the page: its recipe in short, its curve, what it took."""

from prep.report.charts import curve, smoothed
from prep.report.html import Html, count, element, legend, missing, section
from prep.report.run import Run
from schemas.recipes.train import TrainRecipe

NO_RUN = "No training yet: `train` starts one in this folder by `train.toml`."


def training(run: Run | None) -> Html:
    """Show how a run was set up and how its loss went."""
    if run is None:
        return section("training", "Training", "", missing(NO_RUN))
    state = "" if run.finished else " It is not finished."
    lead = f"The run `{run.path.name}`: {_took(run)}.{state}"
    return section("training", "Training", lead, _recipe(run.recipe), _loss(run))


def _took(run: Run) -> str:
    last = run.losses[-1][0] if run.losses else 0
    told = f"{count(last, 'step')}, {count(run.images, 'image')} seen (repeats counted)"
    return f"{told}, {duration(run.seconds)}"


def duration(seconds: float) -> str:
    """Return seconds as people say them: 40 s, 3 min 5 s, 2 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _recipe(recipe: TrainRecipe) -> Html:
    adapter, optimizer, steps, latents = (
        recipe.adapter, recipe.optimizer, recipe.steps, recipe.latents,
    )  # fmt: skip
    text_rate = optimizer.text_encoder_lr
    rate = f"{optimizer.lr:g}" + ("" if text_rate is None else f", text encoder {text_rate:g}")
    length = count(steps.total, "step") if steps.total else count(steps.epochs, "epoch")
    batch = f"{steps.batch} × {steps.accumulate}" if steps.accumulate > 1 else f"{steps.batch}"
    sides = ", ".join(map(str, latents.resolutions))
    facts = {
        "base model": recipe.model.path,
        "adapter": f"{adapter.kind}, rank {adapter.dim}, alpha {adapter.alpha:g}",
        "blocks": adapter.blocks,
        "size": f"{sides} px, sides {latents.min} to {latents.max}",
        "optimizer": optimizer.name,
        "learning rate": f"{rate}, {optimizer.schedule}",
        "length": f"{length}, batch {batch}",
        "seed": f"{recipe.seed}",
    }
    pairs = (
        element("div", element("dt", name), element("dd", value)) for name, value in facts.items()
    )
    return element("dl", pairs, class_="facts")


def _loss(run: Run) -> Html:
    if not run.losses:
        return missing("No step is logged yet.")
    smooth = smoothed(run.losses)
    told = f"Loss: from {smooth[0][1]:.3f} to {smooth[-1][1]:.3f}"
    if run.validation:
        first, last = run.validation[0][1], run.validation[-1][1]
        told += f"; on the images held out, from {first:.3f} to {last:.3f}"
    keys = [("line faint", "each step"), ("line", "their mean")]
    if run.validation:
        keys.append(("line dashed", "images held out"))
    return element(
        "figure",
        element("figcaption", f"{told}."),
        curve(run.losses, smooth, run.validation, "step"),
        legend(*keys),
    )
