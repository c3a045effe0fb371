"""The measures that the papers' tables print, beside those of `RoiMetrics`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roinspect.data.dataset import UNKNOWN_LABEL

HEADS = {
    "image_auroc": "image AUROC",
    "pixel_auroc": "pixel AUROC",
    "aupro": "AUPRO",
    "accuracy_half": "accuracy at 0.5",
    "accuracy_best": "accuracy, best threshold",
    "decision_auroc": "AUROC of the decisions at 0.5",
    "train_seconds": "training, s",
}
"""Names of measures in a table. All others are values of a training's curves, see `curve_values`."""

MOMENTS = {"half": 0.5, "end": 1.0}


def head(measure: str) -> str:
    """A measure's name in a table.

    Example:
        >>> head("pixel_auroc"), head("held-out/ssim@half")
        ('pixel AUROC', 'ssim, validation, halfway')
    """
    if measure in HEADS:
        return HEADS[measure]
    stage, name, moment = re.split("[/@]", measure)
    words = [name.replace("_", " "), {"train": "training", "held-out": "validation"}[stage]]
    return ", ".join([*words, *(["halfway"] if moment == "half" else [])])


def decisions(pred_score: NDArray[np.float32], labels: NDArray[np.int64]) -> dict[str, float | None]:
    """Measures of decisions; images of unknown label are left out.

    Args:
        pred_score: (N,); a probability for those at 0.5.
        labels: (N,): 0 good, 1 defective, -1 unknown.

    Returns:
        `accuracy_half`, `accuracy_best` over all thresholds, and `decision_auroc`: the area under the ROC
        curve of a single point, (recall + specificity) / 2. None if undefined.

    Example:
        >>> decisions(np.float32([0.2, 0.6, 0.7]), np.array([0, 0, 1]))
        {'accuracy_half': 0.6666666666666666, 'accuracy_best': 1.0, 'decision_auroc': 0.75}
    """
    known = labels != UNKNOWN_LABEL
    scores, is_defective = pred_score[known].astype(np.float64), labels[known] == 1
    if not len(scores):
        return {"accuracy_half": None, "accuracy_best": None, "decision_auroc": None}
    rejected = scores >= 0.5
    # A threshold at each score, and one above all.
    thresholds = np.append(np.unique(scores), np.inf)
    best = max(float(((scores >= threshold) == is_defective).mean()) for threshold in thresholds)
    has_both = bool(is_defective.any() and not is_defective.all())
    return {
        "accuracy_half": float((rejected == is_defective).mean()),
        "accuracy_best": best,
        "decision_auroc": float(rejected[is_defective].mean() + (~rejected)[~is_defective].mean()) / 2
        if has_both
        else None,
    }


def curve_values(
    curves: Mapping[str, Sequence[tuple[int, float]]], *, omega: float | None = None
) -> dict[str, Any]:
    """The values of a training's curves halfway and at its end, as NAME@half and NAME@end.

    Args:
        curves: pairs of epoch and value by name, such as "train/loss"; the nearest recorded epoch counts.
        omega: weight of CEOD's overlap distance; adds `weighted_distance`, its share of the loss.

    Example:
        >>> curve_values({"train/loss": [(2, 0.9), (5, 0.4), (10, 0.1)]})
        {'train/loss@half': 0.4, 'train/loss@end': 0.1}
    """
    values: dict[str, Any] = {}
    for name, curve in curves.items():
        for moment, share in MOMENTS.items():
            if curve:
                epoch = share * curve[-1][0]
                values[f"{name}@{moment}"] = min(curve, key=lambda pair: abs(pair[0] - epoch))[1]
    if omega:
        for name in [name for name in values if "/distance@" in name]:
            values[name.replace("/distance@", "/weighted_distance@")] = omega * values[name]
    return values
