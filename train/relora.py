"""ReLoRA: cycles of train -> merge -> begin anew, whose sum has a higher rank than any of them.

    W1 = W0 + delta(cycle 1), W2 = W1 + delta(cycle 2), ...      each in fp32

Source: Lialin et al. 2023, arXiv:2307.05695. Every cycle is a run of its own in the run's folder,
and its adapter file, in fp32, is what it adds. Nothing else has to be kept: a cycle begins by
loading the model and adding the files before it in their order, so that it is the same weights bit
for bit however often a kill came between, and whatever precision the base is then used in.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from schemas.errors import RecipeError
from schemas.files import write_json
from schemas.progress import say
from schemas.recipes.load import load_train
from schemas.recipes.train import TrainRecipe
from train.adapters.layer import key_of
from train.run_folder import RunFolder, changed_keys, refuse_changes


@dataclass(frozen=True)
class Cycle:
    """One training among those of a run."""

    name: str
    recipe: TrainRecipe  # as the cycle's own run has it
    first: int  # steps of the cycles before
    total: int  # steps of all cycles
    is_restart: bool

    @property
    def steps(self) -> int:
        """Its own steps."""
        return self.recipe.steps.total


@dataclass(frozen=True)
class CycleResult:
    """What a cycle has come to."""

    name: str
    adapter: Path
    steps: int
    loss: float
    validation_loss: float | None


@dataclass(frozen=True)
class ReloraResult:
    """What a finished run of cycles leaves."""

    folder: Path
    cycles: tuple[CycleResult, ...]
    adapter: Path | None  # the sum of all cycles; None where there is no such sum


def cycles_of(recipe: TrainRecipe, sets: Sequence[str]) -> list[Cycle]:
    """Return the cycles that a recipe asks for; `sets` are those of its manifest.

    Each has its own seed, so that no noise is seen twice; the first has the recipe's. Raises
    RecipeError where the finishing set is unknown, or nothing is left to train on before it.
    """
    section, finish = recipe.relora, recipe.relora.finish
    main = tuple(recipe.sets)
    if finish is not None:
        _check_finish(recipe, sets)
        main = tuple(name for name in recipe.sets or sets if name != finish.set)
    lengths = [section.warm_start or section.steps, *[section.steps] * (section.cycles - 1)]
    planned = [(f"cycle-{n:02}", main, steps) for n, steps in enumerate(lengths, start=1)]
    if finish is not None:
        last = range(1, finish.times + 1)
        planned += [(f"finish-{n:02}", (finish.set,), finish.steps) for n in last]
    total = sum(steps for _, _, steps in planned)
    found: list[Cycle] = []
    for number, (name, of, steps) in enumerate(planned):
        first = sum(cycle.steps for cycle in found)
        own = _recipe_of(recipe, number, name, of, steps)
        found.append(Cycle(name, own, first, total, number > 0))
    return found


def relora(
    recipe: TrainRecipe,
    root: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "auto",
) -> ReloraResult:
    """Train all cycles of `recipe`, whose paths start at `root`; those that are finished stay.

    resume, overwrite: as for one run. Raises a KirokuError for whatever stands against it, and
    KeyboardInterrupt when it was stopped, from where `resume` goes on.
    """
    cycles = plan(recipe, root, resume=resume, overwrite=overwrite)
    folder = _folder(recipe, root)
    if not resume:
        folder.begin(recipe)
    before: list[RunFolder] = []
    for cycle in cycles:
        run = RunFolder(folder.path / cycle.name)
        if not run.result.is_file():
            stop = _train(cycle, run, before, root, device)
            if stop and cycle is not cycles[-1]:
                say(f"stopped after {cycle.name}: --resume goes on")
                raise KeyboardInterrupt
        before.append(run)
    results = tuple(_result(cycle, run) for cycle, run in zip(cycles, before, strict=True))
    whole = _joined(recipe, before, folder)
    write_json(
        folder.result,
        {
            "steps": sum(one.steps for one in results),
            "cycles": [{**vars(one), "adapter": one.adapter.name} for one in results],
        },
    )
    return ReloraResult(folder.path, results, whole)


def plan(
    recipe: TrainRecipe, root: Path, *, resume: bool = False, overwrite: bool = False
) -> list[Cycle]:
    """Return the cycles that `relora` would train; raises what it would raise before them."""
    _check_folder(_folder(recipe, root), recipe, resume=resume, overwrite=overwrite)
    if recipe.relora.reset == "prune":
        _check_prunable(recipe)
    return cycles_of(recipe, sets_of(recipe, root))


def sets_of(recipe: TrainRecipe, root: Path) -> list[str]:
    """Return the names of the manifest's sets. Raises DatasetError where there is none."""
    from train.data import read_manifest

    return sorted(pc.unique(read_manifest(root / recipe.data)["set"]).to_pylist())


def _train(
    cycle: Cycle, run: RunFolder, before: Sequence[RunFolder], root: Path, device: str
) -> bool:
    """Train a cycle to its end, or on to it; return whether one is to stop behind it."""
    from train import loop
    from train.setup import After

    say(f"{cycle.name}: {cycle.steps} steps, after {cycle.first} of {cycle.total}")
    resume = bool(run.states())
    moments: Mapping[int, Any] = {}
    if before and not resume and cycle.recipe.relora.reset == "prune":
        moments = _moments(before[-1], cycle.recipe)
    course = None
    if cycle.recipe.relora.curve == "whole":
        course = _Teeth(cycle)
    result = loop.train(
        cycle.recipe,
        root,
        resume=resume,
        overwrite=not resume,
        device=device,
        after=After([one.adapter for one in before], moments, course),
    )
    return result.stop_asked


def no_sum(recipe: TrainRecipe) -> str:
    """Return why the cycles of a recipe are not joined into one adapter; "" where they are."""
    if recipe.adapter.kind == "dora":
        return "cycles of dora are no one adapter: `train merge` merges them in turn"
    if recipe.adapter.kind == "full" and not recipe.relora.rank:
        return "cycles of full add up to a change of full rank: relora.rank makes a LoRA of it"
    return ""


def _joined(recipe: TrainRecipe, runs: Sequence[RunFolder], folder: RunFolder) -> Path | None:
    """Write what all cycles add up to as one LoRA, where their kind has such a sum."""
    if why := no_sum(recipe):
        say(why)
        return None
    from train.merging.join import join
    from train.merging.sources import Source

    sources = [Source(run.adapter) for run in runs]
    made = join(
        *(sources, folder.adapter),
        rank=recipe.relora.rank,
        precision=recipe.save.precision,
        overwrite=True,
    )
    if made.error:
        say(f"joined at rank {recipe.relora.rank}: {made.error:.1%} of what was learnt is cut off")
    return folder.adapter


@dataclass(frozen=True)
class _Teeth:
    """One curve over all cycles that falls to 0 at each restart and climbs back."""

    cycle: Cycle

    def __call__(self, step: int) -> float:
        from train.schedule import rate_factor

        recipe, cycle = self.cycle.recipe, self.cycle
        whole = rate_factor(cycle.first + step, cycle.total, recipe.optimizer)
        climb = recipe.relora.warmup
        return whole * min(1.0, step / climb) if cycle.is_restart and climb else whole


def _moments(run: RunFolder, recipe: TrainRecipe) -> Mapping[int, Any]:
    """What the optimizer of the cycle before remembers, pruned."""
    from train.moments import pruned
    from train.run_folder import load_state

    state = load_state(run).optimizer["state"]
    return pruned(state, recipe.relora.keep, recipe.optimizer.name)


def _check_prunable(recipe: TrainRecipe) -> None:
    """Raise RecipeError, before any training, where the optimizer's moments are not known."""
    import torch

    from train.moments import pruned
    from train.optimizer import Group, make_optimizer

    weight = torch.nn.Parameter(torch.zeros(2, 2))
    optimizer = make_optimizer(recipe.optimizer, [Group([weight])])
    weight.grad = torch.ones(2, 2)
    optimizer.step()
    pruned(optimizer.state_dict()["state"], recipe.relora.keep, recipe.optimizer.name)


def _recipe_of(
    recipe: TrainRecipe, number: int, name: str, sets: Sequence[str], steps: int
) -> TrainRecipe:
    """The recipe of cycle `number`, counted from 0."""
    section, rate = recipe.relora, recipe.optimizer
    if number and section.curve == "cycle":
        factor, text = section.lr_factor**number, rate.text_encoder_lr
        changes = {
            "warmup": section.warmup,
            "lr": rate.lr * factor,
            "text_encoder_lr": None if text is None else text * factor,
        }
        rate = rate.model_copy(update=changes)
    begun = {} if number == 0 else {"adapter": recipe.adapter.model_copy(update={"start": ""})}
    return recipe.model_copy(
        update={
            **begun,
            "out": f"{recipe.out}/{name}",
            "seed": recipe.seed if number == 0 else key_of(recipe.seed, name) % 2**31,
            "sets": tuple(sets),
            "steps": recipe.steps.model_copy(update={"total": steps, "epochs": 0}),
            "optimizer": rate,
            "save": recipe.save.model_copy(update={"precision": "fp32"}),
        }
    )


def _folder(recipe: TrainRecipe, root: Path) -> RunFolder:
    return RunFolder((root / recipe.out).resolve())


def _check_finish(recipe: TrainRecipe, sets: Sequence[str]) -> None:
    finish = recipe.relora.finish
    assert finish is not None
    if finish.set not in sets:
        raise RecipeError(
            f'relora.finish names the set "{finish.set}", which {recipe.data} does not hold: it'
            f" holds {', '.join(sets)}"
        )
    if not [name for name in recipe.sets or sets if name != finish.set]:
        raise RecipeError(
            f'relora.finish takes the set "{finish.set}", and no other is left for the cycles'
            " before it"
        )


def _check_folder(folder: RunFolder, recipe: TrainRecipe, *, resume: bool, overwrite: bool) -> None:
    """Raise DatasetError or RecipeError when the folder cannot be used in this way."""
    if not resume or folder.result.is_file() or not folder.recipe.is_file():
        folder.check(resume=resume, overwrite=overwrite)
        return
    before = load_train(folder.recipe).model_dump(mode="json", by_alias=True)
    refuse_changes(folder, changed_keys(before, recipe.model_dump(mode="json", by_alias=True)))


def _result(cycle: Cycle, run: RunFolder) -> CycleResult:
    told = json.loads(run.result.read_text(encoding="utf-8"))
    return CycleResult(cycle.name, run.adapter, cycle.steps, told["loss"], told["validation_loss"])
