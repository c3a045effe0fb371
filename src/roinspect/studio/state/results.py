"""What a model says about labelled photographs, at any threshold, and what a person says about that."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from roinspect.data.roi import is_outside_only
from roinspect.errors import UserError
from roinspect.evaluation.charts import histogram_svg, score_range
from roinspect.inspection.scene import Outcome, outcome
from roinspect.studio.state.models import evaluation_path
from roinspect.studio.state.store import read_json, write_json

Which: TypeAlias = Literal["all", "wrong", "rejected", "passed"]


@dataclass(frozen=True, slots=True)
class Result:
    """One photograph.

    Attributes:
        key: of the photograph.
        category: its folder or label text.
        label: 0 good, 1 defective, -1 unknown; a defect outside the region makes a good part.
        pred_score: higher = more anomalous; NaN with an error.
        is_outside_only: whether it has a defect, but outside the region alone.
        error: why there is no score, else "".
        reason: why the picture is not inspectable, else "".
        is_corrected: whether a person said that the label is the other one.
    """

    key: str
    category: str
    label: int
    pred_score: float
    is_outside_only: bool = False
    error: str = ""
    is_corrected: bool = False
    reason: str = ""

    def verdict(self, threshold: float) -> Outcome | None:
        """The answer at a threshold; None with an error."""
        return None if self.error else outcome(self.pred_score, threshold, self.reason)

    def is_wrong(self, threshold: float) -> bool:
        """Whether the verdict at a threshold is not the label's."""
        said = {"good": 0, "defective": 1}.get(self.verdict(threshold) or "")
        return self.label >= 0 and said is not None and said != self.label


def too_small_region(results: list[Result]) -> str:
    """A warning where many damaged parts count as good, as the region leaves their damage out; else ""."""
    outside = sum(one.is_outside_only and not one.is_corrected for one in results)
    damaged = outside + sum(one.label == 1 for one in results)
    if not outside or 5 * outside < 2 * damaged:
        return ""
    return (
        f"{outside:,} of {damaged:,} damaged parts count as good: their damage lies outside the region. If "
        "that is not so, the region is too small or in the wrong place."
    )


def untested(model: Path) -> str:
    """Why a model's results say nothing of other photographs; "" where they do."""
    measured = read_json(evaluation_path(model) / "metrics.json")
    if not isinstance(measured, dict):
        return ""
    known, split = measured.get("trained_on", 0), measured.get("split")
    advice = "Put good parts, and defective ones where there are any, to test with; then judge again."
    if known:
        return (
            f"It was trained on {known:,} of the {measured.get('photographs', known):,} photographs that "
            f"were judged: its verdicts on them do not show how good it is. {advice}"
        )
    if split != "test":
        return (
            "There are no test photographs. Those that were judged have set the threshold, so that verdicts "
            f"on them flatter the model. {advice}"
        )
    return ""


class Tally(NamedTuple):
    """What a threshold does to the labelled parts."""

    good: int
    rejects: int
    """Good parts that are rejected."""
    defective: int
    escapes: int
    """Defective parts that pass."""
    unread: int
    unseen: int
    """Photographs that are not inspectable."""


def read_results(model: Path) -> list[Result]:
    """Results of a model's evaluation, the highest score first, with what a person corrected.

    Raises:
        UserError: it was not judged yet.
    """
    file = evaluation_path(model) / "predictions.csv"
    corrected = corrections(model)
    try:
        with file.open(encoding="utf-8", newline="") as opened:
            results = [_result(row) for row in csv.DictReader(opened)]
    except (OSError, ValueError, KeyError):
        raise UserError(
            "was not judged yet", where=model.name, remedy='press "Judge the test photographs"'
        ) from None
    results = [
        replace(one, label=corrected[one.key], is_corrected=True) if one.key in corrected else one
        for one in results
    ]
    return sorted(results, key=lambda one: (bool(one.error), -one.pred_score, one.key))


def _result(row: dict[str, str]) -> Result:
    label, error = int(row["label"] or -1), row["error"]
    score = float(row["pred_score"]) if row["pred_score"] else float("nan")
    outside_only = is_outside_only(label, row["place"])
    return Result(row["key"], row["category"], label, score, outside_only, error, reason=row["reason"])


def tally(results: list[Result], threshold: float) -> Tally:
    """Count what a threshold does."""
    good = [one for one in results if one.label == 0 and not one.error]
    defective = [one for one in results if one.label == 1 and not one.error]
    return Tally(
        len(good),
        sum(one.pred_score >= threshold for one in good),
        len(defective),
        sum(one.verdict(threshold) == "good" for one in defective),
        sum(bool(one.error) for one in results),
        sum(one.verdict(threshold) == "not inspectable" for one in results),
    )


def chosen(results: list[Result], threshold: float, which: Which) -> list[Result]:
    """The results that somebody wants to see."""
    if which == "all":
        return results
    if which == "wrong":
        return [one for one in results if one.is_wrong(threshold)]
    rejected = which == "rejected"
    return [one for one in results if not one.error and (one.verdict(threshold) != "good") == rejected]


def corrections(model: Path) -> dict[str, int]:
    """Labels that a person set, by key."""
    kept = read_json(evaluation_path(model) / "corrections.json")
    return {str(key): int(label) for key, label in kept.items()} if isinstance(kept, dict) else {}


def mark_wrong(model: Path, result: Result, threshold: float) -> int:
    """Note that a verdict is wrong: the part is what the verdict does not say. Marked again, the note goes.

    Returns:
        The label that counts from now on, in {0, 1}, or the folder's again.

    Raises:
        UserError: there is no verdict, or the disk refuses.
    """
    if result.error:
        raise UserError("has no verdict", where=result.key, remedy="copy the photograph again")
    noted = corrections(model)
    if result.is_corrected:
        del noted[result.key]
        label = -1
    else:
        label = 0 if result.pred_score >= threshold else 1
        noted[result.key] = label
    write_json(evaluation_path(model) / "corrections.json", noted)
    return label


def score_bounds(results: list[Result], threshold: float) -> tuple[float, float]:
    """Scores between which a threshold is worth moving."""
    scores = np.array([one.pred_score for one in results if not one.error])
    return score_range(scores, threshold) if len(scores) else (threshold - 1, threshold + 1)


def slider_range(results: list[Result], threshold: float) -> tuple[float, float, float]:
    """Least and greatest value of the threshold's slider, and its step: round numbers, some hundred apart."""
    low, high = score_bounds(results, threshold)
    power = math.floor(math.log10((high - low) / 300))
    step = 10.0**power
    least, greatest = math.floor(low / step), math.ceil(high / step)
    return (
        round(least * step, max(0, -power)),
        round(greatest * step, max(0, -power)),
        round(step, max(0, -power)),
    )


def histogram(results: list[Result], threshold: float) -> str:
    """The scores as SVG, good, damaged outside the region alone, and defective."""
    read = [one for one in results if not one.error]
    good = [one for one in read if one.label == 0]
    kinds = (
        ("good", "good parts", [one for one in good if not one.is_outside_only]),
        ("outside", "good parts, damaged outside the region", [one for one in good if one.is_outside_only]),
        ("defective", "defective parts", [one for one in read if one.label == 1]),
    )
    groups = [
        (css, f"{caption} ({len(parts)})", np.array([one.pred_score for one in parts]))
        for css, caption, parts in kinds
        if parts
    ]
    return histogram_svg(groups, *score_bounds(results, threshold), threshold) if groups else ""
