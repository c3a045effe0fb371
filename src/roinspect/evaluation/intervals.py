"""How far measures could lie from those of another sample of parts: bootstrap confidence intervals.

Parts are drawn again with replacement, all kinds together, and everything is measured anew; the middle 95 %
of the results are the interval. Photographs of one group (`Record.group`: a position, a part) show nearly the
same, so whole groups are drawn where there are any.

Two things that resampling alone would get wrong:

- Few parts look too certain. A measure has an interval only where each kind of parts it needs comes from at
  least `LEAST` groups (or single parts); else it is NaN.
- Where all n of a kind agree (no alarm on 60 good parts), so do all resamples, and the interval would have no
  width. The bound is then the rate at which n independent parts still agree once in forty times,
  1 - 0.025 ** (1 / n).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
SEED = 0
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

AT_THRESHOLD = ("recall", "outside_alarm_rate", "good_reject_rate")

_CHUNK = 2**20
"""Weights held at a time."""


class Interval(NamedTuple):
    """Where a measure lies with 95 % confidence; NaN where the parts are too few to say."""

    low: float
    high: float


UNKNOWN = Interval(math.nan, math.nan)


@dataclass(frozen=True, slots=True)
class Intervals:
    """Intervals by the measure's name, and how they were found."""

    bounds: Mapping[str, Interval]
    unit: str
    """What was drawn: "group" or "part"."""
    units: int
    resamples: int = RESAMPLES
    seed: int = SEED
    level: float = LEVEL


class _Ranking(NamedTuple):
    """The parts from the highest score to the lowest."""

    kinds: dict[str, NDArray[np.bool_]]
    """(N,) by kind: defective, outside, good, other (all but defective)."""
    units: NDArray[np.intp]
    """(N,) number of the group that each belongs to."""
    ends: NDArray[np.intp]
    """(D,) place of the last part with each distinct score."""
    alarms: int
    """How many distinct scores lie at or above the threshold."""


def bootstrap(
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
    ranking = _rank(scores, label, outside_only, _units(groups), threshold)
    count = int(ranking.units.max()) + 1 if len(scores) else 0
    names = [name for name in NEEDED if threshold is not None or name not in AT_THRESHOLD]
    held = {kind: len(np.unique(ranking.units[which])) for kind, which in ranking.kinds.items()}
    few = [f"{held[kind]} {name}" for kind, name in NAMES.items() if 0 < held[kind] < LEAST]
    unit = "group" if any(groups) else "part"
    if few:
        message = f"too few {unit}s for some confidence intervals: {', '.join(few)} (at least {LEAST} wanted)"
        warnings.warn(message, RuntimeWarning, stacklevel=3)
    bounds = dict.fromkeys(names, UNKNOWN)
    known = [name for name in names if all(held[kind] >= LEAST for kind in NEEDED[name])]
    if known:
        drawn = _resampled(ranking, count)
        for name in known:
            # A resample may lack a kind altogether; with five groups of it one in 150 does at most.
            low, high = np.nanquantile(drawn[name], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
            bounds[name] = _widened(name, low, high, min(held[kind] for kind in NEEDED[name]))
    return Intervals(bounds, unit, count)


def _units(groups: Sequence[str]) -> NDArray[np.intp]:
    """Numbers the groups; a part without one is its own."""
    names: dict[str | int, int] = {}
    keys = (group or row for row, group in enumerate(groups))
    return np.array([names.setdefault(key, len(names)) for key in keys], np.intp)


def _rank(
    scores: NDArray[np.float64],
    label: NDArray[np.bool_],
    outside_only: NDArray[np.bool_],
    units: NDArray[np.intp],
    threshold: float | None,
) -> _Ranking:
    order = np.argsort(-scores, kind="stable")
    falling = scores[order]
    ends = np.flatnonzero(np.append(np.diff(falling) != 0, True)[: len(falling)])
    label, outside = label[order], outside_only[order]
    kinds = {"defective": label, "outside": outside, "good": ~label & ~outside, "other": ~label}
    alarms = 0 if threshold is None else int((falling[ends] >= threshold).sum())
    return _Ranking(kinds, units[order], ends, alarms)


def _resampled(ranking: _Ranking, count: int) -> dict[str, NDArray[np.float64]]:
    """Measures `RESAMPLES` draws of `count` groups."""
    random = np.random.default_rng(SEED)
    rows = max(1, _CHUNK // max(len(ranking.units), count))
    found = []
    for start in range(0, RESAMPLES, rows):
        draws = min(rows, RESAMPLES - start)
        drawn = random.integers(0, count, (draws, count)) + count * np.arange(draws)[:, None]
        times = np.bincount(drawn.ravel(), minlength=draws * count).reshape(draws, count)
        found.append(_measured(times.astype(np.int32)[:, ranking.units], ranking))
    return {name: np.concatenate([chunk[name] for chunk in found]) for name in found[0]}


def _measured(weights: NDArray[np.int32], ranking: _Ranking) -> dict[str, NDArray[np.float64]]:
    """Measures resamples in which part n counts ``weights[:, n]`` times; (R, N) gives (R,) each."""
    seen = {
        kind: np.cumsum(weights * ranking.kinds[kind], axis=1, dtype=np.int32)[:, ranking.ends]
        for kind in ("defective", "outside", "good")
    }
    hits, false = seen["defective"], seen["outside"] + seen["good"]
    total = {kind: counts[:, -1].astype(np.float64) for kind, counts in seen.items()}
    gained = np.diff(hits, axis=1, prepend=0)
    others = false[:, -1:].astype(np.float64)
    # Those that score lower, and half of those that score the same.
    below = others - (false + np.concatenate([np.zeros_like(false[:, :1]), false[:, :-1]], axis=1)) / 2
    needed = np.ceil(RECALL * total["defective"] - 1e-9)[:, None]
    at_recall = np.argmax(hits >= needed, axis=1)[:, None]

    def caught_at(kind: str) -> NDArray[np.float64]:
        return np.take_along_axis(seen[kind], at_recall, axis=1)[:, 0] / total[kind]

    def alarmed(kind: str) -> NDArray[np.float64]:
        return (seen[kind][:, ranking.alarms - 1] if ranking.alarms else 0) / total[kind]

    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "image_auroc": (gained * below).sum(1) / (total["defective"] * others[:, 0]),
            "image_ap": (gained * (hits / np.maximum(hits + false, 1))).sum(1) / total["defective"],
            "outside_alarm_rate_at_recall95": caught_at("outside"),
            "good_alarm_rate_at_recall95": caught_at("good"),
            "recall": alarmed("defective"),
            "outside_alarm_rate": alarmed("outside"),
            "good_reject_rate": alarmed("good"),
        }


def _widened(name: str, low: float, high: float, units: int) -> Interval:
    """Gives an interval without width at 0 or 1 the width that `units` agreeing groups leave."""
    if low < high or 0 < low < 1:
        return Interval(float(low), float(high))
    if name == "image_ap":
        # A mean of precisions is no rate of independent cases: nothing is known of it here.
        return UNKNOWN
    # For AUROC as for a rate: of n defective and n other parts, n independent pairs are in order.
    room = 1 - ((1 - LEVEL) / 2) ** (1 / units)
    return Interval(0.0, room) if low == 0 else Interval(1 - room, 1.0)
