"""The arithmetic of denoising training: noisy latents and targets. Pure functions of tensors.

Symbols as in Ho et al. 2020 (arXiv:2006.11239): abar is the cumulative product of 1 - beta, and
x_t = sqrt(abar) x_0 + sqrt(1 - abar) epsilon.
"""

from typing import Literal

import torch

Prediction = Literal["epsilon", "v"]


def add_noise(x0: torch.Tensor, epsilon: torch.Tensor, abar: torch.Tensor) -> torch.Tensor:
    """Return x_t [n,c,h,w] from latents, noise (both [n,c,h,w]) and abar at each t [n]."""
    abar = abar.view(-1, 1, 1, 1)
    return abar.sqrt() * x0 + (1 - abar).sqrt() * epsilon


def target(
    x0: torch.Tensor, epsilon: torch.Tensor, abar: torch.Tensor, prediction: Prediction
) -> torch.Tensor:
    """Return what the U-Net is to predict, [n,c,h,w].

    v = sqrt(abar) epsilon - sqrt(1 - abar) x_0 (Salimans and Ho 2022, arXiv:2202.00512).
    """
    if prediction == "epsilon":
        return epsilon
    abar = abar.view(-1, 1, 1, 1)
    return abar.sqrt() * epsilon - (1 - abar).sqrt() * x0
