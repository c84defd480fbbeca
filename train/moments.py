"""What an optimizer remembers of each weight, made smaller at a restart: the largest part stays.

Pruning by magnitude is what ReLoRA's authors recommend (Lialin et al. 2023, arXiv:2307.05695): the
moments belong to factors that are drawn anew, and most of them mislead.
"""

from collections.abc import Mapping
from typing import Any

import torch

from schemas.errors import RecipeError

# per weight, as torch, pytorch-optimizer and bitsandbytes call them
MOMENTS = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer", "state1", "state2")
# of bitsandbytes: the code of 8 bits, and the largest value of each block of weights
CODES = {"state1": ("qmap1", "absmax1"), "state2": ("qmap2", "absmax2")}
NO_MOMENTS = ("step", *(name for pair in CODES.values() for name in pair))
IN_8_BITS = "__bnb_optimizer_quant_state__"  # where bitsandbytes' saved state keeps them
BLOCK = 256  # weights that share a largest value


def pruned(state: Mapping[int, Mapping[str, Any]], keep: float, name: str) -> dict[int, Any]:
    """Return an optimizer's saved state, by weight, with the largest `keep` of each moment.

    Counts of steps stay. Raises RecipeError where the optimizer `name` keeps something else.
    """
    return {weight: _pruned(own, keep, name) for weight, own in state.items()}


def _pruned(own: Mapping[str, Any], keep: float, name: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in own.items():
        if key == IN_8_BITS:
            found[key] = _pruned(value, keep, name)
        elif key in MOMENTS and isinstance(value, torch.Tensor):
            if value.dtype == torch.uint8:
                code, largest = (own[part] for part in CODES[key])
                found[key] = _in_8_bits(value, code, largest, keep)
            else:
                found[key] = largest_part(value, keep)
        elif key in NO_MOMENTS or value is None:
            found[key] = value
        else:
            raise RecipeError(
                f'relora.reset = "prune" does not know what {name} keeps as "{key}": use'
                ' reset = "zero", which begins anew'
            )
    return found


def largest_part(moment: torch.Tensor, keep: float) -> torch.Tensor:
    """Return the moment with all but its largest `keep` set to 0; at least one value stays."""
    size = moment.abs().flatten()
    count = max(1, round(keep * len(size)))
    kept = torch.zeros_like(moment).flatten()
    places = size.topk(count).indices
    kept[places] = moment.flatten()[places]
    return kept.reshape(moment.shape)


def _in_8_bits(
    coded: torch.Tensor, code: torch.Tensor, largest: torch.Tensor, keep: float
) -> torch.Tensor:
    """The same for a moment in 8 bits: what goes gets the code of 0, the rest stays."""
    from bitsandbytes.functional import dequantize_blockwise

    moment = dequantize_blockwise(coded, absmax=largest, code=code, blocksize=BLOCK)
    zero = code.abs().argmin().to(torch.uint8)
    return torch.where(largest_part(moment, keep).reshape(coded.shape) != 0, coded, zero)
