"""Intersection over union of a predicted and a true region."""

from __future__ import annotations

from torch import Tensor
from torchmetrics.functional.segmentation import mean_iou


def region_iou(found: Tensor, drawn: Tensor) -> Tensor:
    """Intersection over union of masks (N, 1, H, W), non-zero = region: (N,) in [0, 1]; 1 if both are empty.

    Example:
        >>> import torch
        >>> found, drawn = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
        >>> found[..., :2], drawn[..., 1:3] = 1, 1
        >>> region_iou(found, drawn).round(decimals=3)
        tensor([0.3330])
    """
    both = (found != 0).long(), (drawn != 0).long()
    # NaN if both are empty, which counts as agreement.
    return mean_iou(*both, num_classes=1, include_background=True, input_format="one-hot").nan_to_num(1.0)
