"""Width of a defect in pixels at the network's input size."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

WIDE_ENOUGH = 5.0
"""Width in pixels below which a defect is easily missed."""

TILE = 256
"""Side of the tiles that are proposed, in pixels."""

SCALES = (0.25, 0.5, 1.0)
"""Scales of the photograph at which tiles are proposed."""

_STEP = 32


def defect_width(
    gt_mask: NDArray[np.uint8], roi_mask: NDArray[np.uint8], size_hw: tuple[int, int] | None = None
) -> float:
    """Width of a photograph's defect: the diameter of the largest disc that fits inside it.

    For a scratch, straight or bent, this is the width of its stroke; for a spot, its smaller extent. Of all
    defects the widest counts, since detecting one is enough to reject the part. A defect counts as a whole if
    any of it lies inside the ROI.

    Args:
        gt_mask: (H, W) in {0, 1}, 1 = defect.
        roi_mask: (H, W) in {0, 1}, 1 = inspect.
        size_hw: height and width that the photograph is resized to; None keeps its own.

    Returns:
        Pixels at `size_hw`, 0 without a defect.

    Example:
        >>> scratch = np.zeros((40, 40), np.uint8)
        >>> scratch[10:14, 2:38] = 1
        >>> (
        ...     defect_width(scratch, np.ones_like(scratch)),
        ...     defect_width(scratch, np.ones_like(scratch), (20, 20)),
        ... )
        (4.0, 2.0)
    """
    if not gt_mask.any():
        return 0.0
    height, width = gt_mask.shape
    down, across = (1.0, 1.0) if size_hw is None else (size_hw[0] / height, size_hw[1] / width)
    _, pieces = cv2.connectedComponents(gt_mask, connectivity=8)
    touching = np.unique(pieces[(roi_mask != 0) & (gt_mask != 0)])
    if not len(touching):
        return 0.0
    marked = np.isin(pieces, touching)
    rows, columns = np.flatnonzero(marked.any(axis=1)), np.flatnonzero(marked.any(axis=0))
    part = marked[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.uint8)
    # If the axes scale by different factors, stretch the one that shrinks less to make pixels square.
    scale = min(down, across)
    stretched = (round(part.shape[1] * across / scale), round(part.shape[0] * down / scale))
    if stretched != (part.shape[1], part.shape[0]):
        part = cv2.resize(part, stretched, interpolation=cv2.INTER_NEAREST).astype(np.uint8)
    # Use a lattice of pixel corners and centres, so that strokes of even and odd width are treated alike. A
    # point is inside if all pixels that meet there are marked; distances to the edge are exact along an axis.
    doubled = np.pad(part.repeat(2, axis=0).repeat(2, axis=1), 1)
    inside = doubled[:-1, :-1] & doubled[1:, :-1] & doubled[:-1, 1:] & doubled[1:, 1:]
    distance = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # The distance to the edge in half-pixels equals the width in pixels.
    return float(distance.max()) * scale


def size_for(width: float, size_hw: tuple[int, int]) -> tuple[int, int]:
    """The input size, rounded up to multiples of 32 pixels, at which a defect would be wide enough.

    Args:
        width: width of the defect at `size_hw`, above 0.
        size_hw: height and width.

    Example:
        >>> size_for(2.5, (256, 320))
        (512, 640)
    """
    factor = max(WIDE_ENOUGH / width, 1.0)
    height, across = (math.ceil(side * factor / _STEP - 1e-9) * _STEP for side in size_hw)
    return height, across


def tile_scale(own_width: float) -> float | None:
    """The smallest scale of the photograph at which a defect is still wide enough; None if there is none.

    Args:
        own_width: width of the defect in pixels of the photograph.

    Example:
        >>> tile_scale(12.0), tile_scale(3.0)
        (0.5, None)
    """
    return next((scale for scale in SCALES if own_width * scale >= WIDE_ENOUGH), None)


def tiled_share(roi_mask: NDArray[np.uint8], scale: float) -> float:
    """Share of a photograph that tiles along its ROI cover: the ROI, widened by half a tile on each side.

    Args:
        roi_mask: (H, W) in {0, 1}, 1 = inspect.
        scale: scale of the photograph, in (0, 1].

    Returns:
        A number in [0, 1], exact to about a hundredth of the photograph's sides.
    """
    # One cell is at most a hundredth of the longer side: a tile is larger than that.
    cell = math.ceil(max(roi_mask.shape) / 100)
    cells_wh = math.ceil(roi_mask.shape[1] / cell), math.ceil(roi_mask.shape[0] / cell)
    coarse = cv2.resize(roi_mask.astype(np.float32), cells_wh, interpolation=cv2.INTER_AREA) > 0
    side = 2 * round(TILE / (2 * scale * cell)) + 1
    return float(cv2.dilate(coarse.astype(np.uint8), np.ones((side, side), np.uint8)).mean())


def tile_cost(tiled_pixels: float, scale: float, size_hw: tuple[int, int]) -> float:
    """Pixels that the network sees per photograph with tiles, as a multiple of one look at `size_hw`.

    Args:
        tiled_pixels: mean number of the photograph's pixels in tiles.
        scale: scale of the photograph, in (0, 1].
        size_hw: height and width of the coarse look at the whole, which comes first.

    Example:
        >>> tile_cost(256 * 1024, 0.5, (256, 256))
        2.0
    """
    return 1 + tiled_pixels * scale**2 / (size_hw[0] * size_hw[1])
