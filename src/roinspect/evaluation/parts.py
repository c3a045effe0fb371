"""The result for each photograph of an evaluation, and its row in predictions.csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from roinspect.data.dataset import UNKNOWN_LABEL
from roinspect.data.records import Record
from roinspect.data.roi import is_outside_only
from roinspect.inspection.scene import outcome


@dataclass(frozen=True, slots=True)
class Part:
    """The result for one photograph.

    Attributes:
        record: the photograph.
        label: the effective label: 0 good, 1 defective inside the ROI, -1 unknown.
        place: where its defect lies, see `Sample.place`; "" if it could not be read.
        pred_scores: one per model, higher = more anomalous; empty if it could not be read.
        reasons: one per model, why it is not inspectable, or "".
        error: why it could not be read, or "".
        digest: SHA-256 of its file; "" if it could not be read.
        taken: when it was taken, see `Sample.taken`.
    """

    record: Record
    label: int = UNKNOWN_LABEL
    place: str = ""
    pred_scores: tuple[float, ...] = ()
    reasons: tuple[str, ...] = ()
    error: str = ""
    digest: str = ""
    taken: float | None = None

    def is_not_inspectable(self, threshold: float, model: int = 0) -> bool:
        """Whether the verdict is "not inspectable": there is a reason, and the score does not reject it."""
        return bool(self.reasons[model]) and self.pred_scores[model] < threshold

    @property
    def is_outside_only(self) -> bool:
        """Whether it counts as good because its only defect lies outside the ROI."""
        return is_outside_only(self.label, self.place)


def table(parts: Sequence[Part], thresholds: Sequence[float]) -> str:
    """The rows of predictions.csv, with a header.

    Args:
        parts: in any order.
        thresholds: one per model; the second model's columns begin with `against_` and come last.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = ("pred_score", "verdict", "reason")
    verdicts: list[tuple[str, ...]] = [names, tuple(f"against_{name}" for name in names)][: len(thresholds)]
    first, *others = verdicts
    writer.writerow(("key", "category", "label", "place", *first, "error", *sum(others, ())))
    for part in parts:
        label = "" if part.label == UNKNOWN_LABEL else part.label
        columns: list[tuple[str, ...]] = (
            [("", "", "")] * len(thresholds)
            if part.error
            else [
                (repr(score), outcome(score, threshold, reason), reason)
                for score, reason, threshold in zip(part.pred_scores, part.reasons, thresholds, strict=True)
            ]
        )
        first, *others = columns
        writer.writerow(
            (part.record.key, part.record.category, label, part.place, *first, part.error, *sum(others, ()))
        )
    return text.getvalue()
