"""What an optimizer remembers, pruned: the largest part of each moment stays, in 32 and 8 bits."""

from typing import Any

import pytest
import torch
from torch import nn

from schemas.errors import RecipeError
from schemas.recipes.train import OptimizerSection
from train.moments import IN_8_BITS, largest_part, pruned
from train.optimizer import Group, make_optimizer, restore


def stepped(name: str, **args: Any) -> tuple[nn.Parameter, torch.optim.Optimizer]:
    """An optimizer after three steps of one weight that is large enough for 8-bit states."""
    weight = nn.Parameter(torch.zeros(16, 320))
    section = OptimizerSection(name=name, lr=1e-3, schedule="constant", args=args)
    optimizer = make_optimizer(section, [Group([weight])])
    for step in range(3):
        weight.grad = torch.randn(16, 320, generator=torch.Generator().manual_seed(step))
        optimizer.step()
    return weight, optimizer


def test_the_largest_part_stays_where_it_was() -> None:
    moment = torch.tensor([[0.1, -3.0, 2.0], [0.0, 1.0, -0.5]])
    assert largest_part(moment, 0.34).tolist() == [[0.0, -3.0, 2.0], [0.0, 0.0, 0.0]]
    assert largest_part(moment, 0.01).count_nonzero() == 1


@pytest.mark.parametrize(
    ("name", "moments"),
    [("AdamW", ["exp_avg", "exp_avg_sq"]), ("Lion", ["exp_avg"]), ("SGD", ["momentum_buffer"])],
)
def test_moments_keep_their_largest_tenth_and_the_count_of_steps(
    name: str, moments: list[str]
) -> None:
    _, optimizer = stepped(name, **({"momentum": 0.9} if name == "SGD" else {}))
    before = optimizer.state_dict()["state"][0]
    after = pruned({0: before}, 0.1, name)[0]
    assert after.keys() == before.keys()
    for key in moments:
        kept = after[key] != 0
        assert int(kept.sum()) == 512
        assert torch.equal(after[key][kept], before[key][kept])
        assert before[key][~kept].abs().max() <= after[key][kept].abs().min()
    assert after.get("step") == before.get("step")


@pytest.mark.parametrize("name", ["AdamW8bit", "Lion8bit"])
def test_moments_of_8_bits_are_pruned_too_and_training_goes_on_with_them(name: str) -> None:
    functional = pytest.importorskip("bitsandbytes.functional")
    weight, optimizer = stepped(name)

    def moment(state: dict[int, Any]) -> torch.Tensor:
        own = state[0][IN_8_BITS]
        found: torch.Tensor = functional.dequantize_blockwise(
            own["state1"], absmax=own["absmax1"], code=own["qmap1"], blocksize=256
        )
        return found

    before = optimizer.state_dict()["state"]
    after = pruned(before, 0.1, name)
    assert int((moment(after) != 0).sum()) <= 512
    assert torch.equal(moment(after), largest_part(moment(before), 0.1))
    groups = optimizer.state_dict()["param_groups"]
    restore(optimizer, {"state": after, "param_groups": groups}, torch.device("cpu"))
    weight.grad = torch.ones(16, 320)
    optimizer.step()
    assert weight.isfinite().all()


def test_what_is_no_known_moment_is_refused() -> None:
    _, optimizer = stepped("Adafactor")
    message = (
        'relora.reset = "prune" does not know what Adafactor keeps as "RMS": use'
        ' reset = "zero", which begins anew'
    )
    with pytest.raises(RecipeError) as error:
        pruned(optimizer.state_dict()["state"], 0.1, "Adafactor")
    assert str(error.value) == message
