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

    @property
    def energy(self) -> torch.Tensor:
        """The square of each value; their sum is the square of the change's Frobenius norm."""
        return self.values.square()

    def largest(self, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return factors, up [out, rank] and down [rank, in], whose product is nearest (fp32).

        Each has the root of the values, so that both are of a size that fp16 holds well.
        """
        roots = self.values[:rank].sqrt()
        return (self.left[:, :rank] * roots).float(), (roots[:, None] * self.right[:rank]).float()


def spectrum(up: torch.Tensor, down: torch.Tensor) -> Spectrum:
    """Return the decomposition of up @ down; up: [out, rank], down: [rank, in]."""
    first, small = torch.linalg.qr(up.double())
    second, other = torch.linalg.qr(down.double().T)
    left, values, right = torch.linalg.svd(small @ other.T, full_matrices=False)
    return Spectrum(first @ left, values, right @ second.T)
