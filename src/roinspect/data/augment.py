"""Random augmentation of a batch on the device; geometry moves image and masks together."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def random_rotation(
    image: Tensor,
    masks: Tensor,
    *,
    degrees: float,
    shift: float = 0.0,
    zoom: float = 0.0,
    mirror: bool = False,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Rotate every image and its masks by an angle of its own; borders are reflected (GRD-Net, section 4.1).

    They can be moved, scaled and mirrored in the same pass.

    Args:
        image: (N, C, H, W) float.
        masks: (N, M, H, W) float in {0, 1}; they stay in {0, 1}.
        degrees: angles are uniform in [-degrees, degrees].
        shift: they are also moved, down and right, by shares of their sides that are uniform in
            [-shift, shift].
        zoom: they grow or shrink by factors that are uniform in [1 - zoom, 1 + zoom], below 1.
        mirror: half of them are flipped left to right, half of them top to bottom. With nothing asked for the
            input is returned.
        generator: source of randomness.

    Returns:
        Image and masks, rotated alike, of the same shapes.
    """
    if degrees == 0 and shift == 0 and zoom == 0 and not mirror:
        return image, masks
    n, _, h, w = image.shape
    device = generator.device if generator is not None else image.device
    angle = (torch.rand(n, generator=generator, device=device) * 2 - 1).to(image) * math.radians(degrees)
    cos, sin, moved = angle.cos(), angle.sin(), torch.zeros(n, 2).to(image)
    if shift:
        # A side of the image is 2 long in the normalised coordinates of grid_sample.
        moved = (torch.rand(n, 2, generator=generator, device=device) * 2 - 1).to(image) * 2 * shift
    if zoom:
        size = 1 + zoom * (torch.rand(n, generator=generator, device=device) * 2 - 1).to(image)
        cos, sin = cos / size, sin / size
    sides = torch.ones(n, 2).to(image)
    if mirror:
        sides = 1 - 2 * (torch.rand(n, 2, generator=generator, device=device) < 0.5).to(image)
    x, y = sides.unbind(1)
    # There a rotation in pixels also scales by the aspect ratio.
    rows = (
        torch.stack((cos * x, -sin * y * h / w, moved[:, 0]), 1),
        torch.stack((sin * x * w / h, cos * y, moved[:, 1]), 1),
    )
    grid = F.affine_grid(torch.stack(rows, 1), [n, 1, h, w], align_corners=False)
    turned = F.grid_sample(image, grid, padding_mode="reflection", align_corners=False)
    turned_masks = F.grid_sample(masks, grid, mode="nearest", padding_mode="reflection", align_corners=False)
    return turned.contiguous(memory_format=torch.channels_last), turned_masks


def random_light(image: Tensor, *, amount: float, generator: torch.Generator | None = None) -> Tensor:
    """Scale brightness, and contrast about the image's mean, each by a factor in [1 - amount, 1 + amount].

    Args:
        image: (N, 3, H, W) in [0, 1].
        amount: 0 returns the input.
        generator: source of randomness.

    Returns:
        The changed image, clamped to [0, 1].
    """
    if amount == 0:
        return image
    device = generator.device if generator is not None else image.device
    factors = (torch.rand(2, image.shape[0], 1, 1, 1, generator=generator, device=device) * 2 - 1).to(image)
    brightness, contrast = 1 + amount * factors
    mean = image.mean((1, 2, 3), keepdim=True)
    changed: Tensor = (image - mean) * contrast + mean * brightness
    return changed.clamp(0, 1)


def random_tint(image: Tensor, *, amount: float, generator: torch.Generator | None = None) -> Tensor:
    """Scale every colour of every image by a factor of its own in [1 - amount, 1 + amount].

    Args:
        image: (N, 3, H, W) in [0, 1].
        amount: 0 returns the input.
        generator: source of randomness.

    Returns:
        The changed image, clamped to [0, 1].
    """
    if amount == 0:
        return image
    device = generator.device if generator is not None else image.device
    factors = torch.rand(image.shape[0], 3, 1, 1, generator=generator, device=device) * 2 - 1
    return (image * (1 + amount * factors.to(image))).clamp(0, 1)
