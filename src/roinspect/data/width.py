"""Width of a defect in pixels at the network's input size."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

WIDE_ENOUGH = 5.0
"""Width in pixels below which a defect is easily missed."""

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
