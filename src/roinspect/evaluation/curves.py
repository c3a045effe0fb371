"""Ranking measures from counts of positives and negatives per score, exact or from a histogram.

Every function takes `positive` and `negative`, (B,) counts per score, **highest score first**. With one entry
for each distinct score the values are exact, ties counted half. With one entry for a bin of scores nothing is
known about the order inside the bin; `Estimate.error` then bounds the distance to the exact value.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Counts = NDArray[Any]


class Estimate(NamedTuple):
    """A measure, and how far the exact one can lie from it when each count stands for a bin of scores."""

    value: float
    error: float


UNDEFINED = Estimate(float("nan"), float("nan"))


class Tally(NamedTuple):
    """Counts per distinct score, highest score first; all (B,)."""

    scores: Floats
    positive: NDArray[np.int64]
    negative: NDArray[np.int64]


def tally(scores: ArrayLike, labels: ArrayLike) -> Tally:
    """Counts positives and negatives at each distinct score.

    Args:
        scores: (N,), higher means more anomalous, finite.
        labels: (N,) in {0, 1}.

    Example:
        >>> tally([0.1, 0.7, 0.7], [0, 1, 0]).positive.tolist()
        [1, 0]
    """
    distinct, where = np.unique(np.asarray(scores, np.float64), return_inverse=True)
    is_positive = np.asarray(labels).astype(bool)
    positive = np.bincount(where[is_positive], minlength=len(distinct))
    negative = np.bincount(where[~is_positive], minlength=len(distinct))
    return Tally(distinct[::-1], positive[::-1], negative[::-1])


def auroc(positive: Counts, negative: Counts) -> Estimate:
    """Chance that a positive scores higher than a negative, in [0, 1]; NaN when one of the two is missing.

    Example:
        >>> auroc(*tally([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1])[1:]).value
        0.75
    """
    if not positive.any() or not negative.any():
        return UNDEFINED
    share = positive / positive.sum()
    other = negative / negative.sum()
    below = 1.0 - np.cumsum(other)
    ties = float(share @ other) / 2
    return Estimate(min(max(float(share @ below) + ties, 0.0), 1.0), ties)


def average_precision(positive: Counts, negative: Counts) -> Estimate:
    """Mean precision over the positives, in [0, 1]; NaN when positives or negatives are missing."""
    if not positive.any() or not negative.any():
        return UNDEFINED
    hits, false = np.cumsum(positive), np.cumsum(negative)
    share = positive / hits[-1]
    held = positive > 0
    share, hits, false = share[held], hits[held], false[held]
    value = share @ (hits / (hits + false))
    # Inside a bin the precision is highest with all its positives first, lowest with all its negatives first.
    highest = share @ (hits / (hits + false - negative[held]))
    first = hits - positive[held] + 1
    lowest = share @ (first / (first + false))
    return Estimate(float(value), float(max(highest - value, value - lowest)))


def f1_max(positive: Counts, negative: Counts) -> Estimate:
    """Best F1 over all thresholds, in [0, 1]; NaN when positives or negatives are missing."""
    if not positive.any() or not negative.any():
        return UNDEFINED
    hits, false = np.cumsum(positive), np.cumsum(negative)
    value = float(np.max(2 * hits / (hits + false + hits[-1])))
    highest = float(np.max(2 * hits / (hits + false - negative + hits[-1])))
    return Estimate(value, highest - value)


def area_under_pro(overlap: Counts, negative: Counts, limit: float) -> Estimate:
    """Area under the per-region overlap (PRO) curve up to a false-positive rate, divided by that rate.

    Bergmann et al., "Uninformed Students", CVPR 2020: the mean covered share of each connected truth region
    against the false-positive rate of pixels. A pixel of a region with A pixels adds 1 / A to the mean, so
    the sum over all regions needs one histogram, whatever their number.

    Args:
        overlap: (B,) sum over all regions of the share of the region's pixels at each score.
        negative: (B,) pixels in no region at each score.
        limit: highest false-positive rate counted, in (0, 1].

    Returns:
        The area in [0, 1]; NaN without regions or without negatives.
    """
    if not overlap.any() or not negative.any():
        return UNDEFINED
    rate = np.concatenate([[0.0], np.cumsum(negative) / negative.sum()])
    covered = np.concatenate([[0.0], np.cumsum(overlap) / overlap.sum()])
    inside = np.count_nonzero(rate <= limit)
    at_limit = np.interp(limit, rate, covered)
    x, y = np.append(rate[:inside], limit), np.append(covered[:inside], at_limit)
    area = float(np.diff(x) @ (y[1:] + y[:-1]) / 2)
    error = float(np.diff(rate[:inside]) @ np.diff(covered[:inside]) / 2)
    if inside < len(rate):
        error += float((limit - rate[inside - 1]) * (covered[inside] - covered[inside - 1]))
    return Estimate(area / limit, error / limit)


def threshold_at_recall(scores: ArrayLike, recall: float) -> float:
    """Highest threshold at which at least the share `recall` of the scores raises an alarm.

    A score raises an alarm when it is greater than or equal to the threshold.

    Args:
        scores: (P,) scores of defective parts.
        recall: in (0, 1].

    Returns:
        One of the scores; NaN when there are none.
    """
    falling = np.sort(np.asarray(scores, np.float64))[::-1]
    if not len(falling):
        return float("nan")
    # 0.95 * 20 is 19.000000000000004 for some rates: the slack keeps a whole number whole.
    needed = int(np.ceil(recall * len(falling) - 1e-9))
    return float(falling[max(needed, 1) - 1])
