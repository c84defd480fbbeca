"""Training: setup -> fit -> finish."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch

from schemas.errors import DeviceError, Failure
from schemas.progress import say, task
from schemas.recipes.train import TrainRecipe
from train.averaging import for_use
from train.captions import COUNTED
from train.change import change_by_block, is_measured, shown, weights_of
from train.device import forget_memory, most_memory, name_of
from train.nonfinite import NotFinite
from train.outputs import Log, save_adapter, save_exposures
from train.precision import autocast
from train.run_folder import State, logged_losses, save_state, write_result
from train.sample import draw_grid
from train.setup import ALONE, After, Setup, setup
from train.step import train_step
from train.stopping import stop_signals
from train.unchanged import EARLY, tell_unchanged
from train.validation import validate


@dataclass(frozen=True)
class RunResult:
    """What a finished run leaves."""

    folder: Path
    adapter: Path
    grid: Path | None  # None when the recipe asks for no samples
    steps: int
    skipped: int  # of these steps: they changed nothing, their gradients overflowed or not finite
    images: int  # seen, repeats counted
    loss: float  # mean over the last tenth of the steps
    validation_loss: float | None
    seconds: float
    memory: int  # bytes of the device at most, since the run last went on; 0: on the CPU
    device: str
    stop_asked: bool  # in the last step, when there was nothing left to stop


def train(
    recipe: TrainRecipe,
    root: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    after: After = ALONE,
) -> RunResult:
    """Train what `recipe` asks for; its paths start at `root`, the folder of the recipe.

    resume: go on from the run's last state. overwrite: throw away a run that is there already.
    after: what went before on the same model, if anything.
    Ctrl-C and SIGTERM stop after the step in progress: the state is saved, then KeyboardInterrupt
    raised. Raises a KirokuError for whatever stands against it.
    """
    try:
        forget_memory()
        ready = setup(recipe, root, resume=resume, overwrite=overwrite, device=device, after=after)
        if ready.start is None:
            ready.folder.begin(recipe, after.adapters)
        progress = fit(ready)
        return finish(ready, progress)
    except torch.OutOfMemoryError as error:
        raise DeviceError(
            "the device's memory is too small for this: make steps.batch or latents.resolution"
            " smaller, or set steps.checkpointing = true"
        ) from error


@dataclass
class Progress:
    """Where a run is: what changes while it trains."""

    step: int
    counts: np.ndarray  # int64 [rows, n]: captions.COUNTED of each image
    before: float  # seconds of earlier sittings
    since: float = field(default_factory=time.monotonic)
    marks: Mapping[str, float] = field(default_factory=dict)  # of the adapter as the run began
    losses: list[float] = field(default_factory=list)
    broken: int = 0  # steps that were not finite and changed nothing
    broken_in_a_row: int = 0
    validation_loss: float | None = None
    change: str = ""  # of the weights, as it was last measured
    stop_asked: bool = False

    @property
    def seconds(self) -> float:
        return self.before + time.monotonic() - self.since


def fit(ready: Setup) -> Progress:
    """Take the steps that are left; save, sample and validate on the way."""
    recipe, progress = ready.recipe, _progress(ready)
    with Log(ready.folder, progress.step) as log, stop_signals() as stop:
        if ready.start is None:
            save(ready, progress)
            _validate(ready, progress, log)
            with ready.adapter.off():
                _sample(ready, progress, "base model")
        with task("train", ready.steps - progress.step, "steps") as advance:
            while progress.step < ready.steps:
                if stop.asked:
                    save(ready, progress)
                    say(f"stopped after step {progress.step} of {ready.steps}: --resume goes on")
                    raise KeyboardInterrupt
                advance(note=_step(ready, progress, log))
                if progress.step == ready.steps:
                    break
                if progress.step == EARLY:
                    tell_unchanged(ready, progress.marks)
                if recipe.save.every and progress.step % recipe.save.every == 0:
                    _save_checkpoint(ready, progress)
                    _validate(ready, progress, log)
                if recipe.sample.every and progress.step % recipe.sample.every == 0:
                    _sample(ready, progress, f"step {progress.step}")
        save(ready, progress)
        _validate(ready, progress, log)
        progress.stop_asked = stop.asked
    tell_unchanged(ready, progress.marks)
    return progress


def _step(ready: Setup, progress: Progress, log: Log) -> str:
    """Take a step and log it; return what is shown of it. Raises Failure, see _skip."""
    before = weights_of(ready.adapter) if is_measured(progress.step) else None
    done = train_step(ready, progress.step, progress.counts)
    progress.step += 1
    change = {}
    if done.taken and before is not None:
        change = change_by_block(ready.adapter, before)
        progress.change = shown(change)
    if done.loss is not None:
        progress.losses.append(done.loss)
    images = ready.batches.images(ready.batches_by(progress.step))
    log.step(progress.step, done, change, progress.seconds, images)
    if done.broken is None:
        progress.broken_in_a_row = 0
    else:
        _skip(ready, progress, done.broken)
    return f"loss {'-' if done.loss is None else f'{done.loss:.4f}'} {progress.change}"


def _skip(ready: Setup, progress: Progress, broken: NotFinite) -> None:
    """Tell of a step that changed nothing. Raises Failure where too many did in a row."""
    progress.broken += 1
    progress.broken_in_a_row += 1
    most = ready.recipe.loss.skip_nonfinite
    if progress.broken_in_a_row > min(most, ready.steps - 1):
        before = f", as in the {most} steps before it" if most else ""
        raise Failure(
            f"{broken}{before}: lower optimizer.lr, or look at these images, then start anew with"
            " --overwrite; --resume with a higher loss.skip_nonfinite skips more"
        )
    say(f"{broken}: the step is skipped")


def save(ready: Setup, progress: Progress) -> None:
    """Write the state from which --resume goes on."""
    adapter = {name: tensor.cpu().clone() for name, tensor in ready.adapter.tensors().items()}
    state = State(
        step=progress.step,
        seconds=progress.seconds,
        adapter=adapter,
        optimizer=ready.optimizer.state_dict(),
        average=ready.average.tensors(),
        scale=ready.scale.state(),
        counts=torch.from_numpy(progress.counts.copy()),
        marks=progress.marks,
        broken=progress.broken,
        broken_in_a_row=progress.broken_in_a_row,
        recipe=ready.recipe.model_dump(mode="json", by_alias=True),
        manifest=ready.data.sha256,
        model=ready.model_sha256,
        batches=ready.batches.sha256,
    )
    save_state(ready.folder, state)


def finish(ready: Setup, progress: Progress) -> RunResult:
    """Write the adapter, its samples and the exposures; mark the run as finished."""
    _save_adapter(ready, ready.folder.adapter, progress)
    save_exposures(ready, progress.step, progress.counts)
    if cut := int(progress.counts[:, COUNTED.index("tags_cut")].sum()):
        limit = ready.recipe.caption.tokens
        say(f"{cut} tags lay beyond {limit} tokens and were cut off: {ready.folder.exposures}")
    if skipped := ready.scale.skipped:
        say(f"{skipped} of {progress.step} steps changed nothing: their gradients overflowed fp16")
    if progress.broken:
        say(
            f"{progress.broken} of {progress.step} steps changed nothing, being not finite:"
            f" {ready.folder.log} names their images"
        )
    grid = _sample(ready, progress, f"step {progress.step}")
    last = progress.losses[-max(1, len(progress.losses) // 10) :]
    result = RunResult(
        folder=ready.folder.path,
        adapter=ready.folder.adapter,
        grid=grid,
        steps=progress.step,
        skipped=ready.scale.skipped + progress.broken,
        images=ready.batches.images(ready.forwards),
        loss=sum(last) / len(last),
        validation_loss=progress.validation_loss,
        seconds=progress.seconds,
        memory=most_memory(ready.device),
        device=name_of(ready.device),
        stop_asked=progress.stop_asked,
    )
    write_result(
        ready.folder, {k: str(v) if isinstance(v, Path) else v for k, v in asdict(result).items()}
    )
    return result


def _progress(ready: Setup) -> Progress:
    start = ready.start
    if start is None:
        counts = np.zeros((ready.data.table.num_rows, len(COUNTED)), dtype=np.int64)
        return Progress(0, counts, 0.0, marks=ready.adapter.marks())
    say(f"going on from step {start.step} of {ready.steps}")
    losses = logged_losses(ready.folder)
    return Progress(
        *(start.step, start.counts.numpy().copy(), start.seconds),
        marks=start.marks,
        losses=losses,
        broken=start.broken,
        broken_in_a_row=start.broken_in_a_row,
    )


def _save_checkpoint(ready: Setup, progress: Progress) -> None:
    """Save the state and the adapter as it is; keep the last few adapters."""
    save(ready, progress)
    folder, keep = ready.folder, ready.recipe.save.keep
    path = folder.checkpoints / f"{folder.name}-{progress.step:08}.safetensors"
    _save_adapter(ready, path, progress)
    for older in sorted(folder.checkpoints.glob("*.safetensors"))[:-keep]:
        older.unlink()


def _save_adapter(ready: Setup, path: Path, progress: Progress) -> None:
    with for_use(ready.optimizer, ready.average):
        save_adapter(ready, path, progress.step, progress.seconds)


def _sample(ready: Setup, progress: Progress, title: str) -> Path | None:
    section = ready.recipe.sample
    if not section.prompts:
        return None
    with (
        for_use(ready.optimizer, ready.average),
        autocast(ready.device, ready.recipe.steps.precision),
        task("sample", len(section.prompts) * len(section.seeds), "pictures") as advance,
    ):
        return draw_grid(
            ready.painter,
            section,
            ready.recipe.model,
            ready.folder.samples / f"{progress.step:08}",
            title=f"{ready.folder.name}, {title}",
            drawn=advance,
        )


def _validate(ready: Setup, progress: Progress, log: Log) -> None:
    with for_use(ready.optimizer, ready.average):
        found = validate(ready)
    if found is not None:
        progress.validation_loss = found.loss
        say(f"validation loss at step {progress.step}: {found}")
        log.validation(progress.step, found)
