"""What the looked-at parts say of all: wrong rejects, escapes, and the two rates that follow from them.

A line rejects R parts and passes P. Of the rejected ones people look at some, or all, and find a share p_r
good; of the passed ones they look at some and find a share p_p defective. Then

    false-reject rate = R p_r / (R p_r + P (1 - p_p))
    detection rate    = R (1 - p_r) / (R (1 - p_r) + P p_p).

The first rises with both shares, and the second falls with both, so the bounds of the shares give those of
the rates. The bounds of a share are exact (Clopper and Pearson, 1934); for the rates each share has half of
the risk (Bonferroni), unless the other is known without any.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from roinspect.evaluation.rates import rate_of

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Stratum:
    """Parts with one verdict.

    Attributes:
        parts: all of them.
        known: looked at, but not chosen by chance: they count for themselves only.
        known_odd: of these, the verdict was wrong.
        sample: looked at, and taken to be chosen by chance among the others.
        sample_odd: of these, the verdict was wrong.
        is_drawn: whether they say that they were drawn by chance.
    """

    parts: int
    known: int = 0
    known_odd: int = 0
    sample: int = 0
    sample_odd: int = 0
    is_drawn: bool = False

    @property
    def looked_at(self) -> int:
        """Parts that a person looked at."""
        return self.known + self.sample

    @property
    def odd(self) -> int:
        """Of these, the verdict was wrong."""
        return self.known_odd + self.sample_odd


@dataclass(frozen=True, slots=True)
class Estimate:
    """A share with its two-sided bounds.

    Attributes:
        value: NaN if nothing is known of it.
        low: lower bound.
        high: upper bound.
        is_exact: whether all parts were looked at, so that there is nothing to estimate.
    """

    value: float
    low: float
    high: float
    is_exact: bool = False

    @property
    def is_known(self) -> bool:
        """Whether there is a value."""
        return not math.isnan(self.value)


def share_odd(stratum: Stratum, level: float = LEVEL) -> Estimate:
    """The share of a stratum's parts that got a wrong verdict.

    The bounds are never beyond what the parts that were not looked at could change.

    Args:
        stratum: the parts.
        level: of confidence, of both bounds together.

    Example:
        >>> share = share_odd(Stratum(1000, sample=50, sample_odd=1))
        >>> share.value, round(share.low, 4), round(share.high, 3)
        (0.02, 0.001, 0.106)
        >>> share_odd(Stratum(40, sample=40, sample_odd=3)).is_exact
        True
    """
    parts, others = stratum.parts, stratum.parts - stratum.known
    if not parts:
        return Estimate(math.nan, 0.0, 1.0, is_exact=True)
    if others == stratum.sample:
        exact = stratum.odd / parts
        return Estimate(exact, exact, exact, is_exact=True)
    unseen = others - stratum.sample
    least, most = stratum.odd / parts, (stratum.odd + unseen) / parts
    if not stratum.sample:
        return Estimate(math.nan, least, most)
    rate = rate_of(stratum.sample_odd, stratum.sample, (1 + level) / 2)
    value, low, high = (
        (stratum.known_odd + others * share) / parts for share in (rate.share, rate.low, rate.high)
    )
    return Estimate(value, max(low, least), min(high, most))


@dataclass(frozen=True, slots=True)
class Rates:
    """The rates of the parts with a verdict good or defective.

    Attributes:
        good_of_rejected: share of the rejected parts that are good.
        defective_of_passed: share of the passed parts that are defective.
        false_reject: share of the good parts that were rejected.
        detection: share of the defective parts that were rejected.
    """

    good_of_rejected: Estimate
    defective_of_passed: Estimate
    false_reject: Estimate
    detection: Estimate


def rates_of(rejected: Stratum, passed: Stratum, level: float = LEVEL) -> Rates:
    """All rates, each with bounds of this level of confidence.

    Args:
        rejected: the parts with the verdict defective; odd ones are good.
        passed: the parts with the verdict good; odd ones are defective.
        level: of the bounds of each rate.

    Example:
        >>> rates = rates_of(Stratum(40, sample=40, sample_odd=8), Stratum(960, sample=100, sample_odd=1))
        >>> [round(value, 3) for value in (rates.false_reject.value, rates.detection.value)]
        [0.008, 0.769]
        >>> [round(value, 3) for value in (rates.detection.low, rates.detection.high)]
        [0.38, 0.97]
    """
    is_one_exact = share_odd(rejected).is_exact or share_odd(passed).is_exact
    each = level if is_one_exact else (1 + level) / 2
    good, defective = share_odd(rejected, each), share_odd(passed, each)
    is_exact = good.is_exact and defective.is_exact
    value, low, high = (
        # Without parts there is nothing that could be wrong.
        (
            rejected.parts * of_rejected if rejected.parts else 0.0,
            passed.parts * of_passed if passed.parts else 0.0,
        )
        for of_rejected, of_passed in (
            (good.value, defective.value),
            (good.low, defective.low),
            (good.high, defective.high),
        )
    )

    def false_reject(wrong: float, escapes: float) -> float:
        return _share(wrong, passed.parts - escapes)

    def detection(wrong: float, escapes: float) -> float:
        return _share(rejected.parts - wrong, escapes)

    return Rates(
        share_odd(rejected, level),
        share_odd(passed, level),
        _estimate(false_reject(*value), false_reject(*low), false_reject(*high), is_exact),
        _estimate(detection(*value), detection(*high), detection(*low), is_exact),
    )


def _share(of: float, others: float) -> float:
    return of / (of + others) if of + others else math.nan


def _estimate(value: float, low: float, high: float, is_exact: bool) -> Estimate:
    """NaN as a bound excludes nothing."""
    return Estimate(value, 0.0 if math.isnan(low) else low, 1.0 if math.isnan(high) else high, is_exact)
