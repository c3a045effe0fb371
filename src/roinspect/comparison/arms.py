"""Metrics of a trained method as it is, and with its maps multiplied by a region of interest."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from roinspect.comparison.contender import Scored
from roinspect.data.dataset import UNKNOWN_LABEL, DecodedCache
from roinspect.data.roi import is_outside_only
from roinspect.errors import UserError
from roinspect.evaluation.metrics import RoiMetrics

PLAIN, ROI_AT_TEST, ROI_PREDICTED = "plain", "roi-at-test", "roi-predicted"

ROI_PROVIDER = "roibank"
"""The method whose `InspectionGraph.predict_roi` is used for the arm `roi-predicted` of all others."""

ARMS = {
    PLAIN: "is the method as it is",
    ROI_AT_TEST: "multiplies the true region of interest into the map of each test image, whose highest "
    "value is then the score",
    ROI_PREDICTED: f"multiplies in the region that {ROI_PROVIDER}, trained with the same seed, predicts "
    "from the bare image",
}
"""Every arm, with its description."""

PIXEL_MEASURES = ("pixel_", "aupro", "roi_mass")
"""Prefixes of the measures that need maps."""

Rows: TypeAlias = NDArray[np.intp]
ScoresAndMaps: TypeAlias = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Scores (n,) and maps (n, H, W) of some rows."""

_BATCH = 64


def refuse_unknown_arms(arms: tuple[str, ...]) -> None:
    """Raise a UserError for an unknown arm."""
    for arm in arms:
        if arm not in ARMS:
            raise UserError("no such arm", where=f"--arms {arm}", remedy=f"use {', '.join(ARMS)}")


def measure(
    scored: Scored, test: DecodedCache, predicted: NDArray[np.float32] | None = None
) -> dict[str, dict[str, Any]]:
    """Measure every arm.

    Args:
        scored: of the images of `test`, in that order.
        test: the test images' truth and ROIs, at the size of the maps.
        predicted: probability (N, H, W) that a pixel lies inside the ROI, predicted from bare images, if any.

    Returns:
        Arm to measures, see `MetricValues.to_dict`. A method without maps has only the plain arm, with None
        for pixel measures.
    """
    with warnings.catch_warnings():
        # The table shows a dash for undefined measures.
        warnings.simplefilter("ignore", RuntimeWarning)
        scores, maps = scored.pred_score, scored.anomaly_map
        if maps is None:
            empty = np.broadcast_to(np.float32(0), test.roi_masks.shape)
            values = _measured(lambda rows: (scores[rows], empty[rows]), test)
            pixel_measures = {name: None for name in values if name.startswith(PIXEL_MEASURES)}
            return {PLAIN: values | pixel_measures}
        arms = {PLAIN: _measured(lambda rows: (scores[rows], maps[rows]), test)}
        lowest = min(0.0, float(maps.min()))
        for arm, roi in ((ROI_AT_TEST, test.roi_masks), (ROI_PREDICTED, predicted)):
            if roi is not None:
                arms[arm] = _measured(_weighted(maps, roi, lowest), test)
        return arms


def weighted(
    maps: NDArray[np.float32], roi: NDArray[np.uint8] | NDArray[np.float32], lowest: float = 0.0
) -> NDArray[np.float32]:
    """Multiply maps by their ROI relative to `lowest`: roi * (maps - lowest) + lowest.

    Some maps, such as log densities, have negative values. A plain product would raise values outside above
    normal ones inside; here values outside approach the lowest value instead.

    Args:
        maps: (N, H, W).
        roi: (N, H, W), a mask in {0, 1} or a probability in [0, 1].
        lowest: no higher than any value of the method's maps, and at most 0.
    """
    share = roi.astype(np.float32)
    # In this form a mask leaves values inside unchanged, to the last bit.
    return share * maps + (1 - share) * np.float32(lowest)


def _weighted(
    maps: NDArray[np.float32], roi: NDArray[np.uint8] | NDArray[np.float32], lowest: float
) -> Callable[[Rows], ScoresAndMaps]:
    def predictions(rows: Rows) -> ScoresAndMaps:
        products = weighted(maps[rows], roi[rows], lowest)
        return products.max((1, 2)), products

    return predictions


def _measured(predictions: Callable[[Rows], ScoresAndMaps], test: DecodedCache) -> dict[str, Any]:
    metrics = RoiMetrics()
    places = np.array(test.places)
    outside_only = np.array(
        [is_outside_only(*part) for part in zip(test.labels.tolist(), test.places, strict=True)]
    )
    known = np.flatnonzero(test.labels != UNKNOWN_LABEL)
    for first in range(0, len(known), _BATCH):
        rows = known[first : first + _BATCH]
        pred_score, anomaly_map = predictions(rows)
        metrics.update(
            pred_score=pred_score,
            anomaly_map=anomaly_map,
            label=test.labels[rows],
            outside_only=outside_only[rows],
            gt_mask=test.gt_masks[rows],
            roi_mask=test.roi_masks[rows],
            category=[test.records[row].category for row in rows],
            group=[test.records[row].group for row in rows],
            has_gt_mask=places[rows] != "unknown",
        )
    return metrics.compute().to_dict()
