"""The results of an evaluated model, as shown in the report and written to metrics.json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from roinspect.evaluation.parts import Part
from roinspect.evaluation.report import ModelReport
from roinspect.evaluation.scoring import EvaluatedModel
from roinspect.evaluation.values import MetricValues
from roinspect.inspection.bundle import read_trained_on, shortened


@dataclass(frozen=True, slots=True)
class ModelResult:
    """One model's measures, and what a reader must know about them."""

    model: EvaluatedModel
    values: MetricValues
    pred_scores: Sequence[float]
    """One a labelled part."""
    trained_on: int
    """How many of the labelled parts the model was trained on, by file content."""
    not_inspectable: Mapping[str, Any]
    """How many parts of each label, and the first of them: `good`, `defective`, `such_as`."""

    @property
    def not_inspectable_words(self) -> str:
        """Which parts the model cannot inspect, in words; "" where it inspects all."""
        parts = self.not_inspectable
        if not parts["such_as"]:
            return ""
        return (
            f"{parts['good']} good and {parts['defective']} defective parts that the score alone would pass "
            f"are not inspectable (such as {parts['such_as']})."
        )

    def report(self, about: Mapping[str, object]) -> ModelReport:
        """The model's share of the report; `about` describes the evaluation."""
        bundle = self.model.bundle
        return ModelReport(
            name=self.model.name,
            metrics=self.values,
            threshold_origin=bundle.threshold.origin,
            score_says=bundle.score_says,
            threshold_warning=bundle.threshold.warning,
            not_inspectable=self.not_inspectable_words,
            pro_curve=self.model.metrics.pro_curve(),
            scores=np.array(self.pred_scores),
            training_curves=bundle.history,
            settings={
                "evaluation": {"bundle": str(self.model.path), **about},
                "size": "x".join(map(str, bundle.size_hw)),
                "method": {"name": bundle.method, **bundle.method_settings},
                "training": bundle.training,
            },
            fingerprints=bundle.fingerprints,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "bundle": str(self.model.path),
            "threshold_origin": self.model.bundle.threshold.origin,
            "threshold_warning": self.model.bundle.threshold.warning,
            "trained_on": self.trained_on,
            "not_inspectable": self.not_inspectable,
            **self.values.to_dict(),
        }


def model_result(
    row: int, model: EvaluatedModel, values: MetricValues, labelled: Sequence[Part]
) -> ModelResult:
    """The result of the model whose scores are entry `row` of each part's `pred_scores`."""
    trained_on = read_trained_on(model.path)
    not_inspectable = [
        part for part in labelled if part.is_not_inspectable(model.bundle.threshold.value, row)
    ]
    return ModelResult(
        model,
        values,
        pred_scores=[part.pred_scores[row] for part in labelled],
        trained_on=sum(shortened(part.digest) in trained_on for part in labelled),
        not_inspectable={
            "good": sum(part.label == 0 for part in not_inspectable),
            "defective": sum(part.label == 1 for part in not_inspectable),
            "such_as": next((f"{part.record.key}: {part.reasons[row]}" for part in not_inspectable), ""),
        },
    )


def metrics_json(about: Mapping[str, object], results: Sequence[ModelResult]) -> str:
    """The first model's measures, with the second's under "against"."""
    first, *others = (result.to_dict() for result in results)
    against = {"against": others[0]} if others else {}
    return json.dumps({**about, **first, **against}, indent=1, allow_nan=False) + "\n"
