"""Check whether an image shows what the model was trained to inspect, by comparison with good parts.

A score says how strange a part looks where it matters. Where the part is not there, nothing looks strange:
the predicted region is empty and the score is low. So every picture is also held against the good parts of
the training: how large the predicted region is, of how many pieces, how certain, where it lies, and how far
the whole picture is from theirs. A picture beyond these limits is not inspectable, and never good.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

ROOM = 0.15
"""Share by which a picture may lie beyond the range of the good parts, in area and certainty."""
PLACE_ROOM = 0.1
"""Share of a side by which the region's middle may lie beyond their range."""
NOVELTY_ROOM = 0.25
"""Share by which a picture may look stranger than the strangest of them."""

_INSIDE = 0.5
_LEAST_AREA = 1e-6
"""The lowest limit of the region's area: an empty region is never within, whatever the good parts showed."""
_LEAST_PIECE = 0.1
"""Share of the largest piece from which a piece counts."""


Outcome: TypeAlias = Literal["good", "defective", "not inspectable"]


def outcome(pred_score: float, threshold: float, reason: str | None) -> Outcome:
    """The one rule from a score and a scene to an answer.

    A score that reaches the threshold is "defective", whatever the picture shows: either answer keeps the
    part from passing. What scores lower is good only where the picture is inspectable.

    Args:
        pred_score: finite.
        threshold: the score from which on a part is rejected.
        reason: why the picture is not inspectable; None or "" where it is.

    Example:
        >>> outcome(0.1, 0.5, "no region of interest was found")
        'not inspectable'
    """
    if pred_score >= threshold:
        return "defective"
    return "not inspectable" if reason else "good"


@dataclass(frozen=True, slots=True)
class Scene:
    """What an image shows, as far as the model can tell.

    Attributes:
        roi_area: share of the picture that the predicted region covers, in [0, 1].
        pieces: of the region; those of less than a tenth of the largest do not count.
        certainty: mean probability of the region's cells, in [0.5, 1]; 0 where there is none.
        place_xy: the region's middle, each in [0, 1] from the left and from the top; the picture's middle
            where there is none.
        novelty: distance of the whole picture to the nearest of the training's, at least 0.
    """

    roi_area: float
    pieces: int
    certainty: float
    place_xy: tuple[float, float]
    novelty: float


@dataclass(frozen=True, slots=True)
class SceneLimits:
    """The range that good parts of the training span, with some room; a value on a limit is within.

    Attributes:
        roi_area: lowest and highest.
        pieces: fewest and most.
        certainty: lowest.
        place_xyxy: lowest x and y, highest x and y of the region's middle.
        novelty: highest.
        origin: in words, for people.
    """

    roi_area: tuple[float, float]
    pieces: tuple[int, int]
    certainty: float
    place_xyxy: tuple[float, float, float, float]
    novelty: float
    origin: str

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> SceneLimits:
        """From the plain values that JSON kept."""
        plain: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        return cls(**plain)


def measure(roi_map: NDArray[np.floating[Any]], novelty: float) -> Scene:
    """Measure a scene.

    Args:
        roi_map: (h, w) probability of the region of interest; all ones where the whole picture is inspected.
        novelty: of the picture, as the graph gives it.

    Example:
        >>> roi_map = np.zeros((4, 8))
        >>> roi_map[1:3, :2] = 0.9
        >>> scene = measure(roi_map, 0.3)
        >>> scene.roi_area, scene.pieces, scene.place_xy
        (0.125, 1, (0.125, 0.5))
    """
    inside = (roi_map >= _INSIDE).astype(np.uint8)
    count = int(inside.sum())
    if not count:
        return Scene(0.0, 0, 0.0, (0.5, 0.5), float(novelty))
    areas = cv2.connectedComponentsWithStats(inside)[2][1:, cv2.CC_STAT_AREA]
    rows, columns = np.nonzero(inside)
    height, width = roi_map.shape
    return Scene(
        roi_area=count / inside.size,
        pieces=int((areas >= _LEAST_PIECE * areas.max()).sum()),
        certainty=float(roi_map[inside > 0].mean()),
        place_xy=((float(columns.mean()) + 0.5) / width, (float(rows.mean()) + 0.5) / height),
        novelty=float(novelty),
    )


def limits_of(scenes: Sequence[Scene]) -> SceneLimits:
    """The limits that good parts set.

    Parts on which no region was found set none for it: not to find the region is a fault of the model, no
    property of the product.

    Args:
        scenes: of good parts; the novelty of one that is remembered must be that among the others.

    Raises:
        ValueError: there are none.

    Example:
        >>> limits = limits_of([Scene(0.2, 1, 0.9, (0.5, 0.5), 1.0), Scene(0.3, 1, 0.8, (0.4, 0.5), 2.0)])
        >>> limits.pieces, round(limits.certainty, 2), limits.novelty
        ((1, 1), 0.68, 2.5)
    """
    if not scenes:
        raise ValueError("limits need at least one good part")
    seen = [scene for scene in scenes if scene.roi_area > 0] or scenes
    areas, pieces = [scene.roi_area for scene in seen], [scene.pieces for scene in seen]
    x, y = ([scene.place_xy[axis] for scene in seen] for axis in (0, 1))
    return SceneLimits(
        roi_area=(max((1 - ROOM) * min(areas), _LEAST_AREA), (1 + ROOM) * max(areas)),
        pieces=(min(pieces), max(pieces)),
        certainty=(1 - ROOM) * min(scene.certainty for scene in seen),
        place_xyxy=(min(x) - PLACE_ROOM, min(y) - PLACE_ROOM, max(x) + PLACE_ROOM, max(y) + PLACE_ROOM),
        novelty=(1 + NOVELTY_ROOM) * max(scene.novelty for scene in scenes),
        origin=f"the range of {len(scenes)} good parts, with room",
    )


def fault_of(scene: Scene, limits: SceneLimits) -> str | None:
    """Why an image is not inspectable, in words; None if it is.

    Example:
        >>> limits = limits_of([Scene(0.2, 1, 0.9, (0.5, 0.5), 1.0)])
        >>> fault_of(Scene(0.0, 0, 0.0, (0.5, 0.5), 0.5), limits)
        'no region of interest was found'
    """
    low, high = limits.roi_area
    fewest, most = limits.pieces
    x, y = scene.place_xy
    left, top, right, bottom = limits.place_xyxy
    if not math.isfinite(scene.novelty):
        return "the picture's distance to those of the training is no number"
    if scene.roi_area == 0:
        return "no region of interest was found"
    if not low <= scene.roi_area <= high:
        return f"the region covers {scene.roi_area:.1%} of the picture, {low:.1%} to {high:.1%} on good parts"
    if not fewest <= scene.pieces <= most:
        usual = f"{fewest}" if fewest == most else f"{fewest} to {most}"
        return f"the region has {scene.pieces} pieces, {usual} on good parts"
    if scene.certainty < limits.certainty:
        return (
            f"the region is uncertain ({scene.certainty:.2f}, at least {limits.certainty:.2f} on good parts)"
        )
    if not (left <= x <= right and top <= y <= bottom):
        return f"the region lies elsewhere (its middle at {x:.0%} from the left and {y:.0%} from the top)"
    if scene.novelty > limits.novelty:
        return (
            f"the picture looks unlike those of the training ({scene.novelty:.2f}, at most "
            f"{limits.novelty:.2f} on good parts)"
        )
    return None
