"""A model's verdicts on labelled images at any threshold, with the user's corrections."""

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
from roinspect.review.corrections import Correction, add_corrections, correction, read_corrections
from roinspect.studio.state.project import NotYetError, Project
from roinspect.studio.state.store import read_json, write_csv
from roinspect.studio.state.trained_models import evaluation_path, model_path, names

TURNS = "each checked by a model that has not seen it"
Which: TypeAlias = Literal["all", "wrong", "rejected", "passed"]


@dataclass(frozen=True, slots=True)
class Result:
    """The result for one photograph."""

    key: str
    category: str
    """Folder name or label text."""
    label: int
    """0 good, 1 defective, -1 unknown; a part with defects only outside the region is good."""
    pred_score: float
    """Higher = more anomalous; NaN with an error."""
    is_outside_only: bool = False
    """Whether it has defects, but none inside the region."""
    error: str = ""
    """Why there is no score."""
    is_corrected: bool = False
    """Whether the user corrected the label."""
    reason: str = ""
    """Why the photograph is not inspectable."""

    def verdict(self, threshold: float) -> Outcome | None:
        """The verdict at a threshold; None with an error."""
        return None if self.error else outcome(self.pred_score, threshold, self.reason)

    def is_wrong(self, threshold: float) -> bool:
        """Whether the verdict at a threshold contradicts the label."""
        verdict = {"good": 0, "defective": 1}.get(self.verdict(threshold) or "")
        return self.label >= 0 and verdict is not None and verdict != self.label


def plain_words(text: str) -> str:
    """A sentence about the threshold without the terms of statistics."""
    for term, words in (("held-out", "kept-back"), ("held out", "kept back"), ("left out in turn", TURNS)):
        text = text.replace(term, words)
    return text


def too_small_region(results: list[Result]) -> str:
    """A warning if many damaged parts count as good, their damage being outside the region; else ""."""
    outside = sum(one.is_outside_only and not one.is_corrected for one in results)
    damaged = outside + sum(one.label == 1 for one in results)
    if not outside or 5 * outside < 2 * damaged:
        return ""
    return (
        f"{outside:,} of {damaged:,} damaged parts count as good: their damage lies outside the region. If "
        "that is wrong, the region is too small or in the wrong place."
    )


def untested(model: Path) -> str:
    """Why a model's results do not generalise to other photographs; "" if they do."""
    measured = read_json(evaluation_path(model) / "metrics.json")
    if not isinstance(measured, dict):
        return ""
    trained_on, split = measured.get("trained_on", 0), measured.get("split")
    advice = "Set good parts, and defective ones if available, aside for testing; then judge again."
    if trained_on:
        return (
            f"It was trained on {trained_on:,} of the {measured.get('photographs', trained_on):,} "
            f"photographs that were judged: its verdicts on them do not show how good it is. {advice}"
        )
    if split == "test":
        return ""
    return (
        "There are no test photographs. The threshold was set on those that were judged, so verdicts "
        f"on them flatter the model. {advice}"
    )


class AtThreshold(NamedTuple):
    """Counts of the labelled parts at a threshold."""

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
    """Results of a model's evaluation with the user's corrections, highest score first.

    Raises:
        UserError: the model was not evaluated yet.
    """
    file = evaluation_path(model) / "predictions.csv"
    corrected = corrections(model)
    try:
        with file.open(encoding="utf-8", newline="") as opened:
            results = [_result(row) for row in csv.DictReader(opened)]
    except (OSError, ValueError, KeyError):
        remedy = 'press "Judge the test photographs"'
        raise NotYetError(f"{model.name} was not judged yet", remedy=remedy) from None
    for index, result in enumerate(results):
        if result.key in corrected:
            results[index] = replace(result, label=corrected[result.key], is_corrected=True)
    return sorted(results, key=lambda result: (bool(result.error), -result.pred_score, result.key))


def result_of(model: Path, key: str) -> Result:
    """One photograph's result.

    Raises:
        UserError: there is no result.
    """
    for result in read_results(model):
        if result.key == key:
            return result
    raise UserError("has no result", where=key or "no photograph", remedy="judge the test photographs again")


def _result(row: dict[str, str]) -> Result:
    label, error = int(row["label"] or -1), row["error"]
    score = float(row["pred_score"]) if row["pred_score"] else float("nan")
    outside_only = is_outside_only(label, row["place"])
    return Result(row["key"], row["category"], label, score, outside_only, error, reason=row["reason"])


def tally(results: list[Result], threshold: float) -> AtThreshold:
    """Count the results at a threshold."""
    good = [one for one in results if one.label == 0 and not one.error]
    defective = [one for one in results if one.label == 1 and not one.error]
    return AtThreshold(
        len(good),
        sum(one.pred_score >= threshold for one in good),
        len(defective),
        sum(one.verdict(threshold) == "good" for one in defective),
        sum(bool(one.error) for one in results),
        sum(one.verdict(threshold) == "not inspectable" for one in results),
    )


def chosen(results: list[Result], threshold: float, which: Which) -> list[Result]:
    """The selected results."""
    if which == "all":
        return results
    if which == "wrong":
        return [one for one in results if one.is_wrong(threshold)]
    rejected = which == "rejected"
    return [one for one in results if not one.error and (one.verdict(threshold) != "good") == rejected]


def corrections(model: Path) -> dict[str, int]:
    """Labels that people corrected, by key.

    Raises:
        UserError: the file is damaged.
    """
    # Of earlier versions, without who and when.
    former = read_json(evaluation_path(model) / "corrections.json")
    labels = {str(key): int(label) for key, label in former.items()} if isinstance(former, dict) else {}
    for entry in read_corrections(_corrections_file(model)):
        labels.pop(entry.part, None)
        if entry.truth != "unknown":
            labels[entry.part] = int(entry.truth == "defective")
    return labels


def _corrections_file(model: Path) -> Path:
    return evaluation_path(model) / "corrections.jsonl"


def mark_wrong(model: Path, result: Result, threshold: float, by: str) -> None:
    """Record that a verdict is wrong, which sets the opposite label. A second call withdraws that.

    Args:
        model: the model.
        result: of the photograph.
        threshold: at which the verdict is wrong.
        by: who says so.

    Raises:
        UserError: there is no verdict, or the file cannot be written.
    """
    if result.error:
        raise UserError("has no verdict", where=result.key, remedy="copy the photograph again")
    truth = "unknown" if result.is_corrected else "good" if result.pred_score >= threshold else "defective"
    said = correction(
        result.key, truth, by, remark=f"verdict at {threshold:.6g}: {result.verdict(threshold)}"
    )
    add_corrections(_corrections_file(model), said)


def rename(project: Project, key: str, new: str, *, category: str, label: int | None, by: str) -> None:
    """Keep the results of a photograph that was moved in the data, in every model's evaluation.

    Args:
        project: the folder.
        key: its former key.
        new: its key now.
        category: its folder or label now.
        label: its label now, in place of a correction by the user; None leaves the label as it is.
        by: who moved it.

    Raises:
        UserError: a file cannot be written.
    """
    for name in names(project):
        model = model_path(project, name)
        file = evaluation_path(model) / "predictions.csv"
        try:
            with file.open(encoding="utf-8", newline="") as opened:
                reader = csv.DictReader(opened)
                rows, columns = list(reader), list(reader.fieldnames or ())
        except (OSError, ValueError):
            continue
        row = next((row for row in rows if row.get("key") == key), None)
        if row is None:
            continue
        row |= {"key": new, "category": category}
        corrected, said = corrections(model).get(key), list[Correction]()
        if corrected is not None:
            said.append(correction(key, "unknown", by, remark=f"moved to {new}"))
        if label is not None:
            row |= {"label": str(label), "place": "inside" if label else "none"}
        elif corrected is not None:
            truth = "defective" if corrected else "good"
            said.append(correction(new, truth, by, remark=f"moved from {key}"))
        # What cannot be kept with who and when is not done.
        if said:
            add_corrections(_corrections_file(model), *said)
        write_csv(file, columns, rows)


def score_bounds(results: list[Result], threshold: float) -> tuple[float, float]:
    """The useful range of the threshold."""
    scores = np.array([one.pred_score for one in results if not one.error])
    return score_range(scores, threshold) if len(scores) else (threshold - 1, threshold + 1)


def slider_range(results: list[Result], threshold: float) -> tuple[float, float, float]:
    """Minimum, maximum and step of the threshold slider: round numbers, some hundred steps."""
    low, high = score_bounds(results, threshold)
    power = math.floor(math.log10((high - low) / 300))
    step, digits = 10.0**power, max(0, -power)
    least, greatest = math.floor(low / step) * step, math.ceil(high / step) * step
    return round(least, digits), round(greatest, digits), round(step, digits)


def histogram(results: list[Result], threshold: float) -> str:
    """Histograms of the scores as SVG: good, damaged only outside the region, and defective."""
    groups = []
    for css, caption, label, is_outside in (
        ("good", "good parts", 0, (False,)),
        ("outside", "good parts, damaged outside the region", 0, (True,)),
        ("defective", "defective parts", 1, (False, True)),
    ):
        parts = [r for r in results if not r.error and r.label == label and r.is_outside_only in is_outside]
        if parts:
            scores = np.array([result.pred_score for result in parts])
            groups.append((css, f"{caption} ({len(parts)})", scores))
    return histogram_svg(groups, *score_bounds(results, threshold), threshold) if groups else ""
