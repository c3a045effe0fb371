"""Metrics inside the region of interest, accumulated batch by batch.

Image-level measures are exact. Pixel-level measures come from histograms of bounded size (64 MB), each with a
bound on its error. Only a score, a label and two names are kept per image, about 100 bytes, so 230,000 maps
of any size take a few tens of megabytes.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roinspect.errors import UserError
from roinspect.evaluation import curves
from roinspect.evaluation.breakdown import breakdown
from roinspect.evaluation.histogram import PixelCounts, PixelHistogram
from roinspect.evaluation.intervals import RECALL, find_intervals
from roinspect.evaluation.values import MetricValues

PRO_LIMITS = (0.3, 0.05)
"""False-positive rates of pixels up to which AUPRO is measured."""


class RoiMetrics:
    """Collects predictions batch by batch and measures them inside the ROI.

    Example:
        >>> metrics = RoiMetrics()
        >>> truth = np.zeros((2, 8, 8), np.uint8)
        >>> truth[1, 2:4, 2:4] = 1
        >>> metrics.update(
        ...     pred_score=np.array([0.1, 0.9]),
        ...     anomaly_map=truth.astype(np.float32),
        ...     label=np.array([0, 1]),
        ...     outside_only=np.array([False, False]),
        ...     gt_mask=truth,
        ...     roi_mask=np.ones_like(truth),
        ...     category=["good", "scratch"],
        ... )
        >>> metrics.compute(threshold=0.5).pixel_auroc
        1.0
    """

    def __init__(self) -> None:
        self._scores: list[NDArray[np.float64]] = []
        self._labels: list[NDArray[np.bool_]] = []
        self._outside_only: list[NDArray[np.bool_]] = []
        self._categories: list[str] = []
        self._groups: list[str] = []
        self._histogram = PixelHistogram()

    def update(
        self,
        pred_score: NDArray[Any],
        anomaly_map: NDArray[Any],
        label: NDArray[Any],
        outside_only: NDArray[Any],
        gt_mask: NDArray[Any],
        roi_mask: NDArray[Any],
        category: Sequence[str],
        *,
        group: Sequence[str] | None = None,
        has_gt_mask: NDArray[Any] | None = None,
    ) -> None:
        """Adds a batch.

        Args:
            pred_score: (N,), higher means more anomalous.
            anomaly_map: (N, H, W), higher means more anomalous.
            label: (N,) in {0, 1}: 1 where a defect lies inside the ROI.
            outside_only: (N,) true where a defect lies outside the ROI only; these have label 0.
            gt_mask: (N, H, W) in {0, 1}.
            roi_mask: (N, H, W) in {0, 1}.
            category: N names, for the breakdown.
            group: N group names of near-duplicates, "" for none, for the confidence intervals and the
                breakdown. None treats all parts as independent.
            has_gt_mask: (N,) false where the truth is unknown; such an image counts at image level, but not
                at pixel level. True by default.

        Raises:
            UserError: a score or a map holds NaN or infinity.
            ValueError: shapes do not match.
        """
        count = len(pred_score)
        maps = np.ascontiguousarray(anomaly_map, np.float32)
        if maps.ndim != 3 or not maps.shape == gt_mask.shape == roi_mask.shape:
            raise ValueError(
                f"maps {maps.shape}, truth {gt_mask.shape} and ROI {roi_mask.shape} must be one (N, H, W)"
            )
        group = [""] * count if group is None else group
        if {len(maps), len(label), len(outside_only), len(category), len(group)} != {count}:
            raise ValueError(f"scores, maps, labels and names of a batch of {count} differ in number")
        scores = np.asarray(pred_score, np.float64)
        # min and max propagate NaN without a temporary array.
        if count and not np.isfinite([scores.min(), scores.max(), maps.min(), maps.max()]).all():
            raise UserError(
                "the model answered NaN or infinity",
                where="pred_score" if not np.isfinite(scores).all() else "anomaly_map",
                remedy="train again with a lower learning rate, or in float32",
            )
        self._scores.append(scores)
        self._labels.append(np.asarray(label).astype(bool))
        self._outside_only.append(np.asarray(outside_only).astype(bool))
        self._categories.extend(category)
        self._groups.extend(group)
        known = np.ones(count, bool) if has_gt_mask is None else np.asarray(has_gt_mask).astype(bool)
        for one_map, truth, roi, is_known in zip(
            maps, np.asarray(gt_mask) > 0, np.asarray(roi_mask) > 0, known, strict=True
        ):
            self._histogram.add(one_map, truth if is_known else None, roi)

    def compute(self, threshold: float | None = None) -> MetricValues:
        """Measures everything gathered so far.

        Args:
            threshold: `pred_score` at or above which a part is rejected; None leaves the counts out.

        Returns:
            The values; NaN, with a warning, where only one class is present or where parts are too few for a
            confidence interval.
        """
        scores = np.concatenate([np.zeros(0), *self._scores])
        label = np.concatenate([np.zeros(0, bool), *self._labels])
        outside = np.concatenate([np.zeros(0, bool), *self._outside_only]) & ~label
        good = ~label & ~outside
        _, defective_counts, other_counts = curves.tally(scores, label)
        _warn_of_one_class("image-level measures", "parts", defective_counts, other_counts)
        positive, negative, _, _ = self._histogram.counts()
        _warn_of_one_class("pixel-level measures", "pixels inside the ROI", positive, negative)
        measures: dict[str, Callable[[PixelCounts], curves.Estimate]] = {
            "pixel_auroc": lambda counts: curves.auroc(counts.positive, counts.negative, counts.tied),
            "pixel_ap": lambda counts: curves.average_precision(
                counts.positive, counts.negative, counts.tied
            ),
            "pixel_f1_max": lambda counts: curves.f1_max(counts.positive, counts.negative, counts.tied),
            "aupro": partial(_area_under_pro, limit=PRO_LIMITS[0]),
            "aupro_005": partial(_area_under_pro, limit=PRO_LIMITS[1]),
        }
        pixel_values = dict[str, float]()
        for name, measure in measures.items():
            pixel_values[name], pixel_values[f"{name}_error"] = self._histogram.estimate(measure)
        at_recall = curves.threshold_at_recall(scores[label], RECALL)

        def alarms(which: NDArray[np.bool_]) -> int | None:
            return None if threshold is None else int((scores[which] >= threshold).sum())

        caught = alarms(label)
        return MetricValues(
            defective_parts=int(label.sum()),
            good_parts=int(good.sum()),
            outside_only_parts=int(outside.sum()),
            image_auroc=curves.auroc(defective_counts, other_counts).value,
            image_ap=curves.average_precision(defective_counts, other_counts).value,
            image_f1_max=curves.f1_max(defective_counts, other_counts).value,
            **pixel_values,
            recall95_threshold=at_recall,
            outside_alarm_rate_at_recall95=_alarm_rate(scores[outside], at_recall),
            good_alarm_rate_at_recall95=_alarm_rate(scores[good], at_recall),
            roi_mass=self._histogram.mass_inside(),
            threshold=threshold,
            escapes=None if caught is None else int(label.sum()) - caught,
            good_rejects=alarms(good),
            outside_alarms=alarms(outside),
            intervals=find_intervals(scores, label, outside, self._groups, threshold),
            categories=breakdown(self._categories, scores, label, threshold),
            groups=breakdown(self._groups, scores, label, threshold) if any(self._groups) else (),
        )

    def pro_curve(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The per-region overlap curve inside the ROI, see `curves.pro_curve`; empty if undefined."""
        _, negative, overlap, _ = self._histogram.counts()
        if not negative.any() or not overlap.any():
            return np.zeros(0), np.zeros(0)
        return curves.pro_curve(overlap, negative)


def _area_under_pro(counts: PixelCounts, limit: float) -> curves.Estimate:
    return curves.area_under_pro(counts.overlap, counts.negative, limit, counts.tied)


def _alarm_rate(scores: NDArray[np.float64], threshold: float) -> float:
    if not len(scores) or math.isnan(threshold):
        return math.nan
    return float((scores >= threshold).mean())


def _warn_of_one_class(what: str, unit: str, positive: NDArray[Any], negative: NDArray[Any]) -> None:
    missing = [name for name, counts in (("defective", positive), ("good", negative)) if not counts.any()]
    if missing:
        message = f"{what} are undefined (NaN): no {' and no '.join(missing)} {unit}"
        warnings.warn(message, RuntimeWarning, stacklevel=3)
