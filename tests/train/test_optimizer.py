"""Optimizers by name: found, checked, their groups, what they are told and what they tell."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import nn

from schemas import progress
from schemas.errors import RecipeError
from schemas.recipes.train import OptimizerSection
from train.averaging import Average, for_use
from train.optimizer import Group, Optimizer, find_optimizer, make_optimizer, restore, set_rate

Told = Callable[[], list[str]]
NAMES = (
    *("AdamW", "Lion", "DAdaptLion", "DAdaptAdam", "Prodigy", "Adafactor", "ScheduleFreeAdamW"),
    *("AdamW8bit", "Lion8bit", "CAME", "StableAdamW"),
)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Told:
    monkeypatch.setattr(progress, "_console", None)
    progress.show()
    return lambda: capsys.readouterr().err.splitlines()


def weights(count: int = 2) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(64, 80, generator=generator)) for _ in range(count)]


def made(
    section: OptimizerSection, unet: Sequence[nn.Parameter], text: Sequence[nn.Parameter]
) -> Optimizer:
    groups = [Group(part, is_text) for part, is_text in ((unet, False), (text, True)) if part]
    return make_optimizer(section, groups)


def stepped(section: OptimizerSection, parameters: list[nn.Parameter], steps: int) -> None:
    run(made(section, parameters, []), parameters, range(steps))


def run(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], steps: range) -> None:
    for step in steps:
        for number, weight in enumerate(parameters):
            generator = torch.Generator().manual_seed(100 * step + number)
            weight.grad = torch.randn(weight.shape, generator=generator)
        optimizer.step()


def section_of(name: str, lr: float) -> OptimizerSection:
    return OptimizerSection(name=name, lr=lr, schedule="constant")


def test_each_group_has_its_own_rate() -> None:
    unet, text = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(2))
    section = OptimizerSection(lr=1e-3, text_encoder_lr=1e-4, args={"betas": [0.8, 0.9]})
    optimizer = made(section, [unet], [text])
    assert set_rate(optimizer, 0.5) == pytest.approx(5e-4)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([5e-4, 5e-5])
    assert [tuple(group["betas"]) for group in optimizer.param_groups] == [(0.8, 0.9)] * 2
    same = made(OptimizerSection(lr=1e-3), [], [text])
    assert [group["lr"] for group in same.param_groups] == [1e-3]


def test_blocks_have_rates_of_their_own_as_factors_of_the_rate() -> None:
    groups = [Group(weights(1)), Group(weights(1), factor=0.5), Group(weights(1), True, 0.5)]
    optimizer = make_optimizer(OptimizerSection(lr=1e-3, text_encoder_lr=1e-4), groups)
    set_rate(optimizer, 0.1)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([1e-4, 5e-5, 5e-6])
    with pytest.raises(RecipeError) as caught:
        make_optimizer(section_of("DAdaptLion", 1.0), groups)
    assert str(caught.value) == (
        "optimizer: DAdaptLion finds one rate for all and cannot hold the factors 0.5 and 1 of"
        " adapter.block: leave its lr out, or set it to 0 for blocks that are not to be trained"
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_optimizer_moves_weights_at_its_rate_and_none_at_0(name: str) -> None:
    rate = 1.0 if name.startswith(("DAdapt", "Prodigy")) else 1e-3
    before, moved, still = weights(), weights(), weights()
    stepped(section_of(name, rate), moved, 3)
    stepped(section_of(name, 0.0), still, 3)
    assert all(not torch.equal(a, b) for a, b in zip(before, moved, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(before, still, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_state_goes_on_to_the_bit(name: str) -> None:
    rate = 1.0 if name.startswith(("DAdapt", "Prodigy")) else 1e-3
    whole, resumed = weights(), weights()
    run(made(section_of(name, rate), whole, []), whole, range(6))
    first = made(section_of(name, rate), resumed, [])
    run(first, resumed, range(3))
    second = made(section_of(name, rate), resumed, [])
    restore(second, first.state_dict(), torch.device("cpu"))
    run(second, resumed, range(3, 6))
    assert all(torch.equal(a, b) for a, b in zip(whole, resumed, strict=True))


def test_names_are_found_whatever_their_case() -> None:
    assert find_optimizer("dadapt_lion").__name__ == "DAdaptLion"
    assert find_optimizer("ADAFACTOR").__name__ == "AdaFactor"
    assert find_optimizer("adamw") is torch.optim.AdamW


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"name": "AdmW"},
            'optimizer.name "AdmW" is none of torch or pytorch-optimizer; did you mean "AdamW"?',
        ),
        (
            {"name": "AdmW8bit"},
            'optimizer.name "AdmW8bit" is none of bitsandbytes\'; did you mean "AdamW8bit"?',
        ),
        (
            {"lr": 1.0},
            "optimizer.lr = 1 is no rate for AdamW, whose steps move every weight by it: 1e-4 is"
            " usual; 1 is for D-Adaptation and Prodigy",
        ),
        (
            {"name": "DAdaptLion", "lr": 1.0, "text_encoder_lr": 0.5},
            "optimizer: DAdaptLion finds one rate for all and cannot hold 1 and 0.5 for U-Net and"
            " text encoder: leave text_encoder_lr out, or choose by adapter.blocks what is trained",
        ),
        (
            {"name": "ScheduleFreeAdamW", "schedule": "cosine"},
            'optimizer.schedule is "cosine", but ScheduleFreeAdamW averages its weights and lowers'
            ' no rate: set it to "constant"',
        ),
        ({"args": {"lr": 1}}, 'optimizer.args: "lr" has its own place, optimizer.lr'),
        (
            {"name": "Lion", "args": {"bets": [0.9, 0.99]}},
            'optimizer.args: Lion takes no "bets"; it takes betas, weight_decay, weight_decouple,'
            " fixed_decay, foreach, maximize",
        ),
        (
            {"args": {"betas": [2, 0.9]}},
            "optimizer.args: AdamW refuses them: Invalid beta parameter at index 0: 2",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        made(OptimizerSection.model_validate(changes), weights(1), weights(1))
    assert str(caught.value) == message


def test_without_bitsandbytes_its_names_say_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "bitsandbytes", None)
    with pytest.raises(RecipeError) as caught:
        find_optimizer("PagedAdamW8bit")
    assert str(caught.value) == (
        "optimizer.name \"PagedAdamW8bit\" needs bitsandbytes: pip install 'kiroku[bnb]'"
    )


def test_a_rate_that_is_a_factor_is_told(told: Told) -> None:
    made(section_of("Prodigy", 0.5), weights(1), weights(1))
    assert told() == [
        "Prodigy finds its rate itself and optimizer.lr = 0.5 is a factor of it: 1 is meant, less"
        " is for trainings that diverge"
    ]
    made(section_of("Prodigy", 1.0), weights(1), weights(1))
    section = OptimizerSection(name="Adafactor", lr=1e-3, args={"relative_step": True})
    made(section, weights(1), [])
    assert told() == ["with relative_step AdaFactor makes its own rate: optimizer.lr has no effect"]


def test_an_average_follows_the_weights_and_is_used_in_their_place() -> None:
    (weight,) = weights(1)
    optimizer = made(OptimizerSection(), [weight], [])
    average = Average([weight], 0.5)
    expected = weight.detach().clone()
    for step in range(4):
        weight.data += 1
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = expected * decay + weight.detach() * (1 - decay)
    trained = weight.detach().clone()
    with for_use(optimizer, average):
        torch.testing.assert_close(weight.detach(), expected)
        assert not torch.equal(weight, trained)
    assert torch.equal(weight, trained)
    again = Average([weight], 0.5)
    again.load(average.tensors())
    assert torch.equal(again.tensors()[0], average.tensors()[0])
    none = Average([weight], 0.0)
    none.update(0)
    assert none.tensors() == []


def test_schedule_free_weights_come_back_to_the_bit() -> None:
    (weight,) = weights(1)
    optimizer = made(section_of("ScheduleFreeAdamW", 1e-2), [weight], [])
    run(optimizer, [weight], range(5))
    trained = weight.detach().clone()
    with for_use(optimizer, Average([weight], 0.0)):
        assert not torch.equal(weight, trained)
    assert torch.equal(weight, trained)
    assert optimizer.param_groups[0]["train_mode"]
