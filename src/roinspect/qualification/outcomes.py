"""The result for each photograph and each part, and the rates of the test.

One rule counts everywhere: a verdict is right if it is "defective" on a defective part and "good" on a good
one. "Not inspectable" is never right, nor is a photograph without a verdict: the defective part was not
found, and the good part did not pass. A part with several photographs (one `group`) is right if all of them
are.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from roinspect.evaluation.rates import Rate, rate_of


@dataclass(frozen=True, slots=True)
class Row:
    """The result for one photograph.

    Attributes:
        key: of the photograph, with its test set where there are several.
        group: of the part, "" if none is declared.
        label: 0 good, 1 defective inside the ROI, -1 unknown.
        width: of the defect in pixels of the photograph, see `defect_width`; 0 without a mask.
        digest: SHA-256 of its file; "" if it could not be read.
        pred_score: NaN without a verdict.
        verdict: "good", "defective" or "not inspectable"; "" without one.
        reason: why it is not inspectable, or "".
        error: why there is no verdict, or "".
    """

    key: str
    group: str
    label: int
    width: float = 0.0
    digest: str = ""
    pred_score: float = float("nan")
    verdict: str = ""
    reason: str = ""
    error: str = ""

    @property
    def is_right(self) -> bool:
        """See the module's rule; false without a label."""
        return self.verdict == {0: "good", 1: "defective"}.get(self.label)

    @property
    def is_rejected(self) -> bool:
        """The machine's answer as accept or reject; where it has none, the wrong one."""
        return (self.label == 1) == self.is_right


@dataclass(frozen=True, slots=True)
class Part:
    """A part: its photographs together.

    Attributes:
        name: its group, or the key of its photograph.
        label: 0 good, 1 defective.
        width: of its widest defect in pixels; 0 without a mask.
        is_right: see the module's rule.
        is_passed: whether a photograph of it is "good".
    """

    name: str
    label: int
    width: float
    is_right: bool
    is_passed: bool


def parts_of(rows: Sequence[Row]) -> list[Part]:
    """The parts that labelled photographs show; good and defective photographs of a group are two parts."""
    together: dict[tuple[str, int], list[Row]] = defaultdict(list)
    for row in rows:
        if row.label >= 0:
            together[row.group or row.key, row.label].append(row)
    return [
        Part(
            name,
            label,
            max(row.width for row in of_part),
            all(row.is_right for row in of_part),
            any(row.verdict == "good" for row in of_part),
        )
        for (name, label), of_part in together.items()
    ]


@dataclass(frozen=True, slots=True)
class Counts:
    """The test in figures.

    Attributes:
        photographs: all.
        parts: of known label.
        unlabelled: photographs of unknown label; in no rate.
        without_verdict: photographs.
        not_inspectable_good: good photographs with this verdict.
        not_inspectable_defective: defective ones.
        detection: defective parts found.
        escape: defective parts passed as good.
        false_reject: good parts not passed.
    """

    photographs: int
    parts: int
    unlabelled: int
    without_verdict: int
    not_inspectable_good: int
    not_inspectable_defective: int
    detection: Rate
    escape: Rate
    false_reject: Rate


def counts_of(rows: Sequence[Row], parts: Sequence[Part], confidence: float) -> Counts:
    """Count photographs and parts."""
    good = [part for part in parts if part.label == 0]
    defective = [part for part in parts if part.label == 1]
    unclear = [row.label for row in rows if row.verdict == "not inspectable"]
    return Counts(
        photographs=len(rows),
        parts=len(parts),
        unlabelled=sum(row.label < 0 for row in rows),
        without_verdict=sum(not row.verdict for row in rows),
        not_inspectable_good=unclear.count(0),
        not_inspectable_defective=unclear.count(1),
        detection=rate_of(sum(part.is_right for part in defective), len(defective), confidence),
        escape=rate_of(sum(part.is_passed for part in defective), len(defective), confidence),
        false_reject=rate_of(sum(not part.is_right for part in good), len(good), confidence),
    )


def table(rows: Sequence[Row]) -> str:
    """The rows of photographs.csv, with a header."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        (
            "key",
            "group",
            "label",
            "defect_width_px",
            "sha256",
            "pred_score",
            "verdict",
            "right",
            "reason",
            "error",
        )
    )
    for row in rows:
        writer.writerow(
            (
                row.key,
                row.group,
                row.label if row.label >= 0 else "",
                f"{row.width:.2f}" if row.width else "",
                row.digest,
                repr(row.pred_score) if row.verdict else "",
                row.verdict,
                "" if row.label < 0 else "yes" if row.is_right else "no",
                row.reason,
                row.error,
            )
        )
    return text.getvalue()
