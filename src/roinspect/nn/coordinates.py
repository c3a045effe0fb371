"""Coordinate channels: each cell's position in the image."""

from __future__ import annotations

import torch
from torch import Tensor


def with_coordinates(x: Tensor) -> Tensor:
    """Append y and x in [-1, 1] as two channels: (N, C, H, W) to (N, C + 2, H, W).

    Convolutions are translation-equivariant; with coordinates they can learn an ROI at a fixed position.

    Example:
        >>> with_coordinates(torch.zeros(1, 1, 2, 3))[0, 2]
        tensor([[-1.,  0.,  1.],
                [-1.,  0.,  1.]])
    """
    n, _, h, w = x.shape
    rows = torch.linspace(-1, 1, h, dtype=x.dtype, device=x.device).view(1, 1, h, 1).expand(n, 1, h, w)
    columns = torch.linspace(-1, 1, w, dtype=x.dtype, device=x.device).view(1, 1, 1, w).expand(n, 1, h, w)
    return torch.cat((x, rows, columns), dim=1)
