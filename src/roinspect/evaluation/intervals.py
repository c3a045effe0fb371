"""95 % confidence intervals of the metrics.

Each is found by asking which true values the parts at hand are compatible with, which holds for few parts and
for rates of 0 and 1 too, where resampling (the bootstrap) draws intervals that are far too narrow:

- Rates: Wilson's score interval (1927).
- AUROC: the same idea with the variance of Hanley and McNeil, Newcombe's method 5 (2006).
- Average precision: as a rate among the defective parts (Boyd, Eng and Page, 2013).
- Alarm rates at 95 % recall: thresholds whose recall may well be 95 %, and Wilson's interval of the rate at
  the ends of these; each at half the risk.

Photographs of one group (`Record.group`: a position, a part) show nearly the same. The variance between
groups (for AUROC that of DeLong's components by group, Obuchowski, 1997), over what it would be without
groups, is the design effect: so many times fewer parts count, and Student's t with the number of groups
stands for the normal distribution (Korn and Graubard, 1998). Where almost all parts agree, a group counts as
one part.

A measure has an interval only where each kind of parts it needs comes from at least `LEAST` groups (or single
parts); else it is NaN.
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
"""Groups, or single parts, of each kind below which nothing can be said."""

RECALL = 0.95
"""Share of the defective parts that must be caught where alarm rates are compared."""

NEEDED = {
    "image_auroc": ("defective", "other"),
    "image_ap": ("defective", "other"),
    "outside_alarm_rate_at_recall95": ("defective", "outside"),
    "good_alarm_rate_at_recall95": ("defective", "good"),
    "recall": ("defective",),
    "outside_alarm_rate": ("outside",),
    "good_reject_rate": ("good",),
}
"""The measures that have an interval, and the kinds of parts that each of them needs."""

NAMES = {"defective": "defective", "outside": "outside-only", "good": "good"}

AT_THRESHOLD = {"recall": "defective", "outside_alarm_rate": "outside", "good_reject_rate": "good"}
"""The rates at the threshold, and the kind of parts that each is of."""

_HALVINGS = 60


class Interval(NamedTuple):
    """A 95 % confidence interval; NaN where there are too few parts."""

    low: float
    high: float


UNKNOWN = Interval(math.nan, math.nan)


@dataclass(frozen=True, slots=True)
class Intervals:
    """Intervals by metric, and the method behind them."""

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
        groups: N names of what near-duplicates share, "" for a part that has none.
        threshold: a score at or above it is an alarm; None leaves out the rates at the threshold.

    Returns:
        An interval for every name in `NEEDED`, without those in `AT_THRESHOLD` where there is none; NaN, with
        a warning, where the parts are too few.
    """
    units = _units(groups)
    kinds = {"defective": label, "outside": outside_only & ~label, "good": ~label & ~outside_only}
    held = {kind: len(np.unique(units[which])) for kind, which in kinds.items()}
    few = [f"{held[kind]} {name}" for kind, name in NAMES.items() if 0 < held[kind] < LEAST]
    unit = "group" if any(groups) else "part"
    if few:
        message = f"too few {unit}s for some confidence intervals: {', '.join(few)} (at least {LEAST} wanted)"
        warnings.warn(message, RuntimeWarning, stacklevel=3)
    kinds["other"] = ~label
    held["other"] = len(np.unique(units[~label]))
    bounds = {name: UNKNOWN for name in NEEDED if threshold is not None or name not in AT_THRESHOLD}
    known = {name for name in bounds if all(held[kind] >= LEAST for kind in NEEDED[name])}
    if "image_auroc" in known:
        bounds["image_auroc"], bounds["image_ap"] = _ranked(scores, label, units)
    for name, kind in AT_THRESHOLD.items():
        if name in known and threshold is not None:
            bounds[name] = rate_interval(scores[kinds[kind]] >= threshold, units[kinds[kind]])
    for kind in ("outside", "good"):
        if f"{kind}_alarm_rate_at_recall95" in known:
            bounds[f"{kind}_alarm_rate_at_recall95"] = _at_recall(scores, label, kinds[kind], units)
    return Intervals(bounds, unit, len(np.unique(units)))


def rate_interval(
    hit: NDArray[np.bool_], units: NDArray[np.intp] | None = None, level: float = LEVEL
) -> Interval:
    """Wilson's interval of a rate.

    Args:
        hit: (N,), N >= 1, whether each part counts.
        units: (N,) number of the group of each; None lets every part stand for itself.
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
    # From fewer groups with a hit, or without one, no variance can be told.
    if min(touched, groups - int((np.bincount(numbers, ~hit) == 0).sum())) >= LEAST:
        of_groups = np.bincount(numbers, hit - rate)
        variance = groups / max(groups - 1, 1) * float(np.square(of_groups).sum()) / count**2
        effect = max(1.0, variance / (rate * (1 - rate) / count))
    return _wilson(rate, max(1.0, count / effect), student(level, groups - 1))


def student(level: float, freedom: int) -> float:
    """The two-sided quantile of Student's t distribution, to 1 % from four degrees of freedom on.

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
    """The interval of an AUROC in [0, 1], from so many parts of either kind (Newcombe, 2006, method 5).

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
    """The farthest compatible value between a compatible one and an end."""
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
    # Rounding must not leave 0 and 1 out.
    return Interval(0.0 if rate == 0 else middle - reach, 1.0 if rate == 1 else middle + reach)


def _units(groups: Sequence[str]) -> NDArray[np.intp]:
    """Numbers the groups; a part without one is its own."""
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
    """How many times greater groups make the variance of the AUROC; at least 1."""
    # DeLong's components: the share of the other kind that each part is in order with.
    share = np.empty(len(scores))
    for which, sign in ((label, 1), (~label, -1)):
        rivals, own = np.sort(sign * scores[~which]), sign * scores[which]
        lower = np.searchsorted(rivals, own, "left") + np.searchsorted(rivals, own, "right")
        share[which] = lower / (2 * len(rivals)) - auroc
    weighted = share / np.where(label, label.sum(), (~label).sum())
    alone = float(np.square(weighted).sum())
    numbers = np.unique(units, return_inverse=True)[1]
    if not alone:
        # All in order: each group counts as one part.
        return len(scores) / (int(numbers.max()) + 1)
    groups = int(numbers.max()) + 1
    together = groups / (groups - 1) * float(np.square(np.bincount(numbers, weighted)).sum())
    return max(1.0, together / alone)


def _at_recall(
    scores: NDArray[np.float64], label: NDArray[np.bool_], which: NDArray[np.bool_], units: NDArray[np.intp]
) -> Interval:
    """The interval of a kind's alarm rate where 95 % of the defective parts are caught.

    From few defective parts (below about a hundred) it reaches up to 1: the weakest of them may be among the
    5 % that are not to count.
    """
    level = (1 + LEVEL) / 2
    own, of_defective = units[which], units[label]

    def recall(cut: float) -> Interval:
        return rate_interval(scores[label] >= cut, of_defective, level)

    cuts = np.unique(scores[label]).tolist()
    # The recall falls from cut to cut.
    first = bisect_left(cuts, True, key=lambda cut: recall(cut).low <= RECALL)
    last = bisect_left(cuts, True, key=lambda cut: recall(cut).high < RECALL) - 1
    lowest, highest = cuts[min(first, len(cuts) - 1)], cuts[max(last, 0)]
    low = rate_interval(scores[which] >= highest, own, level).low
    if lowest == cuts[0]:
        return Interval(low, 1.0)
    return Interval(low, rate_interval(scores[which] >= lowest, own, level).high)
