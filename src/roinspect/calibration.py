"""Scores of held-out parts to a threshold. Neither training nor test data is used."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roinspect.bundle import Threshold

CONFIDENCE = 0.95


def highest_rate(found: int, parts: int, confidence: float = CONFIDENCE) -> float:
    """The rate that independent parts do not exceed, with a given confidence (Clopper and Pearson, 1934).

    It is the rate at which `found` or fewer of `parts` come about with a chance of 1 - confidence. That also
    bounds the share of all parts above the (found + 1)-th highest score, which has a Beta(found + 1,
    parts - found) distribution: so it holds for a threshold that was put there.

    Args:
        found: in [0, parts].
        parts: at least 1.
        confidence: in (0, 1).

    Example:
        >>> round(highest_rate(0, 59), 3), round(highest_rate(3, 100), 3)
        (0.05, 0.076)
    """
    if found >= parts:
        return 1.0
    i = np.arange(found + 1)
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, parts + 1)))])
    ways = log_factorial[parts] - log_factorial[i] - log_factorial[parts - i]
    low, high = 0.0, 1.0
    for _ in range(60):
        rate = (low + high) / 2
        chance = np.exp(ways + i * math.log(rate) + (parts - i) * math.log1p(-rate)).sum()
        low, high = (rate, high) if chance > 1 - confidence else (low, rate)
    return high


def false_reject_threshold(
    good_scores: ArrayLike, false_reject: float, groups: Sequence[str] | None = None
) -> Threshold:
    """The lowest threshold that rejects at most a given share of held-out good parts.

    A part is rejected where ``score >= threshold``.

    Args:
        good_scores: (N,) scores of held-out good parts, N >= 1.
        false_reject: target share of good parts rejected, in [0, 1).
        groups: N names of what near-duplicates share, "" for none. What is known of all parts rests on the
            number of groups, each of which counts as rejected where one of its parts is.

    Returns:
        The threshold; its origin says what is known of the rate among all good parts. Its warning says it
        where N parts (or their groups) cannot support the rate: with fewer than 1 / rate of them the true
        rate may be higher, whatever the threshold.

    Raises:
        ValueError: no scores, scores that are not finite, a rate outside [0, 1), or another number of groups.

    Example:
        >>> false_reject_threshold([0.1, 0.2, 0.3, 0.4], 0.25).value > 0.3
        True
    """
    scores = np.asarray(good_scores, dtype=np.float64)
    if scores.size == 0 or not np.isfinite(scores).all() or not 0 <= false_reject < 1:
        raise ValueError(
            f"need finite scores and a rate in [0, 1), not {scores.size} scores, rate {false_reject}"
        )
    # Guarded against 0.07 * 100 = 7.000000000000001 and its like.
    rejected = math.floor(false_reject * scores.size + 1e-9)
    highest_passed = np.sort(scores)[scores.size - 1 - rejected]
    # Scores are float32: the next float64 would be rounded back onto the good part's own score.
    value = float(np.nextafter(np.float32(highest_passed), np.float32(np.inf)))

    names = [group or row for row, group in enumerate(groups or [""] * scores.size)]
    touched = {name for name, score in zip(names, scores, strict=True) if score >= value}
    independent = len(set(names))
    bound = highest_rate(len(touched), independent)
    parts = f"{scores.size} held-out good parts"
    if independent < scores.size:
        parts += f" of {independent} groups"
    warning = ""
    if false_reject * independent < 1 - 1e-9:
        possible = false_reject > 1e-9
        enough = f"at least {math.ceil(1 / false_reject - 1e-9)} are wanted" if possible else "none can"
        warning = (
            f"{parts} cannot support a false-reject rate of {false_reject:.2%} ({enough}); "
            f"all that is known ({CONFIDENCE:.0%}) is that it lies below {bound:.0%}"
        )
    origin = f"rejects at most {false_reject:.2%} of {parts}"
    if not warning:
        origin += f", so fewer than {bound:.1%} of all good parts ({CONFIDENCE:.0%} sure)"
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


def choose_threshold(
    scores: NDArray[np.floating[Any]], labels: NDArray[np.int64], groups: Sequence[str], false_reject: float
) -> Threshold:
    """Best F1 where held-out parts of both kinds exist, else a quantile of the good ones.

    Args:
        scores: (N,) of held-out parts.
        labels: (N,), in use: 0 good, 1 defective, -1 unknown.
        groups: N names of what near-duplicates share, "" for none.
        false_reject: target share of good parts rejected, in [0, 1).
    """
    if (labels == 1).any() and (labels == 0).any():
        known = labels >= 0
        return best_f1_threshold(scores[known], labels[known])
    good = labels == 0
    names = [group for group, is_good in zip(groups, good, strict=True) if is_good]
    return false_reject_threshold(scores[good], false_reject, names)
