"""The optimizer of the base model's trainings: Muon for matrices, AdamW for all else."""

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor

# Of the polynomial that drives singular values towards one (Jordan et al. 2024).
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
MOMENTUM = 0.95


class Muon(torch.optim.Optimizer):
    """Steps whose singular values are all alike (Jordan et al. 2024, kellerjordan.github.io).

    A convolution is a matrix of [outputs, inputs * height * width]. The libraries' versions compute
    in bfloat16, as GPUs like it; on processors float32 and one product for all matrices of a shape
    are several times as fast. decay: of the weights at each step, times the rate; they stay below
    1 / decay, without which attention's products grow until nothing is learnt any more.
    """

    def __init__(self, params: Any, lr: float, decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "decay": decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update every weight that has a gradient."""
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for weight in group["params"]:
                if weight.grad is not None:
                    alike[weight.flatten(1).shape].append(weight)
            for shape, weights in alike.items():
                directions = orthogonal(torch.stack([self._direction(w) for w in weights]))
                rate = group["lr"] * max(1.0, shape[0] / shape[1]) ** 0.5
                for weight, direction in zip(weights, directions, strict=True):
                    weight.mul_(1 - group["lr"] * group["decay"])
                    weight.sub_(direction.view_as(weight), alpha=rate)

    def _direction(self, weight: Tensor) -> Tensor:
        """The gradient's running mean, looked at one step ahead (Nesterov), [rows, columns]."""
        state = self.state[weight]
        if not state:
            state["mean"] = torch.zeros_like(weight)
        assert weight.grad is not None
        mean = state["mean"].lerp_(weight.grad, 1 - MOMENTUM)
        ahead: Tensor = weight.grad.lerp(mean, MOMENTUM).flatten(1)
        return ahead


def orthogonal(matrices: Tensor) -> Tensor:
    """Matrices [n, rows, columns] with the same singular vectors, and singular values near one."""
    a, b, c = COEFFICIENTS
    wide = matrices.shape[1] <= matrices.shape[2]
    x: Tensor = matrices if wide else matrices.mT
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if wide else x.mT


class Pair:
    """Muon and AdamW as one optimizer, with their highest rates; `decay` is Muon's."""

    def __init__(
        self, network: torch.nn.Module, matrices: float, rest: float, decay: float = 0.0
    ) -> None:
        turned = [value for name, value in network.named_parameters() if _is_matrix(name, value)]
        own = {id(value) for value in turned}
        others = [value for value in network.parameters() if id(value) not in own]
        self._both = {
            "muon": (Muon(turned, matrices, decay), matrices),
            "adamw": (torch.optim.AdamW(others, rest, (0.9, 0.99), weight_decay=0.0), rest),
        }

    def step(self, rate: float) -> None:
        """Update all at `rate` times their highest rates, and forget the gradients."""
        for optimizer, highest in self._both.values():
            for group in optimizer.param_groups:
                group["lr"] = highest * rate
            optimizer.step()
            optimizer.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        return {name: optimizer.state_dict() for name, (optimizer, _) in self._both.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, (optimizer, _) in self._both.items():
            optimizer.load_state_dict(state[name])


def _is_matrix(name: str, weight: Tensor) -> bool:
    """Whether Muon takes a weight: no embedding, and no convolution from or to pixels, latents."""
    few = weight.ndim == 4 and min(weight.shape[:2]) <= 8
    return weight.ndim >= 2 and "embedding" not in name and not few
