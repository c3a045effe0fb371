"""The measures of a trained method as it is, and with the true ROI multiplied into its maps at test time."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roinspect.data.dataset import UNKNOWN_LABEL, DecodedCache
from roinspect.data.roi import is_outside_only
from roinspect.errors import UserError
from roinspect.evaluation.contender import Scored
from roinspect.evaluation.metrics import RoiMetrics

PLAIN, ROI_AT_TEST, ROI_PREDICTED = "plain", "roi-at-test", "roi-predicted"
ARMS = (PLAIN, ROI_AT_TEST, ROI_PREDICTED)

PIXEL_MEASURES = ("pixel_", "aupro", "roi_mass")
"""Beginnings of the measures that need maps."""

_BATCH = 64


def refuse_arms(arms: tuple[str, ...]) -> None:
    """Raise a UserError for an arm that is unknown or cannot be had."""
    for arm in arms:
        if arm not in ARMS:
            raise UserError("no such arm", where=f"--arms {arm}", remedy=f"use {', '.join(ARMS[:2])}")
        if arm == ROI_PREDICTED:
            raise UserError(
                "needs a model that predicts the region of interest, and none can be trained yet",
                where=f"--arms {arm}",
                remedy=f"use {', '.join(ARMS[:2])}",
            )


def measure(scored: Scored, test: DecodedCache) -> dict[str, dict[str, Any]]:
    """Measure every arm.

    Args:
        scored: of the images of `test`, in that order.
        test: the test images' truth and ROIs, at the size of the maps.

    Returns:
        Arm to measures as `MetricValues.to_dict`. A method without maps has no arm that needs them, and None
        for measures of pixels.
    """
    with warnings.catch_warnings():
        # What cannot be measured is said by a dash in the table.
        warnings.simplefilter("ignore", RuntimeWarning)
        maps = scored.anomaly_map
        if maps is None:
            found = _measured(scored.pred_score, None, test)
            return {PLAIN: {name: None if name.startswith(PIXEL_MEASURES) else found[name] for name in found}}
        masked = in_roi(maps, test.roi_masks)
        return {
            PLAIN: _measured(scored.pred_score, maps, test),
            ROI_AT_TEST: _measured(masked.max((1, 2)), masked, test),
        }


def in_roi(maps: NDArray[np.float32], roi_masks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Maps (N, H, W) times their ROI masks (N, H, W) in {0, 1}.

    Where maps go below zero, as logarithms of densities do, what lies outside gets the lowest value of all.
    """
    lowest = min(0.0, float(maps.min()))
    return np.where(roi_masks > 0, maps, np.float32(lowest))


def _measured(
    scores: NDArray[np.float32], maps: NDArray[np.float32] | None, test: DecodedCache
) -> dict[str, Any]:
    metrics = RoiMetrics()
    places = np.array(test.places)
    outside_only = np.array(
        [is_outside_only(*part) for part in zip(test.labels.tolist(), test.places, strict=True)]
    )
    known = np.flatnonzero(test.labels != UNKNOWN_LABEL)
    for first in range(0, len(known), _BATCH):
        rows = known[first : first + _BATCH]
        metrics.update(
            pred_score=scores[rows],
            anomaly_map=np.zeros(test.roi_masks[rows].shape, np.float32) if maps is None else maps[rows],
            label=test.labels[rows],
            outside_only=outside_only[rows],
            gt_mask=test.gt_masks[rows],
            roi_mask=test.roi_masks[rows],
            category=[test.records[row].category for row in rows],
            group=[test.records[row].group for row in rows],
            has_gt_mask=places[rows] != "unknown",
        )
    return metrics.compute().to_dict()
