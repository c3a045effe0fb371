"""A drawing over an image, and its mask: a pure function of the drawing.

Shapes apply in order; an erasing shape removes what earlier ones marked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from roinspect.data.annotations import polygons
from roinspect.data.annotations.polygons import Polygon, bridged, fits, rasterise, simplified, trace
from roinspect.errors import UserError

Kind: TypeAlias = Literal["polygon", "brush"]
Points: TypeAlias = tuple[tuple[float, float], ...]
Mask: TypeAlias = NDArray[np.uint8]

MOST_POINTS = 400_000
"""Largest number of points in a drawing; traced masks have some ten thousand."""

LEAST_RADIUS = 0.75
"""Smallest brush radius, in pixels: it always covers the centre of a pixel."""

_SEGMENTS_AT_ONCE = 64
_TINY = 1e-9


@dataclass(frozen=True, slots=True)
class Shape:
    """A filled polygon, or the path of a round brush."""

    kind: Kind
    points_xy: Points
    """In pixels from the upper left corner; the first pixel spans 0 to 1."""
    radius: float = 0.0
    """Of the brush, in pixels; 0 for a polygon."""
    erase: bool = False


@dataclass(frozen=True, slots=True)
class Drawing:
    """The drawing over one photograph."""

    size_hw: tuple[int, int]
    """Height and width of the photograph."""
    shapes: tuple[Shape, ...] = ()
    """In drawing order."""
    begun_xy: Points = ()
    """Corners of an unclosed polygon, which marks nothing yet."""

    @property
    def is_blank(self) -> bool:
        """Whether nothing was drawn or begun."""
        return not self.shapes and not self.begun_xy

    def to_json(self) -> dict[str, Any]:
        """Plain values for `read_drawing`."""
        shapes = [
            {"kind": shape.kind, "points": shape.points_xy, "radius": shape.radius, "erase": shape.erase}
            for shape in self.shapes
        ]
        return {"size_hw": self.size_hw, "shapes": shapes, "begun": self.begun_xy}


def read_drawing(value: Any, size_hw: tuple[int, int] | None = None) -> Drawing:
    """A drawing from JSON sent by the browser or read from a file.

    Args:
        value: the format of `Drawing.to_json`.
        size_hw: of the photograph; None uses the drawing's own size.

    Raises:
        UserError: the value is not a drawing, or has too many points.
    """
    try:
        if size_hw is None:
            height, width = map(int, value["size_hw"])
            size_hw = (height, width)
        begun = _points(value.get("begun", ()))
        shapes = tuple(_shape(shape) for shape in value["shapes"])
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        raise UserError("is not a drawing", where="the request", remedy="reload the page") from None
    if len(begun) + sum(len(shape.points_xy) for shape in shapes) > MOST_POINTS:
        remedy = "clear it and draw fewer, larger shapes"
        raise UserError(f"has more than {MOST_POINTS:,} points", where="the drawing", remedy=remedy)
    return Drawing(size_hw, shapes, begun)


def _shape(value: Mapping[str, Any]) -> Shape:
    kind, radius, points = value["kind"], float(value.get("radius", 0)), _points(value["points"])
    if kind not in ("polygon", "brush") or not 0 <= radius <= 1e4 or len(points) < 1:
        raise ValueError(kind)
    return Shape(kind, points, radius, bool(value.get("erase", False)))


def _points(value: Sequence[Sequence[float]]) -> Points:
    points = tuple((float(x), float(y)) for x, y in value)
    if not all(math.isfinite(number) and abs(number) <= 1e5 for point in points for number in point):
        raise ValueError("a point lies outside any photograph")
    return points


def render(drawing: Drawing) -> Mask:
    """The mask of a drawing: the pixels whose centres it covers, same as `polygons.rasterise`.

    Returns:
        (H, W), uint8 in {0, 1}.
    """
    mask = np.zeros(drawing.size_hw, np.uint8)
    for erase, shapes in groupby(drawing.shapes, key=lambda shape: shape.erase):
        marked = _marked(list(shapes), drawing.size_hw)
        mask = mask & (1 - marked) if erase else mask | marked
    return mask


def _marked(shapes: Sequence[Shape], size_hw: tuple[int, int]) -> Mask:
    """The union of shapes, (H, W) in {0, 1}."""
    outlines = tuple(Polygon("", (shape.points_xy,)) for shape in shapes if shape.kind == "polygon")
    marked = rasterise(polygons.ImageShapes("", size_hw, outlines), size_hw)
    brushes = [shape for shape in shapes if shape.kind == "brush"]
    if brushes:
        turns = np.zeros((size_hw[0], size_hw[1] + 1), np.int32)
        for shape in brushes:
            _sweep(np.array(shape.points_xy), max(shape.radius, LEAST_RADIUS), turns)
        marked |= turns.cumsum(axis=1)[:, :-1] > 0
    return marked


def _sweep(path: NDArray[np.float64], radius: float, turns: NDArray[np.int32]) -> None:
    """Add the pixels under a brush to `turns` (H, W + 1): +1 where an interval of a row begins, -1 after it.

    A segment of the path (N, 2) covers one interval of each row. Its ends lie on the circle about the point
    of the segment that reaches furthest to that side: where the segment, shifted by the radius, crosses the
    row, or else the nearer end.
    """
    height, width = turns.shape[0], turns.shape[1] - 1
    segments = np.stack([path[:-1], path[1:]], axis=1) if len(path) > 1 else path[None].repeat(2, axis=1)
    order = np.lexsort((segments[..., 0], segments[..., 1]), axis=-1)
    segments = np.take_along_axis(segments, order[..., None], axis=1)
    for start in range(0, len(segments), _SEGMENTS_AT_ONCE):
        upper, lower = np.moveaxis(segments[start : start + _SEGMENTS_AT_ONCE, :, None], 1, 0)
        (x, y), (across, down) = np.moveaxis(upper, -1, 0), np.moveaxis(lower - upper, -1, 0)
        top, bottom = np.clip([y.min() - radius, (y + down).max() + radius + 1], 0, height).astype(int)
        rows = np.arange(top, bottom) + 0.5 - y
        shift = radius * across / np.maximum(np.hypot(across, down), _TINY)
        ends, is_covered = [], np.ones(rows.shape, bool)
        for side in (-1, 1):
            along = np.clip((rows + side * shift) / np.maximum(down, _TINY), 0, 1)
            half = radius**2 - (rows - along * down) ** 2
            is_covered &= half >= 0
            edge = x + along * across + side * np.sqrt(np.maximum(half, 0))
            ends.append(np.ceil(edge - 0.5).clip(0, width).astype(np.int64))
        row = np.nonzero(is_covered)[1] + top
        for column, turn in zip(ends, (1, -1), strict=True):
            np.add.at(turns, (row, column[is_covered]), turn)


def from_mask(mask: Mask, tolerance: float = 0.0) -> Drawing:
    """The drawing that renders to exactly this mask, or with fewer corners to nearly this mask.

    Args:
        mask: (H, W), non-zero = marked.
        tolerance: by which outlines may move, in pixels.
    """
    height, width = mask.shape
    pieces = trace((mask != 0).astype(np.uint8), "")
    if tolerance:
        pieces = tuple(simplified(piece, tolerance) for piece in pieces)
    return Drawing((height, width), tuple(Shape("polygon", bridged(piece)) for piece in pieces))


def scaled(drawing: Drawing, size_hw: tuple[int, int], *, is_same: bool = False) -> Drawing:
    """The drawing scaled to a photograph with the same aspect ratio.

    Args:
        drawing: the drawing.
        size_hw: height and width of the photograph.
        is_same: whether it is the same photograph, whose aspect ratio may differ by rounding.

    Raises:
        UserError: the aspect ratios differ by `polygons.fits`.
    """
    if drawing.size_hw == size_hw:
        return drawing
    if not is_same and not fits(drawing.size_hw, size_hw):
        raise UserError(
            f"was drawn on {drawing.size_hw[0]}x{drawing.size_hw[1]} pixels (height x width)",
            where=f"the region, on a photograph of {size_hw[0]}x{size_hw[1]}",
            remedy="draw it on that photograph itself",
        )
    down, across = size_hw[0] / drawing.size_hw[0], size_hw[1] / drawing.size_hw[1]

    def moved(points: Points) -> Points:
        return tuple((x * across, y * down) for x, y in points)

    shapes = (replace(s, points_xy=moved(s.points_xy), radius=s.radius * across) for s in drawing.shapes)
    return Drawing(size_hw, tuple(shapes), moved(drawing.begun_xy))
