"""Images to compare graphs on: synthetic ones at the bundle's size, or photographs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roinspect.images.pixels import read_image, resize_image
from roinspect.inspection.bundle import Bundle
from roinspect.inspection.looks import Looks


def synthetic_images(size_hw: tuple[int, int], count: int = 8) -> Iterator[NDArray[np.uint8]]:
    """Reproducible images (H, W, 3) uint8: plain grey, then brightness gradients with noise.

    The noise is one pixel fine in the first of these, and twice as coarse in each one after it.
    """
    rng = np.random.default_rng(0)
    y, x = (np.linspace(-0.5, 0.5, side) for side in size_hw)
    yield np.full((*size_hw, 3), 128, np.uint8)
    for number in range(1, count):
        down, right = rng.uniform(-0.5, 0.5, (2, 3))
        cells = max(1, min(size_hw) >> (number - 1))
        grain = resize_image(rng.standard_normal((cells, cells, 3)).astype(np.float32), size_hw)
        image = 0.5 + down * y[:, None, None] + right * x[None, :, None] + 0.15 * grain
        yield np.asarray((image * 255).clip(0, 255).round(), np.uint8)


def photographs(paths: Iterable[Path], bundle: Bundle) -> Iterator[NDArray[np.uint8]]:
    """Photographs as input of a bundle's graph, (H, W, 3) uint8 RGB at its size.

    Raises:
        UserError: a photograph cannot be read.
    """
    return (resize_image(read_image(path, bundle.bits), bundle.size_hw) for path in paths)


def tiles(paths: Iterable[Path], looks: Looks) -> Iterator[NDArray[np.uint8]]:
    """Photographs as input of a bundle's graph for tiles: (side, side, 3) uint8 RGB each.

    Raises:
        UserError: a photograph cannot be read.
    """
    for path in paths:
        yield from looks.tiles(read_image(path, looks.bundle.bits))
