"""Synthetic defects: Perlin-shaped blobs of foreign content (GRD-Net, section 3.1 and Fig. 1).

Computed for the whole batch at once, on the device of the images, for any height and width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, get_args

import torch
from torch import Tensor

from roinspect.nn.forms import NoiseSource

_LARGEST_SCALE = 8


@dataclass(frozen=True, slots=True)
class Blobs:
    """Shapes and sizes of the areas that `perturb` fills.

    Attributes:
        min_scale: lowest frequency of the Perlin noise: 2 ** min_scale cells along a side.
        max_scale: highest frequency.
        threshold: range of the level above which noise becomes a blob, as a share of the noise's peak; drawn
            per image.
        local_share: share of the images with a few small spots instead of a pattern over the whole image,
            as most real defects are few and small.
        local_radius: range of the radii of a spot, as a share of the image's shorter side.
        local_count: largest number of spots per image.

    Raises:
        ValueError: a value is out of range.
    """

    min_scale: int = 0
    max_scale: int = 6
    threshold: tuple[float, float] = (0.45, 0.8)
    local_share: float = 0.5
    local_radius: tuple[float, float] = (0.01, 0.12)
    local_count: int = 8

    def __post_init__(self) -> None:
        if not 0 <= self.min_scale <= self.max_scale <= _LARGEST_SCALE:
            raise ValueError(f"0 <= min_scale <= max_scale <= {_LARGEST_SCALE} does not hold for {self}")
        if not 0 <= self.threshold[0] <= self.threshold[1] <= 1 or not 0 <= self.local_share <= 1:
            raise ValueError(f"threshold and local_share must lie in [0, 1]: {self}")
        if not 0 < self.local_radius[0] <= self.local_radius[1] or self.local_count < 1:
            raise ValueError(f"spots need a radius above 0 and a count of at least 1: {self}")


def perlin_noise(
    batch: int,
    height: int,
    width: int,
    *,
    generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
    min_scale: int = 0,
    max_scale: int = 6,
) -> Tensor:
    """Perlin's gradient noise with a random frequency per image and axis.

    Args:
        batch: number of noise fields N.
        height: H in pixels.
        width: W in pixels.
        generator: source of randomness, used on its device.
        device: of the result; defaults to the generator's.
        min_scale: lowest frequency, 2 ** min_scale cells along a side.
        max_scale: highest frequency, at most 8; a side never has more cells than pixels.

    Returns:
        (N, 1, H, W) float32 in [-1, 1], zero at the lattice points, with expectation 0.

    Raises:
        ValueError: a size is below 1, or 0 <= min_scale <= max_scale <= 8 does not hold.

    Reference:
        K. Perlin, *An image synthesizer*, 1985; GRD-Net, section 3.1.

    Example:
        >>> perlin_noise(2, 30, 47, generator=torch.Generator().manual_seed(0)).shape
        torch.Size([2, 1, 30, 47])
    """
    if min(batch, height, width) < 1:
        raise ValueError(f"batch, height and width must be at least 1, not {batch}, {height}, {width}")
    if not 0 <= min_scale <= max_scale <= _LARGEST_SCALE:
        raise ValueError(
            f"0 <= min_scale <= max_scale <= {_LARGEST_SCALE} does not hold for {min_scale}, {max_scale}"
        )
    source = generator.device if generator is not None else torch.device(device or "cpu")
    target = torch.device(device) if device is not None else source
    side = 2**max_scale + 1
    scale = torch.randint(min_scale, max_scale + 1, (batch, 2), generator=generator, device=source)
    angle = torch.rand(batch, side, side, generator=generator, device=source).to(target) * (2 * math.pi)
    # With cells narrower than a pixel, all pixels would be lattice points, where the noise is 0.
    cells = torch.exp2(scale.to(target, torch.float32))
    y, y_cell = _cell_coordinates(height, cells[:, 0].clamp_max(height))
    x, x_cell = _cell_coordinates(width, cells[:, 1].clamp_max(width))
    gradients = torch.stack((angle.sin(), angle.cos()), dim=1)

    def corner_column(shift: int) -> Tensor:
        """Gradients at the left or right lattice column of every pixel column: (N, 2, side, W)."""
        index = (x_cell + shift)[:, None, None, :].expand(-1, 2, side, -1)
        return gradients.gather(3, index)

    # The dot product g_y * y + g_x * x is linear in y: slope and offset are interpolated over x once per
    # lattice row, which leaves one interpolation per pixel.
    fade_x = _fade(x)[:, None, :]
    left, right = corner_column(0), corner_column(1)
    slope = torch.lerp(left[:, 0], right[:, 0], fade_x)
    offset = torch.lerp(left[:, 1] * x[:, None, :], right[:, 1] * (x - 1)[:, None, :], fade_x)

    def at_rows(field: Tensor, shift: int) -> Tensor:
        return field.gather(1, (y_cell + shift)[:, :, None].expand(-1, -1, width))

    y_in_cell = y[:, :, None]
    above = at_rows(slope, 0).mul_(y_in_cell).add_(at_rows(offset, 0))
    below = at_rows(slope, 1).mul_(y_in_cell - 1).add_(at_rows(offset, 1))
    # Unit gradients give at most sqrt(1/2), in the centre of a cell.
    noise = torch.lerp(above, below, _fade(y_in_cell)).mul_(math.sqrt(2)).clamp_(-1, 1)
    return noise.unsqueeze(1)


def perturb(
    images: Tensor,
    *,
    generator: torch.Generator | None = None,
    blobs: Blobs | None = None,
    sources: Mapping[NoiseSource, float] | None = None,
    textures: Tensor | None = None,
    clean_share: float = 0.5,
    beta: tuple[float, float] = (0.5, 1.0),
    visible: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Add synthetic defects to images: X_n = (1 - beta M) X + beta M N, with blobs M and content N.

    `X_n` equals `X` exactly where `M` is 0. The content is drawn per image from

    - ``pixel``: a random colour per pixel (the paper's Fig. 1),
    - ``blob``: one random colour with a soft grain,
    - ``patch``: another image of the batch, mirrored (the image itself in a batch of one),
    - ``shade``: the image itself, darker or lighter, with grain (pits, burns, stains),
    - ``texture``: one of `textures`, mirrored.

    Args:
        images: (N, 3, H, W) float in [0, 1].
        generator: source of randomness, on any device; equal states give equal defects.
        blobs: shapes and sizes of the defects.
        sources: weight of each kind of content; by default the first four, equally.
        textures: (T, 3, H, W) float in [0, 1], required if `sources` has ``texture``.
        clean_share: probability in [0, 1] that an image is unchanged; all others have a defect.
        beta: range of the opacity, drawn per image, in [0, 1].
        visible: pixels that would change by at most this in every channel, in [0, 1], stay unchanged and are
            not in M, as they cannot be detected. 0 keeps the blobs whole.

    Returns:
        Noisy images (N, 3, H, W) in [0, 1] and mask M (N, 1, H, W) in {0, 1}, 1 = foreign content;
        both with the dtype and device of the images.

    Raises:
        ValueError: images have another shape or are not float, a share or range is outside [0, 1], sources
            are unknown or empty, or textures are missing or of another size.

    Reference:
        GRD-Net, section 3.1 and Fig. 1.

    Example:
        >>> noisy, mask = perturb(torch.rand(4, 3, 32, 40), generator=torch.Generator().manual_seed(1))
        >>> noisy.shape, mask.shape
        (torch.Size([4, 3, 32, 40]), torch.Size([4, 1, 32, 40]))
    """
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise ValueError(f"images must be (N, 3, H, W) and float, not {tuple(images.shape)}, {images.dtype}")
    if not 0 <= clean_share <= 1 or not 0 <= beta[0] <= beta[1] <= 1 or not 0 <= visible <= 1:
        raise ValueError(
            f"clean_share, beta's range and visible must lie in [0, 1], not {clean_share}, {beta}, {visible}"
        )
    blobs = blobs or Blobs()
    names, weights = _source_weights(sources, textures, images)
    count, _, height, width = images.shape
    device = images.device
    source = generator.device if generator is not None else device

    def uniform(*shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return torch.rand(*shape, generator=generator, device=source).to(device) * (high - low) + low

    def integers(low: int, high: int) -> Tensor:
        return torch.randint(low, high, (count,), generator=generator, device=source).to(device)

    noise = perlin_noise(
        count,
        height,
        width,
        generator=generator,
        device=device,
        min_scale=blobs.min_scale,
        max_scale=blobs.max_scale,
    )
    mask = _blob_mask(noise, blobs, uniform) & (uniform(count, 1, 1, 1) >= clean_share)
    opacity = uniform(count, 1, 1, 1, low=beta[0], high=beta[1])
    # Filled on the device: a copy from the host would wait for all that the device still has to do.
    shares = torch.cat([torch.full((1,), weight, device=source) for weight in weights])
    chosen = torch.multinomial(shares, count, replacement=True, generator=generator).to(device)
    tint = uniform(count, 3, 1, 1)
    grain = uniform(count, 1, height, width, low=-0.5, high=0.5)
    content = images
    for position, name in enumerate(names):
        if name == "pixel":
            # One field of random colours for the batch, shifted per image by its tint.
            foreign = (uniform(1, 3, height, width) + tint).remainder_(1)
        elif name == "blob":
            foreign = tint + 0.15 * noise + 0.1 * grain
        elif name == "patch":
            other = torch.arange(count, device=device) + integers(1, max(count, 2))
            foreign = images[other % count].flip(3)
        elif name == "shade":
            # A quarter to twice the brightness, by the first channel of the tint.
            foreign = images * torch.exp2(3 * tint[:, :1] - 2) + 0.2 * grain
        else:
            assert textures is not None
            foreign = textures[integers(0, len(textures)).to(textures.device)].to(images).flip(3)
        content = torch.where((chosen == position)[:, None, None, None], foreign.to(images.dtype), content)
    mixed = torch.lerp(images, content, opacity.to(images.dtype)).clamp(0, 1)
    if visible > 0:
        mask = mask & ((mixed - images).abs().amax(1, keepdim=True) > visible)
    return torch.where(mask, mixed, images), mask.to(images.dtype)


def _blob_mask(noise: Tensor, blobs: Blobs, uniform: _Uniform) -> Tensor:
    """(N, 1, H, W) bool with at least one pixel set in every image."""
    count, _, height, width = noise.shape
    highest, lowest = noise.amax((2, 3), keepdim=True), noise.amin((2, 3), keepdim=True)
    # The sign is chosen such that the larger extreme is positive: a coarse field may be negative everywhere.
    peak = torch.where(highest > -lowest, highest, lowest)
    cut = uniform(count, 1, 1, 1, low=blobs.threshold[0], high=blobs.threshold[1])
    is_local = uniform(count, 1, 1, 1) < blobs.local_share
    # Noise deforms the rim of a spot.
    spots = _spots(count, height, width, blobs, uniform) + 0.5 * noise - 0.5
    level = torch.where(is_local, spots, noise / peak - cut)
    return level >= level.amax((2, 3), keepdim=True).clamp_max(0)


def _cell_coordinates(length: int, cells: Tensor) -> tuple[Tensor, Tensor]:
    """Position of each pixel within its lattice cell, in [0, 1), and the cell's index: both (N, length)."""
    centre = (torch.arange(length, device=cells.device) + 0.5) / length
    position = centre * cells[:, None]
    cell = position.floor()
    return position - cell, cell.long()


def _fade(t: Tensor) -> Tensor:
    return t * t * t * (t * (t * 6 - 15) + 10)


def _spots(count: int, height: int, width: int, blobs: Blobs, uniform: _Uniform) -> Tensor:
    """(N, 1, H, W): 1 at the centre of the nearest spot, 0 at its rim, negative outside."""
    shorter = min(height, width)
    low, high = (math.log(max(radius * shorter, 1.0)) for radius in blobs.local_radius)
    shape = (count, blobs.local_count, 1, 1)
    # The logarithm of the radius is uniform, so that small spots are as frequent as large ones.
    along, across = uniform(*shape, low=low, high=high).exp(), uniform(*shape, low=low, high=high).exp()
    angle = uniform(*shape, high=math.pi)
    rows, columns = (torch.arange(side, device=along.device) + 0.5 for side in (height, width))
    y, x = rows[:, None] - uniform(*shape, high=height), columns - uniform(*shape, high=width)
    # An image has one to `local_count` spots: absent ones get a large distance.
    absent = (uniform(*shape) < 0.5).float() * 1e3
    absent[:, 0] = 0
    # The rotated ellipse (u / along)^2 + (v / across)^2 = a y^2 + b y x + c x^2 is a matrix product.
    sin, cos = angle.sin(), angle.cos()
    a = (sin / along).square() + (cos / across).square()
    b = 2 * sin * cos * (along**-2 - across**-2)
    c = (cos / along).square() + (sin / across).square()
    of_rows = torch.cat((a * y.square() + absent, b * y, torch.ones_like(y)), dim=3)
    of_columns = torch.cat((torch.ones_like(x), x, c * x.square()), dim=2)
    # In mixed precision the product would be in bfloat16, which has no single pixels.
    with torch.autocast(of_rows.device.type, enabled=False):
        distance = of_rows @ of_columns
    return 1 - distance.amin(1, keepdim=True)


def _source_weights(
    sources: Mapping[NoiseSource, float] | None, textures: Tensor | None, images: Tensor
) -> tuple[Sequence[NoiseSource], list[float]]:
    known: tuple[NoiseSource, ...] = get_args(NoiseSource)
    if sources is None:
        return known[:4], [1.0] * 4
    unknown = set(sources) - set(known)
    if unknown:
        raise ValueError(f"unknown noise source {sorted(unknown)}; known are {', '.join(known)}")
    names = [name for name in known if sources.get(name, 0) > 0]
    if not names or any(weight < 0 for weight in sources.values()):
        raise ValueError(f"noise sources need weights >= 0, one of them positive, not {dict(sources)}")
    if "texture" in names and (
        textures is None or textures.shape[1:] != images.shape[1:] or len(textures) == 0
    ):
        raise ValueError("the source 'texture' needs textures of the images' size")
    return names, [float(sources[name]) for name in names]


class _Uniform(Protocol):
    """Type of the uniform sampler within `perturb`."""

    def __call__(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor: ...
