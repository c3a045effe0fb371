"""Random augmentation of a batch on the device; geometric changes apply to images and masks alike."""

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
    """Rotate each image and its masks by a random angle; borders are reflected (GRD-Net, section 4.1).

    The same pass can also shift, scale and mirror them. If all are off, the input is returned.

    Args:
        image: (N, C, H, W) float.
        masks: (N, M, H, W) float in {0, 1}; they stay in {0, 1}.
        degrees: angles are uniform in [-degrees, degrees].
        shift: shifts down and right, as shares of the sides, are uniform in [-shift, shift].
        zoom: scale factors are uniform in [1 - zoom, 1 + zoom]; below 1.
        mirror: flip left to right with probability 1/2, and independently top to bottom.
        generator: source of randomness.

    Returns:
        Image and masks, transformed alike, of the same shapes.
    """
    if degrees == 0 and shift == 0 and zoom == 0 and not mirror:
        return image, masks
    n, _, h, w = image.shape
    device = generator.device if generator is not None else image.device
    angle = (torch.rand(n, generator=generator, device=device) * 2 - 1).to(image) * math.radians(degrees)
    cos, sin, offset = angle.cos(), angle.sin(), image.new_zeros(n, 2)
    if shift:
        # In grid_sample's normalised coordinates a side of the image has length 2.
        offset = (torch.rand(n, 2, generator=generator, device=device) * 2 - 1).to(image) * 2 * shift
    if zoom:
        size = 1 + zoom * (torch.rand(n, generator=generator, device=device) * 2 - 1).to(image)
        cos, sin = cos / size, sin / size
    flips = image.new_ones(n, 2)
    if mirror:
        flips = 1 - 2 * (torch.rand(n, 2, generator=generator, device=device) < 0.5).to(image)
    x, y = flips.unbind(1)
    # In these coordinates a rotation in pixels also scales by the aspect ratio.
    rows = (
        torch.stack((cos * x, -sin * y * h / w, offset[:, 0]), 1),
        torch.stack((sin * x * w / h, cos * y, offset[:, 1]), 1),
    )
    # In mixed precision it would be a product in bfloat16, which places pixels to within a pixel only.
    with torch.autocast(image.device.type, enabled=False):
        grid = F.affine_grid(torch.stack(rows, 1), [n, 1, h, w], align_corners=False)
    rotated = F.grid_sample(image, grid, padding_mode="reflection", align_corners=False)
    rotated_masks = F.grid_sample(masks, grid, mode="nearest", padding_mode="reflection", align_corners=False)
    return rotated.contiguous(memory_format=torch.channels_last), rotated_masks


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
    """Scale each colour channel of each image by a random factor in [1 - amount, 1 + amount].

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


def random_conditions(image: Tensor, *, amount: float, generator: torch.Generator | None = None) -> Tensor:
    """Imitate other lighting and cameras: vary brightness, contrast, tint and saturation.

    Args:
        image: (N, 3, H, W) in [0, 1].
        amount: same as for `random_light`; the tint uses a quarter of it. A quarter of the images become
            grey, the others keep between half and all of their saturation. 0 returns the input.
        generator: source of randomness.

    Returns:
        The changed image, clamped to [0, 1].
    """
    if amount == 0:
        return image
    device = generator.device if generator is not None else image.device
    changed = random_light(image, amount=amount, generator=generator)
    changed = random_tint(changed, amount=amount / 4, generator=generator)
    uniform = torch.rand(2, image.shape[0], 1, 1, 1, generator=generator, device=device).to(image)
    saturation = torch.where(uniform[0] < 0.25, 0.0, 0.5 + 0.5 * uniform[1])
    grey = changed.mean(1, keepdim=True)
    return grey + saturation * (changed - grey)
