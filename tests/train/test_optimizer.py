"""The course of the learning rate, and the optimizer's groups."""

import math

import pytest
import torch
from torch import nn

from schemas.recipes.train import OptimizerSection
from train.optimizer import make_optimizer, rate_factor, set_rate


@pytest.mark.parametrize("warmup", [0, 3])
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_rates_are_those_of_diffusers(schedule: str, warmup: int) -> None:
    from diffusers.optimization import get_scheduler

    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    name = "constant_with_warmup" if schedule == "constant" else schedule
    theirs = get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=20)
    for step in range(20):
        found = rate_factor(step, 20, schedule, warmup)  # type: ignore[arg-type]
        assert found == pytest.approx(theirs.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        theirs.step()


def test_each_group_has_its_own_rate() -> None:
    unet, text = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(2))
    section = OptimizerSection(lr=1e-3, text_encoder_lr=1e-4, args={"betas": [0.8, 0.9]})
    optimizer = make_optimizer(section, [unet], [text])
    assert set_rate(optimizer, 0.5) == pytest.approx(5e-4)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([5e-4, 5e-5])
    assert [tuple(group["betas"]) for group in optimizer.param_groups] == [(0.8, 0.9)] * 2
    same = make_optimizer(OptimizerSection(lr=1e-3), [], [text])
    assert [group["lr"] for group in same.param_groups] == [1e-3]


def test_the_rate_ends_near_zero_without_warm_up_trouble() -> None:
    assert rate_factor(19, 20, "cosine", 0) == pytest.approx(0.5 * (1 + math.cos(math.pi * 0.95)))
    assert rate_factor(2, 2, "cosine", 5) == 0.4
