"""The command `train`. Imports what it runs only when it runs: `--help` loads no torch."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from schemas.command import run, version

app = App(
    name="train",
    help="Train adapters on the images and captions of a dataset folder.",
    help_format="plaintext",
    version=version,
)


@app.default
def train(
    recipe: Path = Path("train.toml"),
    /,
    *,
    resume: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
    overwrite: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
    changes: Annotated[
        tuple[str, ...], Parameter(name="--set", negative=(), show_default=False)
    ] = (),
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> None:
    """Train the adapter that a recipe describes.

    Ctrl-C stops after the step in progress and leaves a state from which --resume goes on.

    Parameters
    ----------
    recipe
        The recipe file; its paths start at its folder.
    resume
        Go on with a run that was stopped.
    overwrite
        Throw away the run that is there and start anew.
    changes
        Change one key of the recipe: --set adapter.dim=32. May be given several times.
    device
        Where to train; auto takes a CUDA device where there is one.
    """
    from schemas.recipes.load import load_train
    from train import loop

    result = loop.train(
        load_train(recipe, changes),
        recipe.parent,
        resume=resume,
        overwrite=overwrite,
        device=device,
    )
    print(result.adapter)
    if result.grid is not None:
        print(result.grid)


def main() -> int:
    """Run the command; return its exit status."""
    return run(app)
