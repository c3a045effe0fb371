"""How far a patch lies from the mean normal patch at its place in the image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_AROUND = 1
"""Cells around a place that count as the same place."""
_SMALLEST_SHARE = 1e-3
"""Share of the mean deviation of all places below which no place's deviation falls."""


class PlaceDistance(nn.Module):
    """Distance of every patch to the mean patch at its place, over the usual distance there.

    It sees that something is where it never is, which a memory of patches from all places cannot; it says
    little where the product moves.

    Args:
        channels: C, of a whitened patch.
        stride: pixels per cell of the level.
        size_hw: height and width of a whole image in pixels; the level's grid is (H, W).

    Attributes:
        mean: (1, C, H, W).
        deviation: (1, 1, H, W), root of the mean squared distance.

    Reference:
        Defard et al., *PaDiM*, 2021. There every place has a covariance of its own; here whitening has one
        for all places, which few photographs suffice for.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, channels: int, stride: int, size_hw: tuple[int, int]) -> None:
        super().__init__()
        self.stride = stride
        grid_hw = _grid(size_hw, stride)
        self.register_buffer("mean", torch.zeros(1, channels, *grid_hw))
        self.register_buffer("deviation", torch.ones(1, 1, *grid_hw))

    def forward(self, patches: Tensor) -> Tensor:
        """(N, C, h, w) to distances (N, 1, h, w)."""
        mean, deviation = self.mean, self.deviation
        if mean.shape[2:] != patches.shape[2:]:
            # An image of another size has its places at the same shares of its sides.
            size_hw = patches.shape[2:]
            mean = F.interpolate(self.mean, size_hw, mode="bilinear", align_corners=False)
            deviation = F.interpolate(self.deviation, size_hw, mode="bilinear", align_corners=False)
        return (patches - mean).square().sum(1, keepdim=True).sqrt() / deviation

    @torch.no_grad()
    def fill(self, sums: PlaceSums, without: int | None = None) -> None:
        """Take mean and deviation from sums, in place.

        Args:
            sums: of normal patches.
            without: a fold to leave out.
        """
        kept = torch.arange(len(sums.count), device=sums.count.device) != (-1 if without is None else without)
        count = sums.count[kept].sum().clamp_min(1)
        mean, square = sums.total[kept].sum(0)[None] / count, sums.square[kept].sum(0)[None] / count
        smooth = _around(mean)
        # E |x - s|^2 for a centre s that is not the mean m: E |x|^2 - 2 s m + |s|^2.
        squared = square - 2 * (smooth * mean).sum(1, keepdim=True) + smooth.square().sum(1, keepdim=True)
        deviation = _around(squared.clamp_min(0).sqrt())
        self.mean.copy_(smooth)
        usual = deviation[deviation > 0].mean() if (deviation > 0).any() else deviation.new_ones(())
        self.deviation.copy_(deviation.clamp_min(_SMALLEST_SHARE * usual))


class PlaceSums(nn.Module):
    """Sums of normal patches at every place, for each fold of the images: what `PlaceDistance` is made from.

    Args:
        folds: number of folds.
        channels: C, of a whitened patch.
        stride: as of `PlaceDistance`, also for the next one.
        size_hw: height and width of a whole image in pixels.
    """

    total: Tensor
    square: Tensor
    count: Tensor

    def __init__(self, folds: int, channels: int, stride: int, size_hw: tuple[int, int]) -> None:
        super().__init__()
        grid_hw = _grid(size_hw, stride)
        self.register_buffer("total", torch.zeros(folds, channels, *grid_hw))
        self.register_buffer("square", torch.zeros(folds, 1, *grid_hw))
        self.register_buffer("count", torch.zeros(folds))

    @torch.no_grad()
    def add(self, patches: Tensor, folds: Tensor) -> None:
        """Add images' patches (N, C, H, W) of these folds (N,)."""
        folds = folds.to(patches.device)
        self.total.index_add_(0, folds, patches)
        self.square.index_add_(0, folds, patches.square().sum(1, keepdim=True))
        self.count.index_add_(0, folds, torch.ones_like(folds, dtype=self.count.dtype))


def _grid(size_hw: tuple[int, int], stride: int) -> tuple[int, int]:
    height, width = size_hw
    return -(-height // stride), -(-width // stride)


def _around(cells: Tensor) -> Tensor:
    """The mean of every cell (1, C, H, W) and those around it."""
    return F.avg_pool2d(F.pad(cells, (_AROUND,) * 4, mode="replicate"), 2 * _AROUND + 1, stride=1)
