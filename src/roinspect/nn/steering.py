"""Where the region of interest enters a segmenter's loss (GRD-Net, Eq. 5 to 9 and Table 7)."""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor

from roinspect.nn.focal import focal_loss
from roinspect.nn.forms import RoiForm
from roinspect.nn.overlap import overlap_distance


def segmentation_loss(
    logits: Tensor,
    noise_mask: Tensor,
    roi_mask: Tensor,
    *,
    roi: RoiForm = "target",
    overlap_weight: float = 1.0,
    gamma: float = 2.0,
    alpha: float | None = None,
) -> Tensor:
    """The loss of GRD-Net's segmenter, with the ROI as `roi` specifies.

    With A = sigmoid(logits), M the noise mask, R the ROI, FL the focal loss (Eq. 4):

    - ``target``: FL(A, M R), Fig. 3 and section 4.2. The default: defects outside are negatives.
    - ``intersection``: FL(A R, M), Eq. 5 and 6, case 2 of Table 7. No gradient from outside the ROI.
    - ``overlap``: FL(A, M) + w (1 - |A R| / min(|A|, |R|)), Eq. 8 and 9, case 1.
    - ``intersection_overlap``: FL(A R, M) with the same second term, case 3.
    - ``outside_overlap``: FL(A, M) + w |A (1 - R)| / min(|A|, |1 - R|), case 4.
    - ``none``: FL(A, M); the ROI is not used.

    Args:
        logits: (N, 1, H, W).
        noise_mask: (N, 1, H, W) in {0, 1}.
        roi_mask: (N, 1, H, W) in {0, 1}.
        roi: one of the forms above.
        overlap_weight: w, in [0, 1].
        gamma: of the focal loss.
        alpha: of the focal loss.

    Returns:
        A scalar >= 0, at least float32.

    Raises:
        ValueError: the form is unknown, or shapes differ.

    Example:
        >>> import torch
        >>> logits = torch.zeros(1, 1, 4, 4, requires_grad=True)
        >>> noise, roi = torch.ones(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
        >>> segmentation_loss(logits, noise, roi).backward()
        >>> bool((logits.grad > 0).all())  # all noise lies outside, so all logits should fall
        True
    """
    if roi not in get_args(RoiForm):
        raise ValueError(f"{roi!r} is not one of {', '.join(get_args(RoiForm))}")
    if roi == "target":
        return focal_loss(logits, noise_mask * roi_mask, gamma=gamma, alpha=alpha)
    if roi == "none":
        return focal_loss(logits, noise_mask, gamma=gamma, alpha=alpha)
    # In half precision a certain pixel would saturate.
    prediction = logits.to(torch.promote_types(logits.dtype, torch.float32)).sigmoid()
    if roi in ("intersection", "intersection_overlap"):
        loss = focal_loss(prediction * roi_mask, noise_mask, gamma=gamma, alpha=alpha, from_logits=False)
    else:
        loss = focal_loss(logits, noise_mask, gamma=gamma, alpha=alpha)
    if roi in ("overlap", "intersection_overlap"):
        loss = loss + overlap_weight * overlap_distance(prediction, roi_mask, variant="linear", soften="none")
    elif roi == "outside_overlap":
        distance = overlap_distance(prediction, 1 - roi_mask, variant="linear", soften="none")
        loss = loss + overlap_weight * (1 - distance)
    return loss
