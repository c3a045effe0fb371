"""What a person draws over a photograph, and the mask that it makes: pure, and the same each time.

Shapes are laid on top of each other in order; one that erases takes away what the earlier ones marked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from roinspect.errors import UserError

Kind: TypeAlias = Literal["polygon", "brush"]
Points: TypeAlias = tuple[tuple[float, float], ...]
Mask: TypeAlias = NDArray[np.uint8]

MOST_POINTS = 400_000
"""Points in one drawing: a hand draws a few thousand, a ragged mask that was read in some ten thousand."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A filled polygon, or the path of a round brush.

    Attributes:
        kind: "polygon" or "brush".
        points_xy: in pixels, from the photograph's upper left corner: the first pixel reaches from 0 to 1.
        radius: of the brush, in pixels; 0 for a polygon.
        erase: whether it takes away.
    """

    kind: Kind
    points_xy: Points
    radius: float = 0.0
    erase: bool = False


@dataclass(frozen=True, slots=True)
class Drawing:
    """All that is drawn over one photograph.

    Attributes:
        size_hw: height and width of the photograph.
        shapes: in the order in which they were drawn.
        begun_xy: corners of a polygon that is not closed yet; they mark nothing.
    """

    size_hw: tuple[int, int]
    shapes: tuple[Shape, ...] = ()
    begun_xy: Points = ()

    @property
    def is_blank(self) -> bool:
        """Whether nothing was drawn, not even begun."""
        return not self.shapes and not self.begun_xy

    def to_json(self) -> dict[str, Any]:
        """Plain values, as `read_drawing` takes them."""
        shapes = [
            {"kind": shape.kind, "points": shape.points_xy, "radius": shape.radius, "erase": shape.erase}
            for shape in self.shapes
        ]
        return {"size_hw": self.size_hw, "shapes": shapes, "begun": self.begun_xy}


def read_drawing(value: Any, size_hw: tuple[int, int] | None = None) -> Drawing:
    """A drawing from what a browser sent or a file holds.

    Args:
        value: as `Drawing.to_json`.
        size_hw: of the photograph; None takes the drawing's own.

    Raises:
        UserError: it is no drawing, or too large a one.
    """
    try:
        if size_hw is None:
            height, width = map(int, value["size_hw"])
            size_hw = (height, width)
        begun = _points(value.get("begun", ()))
        shapes = tuple(_shape(one) for one in value["shapes"])
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        raise UserError("is no drawing", where="what was sent", remedy="reload the page") from None
    if len(begun) + sum(len(shape.points_xy) for shape in shapes) > MOST_POINTS:
        raise UserError(
            f"has more than {MOST_POINTS:,} points",
            where="the drawing",
            remedy="clear it and draw fewer, larger shapes",
        )
    return Drawing(size_hw, shapes, begun)


def _shape(value: Mapping[str, Any]) -> Shape:
    kind, radius, points = value["kind"], float(value.get("radius", 0)), _points(value["points"])
    if kind not in ("polygon", "brush") or not 0 <= radius <= 1e4 or len(points) < 1:
        raise ValueError(kind)
    return Shape(kind, points, radius, bool(value.get("erase", False)))


def _points(value: Sequence[Sequence[float]]) -> Points:
    points = tuple((float(x), float(y)) for x, y in value)
    if not all(math.isfinite(number) and abs(number) <= 1e5 for point in points for number in point):
        raise ValueError("a point lies beyond every photograph")
    return points


def render(drawing: Drawing) -> Mask:
    """The mask that a drawing makes.

    Returns:
        (H, W), uint8 in {0, 1}.
    """
    mask = np.zeros(drawing.size_hw, np.uint8)
    for shape in drawing.shapes:
        points = np.floor(np.array(shape.points_xy)).astype(np.int32).reshape(-1, 1, 2)
        value = 0 if shape.erase else 1
        if shape.kind == "polygon":
            cv2.fillPoly(mask, [points], value)
            continue
        thickness = max(1, round(2 * shape.radius))
        if len(points) == 1 or thickness == 1:
            for x, y in points[:, 0].tolist():
                cv2.circle(mask, (x, y), round(shape.radius), value, -1)
        if len(points) > 1:
            cv2.polylines(mask, [points], False, value, thickness)
    return mask


def from_mask(mask: Mask) -> Drawing:
    """The drawing whose mask this is, pixel by pixel: outlines, their holes, what lies in these, and so on.

    Args:
        mask: (H, W), non-zero is marked.
    """
    rest = (mask != 0).astype(np.uint8)
    shapes, erase = list[Shape](), False
    while rest.any():
        outlines, _ = cv2.findContours(rest, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        filled = np.zeros_like(rest)
        for outline in outlines:
            cv2.fillPoly(filled, [outline], 1)
            points = tuple((x + 0.5, y + 0.5) for x, y in outline[:, 0].tolist())
            shapes.append(Shape("polygon", points, erase=erase))
        rest, erase = filled & (1 - rest), not erase
    height, width = mask.shape
    return Drawing((height, width), tuple(shapes))


def scaled(drawing: Drawing, size_hw: tuple[int, int]) -> Drawing:
    """The drawing on a photograph of another size but the same shape.

    Raises:
        UserError: the sides' proportions differ by more than one in a hundred.
    """
    if drawing.size_hw == size_hw:
        return drawing
    down, across = size_hw[0] / drawing.size_hw[0], size_hw[1] / drawing.size_hw[1]
    if not 0.99 <= down / across <= 1.01:
        raise UserError(
            f"was drawn on {drawing.size_hw[0]}x{drawing.size_hw[1]} pixels (height x width)",
            where=f"the region, on a photograph of {size_hw[0]}x{size_hw[1]}",
            remedy="draw it on that photograph itself",
        )

    def moved(points: Points) -> Points:
        return tuple((x * across, y * down) for x, y in points)

    shapes = tuple(
        replace(shape, points_xy=moved(shape.points_xy), radius=shape.radius * across)
        for shape in drawing.shapes
    )
    return Drawing(size_hw, shapes, moved(drawing.begun_xy))
