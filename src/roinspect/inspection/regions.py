"""Regions of an anomaly map, as polygons around all pixels above a level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

SHARE = 0.5
"""Share of a heatmap's maximum from which its pixels count as its hottest."""

DENT = 1.0
"""Dents in the outline up to this depth, in pixels of the map, are filled."""


@dataclass(frozen=True, slots=True)
class Region:
    """A connected region of a map, in pixels of an image whose upper left *corner* is (0, 0).

    The pixel in column x and row y is the square from (x, y) to (x + 1, y + 1); a region of this single pixel
    has its four corners as polygon and the area 1.

    Attributes:
        polygon_xy: corners of the outer outline, at least 3. It contains every pixel of the region; holes and
            small dents are filled. All corners lie inside the box or on its edge.
        box_xyxy: left, top, right and bottom of the region's pixels.
        area: number of the region's pixels, without filled holes.
        score: the map's highest value inside.
    """

    polygon_xy: tuple[tuple[float, float], ...]
    box_xyxy: tuple[float, float, float, float]
    area: float
    score: float

    def scaled(self, x_factor: float, y_factor: float) -> Region:
        """The same region in an image scaled by these factors."""
        left, top, right, bottom = self.box_xyxy
        return Region(
            tuple((x * x_factor, y * y_factor) for x, y in self.polygon_xy),
            (left * x_factor, top * y_factor, right * x_factor, bottom * y_factor),
            self.area * x_factor * y_factor,
            self.score,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; coordinates are rounded to a hundredth of a pixel."""
        return {
            "polygon_xy": [[round(x, 2), round(y, 2)] for x, y in self.polygon_xy],
            "box_xyxy": [round(value, 2) for value in self.box_xyxy],
            "area": round(self.area, 2),
            "score": self.score,
        }


def find_regions(anomaly_map: NDArray[Any], level: float, *, min_area: int = 1) -> list[Region]:
    """Regions where a map reaches a level, 8-connected.

    Args:
        anomaly_map: (H, W), higher = more anomalous; NaN reaches no level.
        level: map value from which a pixel belongs to a region.
        min_area: smallest area of a region, in pixels.

    Returns:
        The regions by falling score, and by falling area for equal scores.

    Example:
        >>> spot = np.zeros((4, 6))
        >>> spot[1:3, 2:5] = 0.8
        >>> find_regions(spot, 0.5)[0].box_xyxy
        (2.0, 1.0, 5.0, 3.0)
    """
    # In float64: comparing in float32 would round the level, possibly down.
    marked = anomaly_map >= np.float64(level)
    rows, columns = (np.flatnonzero(marked.any(axis)) for axis in (1, 0))
    if not len(rows):
        return []
    # Maps of large photographs have few such pixels.
    top, left = int(rows[0]), int(columns[0])
    around = np.s_[top : rows[-1] + 1, left : columns[-1] + 1]
    values = anomaly_map[around]
    count, labels, stats, _ = cv2.connectedComponentsWithStats(marked[around].astype(np.uint8))
    regions = []
    for index in range(1, count):
        x, y, width, height, area = stats[index].tolist()
        if area < min_area:
            continue
        box = np.s_[y : y + height, x : x + width]
        pixels = labels[box] == index
        score = float(values[box][pixels].max())
        x, y = left + x, top + y
        polygon = _without_dents(_outline(pixels)) + np.array((x, y))
        regions.append(
            Region(
                tuple((float(px), float(py)) for px, py in polygon.tolist()),
                (float(x), float(y), float(x + width), float(y + height)),
                float(area),
                score,
            )
        )
    return sorted(regions, key=lambda region: (-region.score, -region.area))


def hottest_regions(heatmap: NDArray[Any], share: float = SHARE) -> list[Region]:
    """The polygons around a heatmap's hottest pixels (CEOD 2022, Fig. 1; 2024, Fig. 3 and 6).

    Args:
        heatmap: (H, W), for instance of Grad-CAM; its scale does not matter.
        share: the share of its own maximum that a pixel must reach, in (0, 1].

    Returns:
        See `find_regions`; none for a heatmap without a positive value.

    Raises:
        ValueError: the share is out of range.

    Example:
        >>> heatmap = np.zeros((8, 8))
        >>> heatmap[2:4, 3:6] = 1
        >>> hottest_regions(heatmap)[0].box_xyxy
        (3.0, 2.0, 6.0, 4.0)
    """
    level = hottest_level(heatmap, share)
    return [] if level is None else find_regions(heatmap, level)


def hottest_level(heatmap: NDArray[Any], share: float = SHARE) -> float | None:
    """The value from which a heatmap's pixels count as its hottest; None if no value is positive.

    Raises:
        ValueError: the share is out of range.

    Example:
        >>> hottest_level(np.array([[0.2, 0.8]]))
        0.4
    """
    if not 0 < share <= 1:
        raise ValueError(f"the share of the maximum must lie in (0, 1], not {share}")
    highest = float(heatmap.max(initial=0))
    return share * highest if highest > 0 else None


def _outline(pixels: NDArray[np.bool_]) -> NDArray[np.int32]:
    """The polygon (V, 2) around a connected region, through the corners of its pixels, not their centres."""
    padded = np.pad(pixels, 1)
    corners = padded[:-1, :-1] | padded[1:, :-1] | padded[:-1, 1:] | padded[1:, 1:]
    outlines, _ = cv2.findContours(corners.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return np.asarray(outlines[0][:, 0], np.int32)


def _without_dents(polygon: NDArray[np.int32]) -> NDArray[np.int32]:
    """Remove corners that point inwards by at most `DENT`: the polygon gets simpler and can only grow."""
    turn = -1 if cv2.contourArea(polygon, oriented=True) < 0 else 1
    parity = 0
    while True:
        before, after = np.roll(polygon, 1, axis=0), np.roll(polygon, -1, axis=0)
        (chord_x, chord_y), (x, y) = (after - before).T, (polygon - before).T
        depth = turn * (chord_x * y - chord_y * x) / np.maximum(np.hypot(chord_x, chord_y), 1)
        dents = (depth >= 0) & (depth <= DENT)
        if not dents.any():
            return polygon
        # Neighbours are never removed together, as the depth of each is measured from the other.
        dents[parity::2] = False
        dents[-1] &= not dents[0]
        polygon, parity = polygon[~dents], 1 - parity
