"""Weights of the patch dimensions that separate known defects from normal patches."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_STEPS = 200
_STAY = 0.1
"""Regularisation towards weights of 1, so that unknown kinds of defects stay far from normal patches."""


@torch.enable_grad()  # even if the caller disabled gradients
def defect_weights(normal: Tensor, defective: Tensor) -> Tensor:
    """Weights of the dimensions of a squared distance that separate known defects from normal patches.

    Logistic regression on the weighted squared distance, with balanced classes and positive weights that are
    regularised towards 1.

    Args:
        normal: (P, D), squared differences between normal patches and their nearest memorised one.
        defective: (Q, D), the same for patches on known defects.

    Returns:
        (D,), positive; the mean squared distance of normal patches is unchanged.

    Raises:
        ValueError: an input is empty.

    Example:
        >>> normal, defective = torch.rand(200, 2), torch.rand(200, 2) + torch.tensor([1.0, 0.0])
        >>> weights = defect_weights(normal, defective)  # defects show in the first dimension
        >>> bool(weights[0] > weights[1])
        True
    """
    if not len(normal) or not len(defective):
        raise ValueError("weights need normal and defective patches")
    unit = normal.sum(1).mean()
    if unit <= 0:
        # Identical normal patches give no scale.
        return torch.ones_like(normal[0])
    normal, defective = normal / unit, defective / unit
    logarithm = torch.zeros(normal.shape[1], device=normal.device, requires_grad=True)
    steepness, level = (torch.ones((), device=normal.device, requires_grad=True) for _ in range(2))
    optimizer = torch.optim.Adam([logarithm, steepness, level], lr=0.05)
    for _ in range(_STEPS):
        weights = logarithm.exp()
        loss = _STAY * logarithm.square().mean()
        for squared, sign in ((normal, -1.0), (defective, 1.0)):
            loss = loss + 0.5 * F.softplus(-sign * steepness * (squared @ weights - level)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    weights = logarithm.detach().exp()
    return weights / (normal @ weights).mean()
