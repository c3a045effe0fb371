"""Metric values of a model, for metrics.json and the report."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from roinspect.evaluation.intervals import Interval, Intervals


@dataclasses.dataclass(frozen=True, slots=True)
class Breakdown:
    """Results for the parts of one category (a kind of defect) or one group (such as a position)."""

    name: str
    parts: int
    defective_parts: int
    mean_score: float
    image_auroc: float
    """Probability that a defective part of this row scores higher than a non-defective part of any row; NaN
    if either is missing."""
    escapes: int | None
    """Defective parts below the threshold; this and the next are None without a threshold."""
    false_rejects: int | None
    """Good and outside-only parts at or above the threshold."""


@dataclasses.dataclass(frozen=True, slots=True)
class MetricValues:
    """Metric values. Rates lie in [0, 1]; NaN means undefined.

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
    aupro_005: float
    """The same up to a false-positive rate of 0.05."""
    aupro_005_error: float
    recall95_threshold: float
    """Highest threshold that still catches 95 % of the defective parts."""
    outside_alarm_rate_at_recall95: float
    good_alarm_rate_at_recall95: float
    roi_mass: float
    """Share of the anomaly maps' total inside the ROI; negative values count as zero."""
    threshold: float | None
    escapes: int | None
    """Defective parts below the threshold; this and the next two are None without a threshold."""
    good_rejects: int | None
    outside_alarms: int | None
    intervals: Intervals
    """Of the image-level measures, including `recall`, `good_reject_rate` and `outside_alarm_rate`."""
    categories: tuple[Breakdown, ...]
    groups: tuple[Breakdown, ...]
    """Empty if no part has a group."""

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
        """Returns plain values for JSON, with None for NaN.

        An interval is [low, high], or None if there are too few parts.
        """
        values = {field.name: _plain(getattr(self, field.name)) for field in dataclasses.fields(self)}
        return values | {"caught": self.caught, "false_rejects": self.false_rejects}


def _plain(value: Any) -> Any:
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, Interval):
        return None if math.isnan(value.low) else list(value)
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Breakdown | Intervals):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return value
