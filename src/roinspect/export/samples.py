"""Images to compare graphs on: made up at the bundle's size, or photographs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roinspect.images.pixels import read_image, resize_image
from roinspect.inspection.bundle import Bundle


def made_up_images(size_hw: tuple[int, int], count: int = 8) -> Iterator[NDArray[np.uint8]]:
    """Different images (H, W, 3) uint8, always the same ones: plain grey, then slopes of light under noise.

    The noise is as fine as the pixels in the first and coarser by half in each one after it.
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
    """Photographs as the graph of a bundle sees them, (H, W, 3) uint8 RGB at its size.

    Raises:
        UserError: one cannot be read.
    """
    return (resize_image(read_image(path, bundle.bits), bundle.size_hw) for path in paths)
