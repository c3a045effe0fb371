"""Draw a verdict over its image: the ROI, the heat map and the detected regions."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

ROI_COLOUR = (255, 255, 255)
TRUTH_COLOUR = (0, 229, 255)
FOUND_COLOUR = (255, 214, 0)
_STRIP = 256
"""Rows that are coloured at once."""
STRONGEST = 0.85
"""Opacity of the highest heat; below 1, so that the photograph shows through."""


def overlay(
    image: Image,
    anomaly_map: NDArray[Any] | None,
    roi_mask: NDArray[Any] | None = None,
    gt_mask: NDArray[Any] | None = None,
    *,
    level: float | None = None,
) -> Image:
    """Draw heat and outlines over a photograph: ROI white, ground truth cyan, detected regions yellow.

    Heat uses a perceptually uniform colour map (inferno). Its opacity rises with its value, with a level from
    half of it on, so that a good part looks like its photograph.

    Args:
        image: (H, W, 3), RGB.
        anomaly_map: (h, w), 0 for normal; None draws only outlines. The hottest colour is at twice the level;
            without a level at 1, or at the highest value above it.
        roi_mask: (h, w), non-zero where inspected; None or a mask of the whole image draws no outline.
        gt_mask: (h, w), non-zero on the defects; None if unknown.
        level: map value from which regions are outlined as detected; None outlines none.

    Returns:
        (H, W, 3), RGB. Maps and masks of another size are scaled to the image's size.
    """
    drawn = np.array(image, order="C")
    if anomaly_map is not None:
        heat = _of_size(anomaly_map.astype(np.float32, copy=False), drawn)
        hottest = max(1.0, float(anomaly_map.max())) if level is None else 2 * max(level, 1e-6)
        coldest = 0.0 if level is None else hottest / 4
        # In strips: colours and opacity of a whole photograph would take twenty times its memory.
        for top in range(0, len(drawn), _STRIP):
            strip = np.s_[top : top + _STRIP]
            drawn[strip] = _blended(drawn[strip], heat[strip], coldest, hottest)
        if level is not None:
            _draw_outline(drawn, heat >= level, FOUND_COLOUR)
    if gt_mask is not None:
        _draw_outline(drawn, gt_mask, TRUTH_COLOUR)
    if roi_mask is not None and not np.all(roi_mask):
        _draw_outline(drawn, roi_mask, ROI_COLOUR)
    return drawn


def _of_size(values: NDArray[np.float32], image: Image) -> NDArray[np.float32]:
    """A map (h, w) at the size of an image; the input itself if it already has that."""
    height, width = image.shape[:2]
    return values if values.shape == (height, width) else np.asarray(cv2.resize(values, (width, height)))


def _blended(image: Image, heat: NDArray[np.float32], coldest: float, hottest: float) -> Image:
    shown = np.clip(heat / hottest, 0, 1)
    colours = cv2.applyColorMap((shown * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    opacity = (STRONGEST * np.clip((heat - coldest) / (hottest - coldest), 0, 1))[..., None]
    return np.asarray((image * (1 - opacity) + colours * opacity).round(), np.uint8)


def outline(image: Image, mask: NDArray[Any], colour: tuple[int, int, int]) -> Image:
    """Draw the border of a mask, with a dark halo for contrast on any background.

    Args:
        image: (H, W, 3), RGB; not modified.
        mask: (h, w), non-zero inside; scaled to the image's size.
        colour: RGB in [0, 255].

    Returns:
        (H, W, 3), a new image.
    """
    drawn = image.copy()
    _draw_outline(drawn, mask, colour)
    return drawn


def _draw_outline(image: Image, mask: NDArray[Any], colour: tuple[int, int, int]) -> None:
    inside = (np.asarray(mask) > 0).astype(np.uint8)
    if inside.shape != image.shape[:2]:
        # Interpolating and thresholding at one half gives a coarse mask a smooth border instead of steps.
        inside = (_of_size(inside.astype(np.float32), image) >= 0.5).astype(np.uint8)
    borders, _ = cv2.findContours(inside, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    thickness = max(1, round(max(image.shape[:2]) / 250))
    cv2.drawContours(image, borders, -1, (20, 20, 20), thickness + 2)
    cv2.drawContours(image, borders, -1, colour, thickness)


def grey_map(anomaly_map: NDArray[Any]) -> tuple[NDArray[np.uint16], float]:
    """An anomaly map as a 16-bit grey image, and the factor to convert it back: ``map = grey * factor``.

    The factor is 1 / 65535 for every map within [0, 1], so that such images are comparable; a map with higher
    values is scaled to its own maximum. Negative values become zero.

    Args:
        anomaly_map: (H, W), finite.

    Returns:
        (H, W) uint16, and the factor.
    """
    factor = max(1.0, float(anomaly_map.max())) / 65535
    return (np.maximum(anomaly_map, 0) / factor).round().astype(np.uint16), factor
