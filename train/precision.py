"""The precision of computing: what the models are cast to, autocast, and fp16's loss scale.

What is trained stays fp32 in each of them: Adam's second moment underflows in fp16, and in bf16 a
weight above 0.05 no longer moves at usual rates.
"""

from collections.abc import Mapping
from typing import Any

import torch

from schemas.recipes.train import Precision

COMPUTE = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
LEAST_SCALE = 1.0  # below it the loss is made smaller, not larger: it was not too small


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Within the block matrix products and convolutions compute in `precision`."""
    return torch.autocast(device.type, dtype=COMPUTE[precision], enabled=precision != "fp32")


class LossScale:
    """A factor on the loss that keeps small gradients above fp16's least number.

    Too large, it takes gradients beyond fp16's greatest: that step is skipped and the factor
    halved; after 2000 good steps it is doubled (Micikevicius et al. 2017, arXiv:1710.03740, as
    torch's GradScaler does it). fp32 and bf16 have no need of one: it is 1 and skips nothing.
    """

    def __init__(self, precision: Precision, device: torch.device) -> None:
        self._scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
        self.skipped = 0  # steps so far

    def scaled(self, loss: torch.Tensor) -> torch.Tensor:
        """Return the loss to call `backward` on."""
        return self._scaler.scale(loss)

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Bring the gradients back to their own size, as they must be to be clipped."""
        self._scaler.unscale_(optimizer)

    @property
    def may_skip(self) -> bool:
        """Whether a gradient that is not finite may be the scale's doing."""
        return bool(self._scaler.is_enabled() and self._scaler.get_scale() > LEAST_SCALE)

    def step(self, optimizer: torch.optim.Optimizer) -> bool:
        """Take the step unless a gradient is not finite, adapt the scale; return whether it was."""
        before = self._scaler.get_scale()
        self._scaler.step(optimizer)
        self._scaler.update()
        taken = bool(self._scaler.get_scale() >= before)
        self.skipped += not taken
        return taken

    def drop(self) -> None:
        """Let go of a step that no scale makes finite: it is not taken, and the scale stays."""
        self._scaler.update(self._scaler.get_scale())

    def state(self) -> dict[str, Any]:
        """Return what a saved state has to hold."""
        return {"scaler": self._scaler.state_dict(), "skipped": self.skipped}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
        if self._scaler.is_enabled():
            self._scaler.load_state_dict(dict(state["scaler"]))
        self.skipped = state["skipped"]
