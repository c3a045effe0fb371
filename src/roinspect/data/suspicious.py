"""Find good photographs that do not belong to the others, by features of a pretrained backbone.

Up to `MOST` photographs are compared at 192 x 192 pixels, by cells of 16 x 16 pixels inside the ROI. No model
is trained.

*Another product*: the mean features of the photographs, joined by their minimum spanning tree. If its longest
edge that leaves at least three photographs on either side is far longer than all others, it joins two
products. Positions, orientations and drifts of one product are joined by many edges of similar length.

*A defect*: the cells of each photograph that are farthest from those of all other photographs (PatchCore's
distance, leaving the photograph itself out). The logarithm of this distance is compared with its median and
upper quartile over all photographs, which a few defects do not shift.

Both limits were chosen on seven data sets, see `benchmarks/suspicious.py`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

FEWEST = 20
"""Fewer photographs are not compared."""
MOST = 300
"""Maximum number of photographs compared, evenly sampled."""
SIDE = 192
"""Pixels of the side to which they are resized."""

_STRIDES = (8, 16)
_AT_ONCE, _CELLS_AT_ONCE = 8, 4096
_MEMORY = 4000
"""Cells that the others are compared with, a random sample."""
_SHRINKAGE = 0.1
_FARTHEST = 3
"""Cells of a photograph that count."""
_ODD, _LEAST_SPREAD = 4.8, 0.03
_LEAST_PRODUCT = 3
_GAP, _NEXT_GAP = 2.05, 1.8
"""Least ratio of the longest edge to the 98 % quantile of all others, and to the next longest."""


def backbone_at_hand() -> str | None:
    """The backbone to compare with, if torch and its weights are on this machine; nothing is downloaded."""
    if any(importlib.util.find_spec(name) is None for name in ("torch", "timm")):
        return None
    from roinspect.nn.backbone import at_hand

    return at_hand()


def features_of(
    images: Sequence[NDArray[np.uint8]], roi_masks: Sequence[NDArray[np.uint8]], backbone: str
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Features of every cell, and which cells lie in the ROI.

    Args:
        images: N of shape (192, 192, 3), uint8, RGB.
        roi_masks: N of shape (192, 192), in {0, 1}.
        backbone: see `backbone_at_hand`.

    Returns:
        (N, 12, 12, C) and (N, 12, 12); if the ROI fills no cell by half, the cell with most of it is inside.
    """
    import torch
    import torch.nn.functional as F

    from roinspect.nn.backbone import Backbone, load_pretrained

    network = Backbone(backbone, _STRIDES).eval()
    load_pretrained(network)
    blocks = list[NDArray[np.float32]]()
    for first in range(0, len(images), _AT_ONCE):
        batch = torch.from_numpy(np.stack(images[first : first + _AT_ONCE])).permute(0, 3, 1, 2).float() / 255
        with torch.inference_mode():
            fine, coarse = network.levels(batch)
            blocks.append(torch.cat((F.avg_pool2d(fine, 2), coarse), 1).permute(0, 2, 3, 1).numpy())
    features = np.concatenate(blocks)
    size = features.shape[2], features.shape[1]
    shares = np.stack(
        [cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) for mask in roi_masks]
    )
    return features, (shares >= 0.5) | (shares == shares.max(axis=(1, 2), keepdims=True))


def other_product(features: NDArray[np.float32], inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The photographs (N,) of the rarer of two products; none if they all show one.

    Args:
        features: (N, h, w, C) of every cell.
        inside: (N, h, w), at least one cell of every photograph.
    """
    count = len(features)
    none = np.zeros(count, np.bool_)
    if count < FEWEST:
        return none
    weight = inside[..., None] / inside.sum(axis=(1, 2))[:, None, None, None]
    mean = (features * weight).sum(axis=(1, 2))
    # Within photographs, as the spread between them grows with a second product.
    variance = ((features - mean[:, None, None]) ** 2 * weight).sum(axis=(0, 1, 2)) / count
    scaled = mean / np.sqrt(variance + 0.1 * variance.mean() + 1e-12)
    scaled /= np.linalg.norm(scaled, axis=1, keepdims=True) + 1e-12
    lengths, parents, order = _spanning_tree(scaled.astype(np.float64))
    below = np.ones(count, np.intp)
    for node in order[:0:-1]:
        below[parents[node]] += below[node]
    smaller = np.minimum(below, count - below)
    splits = np.flatnonzero((smaller >= _LEAST_PRODUCT) & (np.arange(count) != order[0]))
    if not len(splits):
        return none
    longest = splits[np.argmax(lengths[splits])]
    others = np.delete(lengths, [longest, order[0]])
    next_longest = max((lengths[split] for split in splits if split != longest), default=0.0)
    if lengths[longest] <= max(_GAP * np.quantile(others, 0.98), _NEXT_GAP * next_longest, 1e-6):
        return none
    rarer = none.copy()
    rarer[longest] = True
    for node in order[1:]:
        rarer[node] |= rarer[parents[node]]
    return rarer if rarer.sum() * 2 <= count else ~rarer


def odd_ones(features: NDArray[np.float32], inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The photographs (N,) with cells unlike those of all others; arguments as for `other_product`."""
    count = len(features)
    if count < FEWEST:
        return np.zeros(count, np.bool_)
    owners = np.repeat(np.arange(count), inside.sum(axis=(1, 2)))
    cells = features[inside]
    cells = (cells - cells.mean(axis=0)) / (cells.std(axis=0) + 1e-6)
    values, directions = np.linalg.eigh(cells.T @ cells / len(cells))
    spread = (1 - _SHRINKAGE) * np.maximum(values, 0) + _SHRINKAGE * max(float(values.mean()), 1e-6)
    cells = cells @ (directions / np.sqrt(spread)).astype(np.float32)
    picked = np.random.default_rng(0).permutation(len(cells))[:_MEMORY]
    memory, squares = cells[picked], (cells[picked] ** 2).sum(axis=1)
    nearest = np.empty(len(cells), np.float32)
    for first in range(0, len(cells), _CELLS_AT_ONCE):
        block = slice(first, first + _CELLS_AT_ONCE)
        distances = squares - 2 * cells[block] @ memory.T
        distances[owners[block, None] == owners[picked]] = np.inf
        nearest[block] = distances.min(axis=1) + (cells[block] ** 2).sum(axis=1)
    nearest = np.sqrt(np.maximum(nearest, 0))
    order = np.lexsort((-nearest, owners))
    rank = np.arange(len(order)) - np.searchsorted(owners, owners)[order]
    top = order[rank < _FARTHEST]
    scores = np.bincount(owners[top], nearest[top], count) / np.bincount(owners[top], minlength=count)
    return oddness(scores) > _ODD


def oddness(scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """Logarithms of scores (N,) > 0 above their median, in robust standard deviations.

    The deviation is taken from the median to the upper quartile, so that it is not shifted by a few outliers.
    """
    logs = np.log(np.asarray(scores, np.float64) + 1e-6)
    median, upper = np.quantile(logs, [0.5, 0.75])
    return np.asarray((logs - median) / max(1.4826 * (upper - median), _LEAST_SPREAD))


def _spanning_tree(
    points: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.intp], NDArray[np.intp]]:
    """Prim's minimum spanning tree of points (N, D): each one's edge, parent, and the order of joining."""
    count = len(points)
    squares = (points**2).sum(axis=1)
    lengths, parents = np.full(count, np.inf), np.zeros(count, np.intp)
    order, is_open, node = np.zeros(count, np.intp), np.ones(count, np.bool_), 0
    for step in range(count):
        order[step], is_open[node] = node, False
        distances = np.sqrt(np.maximum(squares + squares[node] - 2 * points @ points[node], 0))
        nearer = (distances < lengths) & is_open
        lengths[nearer], parents[nearer] = distances[nearer], node
        node = int(np.argmin(np.where(is_open, lengths, np.inf)))
    return lengths, parents, order
