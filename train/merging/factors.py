"""A low-rank change taken apart by its singular values, and put together from the largest of them.

The product up @ down is never made: with QR of both factors, up = Q1 R1 and down^T = Q2 R2, its
singular values are those of the small R1 R2^T.
"""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Spectrum:
    """The singular value decomposition of a change [out, in], fp64.

    left: [out, n], values: [n] in falling order, right: [n, in]; n is the rank at most.
    """

    left: torch.Tensor
    values: torch.Tensor
    right: torch.Tensor

    def largest(self, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return factors, up [out, rank] and down [rank, in], whose product is nearest (fp32).

        Each has the root of the values, so that both are of a size that fp16 holds well.
        """
        roots = self.values[:rank].sqrt()
        return (self.left[:, :rank] * roots).float(), (roots[:, None] * self.right[:rank]).float()


def singular_values(up: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
    """Return those of up @ down, fp64, in falling order; up: [out, rank], down: [rank, in]."""
    small, other = (torch.linalg.qr(side.double(), mode="r")[1] for side in (up, down.T))
    values: torch.Tensor = torch.linalg.svdvals(small @ other.T)
    return values


def spectrum(up: torch.Tensor, down: torch.Tensor) -> Spectrum:
    """Return the decomposition of up @ down; up: [out, rank], down: [rank, in]."""
    first, small = torch.linalg.qr(up.double())
    second, other = torch.linalg.qr(down.double().T)
    left, values, right = torch.linalg.svd(small @ other.T, full_matrices=False)
    return Spectrum(first @ left, values, right @ second.T)


def balanced(up: torch.Tensor, down: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the same product's factors, each rank about as long in both, so that fp16 holds both.

    Ranks are multiplied and divided by powers of two: nothing is rounded.
    """
    lengths = down.norm(dim=1) / up.norm(dim=0)
    usual = lengths.isfinite() & (lengths > 0)
    by = torch.where(usual, lengths, 1).log2().div(2).round().exp2()
    return up * by, down / by[:, None]
