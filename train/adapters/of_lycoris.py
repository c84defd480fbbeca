"""LoHa, LoKr and DyLoRA, whose weights and formulas are those of lycoris-lora (an extra).

The library's modules hold the weights and say what change they make; how that change is added, when
weights are drawn and what DyLoRA's rank is at a step is decided here, so that a run can be resumed.
Their own `get_diff_weight` is left alone: for LoHa and LoKr it multiplies by alpha / rank twice.
"""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch.nn import functional

from schemas.errors import RecipeError
from train.adapters.layer import Base, Layer, for_computing, key_of, through

Kind = Literal["loha", "lokr", "dylora"]
CLASSES = {"loha": "LohaModule", "lokr": "LokrModule", "dylora": "DyLoraModule"}


class OfLycoris(Layer):
    """One of lycoris-lora's modules beside one Linear or convolution.

    rank: of DyLoRA, how many of its ranks are used; the last of them is the one that learns.
    """

    def __init__(
        self, kind: Kind, base: Base, rank: int, alpha: float, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.kind, self.dim, self.rank = kind, rank, rank
        self.alpha, self.dropout = alpha, dropout
        self.weights = _module(kind, base, rank, alpha)

    def start(self, base: Base, seed: int, name: str) -> None:
        """Draw the weights as the library does, keyed by seed and name."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(key_of(seed, name))
            self.weights = _module(self.kind, base, self.dim, self.alpha)

    def delta(self, base: torch.Tensor) -> torch.Tensor:
        """Return the change of the base's weight, which does not depend on it."""
        if self.kind == "dylora":
            down, up, scale = self.weights.get_weight(self.rank - 1)
            change = (up @ down * scale).reshape(base.shape)
        else:
            change = self.weights.get_weight(base.shape)
        assert isinstance(change, torch.Tensor)
        return change

    def change(self, base: Base, x: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        """Return what `delta` adds to the base's output."""
        x = functional.dropout(for_computing(x), self.dropout, self.training)
        return through(base, self.delta(base.weight), x)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the library's tensors by the names that it gives them."""
        held = self.weights.custom_state_dict()
        return {name: tensor.detach().float() for name, tensor in held.items()}

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take over tensors of the same names and shapes."""
        self.alpha = float(tensors["alpha"])
        if self.kind == "dylora":
            for row, (down, up) in enumerate(
                zip(self.weights.down_list, self.weights.up_list, strict=True)
            ):
                down.data.copy_(tensors["lora_down.weight"].flatten(1)[row : row + 1])
                up.data.copy_(tensors["lora_up.weight"].flatten(1)[:, row : row + 1])
            return
        for name, weight in self.weights.named_parameters():
            weight.data.copy_(tensors[name])


def _module(kind: Kind, base: Base, rank: int, alpha: float) -> Any:
    try:
        import lycoris
    except ImportError:
        raise RecipeError(
            f"adapter.kind = \"{kind}\" needs lycoris-lora: pip install 'kiroku[lycoris]'"
        ) from None
    # one rank a block: then DyLoRA's change at full rank is scaled by alpha / rank, as in its file
    more = {"block_size": 1} if kind == "dylora" else {}
    return getattr(lycoris, CLASSES[kind])("", base, lora_dim=rank, alpha=float(alpha), **more)
