"""Ranking metrics from counts of positives and negatives per score, exact or from a histogram.

Every function takes `positive` and `negative`, (B,) counts per score, **highest score first**. With one entry
per distinct score the values are exact; ties count half. With one entry per bin, the order inside a bin is
unknown and `Estimate.error` bounds the distance to the exact value. `tied`, (B,), marks bins whose scores are
all equal, which add nothing to the error.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Counts = NDArray[Any]
Flags = NDArray[np.bool_]


class Estimate(NamedTuple):
    """A metric, and the bound of its error if each count is that of a bin of scores."""

    value: float
    error: float


UNDEFINED = Estimate(float("nan"), float("nan"))


class ScoreCounts(NamedTuple):
    """Counts per distinct score, highest score first; all (B,)."""

    scores: Floats
    positive: NDArray[np.int64]
    negative: NDArray[np.int64]


def tally(scores: ArrayLike, labels: ArrayLike) -> ScoreCounts:
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
    return ScoreCounts(distinct[::-1], positive[::-1], negative[::-1])


def auroc(positive: Counts, negative: Counts, tied: Flags | None = None) -> Estimate:
    """Probability that a positive scores higher than a negative, in [0, 1]; NaN if either is missing.

    Example:
        >>> auroc(*tally([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1])[1:]).value
        0.75
    """
    if not positive.any() or not negative.any():
        return UNDEFINED
    share = positive / positive.sum()
    other = negative / negative.sum()
    below = 1.0 - np.cumsum(other)
    ties = share * other / 2
    value = float(share @ below + ties.sum())
    return Estimate(min(max(value, 0.0), 1.0), float(ties.sum(where=_binned(tied))))


def average_precision(positive: Counts, negative: Counts, tied: Flags | None = None) -> Estimate:
    """Mean precision over the positives, in [0, 1]; NaN if positives or negatives are missing.

    Example:
        >>> average_precision(np.array([1, 1, 0]), np.array([0, 0, 2])).value  # counts by falling score
        1.0
    """
    if not positive.any() or not negative.any():
        return UNDEFINED
    hits, false = np.cumsum(positive), np.cumsum(negative)
    share = positive / hits[-1]
    in_use = positive > 0
    share, hits, false = share[in_use], hits[in_use], false[in_use]
    binned = _binned(None if tied is None else tied[in_use])
    precision = hits / (hits + false)
    # Inside a bin, precision is highest with all positives first and lowest with all negatives first.
    first = hits - positive[in_use] + 1
    above = hits / (hits + false - negative[in_use]) - precision
    below = precision - first / (first + false)
    error = max((share * above).sum(where=binned), (share * below).sum(where=binned))
    return Estimate(float(share @ precision), float(error))


def f1_max(positive: Counts, negative: Counts, tied: Flags | None = None) -> Estimate:
    """Best F1 over all thresholds, in [0, 1]; NaN if positives or negatives are missing.

    Example:
        >>> round(f1_max(np.array([1, 1, 0]), np.array([0, 1, 1])).value, 3)  # counts by falling score
        0.8
    """
    if not positive.any() or not negative.any():
        return UNDEFINED
    hits, false = np.cumsum(positive), np.cumsum(negative)
    value = float(np.max(2 * hits / (hits + false + hits[-1])))
    first = np.where(_binned(tied), negative, 0)
    highest = float(np.max(2 * hits / (hits + false - first + hits[-1])))
    return Estimate(value, highest - value)


def pro_curve(overlap: Counts, negative: Counts) -> tuple[Floats, Floats]:
    """The per-region overlap (PRO) curve from the highest threshold to the lowest.

    Bergmann et al., "Uninformed Students", CVPR 2020: the mean covered share of the connected truth regions
    against the false-positive rate of pixels. A pixel of a region with A pixels adds 1 / A, so one histogram
    is enough for any number of regions.

    Args:
        overlap: (B,) sum over all regions of the share of the region's pixels at each score; not all zero.
        negative: (B,) pixels outside all regions at each score; not all zero.

    Returns:
        False-positive rates and covered shares, (B + 1,) each, from (0, 0) to (1, 1).
    """
    rate = np.concatenate([[0.0], np.cumsum(negative) / negative.sum()])
    return rate, np.concatenate([[0.0], np.cumsum(overlap) / overlap.sum()])


def area_under_pro(overlap: Counts, negative: Counts, limit: float, tied: Flags | None = None) -> Estimate:
    """Area under the PRO curve up to a false-positive rate, divided by that rate.

    Args:
        overlap: (B,) as in `pro_curve`.
        negative: (B,) as in `pro_curve`.
        limit: highest false-positive rate counted, in (0, 1].
        tied: (B,) bins whose scores are all equal: there the curve is a straight line.

    Returns:
        The area in [0, 1]; NaN without regions or without negatives.
    """
    if not overlap.any() or not negative.any():
        return UNDEFINED
    rate, covered = pro_curve(overlap, negative)
    inside = np.count_nonzero(rate <= limit)
    at_limit = np.interp(limit, rate, covered)
    x, y = np.append(rate[:inside], limit), np.append(covered[:inside], at_limit)
    area = float(np.diff(x) @ (y[1:] + y[:-1]) / 2)
    binned = np.broadcast_to(_binned(tied), (len(rate) - 1,))
    steps = np.diff(rate[:inside]) * np.diff(covered[:inside])
    error = float(steps.sum(where=binned[: inside - 1]) / 2)
    if inside < len(rate) and binned[inside - 1]:
        error += float((limit - rate[inside - 1]) * (covered[inside] - covered[inside - 1]))
    return Estimate(area / limit, error / limit)


def threshold_at_recall(scores: ArrayLike, recall: float) -> float:
    """Highest threshold that at least the share `recall` of the scores reaches.

    Args:
        scores: (P,) scores of defective parts.
        recall: in (0, 1].

    Returns:
        One of the scores; NaN if there are none.

    Example:
        >>> threshold_at_recall([0.2, 0.5, 0.7, 0.9], 0.75)
        0.5
    """
    falling = np.sort(np.asarray(scores, np.float64))[::-1]
    if not len(falling):
        return float("nan")
    # The slack allows for rounding, as in 0.07 * 100 = 7.000000000000001.
    needed = int(np.ceil(recall * len(falling) - 1e-9))
    return float(falling[max(needed, 1) - 1])


def _binned(tied: Flags | None) -> Flags:
    """Bins whose inner order is unknown."""
    return np.ones(1, bool) if tied is None else ~tied
