"""95 % confidence intervals of the metrics.

Each contains the true values that are compatible with the parts. Unlike the bootstrap, whose intervals are
far too narrow there, this also works for few parts and for rates of 0 and 1:

- Rates: Wilson's score interval (1927).
- AUROC: the same idea with the variance of Hanley and McNeil, Newcombe's method 5 (2006).
- Average precision: as a rate among the defective parts (Boyd, Eng and Page, 2013).
- Alarm rates at 95 % recall: the thresholds compatible with a recall of 95 %, and Wilson's interval of the
  rate at the lowest and highest of these; each at half the risk.

Photographs of one group (`Record.group`: a position, a part) are nearly identical. The design effect is the
variance between groups (for AUROC that of DeLong's components by group, Obuchowski, 1997) divided by the
variance without groups. The number of parts is divided by it, and Student's t with the number of groups
replaces the normal distribution (Korn and Graubard, 1998). If almost all parts agree, a group counts as one
part.

A measure has an interval only if each kind of parts that it needs comes from at least `LEAST` groups (or
ungrouped parts); else it is NaN.
"""

from __future__ import annotations

import math
import warnings
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from roinspect.evaluation import curves

LEVEL = 0.95
LEAST = 5
"""Fewest groups, or ungrouped parts, of each kind for an interval."""

RECALL = 0.95
"""Recall at which alarm rates are compared."""

NEEDED = {
    "image_auroc": ("defective", "other"),
    "image_ap": ("defective", "other"),
    "outside_alarm_rate_at_recall95": ("defective", "outside"),
    "good_alarm_rate_at_recall95": ("defective", "good"),
    "recall": ("defective",),
    "outside_alarm_rate": ("outside",),
    "good_reject_rate": ("good",),
}
"""The measures with an interval, and the kinds of parts that each needs."""

NAMES = {"defective": "defective", "outside": "outside-only", "good": "good"}

AT_THRESHOLD = {"recall": "defective", "outside_alarm_rate": "outside", "good_reject_rate": "good"}
"""The rates at the threshold, and the kind of parts that each refers to."""

_HALVINGS = 60


class Interval(NamedTuple):
    """A 95 % confidence interval; NaN if there are too few parts."""

    low: float
    high: float


UNKNOWN = Interval(math.nan, math.nan)


@dataclass(frozen=True, slots=True)
class Intervals:
    """Intervals by metric, and the units that they are based on."""

    bounds: Mapping[str, Interval]
    unit: str
    """What counts as independent: "group" or "part"."""
    units: int
    level: float = LEVEL


def find_intervals(
    scores: NDArray[np.float64],
    label: NDArray[np.bool_],
    outside_only: NDArray[np.bool_],
    groups: Sequence[str],
    threshold: float | None,
) -> Intervals:
    """Intervals of the image-level measures.

    Args:
        scores: (N,), higher means more anomalous, finite.
        label: (N,) true where a defect lies inside the ROI.
        outside_only: (N,) true where a defect lies outside the ROI only; never where `label` is.
        groups: N group names of near-duplicates, "" for none.
        threshold: a score at or above it is an alarm; None omits the rates at the threshold.

    Returns:
        An interval for every name in `NEEDED`, without those in `AT_THRESHOLD` if there is no threshold; NaN,
        with a warning, if there are too few parts.
    """
    units = _units(groups)
    good = ~label & ~outside_only
    kinds = {"defective": label, "outside": outside_only & ~label, "good": good, "other": ~label}
    counts = {kind: len(np.unique(units[which])) for kind, which in kinds.items()}
    few = [f"{counts[kind]} {name}" for kind, name in NAMES.items() if 0 < counts[kind] < LEAST]
    unit = "group" if any(groups) else "part"
    if few:
        message = (
            f"too few {unit}s for some confidence intervals: {', '.join(few)}; at least {LEAST} required"
        )
        warnings.warn(message, RuntimeWarning, stacklevel=3)
    bounds = {name: UNKNOWN for name in NEEDED if threshold is not None or name not in AT_THRESHOLD}
    available = {name for name in bounds if all(counts[kind] >= LEAST for kind in NEEDED[name])}
    if "image_auroc" in available:
        bounds["image_auroc"], bounds["image_ap"] = _ranked(scores, label, units)
    for name, kind in AT_THRESHOLD.items():
        if name in available and threshold is not None:
            bounds[name] = rate_interval(scores[kinds[kind]] >= threshold, units[kinds[kind]])
    for kind in ("outside", "good"):
        if f"{kind}_alarm_rate_at_recall95" in available:
            bounds[f"{kind}_alarm_rate_at_recall95"] = _at_recall(scores, label, kinds[kind], units)
    return Intervals(bounds, unit, len(np.unique(units)))


def rate_interval(
    hit: NDArray[np.bool_], units: NDArray[np.intp] | None = None, level: float = LEVEL
) -> Interval:
    """Wilson's interval of a rate.

    Args:
        hit: (N,), N >= 1, whether each part is a hit.
        units: (N,) group number of each part; None treats all parts as independent.
        level: of confidence.

    Example:
        >>> [round(bound, 3) for bound in rate_interval(np.arange(20) < 2)]
        [0.028, 0.301]
    """
    count, rate = len(hit), float(hit.mean())
    groups = count if units is None else len(np.unique(units))
    if units is None or groups == count:
        return _wilson(rate, count, _normal(level))
    numbers = np.unique(units, return_inverse=True)[1]
    touched = int((np.bincount(numbers, hit) > 0).sum())
    effect = count / groups
    # With fewer groups that contain a hit, or a miss, the variance cannot be estimated.
    if min(touched, groups - int((np.bincount(numbers, ~hit) == 0).sum())) >= LEAST:
        of_groups = np.bincount(numbers, hit - rate)
        variance = groups / max(groups - 1, 1) * float(np.square(of_groups).sum()) / count**2
        effect = max(1.0, variance / (rate * (1 - rate) / count))
    return _wilson(rate, max(1.0, count / effect), student(level, groups - 1))


def student(level: float, freedom: int) -> float:
    """The two-sided quantile of Student's t distribution, accurate to 1 % from four degrees of freedom.

    Abramowitz and Stegun, 26.7.5.

    Example:
        >>> round(student(0.95, 10), 2)
        2.23
    """
    z, v = _normal(level), max(freedom, 1)
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / v + second / v**2 + third / v**3


def auroc_interval(
    value: float, defective: float, others: float, quantile: float = NormalDist().inv_cdf((1 + LEVEL) / 2)
) -> Interval:
    """The interval of an AUROC in [0, 1], from the numbers of parts of both kinds (Newcombe, 2006, method 5).

    Example:
        >>> [round(bound, 2) for bound in auroc_interval(1.0, 10, 10)]
        [0.8, 1.0]
    """
    extra = (defective + others) / 2 - 1

    def is_compatible(truth: float) -> bool:
        spread = 1 + extra * ((1 - truth) / (2 - truth) + truth / (1 + truth))
        variance = truth * (1 - truth) * spread / (defective * others)
        return (value - truth) ** 2 <= quantile**2 * variance

    return Interval(_end(is_compatible, value, 0.0), _end(is_compatible, value, 1.0))


def _end(is_compatible: Callable[[float], bool], start: float, stop: float) -> float:
    """The compatible value farthest from `start`, towards `stop`, by bisection."""
    if start == stop:
        return stop
    for _ in range(_HALVINGS):
        middle = (start + stop) / 2
        start, stop = (middle, stop) if is_compatible(middle) else (start, middle)
    return start


def _normal(level: float) -> float:
    return NormalDist().inv_cdf((1 + level) / 2)


def _wilson(rate: float, count: float, quantile: float) -> Interval:
    shift = quantile**2 / count
    middle = (rate + shift / 2) / (1 + shift)
    reach = quantile / (1 + shift) * math.sqrt(rate * (1 - rate) / count + shift / (4 * count))
    # Rounding must not exclude 0 and 1.
    return Interval(0.0 if rate == 0 else middle - reach, 1.0 if rate == 1 else middle + reach)


def _units(groups: Sequence[str]) -> NDArray[np.intp]:
    """Group numbers; a part without a group is its own group."""
    names: dict[str | int, int] = {}
    keys = (group or row for row, group in enumerate(groups))
    return np.array([names.setdefault(key, len(names)) for key in keys], np.intp)


def _ranked(
    scores: NDArray[np.float64], label: NDArray[np.bool_], units: NDArray[np.intp]
) -> tuple[Interval, Interval]:
    """The intervals of AUROC and of average precision."""
    _, positive, negative = curves.tally(scores, label)
    auroc = curves.auroc(positive, negative).value
    precision = curves.average_precision(positive, negative).value
    fewest = min(len(np.unique(units[which])) for which in (label, ~label))
    effect, quantile = 1.0, _normal(LEVEL)
    if len(np.unique(units)) < len(units):
        quantile = student(LEVEL, fewest - 1)
        effect = _design_effect(scores, label, units, auroc)
    defective, others = (max(1.0, int(count) / effect) for count in (label.sum(), (~label).sum()))
    return auroc_interval(auroc, defective, others, quantile), _wilson(precision, defective, quantile)


def _design_effect(
    scores: NDArray[np.float64], label: NDArray[np.bool_], units: NDArray[np.intp], auroc: float
) -> float:
    """The factor by which groups increase the variance of the AUROC; at least 1."""
    # DeLong's components: the share of the other kind that each part is ranked correctly against.
    share = np.empty(len(scores))
    for which, sign in ((label, 1), (~label, -1)):
        rivals, own = np.sort(sign * scores[~which]), sign * scores[which]
        lower = np.searchsorted(rivals, own, "left") + np.searchsorted(rivals, own, "right")
        share[which] = lower / (2 * len(rivals)) - auroc
    weighted = share / np.where(label, label.sum(), (~label).sum())
    alone = float(np.square(weighted).sum())
    numbers = np.unique(units, return_inverse=True)[1]
    if not alone:
        # All ranked correctly: each group counts as one part.
        return len(scores) / (int(numbers.max()) + 1)
    groups = int(numbers.max()) + 1
    together = groups / (groups - 1) * float(np.square(np.bincount(numbers, weighted)).sum())
    return max(1.0, together / alone)


def _at_recall(
    scores: NDArray[np.float64], label: NDArray[np.bool_], which: NDArray[np.bool_], units: NDArray[np.intp]
) -> Interval:
    """The interval of a kind's alarm rate at 95 % recall.

    With few defective parts (below about a hundred) it extends to 1, because even the lowest-scoring of them
    may have to be caught.
    """
    level = (1 + LEVEL) / 2
    own, of_defective = units[which], units[label]

    def recall(cut: float) -> Interval:
        return rate_interval(scores[label] >= cut, of_defective, level)

    cuts = np.unique(scores[label]).tolist()
    # The recall falls from each cut to the next.
    first = bisect_left(cuts, True, key=lambda cut: recall(cut).low <= RECALL)
    last = bisect_left(cuts, True, key=lambda cut: recall(cut).high < RECALL) - 1
    lowest, highest = cuts[min(first, len(cuts) - 1)], cuts[max(last, 0)]
    low = rate_interval(scores[which] >= highest, own, level).low
    if lowest == cuts[0]:
        return Interval(low, 1.0)
    return Interval(low, rate_interval(scores[which] >= lowest, own, level).high)
