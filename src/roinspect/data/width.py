"""Width of a defect in pixels at the network's input size."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

WIDE_ENOUGH = 5.0
"""Pixels across; a defect narrower than that is easily missed."""

_STEP = 32


def defect_width(
    gt_mask: NDArray[np.uint8], roi_mask: NDArray[np.uint8], size_hw: tuple[int, int] | None = None
) -> float:
    """How wide a photograph's defect is: the diameter of the widest disc that fits into it.

    So a scratch is as wide as its stroke, straight or bent, and a spot as its smaller extent. Of several
    defects the widest counts: seen, it rejects the part. A defect counts whole where any of it lies inside
    the ROI.

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
    kept = np.isin(pieces, touching)
    rows, columns = np.flatnonzero(kept.any(axis=1)), np.flatnonzero(kept.any(axis=0))
    part = kept[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.uint8)
    # Where both sides shrink by other factors, the lesser one is stretched until pixels are square again.
    scale = min(down, across)
    stretched = (round(part.shape[1] * across / scale), round(part.shape[0] * down / scale))
    if stretched != (part.shape[1], part.shape[0]):
        part = cv2.resize(part, stretched, interpolation=cv2.INTER_NEAREST).astype(np.uint8)
    # On a lattice of pixels' corners and middles, which parts strokes of even and odd width alike: a point is
    # inside where all that meets there is marked, and its distance to the edge is exact along an axis.
    doubled = np.pad(part.repeat(2, axis=0).repeat(2, axis=1), 1)
    inside = doubled[:-1, :-1] & doubled[1:, :-1] & doubled[:-1, 1:] & doubled[1:, 1:]
    distance = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # Half-pixels to the edge are pixels across.
    return float(distance.max()) * scale


def size_for(width: float, size_hw: tuple[int, int]) -> tuple[int, int]:
    """The size of the same aspect, in steps of 32 pixels, at which a defect would be wide enough.

    Args:
        width: of the defect at `size_hw`, above 0.
        size_hw: height and width.

    Example:
        >>> size_for(2.5, (256, 320))
        (512, 640)
    """
    factor = max(WIDE_ENOUGH / width, 1.0)
    height, across = (math.ceil(side * factor / _STEP - 1e-9) * _STEP for side in size_hw)
    return height, across
