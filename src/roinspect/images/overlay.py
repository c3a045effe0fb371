"""Draw a verdict over its image: the inspected region, the heat and the regions found."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

ROI_COLOUR = (255, 255, 255)
TRUTH_COLOUR = (0, 229, 255)
FOUND_COLOUR = (255, 214, 0)
STRONGEST = 0.85
"""Opacity of the hottest heat: the photograph still shows through."""


def overlay(
    image: Image,
    anomaly_map: NDArray[Any] | None,
    roi_mask: NDArray[Any] | None = None,
    gt_mask: NDArray[Any] | None = None,
    *,
    level: float | None = None,
) -> Image:
    """Lays heat and outlines over a photograph: ROI white, truth cyan, found regions yellow.

    Heat is drawn in a perceptually uniform colour map (inferno) and grows more opaque with its value, so what
    is normal stays a photograph.

    Args:
        image: (H, W, 3), RGB.
        anomaly_map: (h, w), 0 for normal; None draws outlines alone. Hottest is 1, for maps of probabilities,
            or twice the level where that lies beyond 1, for maps of distances.
        roi_mask: (h, w), non-zero where it was looked at; None, or the whole image, draws no outline.
        gt_mask: (h, w), non-zero on the defects; None where unknown.
        level: map value from which a region is outlined as found; None outlines none.

    Returns:
        (H, W, 3), RGB. Maps and masks of another size are scaled to the image's.
    """
    height, width = image.shape[:2]
    drawn = np.ascontiguousarray(image)
    if anomaly_map is not None:
        heat = cv2.resize(anomaly_map.astype(np.float32), (width, height))
        shown = np.clip(heat / _hottest(anomaly_map, level), 0, 1)
        colours = cv2.applyColorMap((shown * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
        opacity = (STRONGEST * shown)[..., None]
        drawn = (drawn * (1 - opacity) + colours * opacity).round().astype(np.uint8)
        if level is not None:
            drawn = outline(drawn, heat >= level, FOUND_COLOUR)
    if gt_mask is not None:
        drawn = outline(drawn, gt_mask, TRUTH_COLOUR)
    if roi_mask is not None and not np.all(roi_mask):
        drawn = outline(drawn, roi_mask, ROI_COLOUR)
    return drawn


def _hottest(anomaly_map: NDArray[Any], level: float | None) -> float:
    if level is None:
        return max(1.0, float(anomaly_map.max()))
    return 2 * level if level > 1 else 1.0


def outline(image: Image, mask: NDArray[Any], colour: tuple[int, int, int]) -> Image:
    """Draws the border of a mask, with a dark halo so that it shows on any ground.

    Args:
        image: (H, W, 3), RGB; left as it is.
        mask: (h, w), non-zero inside; scaled to the image's size.
        colour: RGB in [0, 255].

    Returns:
        (H, W, 3), a new image.
    """
    height, width = image.shape[:2]
    # Scaled as a surface and cut at one half, a coarse mask gets a smooth border instead of steps.
    surface = cv2.resize((np.asarray(mask) > 0).astype(np.float32), (width, height))
    inside = (surface >= 0.5).astype(np.uint8)
    borders, _ = cv2.findContours(inside, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    thickness = max(1, round(max(height, width) / 250))
    drawn = image.copy()
    cv2.drawContours(drawn, borders, -1, (20, 20, 20), thickness + 2)
    cv2.drawContours(drawn, borders, -1, colour, thickness)
    return drawn


def grey_map(anomaly_map: NDArray[Any]) -> tuple[NDArray[np.uint16], float]:
    """An anomaly map as a 16-bit grey picture, and the factor that leads back: ``map = grey * factor``.

    The factor is 1 / 65535 for every map within [0, 1], so that such pictures can be compared; a map that
    goes beyond is scaled to its own maximum. Values below zero become zero.

    Args:
        anomaly_map: (H, W), finite.

    Returns:
        (H, W) uint16, and the factor.
    """
    factor = max(1.0, float(anomaly_map.max())) / 65535
    return (np.maximum(anomaly_map, 0) / factor).round().astype(np.uint16), factor
