"""Find images that look unlike the rest: defects among the good parts, or another product.

Every photograph becomes 256 numbers: brightness, two colour differences and the strength of edges in a grid
of 8 x 8. How far two photographs lie apart is the distance of these, each in units of its spread over all.
Two questions are asked of every photograph: how far is it to its nearest neighbours (3 % of all), and how far
until a quarter of all is reached? The first tells a single odd one, the second a whole group of another
product. The logarithms of these distances are compared with the spread of the upper half's middle, which odd
ones, if they are fewer than a quarter, do not move.

Of photographs made up at random fewer than 1 % are named, with heavy tails as well (a test shows it).
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from roinspect.images.pixels import resize_image

FEWEST = 10
MOST = 4000
"""So many photographs are compared, evenly spaced, where there are more: memory grows with their square."""

_SIDE, _CELLS = 64, 8
# Brightness and colour in [0, 1], edges as logarithms: what differs by less is never unlike.
_FLOOR = np.repeat(np.array([0.02, 0.01, 0.01, 0.1], np.float32), _CELLS * _CELLS)
_CLIP = 30.0
_NEAREST, _GROUP = 0.03, 0.25
_ODD_NEAREST, _ODD_GROUP = 4.0, 6.0
_LEAST_SPREAD = 0.05


def appearance(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What a photograph looks like in 256 numbers, whatever its size.

    Args:
        image: (H, W, 3), uint8, RGB.

    Returns:
        (256,): 64 cells of brightness, red less green and blue less green in [0, 1] or [-1, 1], and the
        logarithm of the strength of edges.
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


def sampled(count: int) -> NDArray[np.intp]:
    """Which of so many photographs are compared: all, or `MOST` of them, evenly spaced."""
    return np.unique(np.linspace(0, max(count - 1, 0), min(count, MOST)).round().astype(np.intp))


def unlike(appearances: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which photographs look unlike the rest; none where there are fewer than `FEWEST`.

    Args:
        appearances: (N, 256), as `appearance` gives them.

    Returns:
        (N,).
    """
    count = len(appearances)
    if count < FEWEST:
        return np.zeros(count, np.bool_)
    middle = np.median(appearances, axis=0)
    spread = 1.4826 * np.median(np.abs(appearances - middle), axis=0)
    scaled = np.clip((appearances - middle) / np.maximum(spread, _FLOOR), -_CLIP, _CLIP)
    squares = (scaled**2).sum(axis=1)
    apart = np.maximum(squares[:, None] + squares[None] - 2 * scaled @ scaled.T, 0)
    np.fill_diagonal(apart, 0)
    places = [max(3, round(share * (count - 1))) for share in (_NEAREST, _GROUP)]
    near, far = np.sqrt(np.partition(apart, sorted(set(places)), axis=1)[:, places].T)
    return (_oddness(near) > _ODD_NEAREST) | (_oddness(far) > _ODD_GROUP)


def _oddness(distances: NDArray[np.float32]) -> NDArray[np.float32]:
    """How many spreads of the middle half each distance lies above the median, as logarithms."""
    logs = np.log(distances + np.float32(1e-3))
    middle, upper = np.quantile(logs, [0.5, 0.75])
    return np.asarray((logs - middle) / max(1.4826 * (upper - middle), _LEAST_SPREAD), np.float32)
