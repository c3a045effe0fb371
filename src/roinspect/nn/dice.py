"""Dice loss between a predicted and a true region."""

from __future__ import annotations

import torch
from torch import Tensor


def dice_loss(logits: Tensor, mask: Tensor, *, smooth: float = 1.0) -> Tensor:
    """1 - (2 sum(p m) + s) / (sum(p^2) + sum(m^2) + s) with p = sigmoid(logits), averaged over the batch.

    Unlike with cross-entropy, small and large regions have the same weight.

    Args:
        logits: (N, 1, H, W), any float type; computed in at least float32.
        mask: (N, 1, H, W) in [0, 1].
        smooth: s > 0, which avoids division by zero for images without a region.

    Returns:
        A scalar in [0, 1]; 0 for perfect predictions.

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
    dtype = torch.promote_types(logits.dtype, torch.float32)
    p, m = logits.to(dtype).sigmoid().flatten(1), mask.to(dtype).flatten(1)
    overlap = (p * m).sum(1)
    return (1 - (2 * overlap + smooth) / (p.square().sum(1) + m.square().sum(1) + smooth)).mean()
