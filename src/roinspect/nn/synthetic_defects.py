"""Small synthetic defects inside the ROI: spots, scratches, foreign texture, shifted and shaded areas."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from roinspect.nn.perlin import perlin_noise

_SMALLEST = 1.5
"""Radius in pixels."""
_SCRATCHES = 0.2
_OPACITY = 0.3, 1.0
_VISIBLE = 0.025
"""Least change of a pixel, as the mean of its channels, that marks it."""
_GREY = 0.01
"""Mean difference of the channels below which a photograph is grey, and so are its defects."""


def put_defects(
    images: Tensor, roi_masks: Tensor, *, largest: float = 0.25, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Put one synthetic defect into the ROI of every image.

    Its centre is uniform over the ROI, the logarithm of its radius uniform, so that most are small. Its
    outline is an ellipse, bent by Perlin noise, or a scratch. Its content is, equally often, one colour,
    another place of the photograph, added texture, or the place itself moved by some pixels and shaded.

    Args:
        images: (N, 3, H, W) in [0, 1].
        roi_masks: (N, 1, H, W) in {0, 1}; an image with an empty one stays as it is.
        largest: radius, as a share of the image's shorter side.
        generator: source of randomness.

    Returns:
        The changed images, equal to the input outside the ROI, and masks (N, 1, H, W) in {0, 1} of what can
        be seen of the defects.

    Example:
        >>> images, roi = torch.rand(4, 3, 32, 32), torch.zeros(4, 1, 32, 32)
        >>> roi[..., 8:24, 8:24] = 1
        >>> changed, masks = put_defects(images, roi, generator=torch.Generator().manual_seed(0))
        >>> bool((changed == images)[:, :, :8].all()), bool((masks <= roi).all())
        (True, True)
    """
    n, _, h, w = images.shape
    source = generator.device if generator is not None else images.device

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        drawn = torch.rand(shape or (n, 1, 1, 1), generator=generator, device=source)
        return (low + (high - low) * drawn).to(images)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device=source).to(images)

    roi = (roi_masks > 0).to(images)
    alpha = roi * uniform(*_OPACITY) * _outlines(roi, largest, uniform, generator)
    is_grey = (images.amax(1) - images.amin(1)).mean((1, 2)) < _GREY
    chroma = 0.08 * normal(n, 3, 1, 1) * (~is_grey).view(-1, 1, 1, 1)
    inside = roi.sum((2, 3), keepdim=True).clamp_min(1)
    mean = (images * roi).sum((2, 3), keepdim=True) / inside
    colour = (mean + 0.24 * normal(n, 1, 1, 1) + chroma).expand_as(images)
    far, near = ([int(uniform(-reach, reach, 1)) for reach in reaches] for reaches in ((h, w), (10, 10)))
    elsewhere = images.roll(far, (2, 3)).flip((2, 3))
    grain = perlin_noise(n, h, w, generator=generator, min_scale=5, max_scale=7, device=images.device)
    textured = images + uniform(0.15, 0.5) * grain
    moved = images.roll(near, (2, 3)) * uniform(0.7, 1.3)
    kind = uniform(0, 4).long()
    content = torch.where(
        kind == 0, colour, torch.where(kind == 1, elsewhere, torch.where(kind == 2, textured, moved))
    )
    changed = (images + alpha * (content - images)).clamp(0, 1)
    seen = (changed - images).abs().mean(1, keepdim=True) > _VISIBLE
    return changed, (seen & (alpha > 0)).to(images)


def _outlines(roi: Tensor, largest: float, uniform: _Uniform, generator: torch.Generator | None) -> Tensor:
    """Soft outlines (N, 1, H, W) in [0, 1], each around a pixel of the ROI."""
    n, _, h, w = roi.shape
    weights = roi.flatten(1) + (roi.flatten(1).sum(1, keepdim=True) == 0)
    device = generator.device if generator is not None else roi.device
    centre = torch.multinomial(weights.to(device), 1, generator=generator).to(roi.device)[:, :, None, None]
    is_scratch = uniform(0, 1) < _SCRATCHES
    radius = uniform(math.log(_SMALLEST), math.log(max(_SMALLEST, largest * min(h, w)))).exp()
    stretch = torch.where(is_scratch, uniform(4, 12), uniform(1, 2))
    angle, bend = uniform(0, math.pi), uniform(-0.3, 0.3)
    rows = torch.arange(h, device=roi.device).view(1, 1, -1, 1) - centre // w
    columns = torch.arange(w, device=roi.device).view(1, 1, 1, -1) - centre % w
    along = (columns * angle.cos() + rows * angle.sin()) / (radius * stretch.sqrt())
    across = (rows * angle.cos() - columns * angle.sin()) / (radius / stretch.sqrt()).clamp_min(0.7)
    distance = (along.square() + (across + bend * along.square() * stretch.sqrt()).square()).sqrt()
    rim = perlin_noise(n, h, w, generator=generator, min_scale=3, max_scale=6, device=roi.device)
    soft = (1 - distance + 0.7 * rim * ~is_scratch) * radius / 1.5 + 0.5
    return soft.clamp(0, 1)


class _Uniform(Protocol):
    """Type of the sampler that `put_defects` hands to its parts."""

    def __call__(self, low: float, high: float, *shape: int) -> Tensor: ...
