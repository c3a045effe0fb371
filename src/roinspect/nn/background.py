"""Relevance outside the region of interest, compared with that inside (after the ISNet)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from roinspect.nn.gradcam import FAINT, at_least_float32


def background_relevance(relevance: Tensor, roi_mask: Tensor, *, hottest: float = 0.05) -> Tensor:
    """``log(1 + P b / (P f + 1))``: relevance of the background against that of the foreground (ISNet-like).

    Follows the background loss of Bassi, Dertkigil, Cavalli: *Improving deep neural network generalization
    and robustness to background bias via layer-wise relevance propagation optimization*, Nature
    Communications 15:291, 2024. |r| is the absolute relevance of each of P cells; f its mean over the ROI; b
    its ranked mean outside: the cells, sorted from the highest, have weights that decay exponentially, so a
    small spot counts that an average would hide. In the paper x = b / f, and the cross-entropy of a squashed
    x is -log(1 - x / (x + 1)) = log(1 + x).

    What differs from the paper: P f + 1 in place of P f, with P f in logits, so that the gradient stays
    bounded as all relevance vanishes, in place of the paper's second loss that keeps the foreground's
    relevance within limits; and relevance is summed over the channels before the absolute value. See
    `relevance` for the rules of propagation: the paper has another one, z^B, for pixels.

    Args:
        relevance: (N, C, H, W) in logits, as from `relevance`.
        roi_mask: (N, 1, h, w) in [0, 1] at any size, 1 = inspect; averaged to the size of the relevance.
        hottest: share of the cells after which the weight of a rank has fallen to 1/e, in (0, 1].

    Returns:
        (N,), >= 0, at least float32. 0 if there is no relevance outside, so also if the ROI is the whole
        image; with an empty ROI it is log(1 + P b). The sign of the relevance changes nothing, nor does its
        scale if there is much of it.

    Raises:
        ValueError: shapes do not fit, or hottest is outside (0, 1].

    Example:
        >>> roi_mask = torch.zeros(1, 1, 8, 8)
        >>> roi_mask[..., :4] = 1
        >>> background_relevance(roi_mask, roi_mask).item()
        0.0
        >>> bool(background_relevance(1 - roi_mask, roi_mask) > 1)
        True
    """
    if relevance.ndim != 4 or roi_mask.ndim != 4 or roi_mask.shape[1] != 1 or len(relevance) != len(roi_mask):
        raise ValueError(
            f"relevance and roi_mask must be (N, C, H, W) and (N, 1, h, w), not {tuple(relevance.shape)} and "
            f"{tuple(roi_mask.shape)}"
        )
    if not 0 < hottest <= 1:
        raise ValueError(f"hottest must lie in (0, 1], not {hottest}")
    amount = at_least_float32(relevance).sum(1, keepdim=True).abs()
    size_hw = (amount.shape[2], amount.shape[3])
    inside = F.adaptive_avg_pool2d(roi_mask.to(amount.dtype), size_hw).flatten(1)
    amount = amount.flatten(1)
    cells = amount.shape[1]
    foreground = (amount * inside).sum(1) / inside.sum(1).clamp_min(1e-6)
    ranked = (amount * (1 - inside)).sort(1, descending=True).values
    ranks = torch.arange(cells, dtype=amount.dtype, device=amount.device)
    background = ranked @ (-ranks / (hottest * cells)).softmax(0)
    return torch.log1p(cells * background / (cells * foreground + FAINT))
