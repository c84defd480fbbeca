"""The course of the learning rate, against diffusers' schedules and the papers' formulas."""

import pytest
import torch
from torch import nn

from schemas.recipes.train import OptimizerSection
from train.schedule import COURSES, rate_factor

TOTAL = 20
THEIRS = {  # of diffusers: name and what it is told besides
    "constant": ("constant_with_warmup", {}),
    "linear": ("linear", {}),
    "cosine": ("cosine", {}),
    "restarts": ("cosine_with_restarts", {"num_cycles": 3}),
    "polynomial": ("polynomial", {"power": 2.0}),
}


@pytest.mark.parametrize("warmup", [0, 3])
@pytest.mark.parametrize("schedule", THEIRS)
def test_rates_are_those_of_diffusers(schedule: str, warmup: int) -> None:
    from diffusers.optimization import get_scheduler

    section = OptimizerSection(schedule=schedule, warmup=warmup, cycles=3, power=2.0)  # type: ignore[arg-type]
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    name, more = THEIRS[schedule]
    theirs = get_scheduler(
        name, optimizer, num_warmup_steps=warmup, num_training_steps=TOTAL, **more
    )
    # diffusers' polynomial ends at 1e-7 instead of 0
    near = 1e-6 if schedule == "polynomial" else 1e-12
    for step in range(TOTAL):
        expected = theirs.get_last_lr()[0]
        assert rate_factor(step, TOTAL, section) == pytest.approx(expected, abs=near)
        optimizer.step()
        theirs.step()


def test_rex_falls_slowly_at_first_and_fast_at_the_end() -> None:
    section = OptimizerSection(schedule="rex")
    rates = [rate_factor(step, 4, section) for step in range(5)]
    assert rates == pytest.approx([1, 0.75 / 0.875, 0.5 / 0.75, 0.25 / 0.625, 0])


@pytest.mark.parametrize("schedule", COURSES)
def test_every_schedule_stays_between_nothing_and_the_full_rate(schedule: str) -> None:
    section = OptimizerSection(schedule=schedule, warmup=5, cycles=2)  # type: ignore[arg-type]
    rates = [rate_factor(step, 30, section) for step in range(30)]
    assert rates[:6] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert all(0 <= rate <= 1 for rate in rates)
    assert rate_factor(2, 2, section) == 0.4, "a run may be shorter than its warm-up"
