"""Find images that look unlike the rest: defects among the good parts, or another product.

Each photograph is described by 256 features: brightness, two colour differences and edge strength in a grid
of 8 x 8 cells. Each feature is scaled by its spread over all photographs, and photographs are compared by
Euclidean distance. Two distances are measured per photograph: to its nearest 3 % of all, which reveals single
outliers, and to its nearest quarter, which reveals a whole group of another product. Their logarithms are
compared with the median and the upper quartile, which outliers do not shift if they are fewer than a quarter.

Fewer than 1 % of random photographs are reported, even with heavy-tailed features (covered by a test).
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from roinspect.images.pixels import resize_image

FEWEST = 10
MOST = 4000
"""Maximum number of photographs compared, evenly sampled: memory grows with its square."""

_SIDE, _CELLS = 64, 8
# Minimum spread of brightness, colours (in [0, 1]) and log edge strength: smaller differences do not count.
_FLOOR = np.repeat(np.array([0.02, 0.01, 0.01, 0.1], np.float32), _CELLS * _CELLS)
_CLIP = 30.0
_NEAREST, _GROUP = 0.03, 0.25
_ODD_NEAREST, _ODD_GROUP = 4.0, 6.0
_LEAST_SPREAD = 0.05


def appearance(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Describe a photograph of any size by 256 features.

    Args:
        image: (H, W, 3), uint8, RGB.

    Returns:
        (256,): 64 cells each of brightness in [0, 1], red minus green and blue minus green in [-1, 1], and
        the logarithm of edge strength.
    """
    small = resize_image(image, (_SIDE, _SIDE)).astype(np.float32) / 255
    grey = small.mean(axis=2)
    edges = cv2.magnitude(cv2.Sobel(grey, -1, 1, 0), cv2.Sobel(grey, -1, 0, 1)) / 8
    red, blue = small[..., 0] - small[..., 1], small[..., 2] - small[..., 1]
    cells = [_averaged(layer) for layer in (grey, red, blue)]
    return np.concatenate([*cells, np.log(_averaged(edges) + np.float32(0.005))])


def _averaged(layer: NDArray[Any]) -> NDArray[np.float32]:
    step = _SIDE // _CELLS
    return np.asarray(layer.reshape(_CELLS, step, _CELLS, step).mean(axis=(1, 3)).ravel(), np.float32)


def sampled(count: int, most: int = MOST) -> NDArray[np.intp]:
    """Indices of the photographs to compare: all `count`, or `most` of them, evenly spaced."""
    return np.unique(np.linspace(0, max(count - 1, 0), min(count, most)).round().astype(np.intp))


def unlike(appearances: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which photographs look unlike the rest; none if there are fewer than `FEWEST`.

    Args:
        appearances: (N, 256), rows from `appearance`.

    Returns:
        (N,), True for outliers.
    """
    count = len(appearances)
    if count < FEWEST:
        return np.zeros(count, np.bool_)
    median = np.median(appearances, axis=0)
    spread = 1.4826 * np.median(np.abs(appearances - median), axis=0)
    scaled = np.clip((appearances - median) / np.maximum(spread, _FLOOR), -_CLIP, _CLIP)
    squares = (scaled**2).sum(axis=1)
    distances = np.maximum(squares[:, None] + squares[None] - 2 * scaled @ scaled.T, 0)
    np.fill_diagonal(distances, 0)
    ranks = [max(3, round(share * (count - 1))) for share in (_NEAREST, _GROUP)]
    near, far = np.sqrt(np.partition(distances, sorted(set(ranks)), axis=1)[:, ranks].T)
    return (_oddness(near) > _ODD_NEAREST) | (_oddness(far) > _ODD_GROUP)


def _oddness(distances: NDArray[np.float32]) -> NDArray[np.float32]:
    """Log distances above their median, in units of a robust spread (median to upper quartile)."""
    logs = np.log(distances + np.float32(1e-3))
    median, upper = np.quantile(logs, [0.5, 0.75])
    return np.asarray((logs - median) / max(1.4826 * (upper - median), _LEAST_SPREAD), np.float32)
