"""The discriminative part of GRD-Net: a U-Net that compares an image with its reconstruction."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from roinspect.nn.autoencoder import stage_widths
from roinspect.nn.coordinates import with_coordinates


class DoubleConv(nn.Sequential):
    """Convolution, norm and ReLU, twice."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class Heads(NamedTuple):
    """Logits of a U-Net, (N, 1, H, W) each."""

    defect: Tensor
    """Whether a pixel is defective, inside the ROI or not."""
    roi: Tensor
    """Whether a pixel belongs to the ROI."""


class UNet(nn.Module):
    """U-Net (Ronneberger et al., 2015) with one logit per pixel.

    Args:
        inputs: channels in.
        width: channels of the finest level, doubled per level up to eight times.
        depth: number of halvings of the working grid; the image's sides must be multiples of stem * 2**depth.
        stem: 1, or 2 to fold 2 x 2 pixels into channels first and unfold the logits last.
        coordinates: adds two channels that hold y and x in [-1, 1], so that an ROI at a fixed position can
            be learned from the position alone.
        roi_head: gate the defect logit by the ROI logit. If False, the ROI is still predicted, as a
            description of the scene, without effect on the rest.

    Example:
        >>> UNet(6, 8, depth=2, stem=1, coordinates=False)(torch.rand(1, 6, 32, 48)).shape
        torch.Size([1, 1, 32, 48])
    """

    def __init__(
        self, inputs: int, width: int, *, depth: int, stem: int, coordinates: bool, roi_head: bool = False
    ) -> None:
        super().__init__()
        widths = stage_widths(width, depth)
        self.coordinates = coordinates
        self.fold = nn.PixelUnshuffle(stem) if stem > 1 else nn.Identity()
        first = inputs * stem**2 + (2 if coordinates else 0)
        self.down = nn.ModuleList(
            DoubleConv(first if level == 0 else widths[level - 1], widths[level])
            for level in range(depth + 1)
        )
        self.up = nn.ModuleList(
            DoubleConv(widths[level + 1] + widths[level], widths[level]) for level in range(depth)
        )
        self.is_gated = roi_head
        self.head = nn.Conv2d(width, stem**2, 1)
        self.roi_head = nn.Conv2d(width, stem**2, 1)
        # Defects are rare: start with low probabilities, so that no steps are spent on learning that.
        nn.init.constant_(self.head.bias, -3.0)  # type: ignore[arg-type]
        self.unfold = nn.PixelShuffle(stem) if stem > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to logits (N, 1, H, W)."""
        return self.with_heads(x)[0]

    def with_heads(self, x: Tensor) -> tuple[Tensor, Heads]:
        """The logits of `forward`, and those of both heads."""
        x = self.fold(x)
        if self.coordinates:
            x = with_coordinates(x)
        skips: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else F.max_pool2d(x, 2))
            skips.append(x)
        x = skips.pop()
        for block in reversed(self.up):
            x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = block(torch.cat((x, skips.pop()), dim=1))
        defect = self.unfold(self.head(x))
        roi = self.unfold(self.roi_head(x if self.is_gated else x.detach()))
        return (logit_of_product(defect, roi) if self.is_gated else defect), Heads(defect, roi)


def logit_of_product(a: Tensor, b: Tensor) -> Tensor:
    """The logit of sigmoid(a) * sigmoid(b), exact and without overflow.

    With p the product, 1 / p - 1 = exp(-a) + exp(-b) + exp(-a - b).

    Example:
        >>> round(logit_of_product(torch.tensor(0.0), torch.tensor(0.0)).sigmoid().item(), 4)
        0.25
    """
    return -torch.logsumexp(torch.stack((-a, -b, -a - b)), dim=0)
