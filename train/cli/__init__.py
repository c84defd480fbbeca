"""The command `train`. Imports what it runs only when it runs: `--help` loads no torch."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.types import NonNegativeFloat, NonNegativeInt, PositiveInt

from schemas.command import run, version
from train.cli import comparing, inspecting, merging, sampling
from train.cli.words import Changes, Device, Flag

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
    resume: Flag = False,
    overwrite: Flag = False,
    changes: Changes = (),
    device: Device = "auto",
    dry_run: Flag = False,
    json: Flag = False,
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
    dry_run
        Check everything and print the plan: images, buckets, captions, adapter, steps, memory, and
        hours by a few steps on the device. Nothing is written.
    json
        Print the plan of a dry run as one JSON object.
    """
    from schemas.errors import UsageError
    from schemas.recipes.load import load_train

    if json and not dry_run:
        raise UsageError("--json prints a plan: give --dry-run with it")
    asked = load_train(recipe, changes)
    if dry_run:
        from dataclasses import asdict
        from json import dumps

        from train.cli import show
        from train.preflight import plan

        found = plan(asked, recipe.parent, resume=resume, overwrite=overwrite, device=device)
        if json:
            print(dumps(asdict(found), ensure_ascii=False, indent=1))
        else:
            show.plan(found)
        return
    from train import loop

    result = loop.train(
        asked,
        recipe.parent,
        resume=resume,
        overwrite=overwrite,
        device=device,
    )
    print(result.adapter)
    if result.grid is not None:
        print(result.grid)


@app.command
def relora(
    recipe: Path = Path("train.toml"),
    /,
    *,
    resume: Flag = False,
    overwrite: Flag = False,
    changes: Changes = (),
    device: Device = "auto",
    dry_run: Flag = False,
) -> None:
    """Train in cycles, each adapter merged into the model before the next: [relora] of the recipe.

    What all cycles add up to has a higher rank than one of them. Each is a run of its own in the
    run's folder; ctrl-C stops after the step in progress, and --resume goes on from there.

    Parameters
    ----------
    recipe
        The recipe file; its paths start at its folder.
    resume
        Go on with cycles that were stopped.
    overwrite
        Throw away the cycles that are there and start anew.
    changes
        Change one key of the recipe: --set relora.cycles=5. May be given several times.
    device
        Where to train; auto takes a CUDA device where there is one.
    dry_run
        Check everything, list the cycles, and print the plan of the first. Nothing is written.
    """
    from schemas.recipes.load import load_train
    from train import relora as cycles

    asked, root = load_train(recipe, changes), recipe.parent
    if dry_run:
        from train.cli import show
        from train.preflight import plan

        planned = cycles.plan(asked, root, resume=resume, overwrite=overwrite)
        show.cycles(planned)
        show.plan(plan(planned[0].recipe, root, device=device))
        return
    result = cycles.relora(asked, root, resume=resume, overwrite=overwrite, device=device)
    for cycle in result.cycles:
        print(cycle.adapter)
    if result.adapter is not None:
        print(result.adapter)


@app.command
def evaluate(
    run: Path,
    /,
    *,
    pictures: PositiveInt = 8,
    prompts: Path | None = None,
    tagger: Annotated[str, Parameter(show_default=False)] = "",
    signature: Annotated[str, Parameter(show_default=False)] = "",
    checkpoints: Flag = False,
    size: Annotated[tuple[PositiveInt, PositiveInt] | None, Parameter(negative=())] = None,
    steps: PositiveInt | None = None,
    guidance: NonNegativeFloat | None = None,
    seed: NonNegativeInt = 1,
    data: Path | None = None,
    device: Device = "auto",
    json: Flag = False,
) -> None:
    """Draw with a run's base model and adapter, and let the dataset's tagger read what is drawn.

    Beside each figure stand the same of real pictures and of shuffled prompts.

    Parameters
    ----------
    run
        The folder of a run, such as runs/first.
    pictures
        Pictures of each prompt.
    prompts
        A file with a prompt a line, instead of those chosen from the dataset's tags.
    tagger
        A folder or Hub id of a WD14 tagger, instead of the first of prep.toml.
    signature
        The tags that the trigger stands for: "red hair, side ponytail"; else prep.toml says them.
    checkpoints
        Draw with every adapter that the run has kept, too.
    size
        Width and height in pixels; like steps and guidance, that of the recipe's samples.
    steps
        Denoising steps.
    guidance
        Classifier-free guidance; 1 is none.
    seed
        Of the first picture of each prompt; the others follow.
    data
        Where the recipe's paths start, if the run was moved.
    device
        Where to draw; auto takes a CUDA device where there is one.
    json
        Print everything as one JSON object.
    """
    from dataclasses import asdict
    from json import dumps

    from train import evaluate as evaluating
    from train.cli import show
    from train.run_folder import RunFolder

    found = evaluating.evaluate(
        run,
        pictures=pictures,
        prompts=prompts,
        tagger=tagger,
        signature=signature,
        checkpoints=checkpoints,
        size=size,
        steps=steps,
        guidance=guidance,
        seed=seed,
        data=data,
        device=device,
    )
    if json:
        print(dumps(asdict(found), ensure_ascii=False, indent=1))
    else:
        show.evaluation(found, RunFolder(run).evaluated)


@app.command
def convert(
    source: Annotated[Path | None, Parameter(show_default=False)] = None,
    /,
    *,
    json: Flag = False,
) -> None:
    """Turn a training with sd-scripts into a recipe: train convert FILE > train.toml

    Takes an `accelerate launch ... train_network.py ...` command line, as it is quoted on Windows
    or elsewhere, or a TOML file of --config_file or --dataset_config.

    Parameters
    ----------
    source
        The file; standard input when not given.
    json
        Print the recipe and what became of everything else as one JSON object.
    """
    import sys
    from dataclasses import asdict
    from json import dumps

    from schemas.errors import UsageError
    from train.convert import convert

    try:
        text = sys.stdin.read() if source is None else source.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UsageError(f"{source} is missing: name a file, or paste a command") from None
    except (UnicodeDecodeError, IsADirectoryError):
        raise UsageError(f"{source} is no text: name a file with a command or TOML") from None
    found = convert(text, Path() if source is None else source.parent)
    if json:
        print(dumps(asdict(found), ensure_ascii=False, indent=1))
    else:
        print(found.text(), end="")


app.command(inspecting.inspect)
app.command(merging.merge)
app.command(merging.resize)
app.command(sampling.sample)
app.command(comparing.compare)


def main() -> int:
    """Run the command; return its exit status."""
    return run(app)
