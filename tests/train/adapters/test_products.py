"""LoHa and LoKr as two factors: their product is the formula's, of no more rank than is needed."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from train.adapter_modules import Hadamard, Kronecker, LowRank
from train.adapters.products import whole_factors

small = st.integers(1, 6)
kernels = st.sampled_from([(), (1, 1), (3, 3)])


def same(found: LowRank, change: torch.Tensor) -> None:
    """change: [out, in * k * k]."""
    error = (found.rows(slice(None)) - change).norm() / change.norm().clamp_min(1e-20)
    assert float(error) < 1e-5


@given(out=small, inputs=small, kernel=kernels, ranks=st.tuples(small, small), seed=small)
def test_a_loha_has_factors_of_the_product_of_its_ranks(
    out: int, inputs: int, kernel: tuple[int, ...], ranks: tuple[int, int], seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)

    def pair(rank: int) -> tuple[torch.Tensor, torch.Tensor]:
        left = torch.randn(out, rank, generator=generator)
        return left, torch.randn(rank, inputs, *kernel, generator=generator)

    one, other = (pair(rank) for rank in ranks)
    found = Hadamard(one, other, alpha=3.0).factors()
    products = [left @ right.flatten(1) for left, right in (one, other)]
    same(found, products[0] * products[1] * 3.0 / ranks[0])
    rank, *form = found.down.shape
    assert form == [inputs, *kernel]
    assert rank == min(ranks[0] * ranks[1], out, one[1][0].numel())


@given(
    sizes=st.tuples(small, small, small, small),
    kernel=kernels,
    ranks=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    seed=small,
)
def test_a_lokr_has_factors_of_the_product_of_its_sides_ranks(
    sizes: tuple[int, ...], kernel: tuple[int, ...], ranks: tuple[int, int], seed: int
) -> None:
    """A rank of 0 stands for a side that is whole."""
    a, b, c, d = sizes
    generator = torch.Generator().manual_seed(seed)

    def side(height: int, width: tuple[int, ...], rank: int) -> tuple[torch.Tensor, ...]:
        if not rank:
            return (torch.randn(height, *width, generator=generator),)
        left = torch.randn(height, rank, generator=generator)
        return left, torch.randn(rank, *width, generator=generator)

    sides = side(a, (b,), ranks[0]), side(c, (d, *kernel), ranks[1])
    found = Kronecker(*sides, scale=0.5).factors()
    one, two = ([t.flatten(1) for t in tensors] for tensors in sides)
    whole = [tensors[0] @ tensors[1] if len(tensors) > 1 else tensors[0] for tensors in (one, two)]
    # Kronecker's product of whole kernels: inputs b * d, each with its kernel behind it
    same(found, torch.kron(whole[0], whole[1]) * 0.5)
    rank, *form = found.down.shape
    assert form == [b * d, *kernel]
    least = [
        min(w.shape[0], w.shape[1], *([r] if r else [])) for w, r in zip(whole, ranks, strict=True)
    ]
    assert rank == least[0] * least[1] <= min(a * c, found.down[0].numel())


@pytest.mark.parametrize("shape", [(3, 7), (7, 3)])
def test_any_matrix_has_factors_as_narrow_as_itself(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape)
    up, down = whole_factors(matrix)
    assert torch.equal(up @ down, matrix)
    assert up.shape[1] == down.shape[0] == 3
