"""Weights of the patch dimensions that separate known defects from normal patches."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_STEPS = 200
_STAY = 0.1
"""Pull of all weights towards 1: a defect of another kind than those known must still be far from normal."""


@torch.enable_grad()  # also where a caller has switched gradients off
def defect_weights(normal: Tensor, defective: Tensor) -> Tensor:
    """Weights of a squared distance's dimensions, under which known defects are farther than normal patches.

    A logistic regression on the weighted squared distance, both kinds counting alike, with positive weights
    that are pulled towards 1.

    Args:
        normal: (P, D), squared differences of normal patches to their nearest memorised one, by dimension.
        defective: (Q, D), those of patches on known defects.

    Returns:
        (D,), positive; the mean squared distance of normal patches stays what it was.

    Raises:
        ValueError: one of them is empty.

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
        # Normal patches that do not differ at all say nothing of how they do.
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
    found = logarithm.detach().exp()
    return found / (normal @ found).mean()
