"""Predict the ROI from features, and the training damage that keeps a defect from hiding itself."""

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
"""Whitened features of what was never seen can be huge; none may outvote its surroundings."""
_SUREST = 1e-3
"""A head starts no surer than this of what covers all of the images, or next to nothing."""


def roi_convolutions(
    inputs: int, *, width: int = 24, dilations: Sequence[int] = (2, 4), outputs: int = 1
) -> nn.Sequential:
    """Features (N, inputs, h, w) to (N, outputs, h, w), by 3 x 3 convolutions of these dilations."""
    layers: list[nn.Module] = []
    for dilation in dilations:
        layers += [nn.Conv2d(inputs, width, 3, padding=dilation, dilation=dilation), nn.ReLU(inplace=True)]
        inputs = width
    return nn.Sequential(*layers, nn.Conv2d(inputs, outputs, 1))


class RoiHead(nn.Module):
    """Whitened patch vectors and their places to ROI logits.

    Where a place lies is seen from afar, on a coarse grid; where the ROI ends, from the patch itself.

    Args:
        dimensions: of a patch vector.
        pooling: cells of the patches along a cell of the coarse grid; 1 makes both grids the same.
        width: channels of the convolutions on the coarse grid.
        dilations: one convolution each. They sum up to the coarse cells that it sees to either side:
            far enough to tell a place by its surroundings when the place itself is damaged.

    Attributes:
        beside: (), what a cell beside the ROI counts of one inside, in [0, 1].

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
        # At the border the mean is over what lies inside the image.
        coarse = F.avg_pool2d(bounded, self.pooling, ceil_mode=True, count_include_pad=False)
        afar = self.afar(with_coordinates(coarse))
        afar = F.interpolate(afar, patches.shape[2:], mode="bilinear", align_corners=False)
        logits: Tensor = self.last(F.relu(afar + self.near(bounded)))
        return logits

    @torch.no_grad()
    def begin_at(self, share: float) -> None:
        """Let the ROI's share of all cells, in [0, 1], be the answer everywhere before anything is learned.

        The first steps of a head that begins at one half only lower all of its answers: then hardly a
        gradient is left of an ROI of 1 %.
        """
        share = min(max(share, _SUREST), 1 - _SUREST)
        assert self.last.bias is not None
        self.last.bias.fill_(math.log(share / (1 - share)))


def roi_head_loss(logits: Tensor, cells: Tensor) -> Tensor:
    """Cross-entropy of every cell, and the Dice loss of every image: what every ROI head goes down by.

    By cross-entropy alone a head that says "nowhere" is right about 98.7 % of the cells of an ROI of 1.3 %,
    and learns little for long. The Dice loss looks at the ROI, whatever its size. Taken image by image it is
    a mean over them, so that processes with a share of the batch each follow the gradient of the whole.

    Args:
        logits: (N, 1, h, w), of any float type; the loss is taken in float32 at least.
        cells: (N, 1, h, w) in [0, 1], every cell's share of the ROI.

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
    kept = torch.promote_types(logits.dtype, torch.float32)
    logits, cells = logits.to(kept), cells.to(kept)
    return dice_loss(logits, cells) + F.binary_cross_entropy_with_logits(logits, cells)


def swap_patches(patches: Tensor, *, share: float = 0.5, generator: torch.Generator | None = None) -> Tensor:
    """Put foreign content into whitened patch vectors: synthetic defects that cost no pass of the backbone.

    Perlin-shaped areas are filled, image by image, with patches of another place and image of the batch, or
    with one random vector and grain; either between half and two and a half times as strong.

    Args:
        patches: (N, D, h, w), each dimension of about unit variance.
        share: of an image's area, at most; drawn uniformly from [0, share] for each image. 0 returns the
            input.
        generator: source of randomness.

    Returns:
        (N, D, h, w).

    Raises:
        ValueError: a share outside [0, 1].

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
    # One field of grain serves the batch: numbers for all of it would cost more than the rest of a step.
    random = normal(n, d, 1, 1) + 0.3 * normal(1, d, h, w)
    content = torch.where(uniform(n, 1, 1, 1) < 0.5, elsewhere, random) * (0.5 + 2 * uniform(n, 1, 1, 1))
    return torch.where(is_foreign, content, patches)
