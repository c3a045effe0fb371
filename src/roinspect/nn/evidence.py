"""Overlap distance on the evidence of each cell, before the ReLU of Grad-CAM: it always has a gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from roinspect.nn.forms import Soften
from roinspect.nn.gradcam import at_least_float32
from roinspect.nn.overlap import soften_mask


def evidence_distance(
    evidence: Tensor, roi_mask: Tensor, *, soften: Soften = "clip", reach: int = 3
) -> Tensor:
    """``-log sum_c p_c R_c`` with p the softmax over the cells of their evidence; ours.

    The overlap distance (CEOD, Eq. 8) with another heatmap: p in place of ReLU and division by the maximum.
    Its area is 1, so the denominator is gone. Grad-CAM is 0 at all cells without evidence, and a ReLU has no
    gradient there: if no heat lies inside, `overlap_distance` is constant. p is above 0 everywhere. The
    gradient by the evidence is p_c - p_c R_c / sum(p R): it sums to 0, its absolute values to at most 2, and
    however little of p lies inside, the pull on the cells inside adds up to the share of p outside.

    Args:
        evidence: (N, 1, h, w) in logits, of either sign, as from `linear_evidence`.
        roi_mask: the same shape, in [0, 1].
        soften: the rim of the mask, see `overlap_distance`.
        reach: see `overlap_distance`.

    Returns:
        (N,), >= 0, at least float32. 0 where the ROI is the whole image, and where it is empty, as there is
        nowhere to pull to. For equal evidence everywhere it is -log of the ROI's share of the cells. Adding a
        constant to all evidence changes nothing.

    Raises:
        ValueError: shapes differ or are not those above.

    Example:
        >>> roi_mask, evidence = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
        >>> roi_mask[..., 0], evidence[..., 3] = 1, 20.0
        >>> _ = evidence.requires_grad_()
        >>> evidence_distance(evidence, roi_mask, soften="none").sum().backward()
        >>> bool((evidence.grad[..., 0] < 0).all())  # more evidence inside lowers it
        True
    """
    if evidence.shape != roi_mask.shape or evidence.ndim != 4 or evidence.shape[1] != 1:
        raise ValueError(
            f"evidence and roi_mask must both be (N, 1, h, w), not {tuple(evidence.shape)} and "
            f"{tuple(roi_mask.shape)}"
        )
    evidence = at_least_float32(evidence)
    soft = soften_mask(roi_mask.to(evidence.dtype), soften=soften, reach=reach).flatten(1)
    cells = evidence.flatten(1)
    is_empty = soft.amax(1) <= 0
    # An empty ROI gets one that is whole: a `where` on the result alone would give NaN gradients.
    soft = torch.where(is_empty.unsqueeze(1), torch.ones_like(soft), soft)
    # In logarithms, so that evidence of any size stays exact. "literal" has weights above 1.
    distance = torch.logsumexp(cells, 1) - torch.logsumexp(cells + soft.log(), 1)
    return distance.clamp_min(0)
