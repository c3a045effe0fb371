"""Measures that count only what lies inside the region of interest, one batch at a time.

Image-level measures are exact. Pixel-level measures come from a histogram of fixed size, each with a bound
on its distance to the exact value.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roinspect.errors import UserError
from roinspect.evaluation import curves
from roinspect.evaluation.histogram import PixelHistogram

RECALL = 0.95
"""Share of the defective parts that must be caught where alarm rates are compared."""

PRO_LIMIT = 0.3


@dataclasses.dataclass(frozen=True, slots=True)
class CategoryValues:
    """What became of the parts of one category (for instance one kind of defect)."""

    name: str
    parts: int
    mean_score: float
    alarms: int | None
    """Parts at or above the threshold; None where no threshold was given."""


@dataclasses.dataclass(frozen=True, slots=True)
class MetricValues:
    """What was measured. Rates lie in [0, 1]; NaN means that the data cannot answer.

    *Defective* parts have a defect inside the ROI, *outside-only* parts have one only outside it, *good*
    parts have none. Outside-only parts count as negatives everywhere; an alarm on them is a false reject.
    """

    defective_parts: int
    good_parts: int
    outside_only_parts: int
    image_auroc: float
    image_ap: float
    image_f1_max: float
    pixel_auroc: float
    pixel_auroc_error: float
    pixel_ap: float
    pixel_ap_error: float
    pixel_f1_max: float
    pixel_f1_max_error: float
    aupro: float
    """Area under the per-region overlap curve up to a false-positive rate of 0.3."""
    aupro_error: float
    recall95_threshold: float
    """Highest threshold that still catches 95 % of the defective parts."""
    outside_alarm_rate_at_recall95: float
    good_alarm_rate_at_recall95: float
    roi_mass: float
    """Share of the anomaly maps' total that lies inside the ROI; negative values count as zero."""
    threshold: float | None
    escapes: int | None
    """Defective parts below the threshold; this and the next two are None where no threshold was given."""
    good_rejects: int | None
    outside_alarms: int | None
    categories: tuple[CategoryValues, ...]

    @property
    def caught(self) -> int | None:
        """Defective parts at or above the threshold."""
        return None if self.escapes is None else self.defective_parts - self.escapes

    @property
    def false_rejects(self) -> int | None:
        """Good and outside-only parts at or above the threshold."""
        if self.good_rejects is None or self.outside_alarms is None:
            return None
        return self.good_rejects + self.outside_alarms

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON; NaN, which JSON does not know, becomes None."""

        def plain(value: Any) -> Any:
            return None if isinstance(value, float) and math.isnan(value) else value

        values = {name: plain(value) for name, value in dataclasses.asdict(self).items()}
        values["categories"] = [
            {name: plain(value) for name, value in dataclasses.asdict(category).items()}
            for category in self.categories
        ]
        return values | {"caught": self.caught, "false_rejects": self.false_rejects}


class RoiMetrics:
    """Gathers predictions batch by batch and measures them inside the ROI.

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
            has_gt_mask: (N,) false where the truth is unknown: such an image counts at image level and not at
                pixel level. Known everywhere by default.

        Raises:
            UserError: a score or a map holds NaN or infinity.
            ValueError: shapes do not fit together.
        """
        count = len(pred_score)
        maps = np.ascontiguousarray(anomaly_map, np.float32)
        if maps.ndim != 3 or not maps.shape == gt_mask.shape == roi_mask.shape:
            raise ValueError(
                f"maps {maps.shape}, truth {gt_mask.shape} and ROI {roi_mask.shape} must be one (N, H, W)"
            )
        if {len(maps), len(label), len(outside_only), len(category)} != {count}:
            raise ValueError(f"scores, maps, labels and categories of a batch of {count} differ in number")
        scores = np.asarray(pred_score, np.float64)
        # min and max carry a NaN through, and cost no array of their own.
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
            The values; NaN, with a warning, where only one class is present.
        """
        scores = np.concatenate([np.zeros(0), *self._scores])
        label = np.concatenate([np.zeros(0, bool), *self._labels])
        outside = np.concatenate([np.zeros(0, bool), *self._outside_only]) & ~label
        good = ~label & ~outside
        _, defective_counts, other_counts = curves.tally(scores, label)
        _warn_of_one_class("image-level measures", "parts", defective_counts, other_counts)
        positive, negative, overlap = self._histogram.counts()
        _warn_of_one_class("pixel-level measures", "pixels inside the ROI", positive, negative)
        pixel_auroc = curves.auroc(positive, negative)
        pixel_ap = curves.average_precision(positive, negative)
        pixel_f1 = curves.f1_max(positive, negative)
        aupro = curves.area_under_pro(overlap, negative, PRO_LIMIT)
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
            pixel_auroc=pixel_auroc.value,
            pixel_auroc_error=pixel_auroc.error,
            pixel_ap=pixel_ap.value,
            pixel_ap_error=pixel_ap.error,
            pixel_f1_max=pixel_f1.value,
            pixel_f1_max_error=pixel_f1.error,
            aupro=aupro.value,
            aupro_error=aupro.error,
            recall95_threshold=at_recall,
            outside_alarm_rate_at_recall95=_alarm_rate(scores[outside], at_recall),
            good_alarm_rate_at_recall95=_alarm_rate(scores[good], at_recall),
            roi_mass=self._histogram.mass_inside(),
            threshold=threshold,
            escapes=None if caught is None else int(label.sum()) - caught,
            good_rejects=alarms(good),
            outside_alarms=alarms(outside),
            categories=self._by_category(scores, threshold),
        )

    def _by_category(
        self, scores: NDArray[np.float64], threshold: float | None
    ) -> tuple[CategoryValues, ...]:
        names = np.array(self._categories, dtype=object)
        found = []
        for name in sorted(set(self._categories)):
            own = scores[names == name]
            alarms = None if threshold is None else int((own >= threshold).sum())
            found.append(CategoryValues(name, len(own), float(own.mean()), alarms))
        return tuple(found)


def _alarm_rate(scores: NDArray[np.float64], threshold: float) -> float:
    if not len(scores) or math.isnan(threshold):
        return math.nan
    return float((scores >= threshold).mean())


def _warn_of_one_class(what: str, unit: str, positive: NDArray[Any], negative: NDArray[Any]) -> None:
    missing = [name for name, counts in (("defective", positive), ("good", negative)) if not counts.any()]
    if missing:
        message = f"{what} are undefined (NaN): no {' and no '.join(missing)} {unit}"
        warnings.warn(message, RuntimeWarning, stacklevel=3)
