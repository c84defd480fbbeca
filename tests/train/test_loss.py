"""Losses and their weights, against the formulas written out one number at a time."""

import math
from typing import Literal

import pytest
import torch

from schemas.recipes.train import LossSection
from train.loss import sample_losses, snr_weights

LENGTH = 1000
BETAS = torch.linspace(0.00085**0.5, 0.012**0.5, LENGTH, dtype=torch.float64) ** 2
ABAR = torch.cumprod(1 - BETAS, 0)


def plainly(
    d: float, t: int, section: LossSection, prediction: str, abar: float | None = None
) -> float:
    """The loss of one pixel."""
    abar = float(ABAR[t]) if abar is None else abar
    snr = abar / (1 - abar)
    c = section.huber.c
    if section.huber.schedule == "exponential":
        c = math.exp(t / LENGTH * math.log(c))
    elif section.huber.schedule == "snr":
        c = (1 - c) / (1 + math.sqrt((1 - abar) / abar)) ** 2 + c
    if section.kind == "l2":
        loss = d * d
    else:
        loss = 2 * (math.sqrt(d * d + c * c) - c) * (c if section.kind == "huber" else 1)
    if section.min_snr:
        loss *= min(snr, section.min_snr) / (snr + 1 if prediction == "v" else snr)
    if section.debiased:
        loss *= 1 / (snr + 1) if prediction == "v" else 1 / math.sqrt(min(snr, 1000))
    return loss


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
@pytest.mark.parametrize("weighting", [{}, {"min_snr": 5.0}, {"debiased": True}])
@pytest.mark.parametrize("schedule", ["constant", "exponential", "snr"])
@pytest.mark.parametrize("kind", ["l2", "huber", "smooth_l1"])
def test_each_loss_schedule_and_weighting_is_its_formula(
    kind: str, schedule: str, weighting: dict[str, object], prediction: Literal["epsilon", "v"]
) -> None:
    section = LossSection.model_validate(
        {"kind": kind, "huber": {"schedule": schedule, "c": 0.2}, **weighting}
    )
    generator = torch.Generator().manual_seed(0)
    predicted, wanted = torch.randn(2, 3, 4, 2, 2, generator=generator)
    timesteps = torch.tensor([0, 400, 999])
    weights = torch.tensor([1.0, 0.5, 2.0])
    found = sample_losses(
        predicted, wanted, ABAR[timesteps].float(), timesteps, weights, section, prediction, LENGTH
    )
    for row, t in enumerate(timesteps.tolist()):
        each = (predicted[row] - wanted[row]).flatten().tolist()
        mean = sum(plainly(d, t, section, prediction) for d in each) / len(each)
        assert float(found[row]) == pytest.approx(mean * float(weights[row]), rel=1e-4)


def test_weights_stay_finite_where_there_is_no_signal() -> None:
    nothing = torch.tensor([0.0, 1e-12])
    for section in (LossSection(min_snr=5.0), LossSection(debiased=True)):
        assert snr_weights(nothing, section, "v").isfinite().all()
    assert snr_weights(nothing, LossSection(min_snr=5.0), "epsilon").isfinite().all()


def test_timesteps_must_be_in_order() -> None:
    with pytest.raises(ValueError, match="timesteps are \\[900, 100\\]: the first is 0 or more"):
        LossSection(timesteps=(900, 100))


def test_a_mask_weighs_pixels_and_the_mean_stays_over_all() -> None:
    torch.manual_seed(0)
    d, t = torch.randn(3, 4, 8, 8), torch.tensor([20, 500, 870])
    mask = torch.rand(3, 1, 8, 8)
    mask[1], mask[2] = 1, 0
    section = LossSection(kind="huber", min_snr=5.0)
    rest = (torch.ones(3), section, "epsilon", LENGTH)
    zero = torch.zeros_like(d)
    plain = sample_losses(d, zero, ABAR[t].float(), t, *rest)
    found = sample_losses(d, zero, ABAR[t].float(), t, *rest, mask)
    assert float(found[1]) == float(plain[1])
    assert float(found[2]) == 0
    c = torch.tensor([(1 - 0.1) / (1 + math.sqrt(1 / float(ABAR[20]) - 1)) ** 2 + 0.1])
    pixels = 2 * c * ((d[0].square() + c.square()).sqrt() - c)
    snr = float(ABAR[20] / (1 - ABAR[20]))
    expected = float((pixels * mask[0]).sum()) / 256 * min(snr, 5.0) / snr
    assert float(found[0]) == pytest.approx(expected, rel=1e-5)
