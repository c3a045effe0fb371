"""Scores of held-out parts to a threshold. Neither training nor test data is used."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from roinspect.bundle import Threshold


def false_reject_threshold(good_scores: ArrayLike, false_reject: float) -> Threshold:
    """The lowest threshold that rejects at most a given share of held-out good parts.

    A part is rejected where ``score >= threshold``.

    Args:
        good_scores: (N,) scores of held-out good parts, N >= 1.
        false_reject: target share of good parts rejected, in [0, 1).

    Returns:
        The threshold. Its warning says so where N parts cannot support the rate: with fewer than 1 / rate
        parts the threshold is the highest good score, and the true rate may be higher.

    Raises:
        ValueError: no scores, scores that are not finite, or a rate outside [0, 1).

    Example:
        >>> false_reject_threshold([0.1, 0.2, 0.3, 0.4], 0.25).value > 0.3
        True
    """
    scores = np.sort(np.asarray(good_scores, dtype=np.float64))
    if scores.size == 0 or not np.isfinite(scores).all() or not 0 <= false_reject < 1:
        raise ValueError(
            f"need finite scores and a rate in [0, 1), not {scores.size} scores, rate {false_reject}"
        )
    # Guarded against 0.07 * 100 = 7.000000000000001 and its like.
    rejected = math.floor(false_reject * scores.size + 1e-9)
    highest_passed = scores[scores.size - 1 - rejected]
    # Scores are float32: the next float64 would be rounded back onto the good part's own score.
    value = float(np.nextafter(np.float32(highest_passed), np.float32(np.inf)))
    warning = ""
    if false_reject * scores.size < 1:
        bound = 1 - 0.05 ** (1 / scores.size)
        warning = (
            f"{scores.size} held-out good parts cannot support a false-reject rate of {false_reject:.2%}; "
            f"all that is known (95 %) is that it lies below {bound:.0%}"
        )
    origin = f"rejects at most {false_reject:.2%} of {scores.size} held-out good parts"
    return Threshold(value, origin, warning)


def best_f1_threshold(scores: ArrayLike, labels: ArrayLike) -> Threshold:
    """The threshold with the best F1 on a labelled validation split.

    Args:
        scores: (N,) scores.
        labels: (N,) in {0, 1}, both present; 1 = defective inside the ROI.

    Returns:
        The threshold, halfway between the lowest rejected score and the next lower one, as a float32 number.

    Raises:
        ValueError: shapes differ, scores are not finite or a class is missing.

    Example:
        >>> best_f1_threshold([0.1, 0.2, 0.8], [0, 0, 1]).value
        0.5
    """
    values, truth = np.asarray(scores, dtype=np.float32), np.asarray(labels).astype(bool)
    if values.shape != truth.shape or truth.all() or not truth.any() or not np.isfinite(values).all():
        raise ValueError("need as many labels as finite scores, and both classes")
    cuts = np.unique(values)
    # Rejected at each cut: all scores from it on, counted from the sorted scores.
    positives, negatives = np.sort(values[truth]), np.sort(values[~truth])
    hits = positives.size - np.searchsorted(positives, cuts)
    false_alarms = negatives.size - np.searchsorted(negatives, cuts)
    f1 = 2 * hits / (positives.size + hits + false_alarms)
    best = int(np.argmax(f1))
    lower, lowest_rejected = cuts[max(best - 1, 0)], cuts[best]
    value = np.float32((float(lower) + float(lowest_rejected)) / 2)
    # Between neighbouring float32 numbers there is no middle, which would be rounded onto the lower one.
    value = value if value > lower else lowest_rejected
    return Threshold(float(value), f"best F1 ({f1[best]:.3f}) on a validation split of {values.size} parts")
