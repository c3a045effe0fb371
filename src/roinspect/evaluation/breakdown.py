"""Measures by category (such as the kind of defect) and by group (such as the position)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from roinspect.evaluation.values import Breakdown


def breakdown(
    names: Sequence[str], scores: NDArray[np.float64], label: NDArray[np.bool_], threshold: float | None
) -> tuple[Breakdown, ...]:
    """Results by category or group.

    Args:
        names: N names of categories or groups.
        scores: (N,), higher means more anomalous, finite.
        label: (N,) true where a defect lies inside the ROI.
        threshold: a score at or above it is an alarm; None omits the counts.

    Returns:
        One row per name, sorted by name.

    Example:
        >>> rows = breakdown(
        ...     ["good", "pit", "pit"], np.array([0.2, 0.1, 0.9]), np.array([False, True, True]), 0.5
        ... )
        >>> [(row.name, row.image_auroc, row.escapes, row.false_rejects) for row in rows]
        [('good', nan, 0, 0), ('pit', 0.5, 1, 0)]
    """
    known, rows = np.unique(np.array(names, dtype=object), return_inverse=True)
    count = len(known)

    def total(weights: NDArray[np.float64] | NDArray[np.bool_]) -> NDArray[np.float64]:
        return np.asarray(np.bincount(rows, weights, count), np.float64)

    others = np.sort(scores[~label])
    # The number of non-defective parts that score lower, plus half of those with the same score.
    below = (np.searchsorted(others, scores) + np.searchsorted(others, scores, "right")) / 2
    parts, defective, score, wins = (
        total(np.ones(len(rows))),
        total(label),
        total(scores),
        total(below * label),
    )
    rejected = np.zeros(len(rows), bool) if threshold is None else scores >= threshold
    escapes, false_rejects = total(label & ~rejected), total(~label & rejected)
    return tuple(
        Breakdown(
            name=str(name),
            parts=int(parts[row]),
            defective_parts=int(defective[row]),
            mean_score=float(score[row] / parts[row]),
            image_auroc=float(wins[row] / defective[row] / len(others))
            if defective[row] and len(others)
            else math.nan,
            escapes=None if threshold is None else int(escapes[row]),
            false_rejects=None if threshold is None else int(false_rejects[row]),
        )
        for row, name in enumerate(known)
    )
