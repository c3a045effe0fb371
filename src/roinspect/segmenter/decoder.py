"""The segmenter's decoder: from a backbone's feature levels to logits of the region, coarse to fine."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from roinspect.nn.coordinates import with_coordinates

_GROUPS = 8


class RegionDecoder(nn.Module):
    """Feature levels of a backbone to logits of the region.

    A U-Net decoder with the few channels of a feature pyramid: every level is projected to the same width;
    starting at the coarsest, each is upsampled, added to the next finer one and convolved. Group norm makes
    training independent of the batch size and the number of devices.

    Args:
        level_channels: channels of each level, finest first.
        width: channels of the decoder, a multiple of 8.
        coordinates: append y and x in [-1, 1] to every level, so that the position of a fixed region can be
            learned.

    Reference:
        Ronneberger et al., *U-Net*, 2015; Lin et al., *Feature Pyramid Networks for Object Detection*, 2017;
        Wu and He, *Group Normalization*, 2018.
    """

    def __init__(self, level_channels: Sequence[int], width: int, *, coordinates: bool) -> None:
        super().__init__()
        self.coordinates = coordinates
        extra = 2 if coordinates else 0
        self.lateral = nn.ModuleList(_normed(channels + extra, width, 1) for channels in level_channels)
        self.merge = nn.ModuleList(_normed(width, width, 3) for _ in level_channels)
        self.last = nn.Conv2d(width, 1, 1)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Levels (N, C, h, w), finest first, to logits (N, 1, h, w) on the finest grid."""
        x: Tensor | None = None
        for level, lateral, merge in zip(levels[::-1], self.lateral[::-1], self.merge[::-1], strict=True):
            merged = lateral(with_coordinates(level) if self.coordinates else level)
            if x is not None:
                merged = merged + F.interpolate(x, merged.shape[2:], mode="bilinear", align_corners=False)
            x = merge(merged)
        logits: Tensor = self.last(x)
        return logits


def _normed(inputs: int, outputs: int, side: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, side, padding=side // 2, bias=False),
        nn.GroupNorm(_GROUPS, outputs),
        nn.ReLU(inplace=True),
    )
