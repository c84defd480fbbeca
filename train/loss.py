"""From what the U-Net predicts to each image's loss. Pure functions of tensors.

In this order: loss per pixel, mask, mean over the image, the image's weight, weights by the
signal-to-noise ratio. SNR = abar / (1 - abar), from the betas as they are trained with.
"""

import math

import torch

from schemas.recipes.train import LossSection
from train.diffusion import Prediction

MOST_SNR = 1000.0  # beyond it the debiased weight stays


def sample_losses(
    predicted: torch.Tensor,
    wanted: torch.Tensor,
    abar: torch.Tensor,
    timesteps: torch.Tensor,
    weights: torch.Tensor,
    section: LossSection,
    prediction: Prediction,
    length: int,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return each image's loss, [n].

    predicted, wanted: [n,c,h,w]. abar, timesteps, weights: [n]. length: timesteps in all. mask:
    [n,1,h,w] in [0, 1]; the mean is over all pixels still, so that a pixel that counts counts the
    same in every image, however small its part is.
    """
    apart = predicted.float() - wanted.float()
    c = huber_c(abar, timesteps / length, section)
    pixels = pixel_losses(apart, c.view(-1, 1, 1, 1), section.kind)
    each = (pixels if mask is None else pixels * mask).mean(dim=(1, 2, 3))
    return each * weights * snr_weights(abar, section, prediction)


def pixel_losses(apart: torch.Tensor, c: torch.Tensor, kind: str) -> torch.Tensor:
    """Return the loss of each pixel from the difference d and the width c of its middle.

    l2: d^2. huber: 2c (sqrt(d^2 + c^2) - c), near |d| outside. smooth_l1: 2 (sqrt(d^2 + c^2) - c).
    Source: pseudo-Huber losses for diffusion, arXiv:2403.16728.
    """
    if kind == "l2":
        return apart.square()
    root = 2 * ((apart.square() + c.square()).sqrt() - c)
    return root * c if kind == "huber" else root


def huber_c(abar: torch.Tensor, part: torch.Tensor, section: LossSection) -> torch.Tensor:
    """Return c at each timestep, [n]; `part` is t / T.

    exponential: from 1 at t = 0 down to c at T. snr: near 1 where there is little noise, c where
    there is much: (1 - c) / (1 + sigma)^2 + c with sigma = sqrt((1 - abar) / abar).
    """
    least = section.huber.c
    if section.huber.schedule == "constant":
        return torch.full_like(abar, least)
    if section.huber.schedule == "exponential":
        return torch.exp(part.to(abar.dtype) * math.log(least))
    sigma = ((1 - abar) / abar.clamp(min=torch.finfo(abar.dtype).tiny)).sqrt()
    return (1 - least) / (1 + sigma).square() + least


def snr_weights(abar: torch.Tensor, section: LossSection, prediction: Prediction) -> torch.Tensor:
    """Return the weight of each timestep, [n].

    min-SNR: min(SNR, gamma) / SNR, for v-prediction / (SNR + 1) (Hang et al., arXiv:2303.09556).
    Debiased: 1 / sqrt(min(SNR, 1000)), for v-prediction 1 / (SNR + 1) (arXiv:2310.08442).
    """
    snr = (abar / (1 - abar)).clamp(min=torch.finfo(abar.dtype).tiny)  # 0 at zero-terminal SNR
    weight = torch.ones_like(abar)
    is_v = prediction == "v"
    if section.min_snr:
        weight = snr.clamp(max=section.min_snr) / (snr + 1 if is_v else snr)
    if section.debiased:
        weight = weight * (1 / (snr + 1) if is_v else snr.clamp(max=MOST_SNR).rsqrt())
    return weight
