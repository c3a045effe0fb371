"""Overlap distance between a heatmap and the region of interest (CEOD, Eq. 3, 4 and 8; GRD-Net, Eq. 8)."""

from __future__ import annotations

from typing import get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from roinspect.nn.focal import Reduction
from roinspect.nn.forms import Areas, Clip, Denominator, Soften, Variant
from roinspect.nn.gradcam import at_least_float32

HOTTEST = 0.5
"""Share of a heatmap's maximum from which a cell counts as hot."""


def overlap_distance(
    heatmap: Tensor,
    roi_mask: Tensor,
    *,
    variant: Variant = "log",
    denominator: Denominator = "min",
    soften: Soften = "clip",
    reach: int = 3,
    clip: Clip = "smooth",
    eps: float = 1e-7,
    areas: Areas = "soft",
    reduction: Reduction = "mean",
) -> Tensor:
    """Overlap distance between a heatmap and the ROI: 0 if all heat is inside.

    With A the heatmap and R the softened mask, x = sum(A R) / D is the overlap coefficient (CEOD, Eq. 3),
    where D is ``min(sum A, sum R)`` or ``sum A``. The distance is -log(x) (Eq. 4 and 8) or 1 - x (the 2022
    form and GRD-Net, Eq. 8). With ``denominator="min"``, as in the papers, a heatmap over the whole image has
    distance 0; with ``"heatmap"`` x is the share of the heat inside.

    With the options `forms.ENERGY` (``variant="linear", denominator="heatmap", soften="none"``) and the
    heatmap of Grad-CAM, this is the Energy loss of Rao, Böhle, Parchami-Araghi, Schiele: *Studying How to
    Efficiently and Effectively Guide Models with Explanations*, ICCV 2023, up to a constant: theirs is -x,
    ours 1 - x. They also use it with other attributions, and with boxes for masks.

    Args:
        heatmap: (N, 1, H, W) or (N, H, W), >= 0, best scaled to a maximum of 1.
        roi_mask: the same shape, in [0, 1].
        variant: "log" or "linear".
        denominator: "min" or "heatmap".
        soften: how the mask spreads beyond its rim, so that heat nearby costs less. "clip":
            convolved with a 3 x 3 kernel of 0.5 and clipped to [0, 1]; "literal": not clipped, as printed in
            the paper; "max": max(mask, mean of the 3 x 3 neighbourhood); "falloff": linear in the chessboard
            distance over `reach` cells; "none": the mask itself.
        reach: number of cells beyond the mask where "falloff" is above 0, at least 1.
        clip: "smooth" takes -log(x (1 - 2 eps) + eps), shifted by log(1 - eps) to be 0 at x = 1, which has
            a gradient at x = 0; "hard" clips x to [eps, 1 - eps] as Eq. 8 does. For "log" only.
        eps: epsilon of the clip, and the largest sum of an empty heatmap.
        areas: "soft" sums the heat (Eq. 8); "hard" counts the cells of at least half the maximum, like the
            polygon of the 2022 form, with the gradient of "soft".
        reduction: "mean" over the batch, "sum" or "none".

    Returns:
        A scalar, or (N,) with ``reduction="none"``; >= 0 and at most -log(eps). 0 for an empty heatmap.
        Float32 for half-precision input.

    Raises:
        ValueError: shapes differ or are not those above, or an option is unknown.

    Example:
        >>> roi = torch.zeros(1, 1, 8, 8)
        >>> roi[..., :4] = 1
        >>> inside, outside = roi.clone(), (1 - roi).requires_grad_()
        >>> overlap_distance(inside, roi, soften="none").item() < 1e-6
        True
        >>> overlap_distance(outside, roi, soften="none").backward()
    """
    is_image = heatmap.ndim == 3 or (heatmap.ndim == 4 and heatmap.shape[1] == 1)
    if heatmap.shape != roi_mask.shape or not is_image:
        raise ValueError(
            f"heatmap and roi_mask must both be (N, 1, H, W) or (N, H, W), not {tuple(heatmap.shape)} and "
            f"{tuple(roi_mask.shape)}"
        )
    for value, options in (
        (variant, Variant),
        (denominator, Denominator),
        (soften, Soften),
        (clip, Clip),
        (areas, Areas),
        (reduction, Reduction),
    ):
        if value not in get_args(options):
            raise ValueError(f"{value!r} is not one of {', '.join(get_args(options))}")
    # In half precision the sum of a heatmap overflows, and the epsilon is lost.
    heatmap = at_least_float32(heatmap)
    soft = soften_mask(roi_mask.to(heatmap.dtype), soften=soften, reach=reach).flatten(1)
    heat = heatmap.flatten(1)
    is_empty = heat.sum(1) <= eps
    if areas == "hard":
        hottest = heat >= HOTTEST * heat.amax(1, keepdim=True)
        heat = hottest.to(heat.dtype) + (heat - heat.detach())
    heat_area = heat.sum(1)
    area = torch.minimum(heat_area, soft.sum(1)) if denominator == "min" else heat_area
    # The clamp avoids 0/0: a `where` on the result alone would give NaN gradients.
    overlap = ((heat * soft).sum(1) / area.clamp_min(eps)).clamp_max(1)
    if variant == "linear":
        distance = 1 - overlap
    elif clip == "smooth":
        # The shift is a factor inside the logarithm: two rounded logarithms would not cancel at 1.
        kept = overlap * ((1 - 2 * eps) / (1 - eps)) + eps / (1 - eps)
        distance = -torch.log(kept.clamp_max(1))
    else:
        distance = -torch.log(overlap.clamp(eps, 1 - eps))
    distance = torch.where(is_empty, torch.zeros_like(distance), distance)
    if reduction == "none":
        return distance
    return distance.mean() if reduction == "mean" else distance.sum()


def soften_mask(roi_mask: Tensor, *, soften: Soften = "clip", reach: int = 3) -> Tensor:
    """The mask with a softened rim (CEOD, Algorithm 1, line 3).

    Args:
        roi_mask: (N, 1, H, W) or (N, H, W) in [0, 1].
        soften: see `overlap_distance`.
        reach: see `overlap_distance`.

    Returns:
        Same shape; in [0, 1], or up to 4.5 for "literal".

    Raises:
        ValueError: reach is below 1.

    Example:
        >>> roi_mask = torch.zeros(1, 1, 3, 5)
        >>> roi_mask[..., 0] = 1
        >>> soften_mask(roi_mask, soften="falloff", reach=4)[0, 0, 1]
        tensor([1.0000, 0.8000, 0.6000, 0.4000, 0.2000])
    """
    if reach < 1:
        raise ValueError(f"reach must be at least 1, not {reach}")
    if soften == "none":
        return roi_mask
    mask = roi_mask if roi_mask.ndim == 4 else roi_mask.unsqueeze(1)
    if soften == "falloff":
        soft, grown = mask, mask
        for step in range(1, reach + 1):
            grown = F.max_pool2d(grown, 3, stride=1, padding=1)
            soft = torch.maximum(soft, grown * (1 - step / (reach + 1)))
    else:
        # Average pooling with padding is the zero-padded convolution with 1/9; the paper has 0.5.
        mean = F.avg_pool2d(mask, 3, stride=1, padding=1)
        soft = torch.maximum(mask, mean) if soften == "max" else mean * 4.5
        if soften == "clip":
            soft = soft.clamp(0, 1)
    return soft.reshape(roi_mask.shape)
