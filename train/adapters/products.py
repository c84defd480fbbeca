"""LoHa and LoKr by their formulas: products of two changes (arXiv:2108.06098, arXiv:2309.14859).

    LoHa: delta = (left1 @ right1) * (left2 @ right2) * alpha / rank       element by element
    LoKr: delta = one (x) two * scale                                      Kronecker's product

Both make any outputs of the weight without the others, so that a large weight can be changed piece
by piece. Training takes lycoris-lora's own modules (of_lycoris.py).
"""

import torch


def loha(
    first: tuple[torch.Tensor, torch.Tensor],
    second: tuple[torch.Tensor, torch.Tensor],
    alpha: float,
) -> torch.Tensor:
    """Return the change [out, in * k * k], fp32; each pair is [out, rank] and [rank, in, ...]."""
    left, right = first
    rank = right.shape[0]
    product = (left.float() * (alpha / rank)) @ right.float().flatten(1)
    return product.mul_(second[0].float() @ second[1].float().flatten(1))


def lokr(one: torch.Tensor, two: torch.Tensor, scale: float, rows: slice) -> torch.Tensor:
    """Return outputs `rows` of the change, [n, in * k * k], fp32.

    one: [a, b], two: [c, d, ...]; the weight has a * c outputs and b * d inputs.
    """
    height = two.shape[0]
    place = torch.arange(one.shape[0] * height, device=one.device)[rows]
    left, right = one.float()[place // height] * scale, two.float().flatten(1)[place % height]
    return torch.einsum("nb,nd->nbd", left, right).flatten(1)


def tucker(core: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Return core [i, j, k, k] with its right side taken in, [i, in, k, k]; right: [j, in, ...].

    What is left is an ordinary right factor of rank i.
    """
    return torch.einsum("ijkl,jq->iqkl", core.float(), right.float().flatten(1))
