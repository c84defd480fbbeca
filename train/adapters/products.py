"""LoHa and LoKr by their formulas: products of two changes (arXiv:2108.06098, arXiv:2309.14859).

    LoHa: delta = (left1 @ right1) * (left2 @ right2) * alpha / rank       element by element
    LoKr: delta = one (x) two * scale                                      Kronecker's product

Both make any outputs of the weight without the others, so that a large weight can be changed piece
by piece; and both are a product of two factors, of a higher rank than their own. Training takes
lycoris-lora's own modules (of_lycoris.py).
"""

import torch

Factors = tuple[torch.Tensor, torch.Tensor]  # up [out, rank], down [rank, in * k * k]


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


def loha_factors(
    first: tuple[torch.Tensor, torch.Tensor],
    second: tuple[torch.Tensor, torch.Tensor],
    alpha: float,
) -> Factors:
    """Return two factors, fp32, whose product is the change, of the product of both ranks.

    Each of their ranks is one of the first pair's times one of the second's, element by element
    (Khatri-Rao). Where that would be more than the weight has, the change itself is one of them.
    """
    (left, right), (left2, right2) = first, second
    rank, rank2 = right.shape[0], right2.shape[0]
    if rank * rank2 >= min(left.shape[0], right[0].numel()):
        return whole_factors(loha(first, second, alpha))
    up = torch.einsum("or,os->ors", left.float() * (alpha / rank), left2.float())
    down = torch.einsum("ri,si->rsi", right.float().flatten(1), right2.float().flatten(1))
    return up.flatten(1), down.flatten(0, 1)


def lokr_factors(one: Factors, two: Factors, scale: float) -> Factors:
    """Return two factors, fp32, whose product is the change: the products of both sides' factors.

    (up1 @ down1) (x) (up2 @ down2) = (up1 (x) up2) @ (down1 (x) down2)
    """
    left = two[0].float().contiguous()  # kron takes no transposed matrix
    return torch.kron(one[0].float() * scale, left), torch.kron(one[1].float(), two[1].float())


def whole_factors(matrix: torch.Tensor) -> Factors:
    """Return a matrix and, at its narrower side, the identity: factors of any matrix."""
    height, width = matrix.shape
    identity = torch.eye(min(height, width), device=matrix.device)
    return (identity, matrix) if height <= width else (matrix, identity)


def tucker(core: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Return core [i, j, k, k] with its right side taken in, [i, in, k, k]; right: [j, in, ...].

    What is left is an ordinary right factor of rank i.
    """
    return torch.einsum("ijkl,jq->iqkl", core.float(), right.float().flatten(1))
