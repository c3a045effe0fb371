"""Example images of a report: a part next to the heatmaps of one or more models."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from roinspect.images.overlay import overlay

SHOWN_SIDES = (384, 640)
"""Images are scaled until their longer side lies in this range, in pixels."""


@dataclass(frozen=True, slots=True)
class ExamplePrediction:
    """One model's prediction for a part. The map may be smaller than the image."""

    anomaly_map: NDArray[Any]
    """(h, w), 0 for normal to 1 for most anomalous."""
    level: float | None
    """Map value from which regions are outlined; None if there are none."""
    pred_score: float
    verdict: str
    """A few words, such as "escape" or "rightly rejected"."""
    reconstruction: NDArray[np.uint8] | None = None
    """(h, w, 3), RGB; None for methods without a reconstruction."""


@dataclass(frozen=True, slots=True)
class Example:
    """One inspected part. Masks may be smaller than the image."""

    caption: str
    image: NDArray[np.uint8]
    """(H, W, 3), RGB."""
    roi_mask: NDArray[Any] | None
    """(h, w), non-zero where the part was inspected; None for everywhere."""
    gt_mask: NDArray[Any] | None
    """(h, w), non-zero on the defects; None where unknown."""
    predictions: Sequence[ExamplePrediction]
    """One per model, in the report's order."""

    @property
    def is_wide(self) -> bool:
        """Whether four images in a row would be too small."""
        return bool(self.image.shape[1] > 1.6 * self.image.shape[0])


def pictures(example: Example, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yields an example's images as (caption, data URI): the part, then each model's prediction.

    Args:
        example: the part.
        names: of the models; with a single model, captions have no name.
    """
    image = _enlarged(example.image)
    outlines = "region and truth" if example.gt_mask is not None else "region"
    yield "photograph", _data_uri(image)
    yield outlines, _data_uri(overlay(image, None, example.roi_mask, example.gt_mask))
    by_models = [f" by {name}" for name in names] if len(names) > 1 else [""]
    for by, prediction in zip(by_models, example.predictions, strict=True):
        inside = heat_inside(prediction.anomaly_map, example.roi_mask)
        share = "no heat" if np.isnan(inside) else f"{100 * inside:.0f} % of the heat inside"
        heat = overlay(image, prediction.anomaly_map, example.roi_mask, level=prediction.level)
        yield f"found{by}, {share}" if by else "found", _data_uri(heat)
    for by, prediction in zip(by_models, example.predictions, strict=True):
        if prediction.reconstruction is not None:
            repaired = cv2.resize(
                prediction.reconstruction, image.shape[1::-1], interpolation=cv2.INTER_CUBIC
            )
            yield f"as repaired{by}", _data_uri(np.asarray(repaired, np.uint8))


def heat_inside(anomaly_map: NDArray[Any], roi_mask: NDArray[Any] | None) -> float:
    """Share of a map's total that lies inside the ROI, in [0, 1]; NaN if the map is empty.

    Args:
        anomaly_map: (h, w); negative values count as zero.
        roi_mask: (H, W) of any size, non-zero inside, averaged over the map's pixels; None for everywhere.

    Example:
        >>> heat_inside(np.array([[1.0, 3.0]]), np.array([[0, 1]]))
        0.75
    """
    heat = np.maximum(np.asarray(anomaly_map, np.float64), 0)
    if not heat.any():
        return float("nan")
    if roi_mask is None:
        return 1.0
    inside = cv2.resize(
        (np.asarray(roi_mask) > 0).astype(np.float32), heat.shape[::-1], interpolation=cv2.INTER_AREA
    )
    return float((heat * inside).sum() / heat.sum())


def _enlarged(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    side = max(image.shape[:2])
    factor = min(max(side, SHOWN_SIDES[0]), SHOWN_SIDES[1]) / side
    size = (max(round(image.shape[1] * factor), 1), max(round(image.shape[0] * factor), 1))
    interpolation = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, size, interpolation=interpolation), np.uint8)


def _data_uri(image: NDArray[np.uint8]) -> str:
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")
