"""What the base model's three trainings share: the loop, the rate's course, curve, checkpoints."""

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch

from prep.demo.muon import Pair
from schemas import progress
from schemas.errors import Failure
from schemas.files import writing

WARM_UP, LAST = 0.04, 0.02  # share of the steps; part of the highest rate that is left at the end
SMOOTHING = 0.98
EVERY, SECONDS = 50, 120.0  # steps between points of a curve; seconds between checkpoints
Part = TypeVar("Part")
PARTS = 2  # of a batch, computed side by side: small networks gain more so than within each layer


def rate(step: int, steps: int) -> float:
    """The rate at `step` of `steps` as a part of the highest: warm-up, then half a cosine."""
    warm = WARM_UP * steps
    if step < warm:
        return (step + 1) / (warm + 1)
    return LAST + (1 - LAST) * 0.5 * (1 + math.cos(math.pi * (step - warm) / (steps - warm)))


@dataclass
class Curve:
    """A loss over steps: points of the smoothed value, and the seconds the steps took."""

    points: list[tuple[int, float]] = field(default_factory=list)
    recent: float = math.nan
    seconds: float = 0.0
    _clock: float = field(default_factory=time.monotonic)

    def add(self, step: int, loss: float) -> None:
        now = time.monotonic()
        self.seconds, self._clock = self.seconds + now - self._clock, now
        kept = SMOOTHING if self.points else 0.0
        self.recent = kept * self.recent + (1 - kept) * loss if kept else loss
        if step % EVERY == 0:
            self.points.append((step, round(self.recent, 6)))

    def state_dict(self) -> dict[str, Any]:
        return {"points": self.points, "recent": self.recent, "seconds": self.seconds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.points, self.recent, self.seconds = state["points"], state["recent"], state["seconds"]
        self._clock = time.monotonic()


class Checkpoint:
    """A file that holds the state of all `parts` and the number of steps made."""

    def __init__(self, path: Path, parts: dict[str, Any]) -> None:
        self.path = path
        self._parts = parts
        self._saved = time.monotonic()

    def load(self) -> int:
        """Put every part where it was; the steps made so far, 0 where there is no file."""
        if not self.path.is_file():
            return 0
        state = torch.load(self.path, weights_only=True)
        for name, part in self._parts.items():
            part.load_state_dict(state[name])
        made: int = state["step"]
        return made

    def save_now_and_then(self, step: int) -> None:
        """Save if the last time is long enough ago."""
        if time.monotonic() - self._saved > SECONDS:
            self.save(step)

    def save(self, step: int) -> None:
        """Write the file, whole or not at all."""
        state = {name: part.state_dict() for name, part in self._parts.items()}
        with writing(self.path) as aside:
            torch.save(state | {"step": step}, aside)
        self._saved = time.monotonic()


def fit(
    label: str,
    network: torch.nn.Module,
    optimizer: Pair,
    parts_at: Callable[[int], Sequence[Part]],
    loss_of: Callable[[Part], torch.Tensor],
    steps: int,
    path: Path,
    *,
    clip: float = math.inf,
    average: Any = None,
) -> Curve:
    """Take the steps that the checkpoint in `path` has not taken yet; return the loss's curve.

    parts_at: the `PARTS` parts of a step's batch, which follow from the step alone. loss_of: of one
    part; the step's loss is their mean. clip: the largest norm of all gradients. average: takes the
    weights after each step, and is kept with them.
    """
    curve = Curve()
    kept = {"weights": network, "optimizer": optimizer, "curve": curve}
    checkpoint = Checkpoint(path, kept if average is None else kept | {"average": average})
    first = checkpoint.load()
    weights = list(network.parameters())
    share = max(1, torch.get_num_threads() // PARTS)
    with (
        progress.task(f"train {label}", steps, "steps") as advance,
        ThreadPoolExecutor(PARTS, initializer=torch.set_num_threads, initargs=(share,)) as pool,
    ):
        advance(first)
        for step in range(first, steps):
            found = pool.map(partial(_gradients, loss_of, weights), parts_at(step))
            losses, gradients = zip(*found, strict=True)
            if not math.isfinite(sum(losses)):
                raise Failure(f"{label}: the loss is {sum(losses)} at step {step}: lower its rates")
            for weight, *of_parts in zip(weights, *gradients, strict=True):
                weight.grad = sum(of_parts[1:], of_parts[0]).div_(len(of_parts))
            if clip < math.inf:
                torch.nn.utils.clip_grad_norm_(weights, clip)
            optimizer.step(rate(step, steps))
            if average is not None:
                average.take(network.state_dict(), step)
            curve.add(step, sum(losses) / len(losses))
            advance(1, note=f"loss {curve.recent:.4f}")
            checkpoint.save_now_and_then(step + 1)
    checkpoint.save(steps)
    return curve


def _gradients(
    loss_of: Callable[[Part], torch.Tensor], weights: Sequence[torch.Tensor], part: Part
) -> tuple[float, tuple[torch.Tensor, ...]]:
    loss = loss_of(part)
    return loss.item(), torch.autograd.grad(loss, weights)
