"""Intersection over union of a predicted region and a drawn one."""

from __future__ import annotations

from torch import Tensor
from torchmetrics.functional.segmentation import mean_iou


def region_iou(found: Tensor, drawn: Tensor) -> Tensor:
    """Intersection over union of masks (N, 1, H, W), 0 or not: (N,) in [0, 1]; 1 where both are empty.

    Example:
        >>> import torch
        >>> found, drawn = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
        >>> found[..., :2], drawn[..., 1:3] = 1, 1
        >>> region_iou(found, drawn).round(decimals=3)
        tensor([0.3330])
    """
    both = (found != 0).long(), (drawn != 0).long()
    # NaN where both are empty, which is agreement.
    return mean_iou(*both, num_classes=1, include_background=True, input_format="one-hot").nan_to_num(1.0)
