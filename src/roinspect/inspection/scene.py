"""Check whether an image shows what the model was trained to inspect, by comparison with good parts.

If the part is missing from the image, the predicted region is empty and the score is low. So every image is
also compared with the good training parts: how large the predicted region is, how many pieces it has, how
certain it is, where it lies, and how far the whole image is from theirs. An image beyond these limits is not
inspectable, and never good.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

ROOM = 0.15
"""Relative margin around the good parts' range, for area and certainty."""
PLACE_ROOM = 0.1
"""Margin around the range of the region's centre, as a share of the image's side."""
NOVELTY_ROOM = 0.25
"""Relative margin above the highest novelty of the good parts."""

INSIDE = 0.5
"""Probability from which a cell belongs to the region."""

_LEAST_AREA = 1e-6
"""Lower bound of the area's limit, so that an empty region is always outside."""
_LEAST_PIECE = 0.1
"""Smaller pieces, relative to the largest, do not count."""


Outcome: TypeAlias = Literal["good", "defective", "not inspectable"]


def outcome(pred_score: float, threshold: float, reason: str | None) -> Outcome:
    """The verdict for a score and a scene.

    A score that reaches the threshold is "defective" whether or not the image is inspectable, as neither
    passes the part. A lower score is good only if the image is inspectable.

    Args:
        pred_score: finite.
        threshold: the score from which a part is rejected.
        reason: why the image is not inspectable; None or "" if it is.

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
        roi_area: share of the image that the predicted region covers, in [0, 1].
        pieces: of the region, without those smaller than a tenth of the largest.
        certainty: mean probability of the region's cells, in [0.5, 1]; 0 without a region.
        place_xy: the region's centre, in [0, 1] from the left and from the top; the image's centre without a
            region.
        novelty: distance of the whole image to the nearest training image, at least 0.
    """

    roi_area: float
    pieces: int
    certainty: float
    place_xy: tuple[float, float]
    novelty: float


@dataclass(frozen=True, slots=True)
class SceneLimits:
    """The range of the good training parts, with a margin; limits are inclusive.

    Attributes:
        roi_area: lowest and highest.
        pieces: fewest and most.
        certainty: lowest.
        place_xyxy: lowest x and y, highest x and y of the region's centre.
        novelty: highest.
        origin: how they were set, in words.
    """

    roi_area: tuple[float, float]
    pieces: tuple[int, int]
    certainty: float
    place_xyxy: tuple[float, float, float, float]
    novelty: float
    origin: str


def measure(roi_map: NDArray[np.floating[Any]], novelty: float) -> Scene:
    """Measure a scene.

    Args:
        roi_map: (h, w) probability of the region of interest; all ones if the whole image is inspected.
        novelty: of the image, from the graph.

    Example:
        >>> roi_map = np.zeros((4, 8))
        >>> roi_map[1:3, :2] = 0.9
        >>> scene = measure(roi_map, 0.3)
        >>> scene.roi_area, scene.pieces, scene.place_xy
        (0.125, 1, (0.125, 0.5))
    """
    inside = (roi_map >= INSIDE).astype(np.uint8)
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
    """The limits from good parts.

    Parts without a predicted region do not affect the limits of the region, as a missed region is an error of
    the model, not a property of the product.

    Args:
        scenes: of good parts; for a part in the memory, the novelty with respect to the other parts.

    Raises:
        ValueError: there are no scenes.

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
        return "the picture's distance to the training images is not a number"
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
            f"the picture looks unlike the training images ({scene.novelty:.2f}, at most "
            f"{limits.novelty:.2f} on good parts)"
        )
    return None
