"""Run a trained segmenter: from images to ROI masks. An exported graph needs no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from roinspect.errors import UserError
from roinspect.images.pixels import read_image, resize_image, resize_mask
from roinspect.inspection.threads import in_threads
from roinspect.segmenter.segmenter_bundle import segmenter_digest


@dataclass(frozen=True, slots=True)
class FoundRegion:
    """The result for one photograph. There is no mask if `error` is set.

    Attributes:
        image_path: the photograph.
        image: (H, W, 3) uint8 RGB, as decoded; None if it cannot be read.
        mask: (H, W) uint8 in {0, 1}, 1 = inspect.
        confidence: in [0, 1], see `confidence`; 0 with an error.
        error: why there is no mask, in one line; otherwise "".
    """

    image_path: Path
    image: NDArray[np.uint8] | None
    mask: NDArray[np.uint8] | None
    confidence: float
    error: str = ""


class RegionFinder:
    """Predicts regions of interest with a segmenter bundle.

    Args:
        bundle: folder written by `roinspect train segmenter`.

    Attributes:
        digest: see `segmenter_digest`.
        least_confidence: masks below this confidence should be reviewed.
        bits: see `SegmenterBundle`.

    Raises:
        UserError: the bundle is missing or damaged, or not of a segmenter.
    """

    def __init__(self, bundle: Path) -> None:
        # Imported here because torch is not needed to look up cached masks.
        from roinspect.segmenter.segmenter import load_segmenter, probabilities

        self.digest = segmenter_digest(bundle)
        manifest, graph = load_segmenter(bundle)
        self.least_confidence, self.bits = manifest.least_confidence, manifest.bits
        self._size_hw = manifest.size_hw
        self._predict = partial(probabilities, graph)
        self._smallest_part = float(manifest.method_settings["smallest_part"])
        self._largest_hole = float(manifest.method_settings["largest_hole"])

    def find(self, images: Sequence[Path]) -> Iterator[FoundRegion]:
        """Predict the region of each photograph, in order; failures are reported in `error`."""
        images_or_errors = in_threads(self._decoded, images, workers=2, ahead=4)
        for path, image in zip(images, images_or_errors, strict=True):
            try:
                yield self._found(path, image)
            except (UserError, MemoryError, cv2.error) as error:
                yield FoundRegion(path, None, None, 0.0, _why(path, error))

    def _decoded(self, path: Path) -> NDArray[np.uint8] | Exception:
        try:
            return read_image(path, self.bits)
        except (UserError, MemoryError, cv2.error) as error:
            return error

    def _found(self, path: Path, image: NDArray[np.uint8] | Exception) -> FoundRegion:
        if isinstance(image, Exception):
            raise image
        small = self._predict(resize_image(image, self._size_hw)[None])[0]
        large = resize_image(small, (image.shape[0], image.shape[1]))
        mask = cleaned(large >= 0.5, self._smallest_part, self._largest_hole)
        if not mask.any():
            return FoundRegion(path, image, None, 0.0, "the segmenter finds no region in it")
        # At the network's input size, as predictions have no finer detail.
        certainty = confidence(resize_image(large, self._size_hw), resize_mask(mask, self._size_hw))
        return FoundRegion(path, image, mask, certainty)


def _why(path: Path, error: Exception) -> str:
    if isinstance(error, UserError):
        return str(error)
    return str(UserError("does not fit into the memory that is left", where=path, remedy="save it smaller"))


def confidence(probability: NDArray[np.floating[Any]], mask: NDArray[np.uint8]) -> float:
    """Confidence in a mask: the mean of |2p - 1| over the pixels near the mask's border.

    These lie within `border_reach` pixels of the border, along rows and columns. If the mask fills the image
    and has no border, the mean is over all pixels.

    Args:
        probability: p (H, W) in [0, 1].
        mask: (H, W) in {0, 1}.

    Returns:
        In [0, 1]: 1 if p is 0 or 1 at each of these pixels, 0 for an empty mask.

    Example:
        >>> round(
        ...     confidence(np.array([[1.0, 1.0, 0.75, 0.0, 0.0]]), np.array([[1, 1, 1, 0, 0]], np.uint8)), 3
        ... )
        0.75
    """
    if not mask.any():
        return 0.0
    reach = border_reach((mask.shape[0], mask.shape[1]))
    square = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    near = cv2.dilate(mask, square) != cv2.erode(mask, square)
    certainty = np.abs(2 * np.asarray(probability, np.float64) - 1)
    return float(certainty[near].mean() if near.any() else certainty.mean())


def border_reach(size_hw: tuple[int, int]) -> int:
    """Distance in pixels that counts as near a border: 1/40 of the longer side, at least 1."""
    return max(1, round(max(size_hw) / 40))


def cleaned(mask: NDArray[np.bool_], smallest_part: float, largest_hole: float) -> NDArray[np.uint8]:
    """Fill small holes, then drop small parts.

    Args:
        mask: (H, W).
        smallest_part: parts smaller than this share of the largest part are dropped, in [0, 1].
        largest_hole: holes up to this share of the whole region are filled, in [0, 1]. A hole does not touch
            the image border.

    Returns:
        (H, W) uint8 in {0, 1}.
    """
    region = mask.astype(np.uint8)
    if largest_hole > 0:
        count, labels, stats, _ = cv2.connectedComponentsWithStats(1 - region, connectivity=4)
        height, width = region.shape
        left, top = stats[:, cv2.CC_STAT_LEFT], stats[:, cv2.CC_STAT_TOP]
        right, bottom = left + stats[:, cv2.CC_STAT_WIDTH], top + stats[:, cv2.CC_STAT_HEIGHT]
        inside = (left > 0) & (top > 0) & (right < width) & (bottom < height)
        is_hole = inside & (stats[:, cv2.CC_STAT_AREA] <= largest_hole * max(int(region.sum()), 1))
        # Label 0 is the region itself.
        is_hole[0] = False
        region = np.asarray(region | is_hole[labels], np.uint8) if count > 1 else region
    if smallest_part > 0:
        count, labels, stats, _ = cv2.connectedComponentsWithStats(region, connectivity=8)
        if count > 2:
            areas = stats[:, cv2.CC_STAT_AREA].astype(np.float64)
            areas[0] = 0
            region = np.asarray((areas >= smallest_part * areas.max())[labels] & (labels > 0), np.uint8)
    return region
