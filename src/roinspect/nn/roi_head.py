"""Predict the ROI from features, and train with synthetic defects so that they do not change it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from roinspect.nn.coordinates import with_coordinates
from roinspect.nn.dice import dice_loss
from roinspect.nn.perlin import perlin_noise

_NEAR = 8
_BOUND = 6.0
"""Limit of whitened features, which can be huge for unseen content."""
_SUREST = 1e-3
"""Smallest initial probability of the ROI and of its complement."""


def roi_convolutions(
    inputs: int, *, width: int = 24, dilations: Sequence[int] = (2, 4), outputs: int = 1
) -> nn.Sequential:
    """Features (N, inputs, h, w) to (N, outputs, h, w), by 3 x 3 convolutions with these dilations."""
    layers: list[nn.Module] = []
    for dilation in dilations:
        layers += [nn.Conv2d(inputs, width, 3, padding=dilation, dilation=dilation), nn.ReLU(inplace=True)]
        inputs = width
    return nn.Sequential(*layers, nn.Conv2d(inputs, outputs, 1))


class RoiHead(nn.Module):
    """ROI logits from whitened patch vectors and their positions.

    A coarse grid with a large receptive field locates the ROI; the patch itself refines its rim.

    Args:
        dimensions: of a patch vector.
        pooling: patches along the side of a coarse cell; 1 makes both grids equal.
        width: channels of the convolutions on the coarse grid.
        dilations: one convolution each. Their sum is the reach in coarse cells, which must be large enough to
            recognise a position by its surroundings if there is a defect.

    Attributes:
        beside: (), weight in [0, 1] of a cell outside the ROI relative to one inside.

    Example:
        >>> RoiHead(16, pooling=2)(torch.rand(1, 16, 8, 12)).shape
        torch.Size([1, 1, 8, 12])
    """

    beside: Tensor

    def __init__(
        self, dimensions: int, *, pooling: int = 1, width: int = 24, dilations: Sequence[int] = (4, 8)
    ) -> None:
        super().__init__()
        self.pooling = pooling
        self.afar = roi_convolutions(dimensions + 2, width=width, dilations=dilations, outputs=_NEAR)
        self.near = nn.Conv2d(dimensions, _NEAR, 1)
        self.last = nn.Conv2d(_NEAR, 1, 1)
        self.register_buffer("beside", torch.ones(()))

    def forward(self, patches: Tensor) -> Tensor:
        """(N, dimensions, h, w) to logits (N, 1, h, w)."""
        bounded = patches.clamp(-_BOUND, _BOUND)
        # At the border, average only over cells inside the image.
        coarse = F.avg_pool2d(bounded, self.pooling, ceil_mode=True, count_include_pad=False)
        afar = self.afar(with_coordinates(coarse))
        afar = F.interpolate(afar, patches.shape[2:], mode="bilinear", align_corners=False)
        logits: Tensor = self.last(F.relu(afar + self.near(bounded)))
        return logits

    @torch.no_grad()
    def begin_at(self, share: float) -> None:
        """Set the initial prediction everywhere to the ROI's share of all cells, in [0, 1].

        A head that starts at 0.5 first lowers all predictions; after that, the gradient of an ROI of 1 % is
        almost 0.
        """
        share = min(max(share, _SUREST), 1 - _SUREST)
        assert self.last.bias is not None
        self.last.bias.fill_(math.log(share / (1 - share)))


def roi_head_loss(logits: Tensor, cells: Tensor) -> Tensor:
    """Cross-entropy per cell plus Dice loss per image: the loss of every ROI head.

    With cross-entropy alone, predicting no ROI is right for 98.7 % of the cells if the ROI covers 1.3 %, and
    training is slow. The Dice loss does not depend on the size of the ROI. It is computed per image and
    averaged, so that the mean gradient over distributed processes is that of the whole batch.

    Args:
        logits: (N, 1, h, w), any float type; computed in at least float32.
        cells: (N, 1, h, w) in [0, 1], the share of each cell inside the ROI.

    Returns:
        A scalar, at least 0.

    Raises:
        ValueError: shapes differ.

    Example:
        >>> cells = torch.zeros(1, 1, 4, 4)
        >>> cells[..., :2] = 1
        >>> right = roi_head_loss(20 * (2 * cells - 1), cells)
        >>> wrong = roi_head_loss(-20 * (2 * cells - 1), cells)
        >>> bool(right < 1e-6), bool(wrong > 1)
        (True, True)
    """
    dtype = torch.promote_types(logits.dtype, torch.float32)
    logits, cells = logits.to(dtype), cells.to(dtype)
    return dice_loss(logits, cells) + F.binary_cross_entropy_with_logits(logits, cells)


def swap_patches(patches: Tensor, *, share: float = 0.5, generator: torch.Generator | None = None) -> Tensor:
    """Add synthetic defects to whitened patch vectors, without a pass of the backbone.

    Perlin-shaped areas of each image are filled with patches from another position and image of the batch, or
    with one random vector and noise; both scaled by 0.5 to 2.5.

    Args:
        patches: (N, D, h, w), each dimension of about unit variance.
        share: largest share of the area of an image; drawn uniformly from [0, share] per image. 0 returns the
            input.
        generator: source of randomness.

    Returns:
        (N, D, h, w).

    Raises:
        ValueError: share is outside [0, 1].

    Example:
        >>> patches = torch.randn(4, 8, 6, 6)
        >>> swapped = swap_patches(patches, generator=torch.Generator().manual_seed(0))
        >>> changed = (swapped != patches).any(1).float().mean()  # of all cells
        >>> bool(0 < changed <= 0.5)
        True
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share must lie in [0, 1], not {share}")
    if share == 0:
        return patches
    n, d, h, w = patches.shape
    source = generator.device if generator is not None else patches.device

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, device=source).to(patches)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, device=source).to(patches)

    noise = perlin_noise(n, h, w, generator=generator, device=patches.device, min_scale=1, max_scale=5)
    ranked = noise.flatten(1).sort(descending=True).values
    last = (share * uniform(n, 1) * (h * w - 1)).long()
    is_foreign = noise >= ranked.gather(1, last).view(n, 1, 1, 1)
    rows, columns = (int(torch.randint(side, (1,), generator=generator, device=source)) for side in (h, w))
    elsewhere = patches.roll((1, rows, columns), (0, 2, 3))
    # One field of noise for the batch: noise per image would cost more than the rest of a step.
    random = normal(n, d, 1, 1) + 0.3 * normal(1, d, h, w)
    content = torch.where(uniform(n, 1, 1, 1) < 0.5, elsewhere, random) * (0.5 + 2 * uniform(n, 1, 1, 1))
    return torch.where(is_foreign, content, patches)
