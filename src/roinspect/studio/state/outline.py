"""Outline a part from one gesture: a box around it, or a point on it."""

from __future__ import annotations

from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from roinspect.data.annotations.polygons import bridged, simplified, trace
from roinspect.errors import UserError
from roinspect.images.pixels import resize_image
from roinspect.studio.state.drawing import Drawing, Mask, Shape, scaled

Image: TypeAlias = NDArray[np.uint8]

LONGEST = 640
"""Pixels of the longer side at which outlines are found."""

ROUNDS = 4
ALIKE = 14.0
"""Difference in each channel of Lab up to which a pixel is like the one that was pressed."""

GAP = 5
"""Gaps up to the box's narrower side over this number are closed, as between the teeth of a zipper."""

LEAST_SHARE = 0.01
"""Pieces that are smaller than this share of the largest are left out, and holes likewise."""

TOLERANCE = 1.2
"""By which corners are saved, in pixels at `LONGEST`."""


def outline(image: Image, points: tuple[tuple[float, float], ...]) -> Drawing:
    """The outline of a part.

    Args:
        image: (H, W, 3), RGB.
        points: two opposite corners (x, y) of a box around the part, for GrabCut (Rother et al. 2004); or one
            point on it, for the connected area of its colour.

    Returns:
        Polygons at the image's size.

    Raises:
        UserError: nothing was found.
    """
    height, width = image.shape[:2]
    factor = min(1.0, LONGEST / max(height, width))
    small_hw = max(8, round(factor * height)), max(8, round(factor * width))
    small = resize_image(image, small_hw)
    places = [(round(x * small_hw[1] / width), round(y * small_hw[0] / height)) for x, y in points]
    mask = _in_box(small, *places) if len(places) == 2 else _alike(small, places[0])
    mask = _without_specks(1 - _without_specks(1 - _without_specks(mask)))
    if not mask.any():
        remedy = "draw the box closer around the part, or mark it by polygon or brush"
        raise UserError("no outline was found", where="this place", remedy=remedy)
    pieces = (simplified(piece, TOLERANCE) for piece in trace(mask, ""))
    shapes = tuple(Shape("polygon", bridged(piece)) for piece in pieces)
    return scaled(Drawing(small_hw, shapes), (height, width), is_same=True)


def _in_box(image: Image, one: tuple[int, int], other: tuple[int, int]) -> Mask:
    """What differs from the surroundings of a box, (H, W) in {0, 1}."""
    height, width = image.shape[:2]
    (left, right), (top, bottom) = sorted((one[0], other[0])), sorted((one[1], other[1]))
    # Something must be left outside, to learn what the surroundings look like.
    left, top, right, bottom = max(left, 1), max(top, 1), min(right, width - 1), min(bottom, height - 1)
    if right - left < 3 or bottom - top < 3:
        return np.zeros((height, width), np.uint8)
    labels = np.zeros((height, width), np.uint8)
    model = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(0)
    box = left, top, right - left, bottom - top
    cv2.grabCut(np.ascontiguousarray(image), labels, box, *model, ROUNDS, cv2.GC_INIT_WITH_RECT)
    found = (labels & 1).astype(np.uint8)
    side = 2 * (min(right - left, bottom - top) // (2 * GAP)) + 1
    # So that the border of the photograph closes nothing.
    padded = cv2.copyMakeBorder(found, side, side, side, side, cv2.BORDER_REPLICATE)
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, np.ones((side, side), np.uint8))
    return closed[side:-side, side:-side].astype(np.uint8)


def _alike(image: Image, place: tuple[int, int]) -> Mask:
    """The connected area of the colour at a point, (H, W) in {0, 1}."""
    height, width = image.shape[:2]
    smooth = cv2.cvtColor(cv2.medianBlur(np.ascontiguousarray(image), 5), cv2.COLOR_RGB2Lab)
    marked = np.zeros((height + 2, width + 2), np.uint8)
    seed = min(max(place[0], 0), width - 1), min(max(place[1], 0), height - 1)
    flags = 4 | cv2.FLOODFILL_MASK_ONLY | cv2.FLOODFILL_FIXED_RANGE | 1 << 8
    alike = (ALIKE,) * 3
    cv2.floodFill(smooth, marked, seed, 0, alike, alike, flags)
    closed = cv2.morphologyEx(marked[1:-1, 1:-1], cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    return closed.astype(np.uint8)


def _without_specks(mask: Mask) -> Mask:
    """A mask (H, W) in {0, 1} without pieces that are much smaller than its largest."""
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    kept: Mask = (areas >= max(1.0, LEAST_SHARE * areas.max())).astype(np.uint8)
    return kept[np.asarray(pieces, np.int32)]
