"""Structural similarity with a separable window; on a CPU several times faster than a 2D convolution."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def ssim(prediction: Tensor, target: Tensor, *, sigma: float = 1.5, window: int = 11) -> Tensor:
    """Mean structural similarity of two batches of images, over all positions where the window fits.

    Args:
        prediction: (N, C, H, W) float in [0, 1].
        target: the same shape.
        sigma: standard deviation of the Gaussian window, in pixels.
        window: side of the window, odd; at most the shorter side of the images.

    Returns:
        A scalar in [-1, 1], at least float32; 1 for equal images.

    Raises:
        ValueError: shapes differ, sigma is not positive, or the window is even or larger than the image.

    Reference:
        Z. Wang et al., *Image quality assessment: from error visibility to structural similarity*, 2004;
        the SSIM loss of GRD-Net, Eq. 1, is 1 - SSIM.

    Example:
        >>> image = torch.rand(1, 3, 16, 16)
        >>> round(ssim(image, image).item(), 4)
        1.0
    """
    if prediction.shape != target.shape or prediction.ndim != 4:
        raise ValueError(
            f"both must be (N, C, H, W), not {tuple(prediction.shape)} and {tuple(target.shape)}"
        )
    if window % 2 == 0 or not 1 <= window <= min(prediction.shape[-2:]) or sigma <= 0:
        raise ValueError(
            f"the window must be odd and no larger than the image, and sigma positive, not {window}, {sigma}"
        )
    # Variances are differences of nearly equal numbers, which vanish in half precision.
    dtype = torch.promote_types(prediction.dtype, torch.float32)
    prediction, target = prediction.to(dtype), target.to(dtype)
    bell = [math.exp(-((tap - window // 2) ** 2) / (2 * sigma**2)) for tap in range(window)]
    taps = tuple(tap / sum(bell) for tap in bell)
    squares, product = prediction.square() + target.square(), prediction * target
    blurred: Tensor = _Blur.apply(torch.cat((prediction, target, squares, product)), taps)
    mean_p, mean_t, mean_squares, mean_product = blurred.chunk(4)
    c1, c2 = 0.01**2, 0.03**2
    squared_means, means = mean_p.square() + mean_t.square(), mean_p * mean_t
    covariance = mean_product - means
    # Rounding can push the variance of a flat image below zero.
    variances = (mean_squares - squared_means).clamp_min(0)
    similarity: Tensor = ((2 * means + c1) * (2 * covariance + c2)) / (
        (squared_means + c1) * (variances + c2)
    )
    return similarity.mean()


class _Blur(torch.autograd.Function):
    """Valid correlation of the last two axes with the same symmetric taps.

    On a CPU, summing shifted views is faster than convolutions and banded matrix products, but autograd would
    store every view. The adjoint is the same sum over the padded gradient, so nothing is stored.
    """

    @staticmethod
    def forward(ctx: Any, fields: Tensor, taps: tuple[float, ...]) -> Tensor:
        ctx.taps = taps
        for axis in (-1, -2):
            length = fields.shape[axis] - len(taps) + 1
            blurred = fields.narrow(axis, 0, length) * taps[0]
            for shift, tap in enumerate(taps[1:], start=1):
                blurred.add_(fields.narrow(axis, shift, length), alpha=tap)
            fields = blurred
        return fields

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        rim = len(ctx.taps) - 1
        fields: Tensor = _Blur.apply(F.pad(gradients[0], (rim, rim, rim, rim)), ctx.taps)
        return fields, None
