"""What became of each photograph of an evaluation, and its row in predictions.csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from roinspect.data.dataset import UNKNOWN_LABEL
from roinspect.data.records import Record
from roinspect.data.roi import is_outside_only


@dataclass(frozen=True, slots=True)
class Part:
    """What became of one photograph.

    Attributes:
        record: the photograph.
        label: the label in use: 0 good, 1 defective inside the ROI, -1 unknown.
        place: where its defect lies, as `Sample.place`; "" where it could not be read.
        pred_scores: one a model, higher = more anomalous; none where it could not be read.
        error: why it could not be read, else "".
    """

    record: Record
    label: int = UNKNOWN_LABEL
    place: str = ""
    pred_scores: tuple[float, ...] = ()
    error: str = ""

    @property
    def is_outside_only(self) -> bool:
        """Whether it counts as good although it has a defect, which lies outside the ROI."""
        return is_outside_only(self.label, self.place)


def table(parts: Sequence[Part], thresholds: Sequence[float]) -> str:
    """The rows of predictions.csv, with a header.

    Args:
        parts: in any order.
        thresholds: one a model; the second model's columns begin with `against_` and come last.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    verdicts = [("pred_score", "is_defect"), ("against_pred_score", "against_is_defect")][: len(thresholds)]
    first, *others = verdicts
    writer.writerow(("key", "category", "label", "place", *first, "error", *sum(others, ())))
    for part in parts:
        label = "" if part.label == UNKNOWN_LABEL else part.label
        first, *others = (
            [("", "")] * len(thresholds)
            if part.error
            else [
                (repr(score), str(int(score >= threshold)))
                for score, threshold in zip(part.pred_scores, thresholds, strict=True)
            ]
        )
        writer.writerow(
            (part.record.key, part.record.category, label, part.place, *first, part.error, *sum(others, ()))
        )
    return text.getvalue()
