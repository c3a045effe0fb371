"""Choose a threshold from the scores of held-out parts. Neither training nor test data are used."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roinspect.inspection.bundle import Threshold
from roinspect.inspection.tolerance import above

CONFIDENCE = 0.95


def highest_rate(found: int, parts: int, confidence: float = CONFIDENCE) -> float:
    """Upper confidence bound of a rate, from independent parts (Clopper and Pearson, 1934).

    At this rate, `found` or fewer of `parts` occur with probability 1 - confidence. It also bounds the share
    of all parts above the (found + 1)-th highest score, which has a Beta(found + 1, parts - found)
    distribution, and so holds for a threshold at that score.

    Args:
        found: number of events, in [0, parts].
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
    good_scores: ArrayLike,
    false_reject: float,
    groups: Sequence[str] | None = None,
    *,
    kind: str = "held-out good parts",
) -> Threshold:
    """The lowest threshold that rejects new good parts no more often than requested.

    A part is rejected if ``score >= threshold``. A new part is equally likely to have any rank among N
    others, so it lies above the (k + 1)-th highest of them with a probability of (k + 1) / (N + 1) at most:
    the split-conformal bound (Vovk et al., 2005). k is the largest for which this does not exceed the
    requested rate, or 0 if there is none. The threshold lies above that score by the margin of
    `tolerance.above`.

    Near-duplicates count once: a group has the score of its highest part, and N and k count groups.

    Args:
        good_scores: (M,) scores of held-out good parts, M >= 1.
        false_reject: the largest share of all good parts to reject, in [0, 1).
        groups: M group names of near-duplicates, "" for none.
        kind: a description of the parts.

    Returns:
        The threshold; its origin gives the expected rate among all good parts, or groups of them, and its
        bound. Its warning says if they are too few for the requested rate.

    Raises:
        ValueError: no scores, scores that are not finite, a rate outside [0, 1), or the wrong number of
            groups.

    Example:
        >>> found = false_reject_threshold([0.1, 0.2, 0.3, 0.4], 0.4, kind="good parts")
        >>> 0.3 < found.value < 0.301
        True
        >>> found.origin
        'rejects 1 of 4 good parts; expect 40% of all good parts to be rejected, at most 75% (95% sure)'
    """
    scores = np.asarray(good_scores, dtype=np.float64)
    if scores.size == 0 or not np.isfinite(scores).all() or not 0 <= false_reject < 1:
        raise ValueError(
            f"need finite scores and a rate in [0, 1), not {scores.size} scores, rate {false_reject}"
        )
    highest: dict[str | int, float] = {}
    names = [group or row for row, group in enumerate(groups or [""] * scores.size)]
    for name, score in zip(names, scores.tolist(), strict=True):
        highest[name] = max(score, highest.get(name, score))
    count = len(highest)
    # The slack allows for rounding, as in 0.07 * 100 = 7.000000000000001.
    spared = max(0, math.floor(false_reject * (count + 1) + 1e-9) - 1)
    value = above(sorted(highest.values(), reverse=True)[min(spared, count - 1)])
    for score in np.sort(scores):
        # A part that passes by less than the margin could be rejected by another runtime: add the margin to
        # it too.
        value = max(value, above(float(score))) if score < value else value

    rejected, touched = int((scores >= value).sum()), sum(score >= value for score in highest.values())
    expected, bound = (touched + 1) / (count + 1), highest_rate(touched, count)
    origin, most = f"rejects {rejected} of {scores.size} {kind}", f"at most {_percent(bound)}"
    if count == scores.size:
        origin += f"; expect {_percent(expected)} of all good parts to be rejected, {most}"
    else:
        origin += (
            f", in {touched} of {count} groups; expect a part to be rejected in {_percent(expected)} of "
        )
        origin += f"all groups, {most}"
    origin += f" ({CONFIDENCE:.0%} sure)"
    warning = ""
    if false_reject * (count + 1) < 1 - 1e-9:
        parts = f"{scores.size} {kind}" + (f" of {count} groups" if count < scores.size else "")
        least = math.ceil(1 / false_reject - 1e-9) - 1 if false_reject > 1e-9 else 0
        enough = f"at least {least} are required" if least else "none can"
        warning = (
            f"{parts} cannot support a false-reject rate of {false_reject:.2%} ({enough}): "
            f"expect {_percent(expected)}"
        )
    return Threshold(value, origin, warning)


def best_f1_threshold(scores: ArrayLike, labels: ArrayLike) -> Threshold:
    """The threshold with the best F1 on held-out parts of both kinds; it guarantees no false-reject rate.

    It never separates scores that are closer together than runtimes differ.

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
    # The lowest cut rejects all parts and needs no margin.
    has_room = np.array([True, *(above(float(low)) <= high for low, high in pairwise(cuts))])
    # Each cut rejects all scores from it upwards, counted in the sorted scores.
    positives, negatives = np.sort(values[truth]), np.sort(values[~truth])
    hits = positives.size - np.searchsorted(positives, cuts)
    false_alarms = negatives.size - np.searchsorted(negatives, cuts)
    f1 = np.where(has_room, 2 * hits / (positives.size + hits + false_alarms), -1)
    best = int(np.argmax(f1))
    lower, lowest_rejected = float(cuts[max(best - 1, 0)]), float(cuts[best])
    value = float(np.float32((lower + lowest_rejected) / 2))
    if best:
        value = max(value, above(lower))
    passed = values < value
    return Threshold(
        value,
        f"best F1 ({f1[best]:.3f}) on {values.size} held-out parts; rejects "
        f"{int((~passed & ~truth).sum())} of {negatives.size} good and "
        f"{int((~passed & truth).sum())} of {positives.size} defective ones",
    )


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Scores of good training parts, each as if it and its group had not been trained on.

    Attributes:
        scores: (M,), finite, in the order of `by_group`.
        groups: M group names of near-duplicates, "" for none.
    """

    scores: NDArray[np.float32]
    groups: Sequence[str]


MOST_LEFT_OUT = 5000
"""Groups of good training parts that are scored, evenly spread: more of them hardly change a threshold."""


def by_group(labels: NDArray[np.int64], groups: Sequence[str], most: int = MOST_LEFT_OUT) -> list[list[int]]:
    """Rows of the good parts, those of a group together; "" is a group of its own.

    Of more than `most` groups, as many are taken, evenly spread.

    Example:
        >>> by_group(np.array([0, 1, 0, 0]), ["a", "a", "", "a"])
        [[0, 3], [2]]
    """
    members: dict[str | int, list[int]] = {}
    for row in np.flatnonzero(labels == 0).tolist():
        members.setdefault(groups[row] or row, []).append(row)
    rows = list(members.values())
    spread = np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int)
    return [rows[place] for place in spread]


def choose_threshold(
    scores: NDArray[np.floating[Any]],
    labels: NDArray[np.int64],
    groups: Sequence[str],
    false_reject: float | None,
    left_out: LeftOut | None = None,
) -> Threshold:
    """The threshold for a false-reject rate, or with the best F1.

    Args:
        scores: (N,) of held-out parts.
        labels: (N,) effective labels: 0 good, 1 defective, -1 unknown.
        groups: N group names of near-duplicates, "" for none.
        false_reject: the largest share of all good parts to reject, in [0, 1); None selects the best F1,
            which needs parts of both kinds.
        left_out: more good parts, for the rate.

    Returns:
        The threshold; its origin says how many held-out defective parts it rejects, with a warning if none.
    """
    if false_reject is None:
        known = labels >= 0
        return best_f1_threshold(scores[known], labels[known])
    good = labels == 0
    names = [group for group, is_good in zip(groups, good, strict=True) if is_good]
    used, kind = scores[good], "held-out good parts"
    if left_out is not None and len(left_out.scores):
        kind = f"good parts ({len(used)} held out, {len(left_out.scores)} left out in turn)"
        used, names = np.concatenate([used, left_out.scores]), [*names, *left_out.groups]
    threshold = false_reject_threshold(used, false_reject, names, kind=kind)
    defective = scores[labels == 1]
    if not defective.size:
        return threshold
    caught = int((defective >= threshold.value).sum())
    share = f"{caught} of {defective.size} held-out defective ones"
    warnings = [threshold.warning] if threshold.warning else []
    if not caught:
        warnings.append(f"the threshold rejects {share}: the model cannot distinguish them from good ones")
    return Threshold(threshold.value, f"{threshold.origin}; rejects {share}", "; ".join(warnings))


def _percent(rate: float) -> str:
    """With two significant digits: 0.99%, 4.3%, 18%."""
    return f"{rate:.0%}" if rate >= 0.0995 else f"{rate:.1%}" if rate >= 0.00995 else f"{rate:.2%}"
