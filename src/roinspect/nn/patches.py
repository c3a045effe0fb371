"""Patch vectors of a frozen backbone: several feature levels, locally averaged, on one grid, whitened."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from roinspect.nn.backbone import Backbone

_SMALLEST_SHARE = 1e-6
"""Share of the variance below which a direction holds rounding errors only."""


class PatchFeatures(nn.Module):
    """An image to whitened patch vectors on the grid of its finest level (PatchCore, section 3.1).

    Each level is averaged over a neighbourhood, resized to the finest level's grid and stacked: a patch of C
    channels. `fit` finds the directions of largest variance among normal patches, each scaled to unit
    variance: Euclidean distances between the vectors are then Mahalanobis distances of low rank.

    Args:
        backbone: with the levels to use; it is not trained.
        dimensions: of a patch vector, at most C.
        neighbourhood: side in cells of the square that is averaged, odd.

    Attributes:
        channels: C, of all levels together.

    Reference:
        Roth et al., *Towards Total Recall in Industrial Anomaly Detection*, 2022.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, backbone: Backbone, dimensions: int, neighbourhood: int = 3) -> None:
        super().__init__()
        self.backbone, self.neighbourhood = backbone, neighbourhood
        self.channels = sum(backbone.level_channels)
        self.register_buffer("weight", torch.zeros(dimensions, self.channels, 1, 1))
        self.register_buffer("bias", torch.zeros(1, dimensions, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] to patch vectors (N, dimensions, h, w)."""
        levels = self._levels(image)
        # Projecting before resizing gives the same with less work: both are linear, and interpolation weights
        # sum to 1.
        weights = self.weight.split(self.backbone.level_channels, dim=1)
        parts = [F.conv2d(level, weight) for level, weight in zip(levels, weights, strict=True)]
        patches = parts[0] + self.bias
        for part in parts[1:]:
            patches = patches + _on_grid_of(parts[0], part)
        return patches

    def project(self, stacked: Tensor) -> Tensor:
        """Raw patches (N, C, h, w) to patch vectors (N, dimensions, h, w)."""
        return F.conv2d(stacked, self.weight) + self.bias

    def stacked(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] to raw patches (N, C, h, w), before any whitening."""
        levels = self._levels(image)
        return torch.cat([_on_grid_of(levels[0], level) for level in levels], dim=1)

    @torch.no_grad()
    def fit(self, patches: Tensor) -> tuple[Tensor, float]:
        """Fit the whitening to normal raw patches (P, C), in place.

        Returns:
            Variance of the patches along each direction (D,), descending, with each channel scaled to 1; and
            the share of the total variance in these directions, in [0, 1].
        """
        wide = patches.double()
        mean, deviation = wide.mean(0), wide.std(0, correction=min(1, len(wide) - 1))
        # The deviation of a constant channel is a rounding error, which must not be amplified.
        varies = deviation > _SMALLEST_SHARE * wide.abs().amax(0)
        deviation = torch.where(varies, deviation, torch.inf)
        scaled = (wide - mean) / deviation
        variance, directions = torch.linalg.eigh(scaled.T @ scaled / len(scaled))
        # Ascending order: use the last ones.
        count = len(self.weight)
        kept, chosen = variance[-count:].flip(0), directions[:, -count:].flip(1)
        is_sound = kept > _SMALLEST_SHARE * variance[-1]
        weight = (chosen / deviation[:, None] * torch.where(is_sound, kept, torch.inf).rsqrt()).T
        self.weight.copy_(weight[:, :, None, None])
        self.bias.copy_(-(weight @ mean).view(1, -1, 1, 1))
        return kept.clamp_min(0).float(), float(kept.sum() / variance.sum())

    def _levels(self, image: Tensor) -> list[Tensor]:
        size = self.neighbourhood
        # At the border, average only over cells inside the image.
        return [
            F.avg_pool2d(level, size, stride=1, padding=size // 2, count_include_pad=False)
            for level in self.backbone.levels(image)
        ]


def _on_grid_of(finest: Tensor, level: Tensor) -> Tensor:
    size_hw = finest.shape[2:]
    if level.shape[2:] == size_hw:
        return level
    return F.interpolate(level, size_hw, mode="bilinear", align_corners=False)
