"""Dice loss between a predicted region and a drawn one."""

from __future__ import annotations

import torch
from torch import Tensor


def dice_loss(logits: Tensor, mask: Tensor, *, smooth: float = 1.0) -> Tensor:
    """1 - (2 sum(p m) + s) / (sum(p^2) + sum(m^2) + s) with p = sigmoid(logits), averaged over the images.

    Unlike cross-entropy it weighs a small region as heavily as a large one.

    Args:
        logits: (N, 1, H, W), of any float type; the sums are taken in float32 at least.
        mask: (N, 1, H, W) in [0, 1].
        smooth: s, which keeps an image without a region from dividing by zero; above 0.

    Returns:
        A scalar in [0, 1]; 0 where all predictions are the masks.

    Raises:
        ValueError: shapes differ, or `smooth` is not above 0.

    Reference:
        Milletari et al., *V-Net*, 2016, section 3.

    Example:
        >>> mask = torch.ones(1, 1, 2, 2)
        >>> float(dice_loss(100 * (2 * mask - 1), mask))
        0.0
    """
    if logits.shape != mask.shape:
        raise ValueError(f"logits and mask differ in shape: {tuple(logits.shape)} and {tuple(mask.shape)}")
    if smooth <= 0:
        raise ValueError(f"smooth must be above 0, not {smooth}")
    kept = torch.promote_types(logits.dtype, torch.float32)
    p, m = logits.to(kept).sigmoid().flatten(1), mask.to(kept).flatten(1)
    overlap = (p * m).sum(1)
    return (1 - (2 * overlap + smooth) / (p.square().sum(1) + m.square().sum(1) + smooth)).mean()
