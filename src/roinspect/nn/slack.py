"""Heat outside the region of interest beyond a slack: for masks whose rim is rough."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from roinspect.nn.gradcam import at_least_float32


def slack_distance(heatmap: Tensor, roi_mask: Tensor, *, slack: float = 0.1, sigma: float = 1.0) -> Tensor:
    """``sum_c max(0, A_c - G_c - slack) / sum_c (1 - R_c)``: excess heat per cell outside the ROI (RES-like).

    Follows Gao, Sun, Bai, Gu, Hong, Zhao: *RES: A Robust Framework for Guiding Visual Explanation*, KDD 2022,
    in two of its ideas for annotations drawn by hand: a difference between heatmap and annotation counts only
    beyond a slack, and the binary annotation is spread by a fixed Gaussian (its RES-G) to be comparable with
    a heatmap. It differs in what a region of interest is: it says where heat *may* lie, not where it must. So
    only the outside counts (the paper's negative annotation), and there is no pull to fill the ROI with heat;
    and the spread mask is never below the mask itself.

    Args:
        heatmap: A, (N, 1, h, w) in [0, 1], divided by its maximum, as from `linear_cam`.
        roi_mask: R, the same shape, in [0, 1]. G is the larger of R and R convolved with a Gaussian.
        slack: heat that is free outside, in [0, 1].
        sigma: of the Gaussian, in cells; 0 is none.

    Returns:
        (N,) in [0, 1 - slack], at least float32. 0 if all heat lies inside, if the heatmap is empty, or if
        the ROI is the whole image; with an empty ROI all heat is excess.

    Raises:
        ValueError: shapes differ or are not those above, slack is outside [0, 1] or sigma negative.

    Example:
        >>> roi_mask = torch.zeros(1, 1, 8, 8)
        >>> roi_mask[..., :4] = 1
        >>> slack_distance(roi_mask, roi_mask).item()
        0.0
        >>> near, far = torch.zeros(2, 1, 1, 8, 8)
        >>> near[..., 4], far[..., 7] = 1, 1
        >>> bool(0 < slack_distance(near, roi_mask) < slack_distance(far, roi_mask))
        True
    """
    if heatmap.shape != roi_mask.shape or heatmap.ndim != 4 or heatmap.shape[1] != 1:
        raise ValueError(
            f"heatmap and roi_mask must both be (N, 1, h, w), not {tuple(heatmap.shape)} and "
            f"{tuple(roi_mask.shape)}"
        )
    if not 0 <= slack <= 1 or not 0 <= sigma < math.inf:
        raise ValueError(f"slack must lie in [0, 1] and sigma be at least 0, not {slack} and {sigma}")
    heatmap = at_least_float32(heatmap)
    roi_mask = roi_mask.to(heatmap.dtype)
    allowed = torch.maximum(roi_mask, _blurred(roi_mask, sigma))
    excess = (heatmap - allowed - slack).relu().sum((1, 2, 3))
    # The clamp is for an ROI that is the whole image, whose excess is 0.
    return excess / (1 - roi_mask).sum((1, 2, 3)).clamp_min(1)


def _blurred(mask: Tensor, sigma: float) -> Tensor:
    """Convolved with a Gaussian of three sigma on either side; nothing lies beyond the image."""
    if sigma == 0:
        return mask
    reach = math.ceil(3 * sigma)
    steps = torch.arange(-reach, reach + 1, dtype=mask.dtype, device=mask.device)
    kernel = (-0.5 * (steps / sigma).square()).exp()
    kernel = kernel / kernel.sum()
    with torch.autocast(mask.device.type, enabled=False):
        across = F.conv2d(mask, kernel.view(1, 1, 1, -1), padding=(0, reach))
        return F.conv2d(across, kernel.view(1, 1, -1, 1), padding=(reach, 0))
