"""Polygons and painted masks of an image, and their rasteriser.

Coordinates are (x, y) in pixels of the annotated image, from its upper left corner: the first pixel spans 0
to 1. A pixel belongs to a polygon if its centre lies inside by the even-odd rule of its rings: a ring inside
a ring is a hole, and areas enclosed twice by a self-crossing outline are left out, as in COCO's tools and
LabelMe. The mask of an image is the union of its shapes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from roinspect.data.annotations import rle
from roinspect.images.pixels import resize_mask

Ring: TypeAlias = tuple[tuple[float, float], ...]
DECIMALS = 6
"""Coordinates are rounded to a millionth of a pixel, so converting to percent and back is exact."""

_CROSSINGS_AT_ONCE = 1 << 22
_FAR = 1 << 30


@dataclass(frozen=True, slots=True)
class Polygon:
    """An area within outlines.

    Attributes:
        label: label of the shape, "" if none.
        rings: closed outlines of at least three points (x, y) each, the first point not repeated.
    """

    label: str
    rings: tuple[Ring, ...]


@dataclass(frozen=True, slots=True)
class Painted:
    """An area painted with a brush.

    Attributes:
        label: label of the shape, "" if none.
        counts: run lengths over the whole image, from `rle.encode`.
    """

    label: str
    counts: tuple[int, ...]


Shape: TypeAlias = Polygon | Painted


@dataclass(frozen=True, slots=True)
class ImageShapes:
    """The shapes drawn on one image.

    Attributes:
        name: the image's name in the file: a path with forward slashes, without drive and without `..`.
        size_hw: height and width of the annotated image. None if not in the file; then no shape is painted.
        shapes: in the file's order.
        in_pixels: without a size, whether coordinates are pixels of the actual image instead of fractions of
            its width and height.
    """

    name: str
    size_hw: tuple[int, int] | None
    shapes: tuple[Shape, ...]
    in_pixels: bool = False

    def at_size(self, size_hw: tuple[int, int]) -> ImageShapes:
        """The drawing with the given image size if it has none, else the drawing itself."""
        if self.size_hw is not None:
            return self
        if self.in_pixels:
            return ImageShapes(self.name, size_hw, self.shapes)
        polygons = (shape for shape in self.shapes if isinstance(shape, Polygon))
        return ImageShapes(self.name, size_hw, tuple(scaled(shape, (1, 1), size_hw) for shape in polygons))


@dataclass(frozen=True, slots=True)
class Annotations:
    """Contents of an annotation file or a folder of them.

    Attributes:
        images: one drawing per image; names are unique.
        passed_over: kinds of shapes that were skipped because they enclose no area, such as lines.
    """

    images: tuple[ImageShapes, ...]
    passed_over: tuple[str, ...] = ()

    @property
    def labels(self) -> list[str]:
        """Every label, sorted."""
        return sorted({shape.label for drawing in self.images for shape in drawing.shapes})


def to_ring(points: Iterable[Sequence[float]], decimals: int = DECIMALS) -> Ring:
    """An outline from points, with rounded coordinates."""
    # Adding zero turns -0.0 into 0.0.
    return tuple((round(x, decimals) + 0.0, round(y, decimals) + 0.0) for x, y in points)


def chosen(drawing: ImageShapes, labels: Collection[str] | None) -> tuple[Shape, ...]:
    """The shapes with one of the labels; None takes all."""
    return tuple(shape for shape in drawing.shapes if labels is None or shape.label in labels)


def fits(drawn_hw: tuple[int, int], size_hw: tuple[int, int]) -> bool:
    """Whether an image is the annotated one at another scale: aspect ratios agree to within a pixel.

    Example:
        >>> fits((1000, 1333), (3000, 4000)), fits((100, 100), (100, 102))
        (True, False)
    """
    (height, width), (other_height, other_width) = drawn_hw, size_hw
    return abs(width * other_height - other_width * height) <= max(*drawn_hw, *size_hw)


def rasterise(
    drawing: ImageShapes, size_hw: tuple[int, int], labels: Collection[str] | None = None
) -> NDArray[np.uint8]:
    """Rasterise the shapes of a drawing.

    Shapes are clipped to the image. A polygon so thin that it contains no pixel centre marks the pixels along
    its outline, so no small defect is lost.

    Args:
        drawing: the drawing.
        size_hw: height and width of the image; the drawing may have been made at another scale.
        labels: labels to include; None takes all.

    Returns:
        (H, W), uint8 in {0, 1}.

    Raises:
        ValueError: the annotated image had a different aspect ratio (see `fits`).
    """
    drawing = drawing.at_size(size_hw)
    drawn_hw = drawing.size_hw or size_hw
    if not fits(drawn_hw, size_hw):
        raise ValueError(f"drawn at {drawn_hw}, which is of another aspect than {size_hw}")
    marked = np.zeros(size_hw, np.uint8)
    painted = None
    for shape in chosen(drawing, labels):
        if isinstance(shape, Painted):
            mask = rle.decode(shape.counts, drawn_hw)
            painted = mask if painted is None else painted | mask
        else:
            _fill(scaled(shape, drawn_hw, size_hw).rings, marked)
    return marked if painted is None else marked | resize_mask(painted, size_hw)


def scaled(polygon: Polygon, from_hw: tuple[int, int], to_hw: tuple[int, int]) -> Polygon:
    """The polygon on its image at another size; the polygon itself if the sizes are equal."""
    if from_hw == to_hw:
        return polygon
    down, across = to_hw[0] / from_hw[0], to_hw[1] / from_hw[1]
    return Polygon(
        polygon.label, tuple(to_ring((x * across, y * down) for x, y in ring) for ring in polygon.rings)
    )


def _fill(rings: Sequence[Ring], marked: NDArray[np.uint8]) -> None:
    """Even-odd fill by pixel centres: in each row every edge inverts the pixels to its right."""
    height, width = marked.shape
    outlines = [np.asarray(ring, np.float64) for ring in rings]
    ends = np.concatenate([np.stack([outline, np.roll(outline, -1, axis=0)], axis=1) for outline in outlines])
    # Orient every edge from its upper end, so an edge shared by two polygons splits the pixels identically.
    order = np.lexsort((ends[..., 0], ends[..., 1]), axis=-1)
    ends = np.take_along_axis(ends, order[..., None], axis=1)
    rows = np.ceil(ends[..., 1] - 0.5).clip(0, height).astype(np.int64)
    top, bottom = int(rows.min()), int(rows.max())
    left = int(np.clip(np.floor(ends[..., 0].min()) - 1, 0, width))
    right = int(np.clip(np.ceil(ends[..., 0].max()) + 1, left, width))
    turns = np.zeros((bottom - top, right - left + 1), np.uint8)
    at_once = max(1, _CROSSINGS_AT_ONCE // height)
    for start in range(0, len(ends), at_once):
        row, column = _crossings(ends[start : start + at_once], rows[start : start + at_once])
        offset = column.clip(left, right).astype(np.int64) - left
        np.bitwise_xor.at(turns, (row - top, offset), 1)
    filled = np.bitwise_xor.accumulate(turns, axis=1)[:, :-1]
    if filled.any():
        marked[top:bottom, left:right] |= filled
    else:
        lines = [np.floor(outline).clip(-_FAR, _FAR).astype(np.int32) for outline in outlines]
        cv2.polylines(marked, lines, isClosed=True, color=1)


def _crossings(
    ends: NDArray[np.float64], rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Where edges (N, 2, 2), upper end first, cross the centre lines of their rows.

    Returns:
        The rows, and in each the first column whose centre is not left of the edge.
    """
    counts = rows[:, 1] - rows[:, 0]
    edge = np.repeat(np.arange(len(ends)), counts)
    row = np.arange(len(edge)) - np.repeat(counts.cumsum() - counts, counts) + rows[edge, 0]
    (x_upper, y_upper), (x_lower, y_lower) = np.moveaxis(ends[edge], 0, 2)
    down, across, depth = y_lower - y_upper, x_lower - x_upper, row + 0.5 - y_upper
    column = np.ceil(x_upper + depth / down * across - 0.5)
    # The quotient is rounded, so a centre on the edge could fall on either side; the product is exact.
    reach = depth * across
    column -= (column - 0.5 - x_upper) * down >= reach
    column += (column + 0.5 - x_upper) * down < reach
    return row, column


def trace(mask: NDArray[np.uint8], label: str) -> tuple[Polygon, ...]:
    """Polygons along the pixel edges of a mask, one per connected piece; `rasterise` restores the mask.

    Args:
        mask: (H, W) in {0, 1}.
        label: label of every polygon.
    """
    # OpenCV's outlines run through the centres of border pixels. At twice the size these are within a quarter
    # of a pixel of the edge, so rounding moves them onto it.
    doubled = mask.repeat(2, axis=0).repeat(2, axis=1)
    contours, hierarchy = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    rings = [_corners(np.rint((contour[:, 0] + 0.5) / 2)) for contour in contours]
    pieces: dict[int, list[Ring]] = {}
    for index, ring in enumerate(rings):
        outer = int(hierarchy[0, index, 3])
        pieces.setdefault(index if outer < 0 else outer, []).append(ring)
    return tuple(Polygon(label, tuple(piece)) for _, piece in sorted(pieces.items()))


def _corners(points: NDArray[np.float64]) -> Ring:
    """An outline without points on a straight line between their neighbours."""
    points = points[(points != np.roll(points, 1, axis=0)).any(axis=1)]
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    turns = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
    return to_ring(points[turns].tolist())


def simplified(polygon: Polygon, tolerance: float) -> Polygon:
    """The polygon with fewer points; its outlines move by at most `tolerance` pixels.

    Rings that would be left with fewer than three points stay unchanged.
    """
    rings = []
    for ring in polygon.rings:
        fewer = cv2.approxPolyDP(np.asarray(ring, np.float32), tolerance, closed=True)[:, 0]
        rings.append(to_ring(fewer.tolist()) if len(fewer) >= 3 else ring)
    return Polygon(polygon.label, tuple(rings))


def bridged(polygon: Polygon) -> Ring:
    """All rings as one outline, for formats without holes; each ring is joined by a cut there and back."""
    first, *others = polygon.rings
    path = list(first)
    for ring in others:
        path += [first[0], *ring, ring[0]]
    return tuple(path)


def ellipse(x: float, y: float, radius_x: float, radius_y: float, degrees: float = 0.0) -> Ring:
    """An ellipse as a polygon accurate to a hundredth of a pixel, rotated clockwise by `degrees`."""
    # With n corners the chords deviate from the circle by r (1 - cos(pi / n)), about 5 r / n^2.
    corners = int(np.clip(np.sqrt(500 * max(radius_x, radius_y, 1)), 16, 4096))
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    points = np.stack([x + radius_x * np.cos(angle), y + radius_y * np.sin(angle)], axis=1)
    return turned(points.tolist(), (x, y), degrees)


def rectangle(x0: float, y0: float, x1: float, y1: float) -> Ring:
    """The outline of an axis-aligned rectangle between two opposite corners."""
    return to_ring([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])


def turned(points: Sequence[Sequence[float]], centre: tuple[float, float], degrees: float) -> Ring:
    """Points rotated clockwise (as seen in the image) about a centre."""
    if not degrees:
        return to_ring(points)
    cos, sin = float(np.cos(np.radians(degrees))), float(np.sin(np.radians(degrees)))
    offsets = [(x - centre[0], y - centre[1]) for x, y in points]
    return to_ring((centre[0] + x * cos - y * sin, centre[1] + x * sin + y * cos) for x, y in offsets)
