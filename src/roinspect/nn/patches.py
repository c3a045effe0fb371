"""Patch vectors of a frozen backbone: every feature level on its own grid, whitened."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from roinspect.nn.backbone import Backbone

_SMALLEST_SHARE = 1e-6
"""Deviation, as a share of a channel's largest value, below which a channel counts as constant."""


class Whitening(nn.Module):
    """A linear map under which normal patches have the same variance in every direction.

    All directions are kept. Defects often show in directions in which normal patches hardly vary (Rippel et
    al., 2021), so a projection onto the directions of largest variance would lose them.

    Args:
        channels: C, of a raw patch and of a whitened one.

    Attributes:
        weight: (C, C, 1, 1).
        bias: (C,).

    Reference:
        Rippel, Mertens and Merhof, *Modeling the Distribution of Normal Data in Pre-Trained Deep Features for
        Anomaly Detection*, 2021. MH-PatchCore (arXiv 2605.27748) whitens a PatchCore memory likewise.

    Example:
        >>> raw = torch.randn(5000, 3) * torch.tensor([1.0, 10.0, 100.0])
        >>> whitening = Whitening(3)
        >>> whitening.fit(raw, shrinkage=0.0)
        >>> deviation = whitening(raw.T[None, :, :, None]).std((0, 2, 3))
        >>> bool((deviation - 1).abs().max() < 0.1)
        True
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(channels, channels, 1, 1))
        self.register_buffer("bias", torch.zeros(channels))

    def forward(self, raw: Tensor) -> Tensor:
        """(N, C, h, w) to whitened patches (N, C, h, w)."""
        return F.conv2d(raw, self.weight, self.bias)

    @torch.no_grad()
    def fit(self, patches: Tensor, shrinkage: float) -> None:
        """Learn the map from normal raw patches (P, C), in place.

        Channels are scaled to unit variance; the eigenvalues of their correlation are then pulled towards
        their mean. Whitened patches have a mean squared length of C.

        Args:
            patches: (P, C), P >= 1.
            shrinkage: in [0, 1]: 0 is the Mahalanobis distance of the sample, 1 scales channels only.
        """
        wide = patches.double()
        mean, deviation = wide.mean(0), wide.std(0, correction=0)
        # A constant channel has rounding errors as its deviation, which must not be amplified.
        varies = deviation > _SMALLEST_SHARE * wide.abs().amax(0)
        scaled = (wide - mean) / torch.where(varies, deviation, torch.inf)
        variance, directions = torch.linalg.eigh(scaled.T @ scaled / len(scaled))
        average = variance.mean()
        if average <= 0:  # all patches are alike
            self.weight.zero_()
            self.bias.zero_()
            return
        shrunk = (1 - shrinkage) * variance.clamp_min(_SMALLEST_SHARE * average) + shrinkage * average
        weight = (directions * shrunk.rsqrt()).T / torch.where(varies, deviation, torch.inf)
        length = ((wide - mean) @ weight.T).square().sum(1).mean()
        weight = weight * (len(weight) / length).sqrt()
        self.weight.copy_(weight[:, :, None, None])
        self.bias.copy_(-(weight @ mean))


class PatchFeatures(nn.Module):
    """An image to whitened patch vectors of several feature levels, each on its own grid.

    Args:
        backbone: with the levels to use, finest first; it stays frozen.

    Attributes:
        channels: of every level.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.channels = list(backbone.level_channels)
        self.whitenings = nn.ModuleList(Whitening(channels) for channels in self.channels)

    def forward(self, image: Tensor) -> list[Tensor]:
        """(N, 3, H, W) in [0, 1] to whitened patches (N, C, h, w) of every level, finest first."""
        return self.whitened(self.backbone.levels(image))

    def whitened(self, levels: list[Tensor]) -> list[Tensor]:
        """Raw features of every level (N, C, h, w) to whitened patches of the same shapes."""
        return [whitening(level) for whitening, level in zip(self.whitenings, levels, strict=True)]


def on_grid_of(finest: Tensor, level: Tensor) -> Tensor:
    """Cells (N, C, h, w), interpolated to the grid of the finest level (N, *, H, W)."""
    size_hw = finest.shape[2:]
    if level.shape[2:] == size_hw:
        return level
    return F.interpolate(level, size_hw, mode="bilinear", align_corners=False)


def stacked(levels: list[Tensor]) -> Tensor:
    """Every level (N, C, h, w) on the finest level's grid, one after the other: (N, sum of C, H, W)."""
    return torch.cat([on_grid_of(levels[0], level) for level in levels], dim=1)
