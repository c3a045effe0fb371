"""Polygons and painted masks of an image as values, and the one rasteriser.

Coordinates are (x, y) in pixels of the annotated image, from its upper left corner: the first pixel reaches
from 0 to 1. A pixel belongs to a polygon where its centre lies inside, by the even-odd rule over all of the
polygon's rings: a ring within a ring is a hole, and where an outline crosses itself, what it goes round twice
is left out. That is what COCO's tools and LabelMe do. Shapes of an image are united.
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
"""Coordinates are kept to a millionth of a pixel, so a trip through percent or fractions changes none."""

_CROSSINGS_AT_ONCE = 1 << 22
_FAR = 1 << 30


@dataclass(frozen=True, slots=True)
class Polygon:
    """An area within outlines.

    Attributes:
        label: what it shows, "" where nobody said.
        rings: closed outlines of at least three points (x, y) each, the first point not repeated.
    """

    label: str
    rings: tuple[Ring, ...]


@dataclass(frozen=True, slots=True)
class Painted:
    """An area painted with a brush.

    Attributes:
        label: what it shows, "" where nobody said.
        counts: run lengths over all of its image, as `rle.encode` gives them.
    """

    label: str
    counts: tuple[int, ...]


Shape: TypeAlias = Polygon | Painted


@dataclass(frozen=True, slots=True)
class ImageShapes:
    """All that is drawn on one image.

    Attributes:
        name: the image as the file calls it: a path with forward slashes, without drive and without `..`.
        size_hw: height and width of the image when it was drawn on. None where the file does not tell: then
            nothing is painted.
        shapes: in the file's order.
        in_pixels: where there is no size, whether coordinates are pixels of the image as it is, rather than
            fractions of its width and height.
    """

    name: str
    size_hw: tuple[int, int] | None
    shapes: tuple[Shape, ...]
    in_pixels: bool = False

    def at_size(self, size_hw: tuple[int, int]) -> ImageShapes:
        """The drawing on an image of a size, where its file told none; else the drawing itself."""
        if self.size_hw is not None:
            return self
        if self.in_pixels:
            return ImageShapes(self.name, size_hw, self.shapes)
        polygons = (shape for shape in self.shapes if isinstance(shape, Polygon))
        return ImageShapes(self.name, size_hw, tuple(scaled(shape, (1, 1), size_hw) for shape in polygons))


@dataclass(frozen=True, slots=True)
class Annotations:
    """What an annotation file or a folder of them holds.

    Attributes:
        images: one drawing an image, each name once.
        passed_over: kinds of shapes that enclose nothing, such as lines, and were left out.
    """

    images: tuple[ImageShapes, ...]
    passed_over: tuple[str, ...] = ()

    @property
    def labels(self) -> list[str]:
        """Every label, sorted."""
        return sorted({shape.label for drawing in self.images for shape in drawing.shapes})


def to_ring(points: Iterable[Sequence[float]], decimals: int = DECIMALS) -> Ring:
    """An outline from points, its coordinates rounded."""
    # Adding zero turns -0.0 into 0.0.
    return tuple((round(x, decimals) + 0.0, round(y, decimals) + 0.0) for x, y in points)


def chosen(drawing: ImageShapes, labels: Collection[str] | None) -> tuple[Shape, ...]:
    """The shapes of some labels; None takes all."""
    return tuple(shape for shape in drawing.shapes if labels is None or shape.label in labels)


def fits(drawn_hw: tuple[int, int], size_hw: tuple[int, int]) -> bool:
    """Whether an image is the drawn one at another scale: their aspects agree to within a pixel of either.

    Example:
        >>> fits((1000, 1333), (3000, 4000)), fits((100, 100), (100, 102))
        (True, False)
    """
    (height, width), (other_height, other_width) = drawn_hw, size_hw
    return abs(width * other_height - other_width * height) <= max(*drawn_hw, *size_hw)


def rasterise(
    drawing: ImageShapes, size_hw: tuple[int, int], labels: Collection[str] | None = None
) -> NDArray[np.uint8]:
    """The pixels of a drawing's shapes.

    What lies outside the image is cut off. A polygon so thin that it holds no pixel's centre marks the pixels
    that its outline runs through, so no small defect is lost.

    Args:
        drawing: what is drawn.
        size_hw: height and width of the image, of which the drawing may have been made at another scale.
        labels: the labels that count; None takes all.

    Returns:
        (H, W), uint8 in {0, 1}.

    Raises:
        ValueError: the drawn image was of another aspect, as `fits` tells.
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
    """The polygon on its image at another size; the polygon itself where the size is the same."""
    if from_hw == to_hw:
        return polygon
    down, across = to_hw[0] / from_hw[0], to_hw[1] / from_hw[1]
    return Polygon(
        polygon.label, tuple(to_ring((x * across, y * down) for x, y in ring) for ring in polygon.rings)
    )


def _fill(rings: Sequence[Ring], marked: NDArray[np.uint8]) -> None:
    """Even-odd filling by the pixels' centres: every edge turns over what lies right of it in each row."""
    height, width = marked.shape
    outlines = [np.asarray(ring, np.float64) for ring in rings]
    ends = np.concatenate([np.stack([outline, np.roll(outline, -1, axis=0)], axis=1) for outline in outlines])
    # From its upper end, whichever way it is drawn: an edge that two polygons share parts the same pixels.
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
        place = column.clip(left, right).astype(np.int64) - left
        np.bitwise_xor.at(turns, (row - top, place), 1)
    filled = np.bitwise_xor.accumulate(turns, axis=1)[:, :-1]
    if filled.any():
        marked[top:bottom, left:right] |= filled
    else:
        lines = [np.floor(outline).clip(-_FAR, _FAR).astype(np.int32) for outline in outlines]
        cv2.polylines(marked, lines, isClosed=True, color=1)


def _crossings(
    ends: NDArray[np.float64], rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Where edges (N, 2, 2), upper end first, cross the middles of their rows.

    Returns:
        The rows, and in each the first column whose middle does not lie left of the edge.
    """
    counts = rows[:, 1] - rows[:, 0]
    edge = np.repeat(np.arange(len(ends)), counts)
    row = np.arange(len(edge)) - np.repeat(counts.cumsum() - counts, counts) + rows[edge, 0]
    (x_upper, y_upper), (x_lower, y_lower) = np.moveaxis(ends[edge], 0, 2)
    down, across, depth = y_lower - y_upper, x_lower - x_upper, row + 0.5 - y_upper
    column = np.ceil(x_upper + depth / down * across - 0.5)
    # The quotient is rounded: a middle on the edge itself could fall to either side. The product is not.
    reach = depth * across
    column -= (column - 0.5 - x_upper) * down >= reach
    column += (column + 0.5 - x_upper) * down < reach
    return row, column


def trace(mask: NDArray[np.uint8], label: str) -> tuple[Polygon, ...]:
    """Polygons along the edges of a mask's pixels, one for each piece: `rasterise` gives the mask back.

    Args:
        mask: (H, W) in {0, 1}.
        label: of every polygon.
    """
    # At twice the size an outline, which OpenCV leads through the centres of border pixels, passes within a
    # quarter of a pixel of the edge, so rounding lays it onto the edge.
    doubled = mask.repeat(2, axis=0).repeat(2, axis=1)
    contours, hierarchy = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    rings = [_corners(np.rint((contour[:, 0] + 0.5) / 2)) for contour in contours]
    pieces: dict[int, list[Ring]] = {}
    for place, ring in enumerate(rings):
        outer = int(hierarchy[0, place, 3])
        pieces.setdefault(place if outer < 0 else outer, []).append(ring)
    return tuple(Polygon(label, tuple(piece)) for _, piece in sorted(pieces.items()))


def _corners(points: NDArray[np.float64]) -> Ring:
    """An outline without the points that lie on a line between their neighbours."""
    points = points[(points != np.roll(points, 1, axis=0)).any(axis=1)]
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    turns = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
    return to_ring(points[turns].tolist())


def simplified(polygon: Polygon, tolerance: float) -> Polygon:
    """The polygon with fewer points: its outlines move by at most `tolerance` pixels.

    A hole or piece that would keep fewer than three points is left as it is.
    """
    rings = []
    for ring in polygon.rings:
        kept = cv2.approxPolyDP(np.asarray(ring, np.float32), tolerance, closed=True)[:, 0]
        rings.append(to_ring(kept.tolist()) if len(kept) >= 3 else ring)
    return Polygon(polygon.label, tuple(rings))


def bridged(polygon: Polygon) -> Ring:
    """All rings as one outline, for formats that know no holes: a cut that leads there leads back as well."""
    first, *others = polygon.rings
    path = list(first)
    for ring in others:
        path += [first[0], *ring, ring[0]]
    return tuple(path)


def ellipse(x: float, y: float, radius_x: float, radius_y: float, degrees: float = 0.0) -> Ring:
    """An ellipse as a polygon that is less than a hundredth of a pixel off, turned clockwise by `degrees`."""
    # A chord of n lies r (1 - cos(pi / n)), about 5 r / n^2, within the circle.
    corners = int(np.clip(np.sqrt(500 * max(radius_x, radius_y, 1)), 16, 4096))
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    points = np.stack([x + radius_x * np.cos(angle), y + radius_y * np.sin(angle)], axis=1)
    return turned(points.tolist(), (x, y), degrees)


def rectangle(x0: float, y0: float, x1: float, y1: float) -> Ring:
    """The outline of an upright rectangle between two opposite corners."""
    return to_ring([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])


def turned(points: Sequence[Sequence[float]], centre: tuple[float, float], degrees: float) -> Ring:
    """Points turned clockwise (as the picture is seen) about a centre."""
    if not degrees:
        return to_ring(points)
    cos, sin = float(np.cos(np.radians(degrees))), float(np.sin(np.radians(degrees)))
    away = [(x - centre[0], y - centre[1]) for x, y in points]
    return to_ring((centre[0] + x * cos - y * sin, centre[1] + x * sin + y * cos) for x, y in away)
