"""Attribute agreement: how well inspectors, the machine among them, agree with the reference and each other.

Repeated looks at one part are not independent, so all intervals are over parts: for rates with the design
effect (`intervals.rate_interval`), for kappas from each part's influence on the kappa (infinitesimal
jackknife). With one look per part the latter is the large-sample variance of Fleiss, Cohen and Everitt
(1969).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roinspect.evaluation.intervals import UNKNOWN, Interval, rate_interval

_NORMAL = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval; NaN where the looks do not determine it."""

    value: float
    interval: Interval = UNKNOWN


NOT_DETERMINED = Estimate(math.nan)


@dataclass(frozen=True, slots=True)
class Appraiser:
    """How one inspector, or the machine, compares with the reference.

    Attributes:
        name: of the inspector.
        looks: at all parts together.
        effectiveness: share of all looks with the right answer.
        miss_rate: share of the looks at defective parts that accepted them.
        false_alarm_rate: share of the looks at good parts that rejected them.
        kappa: Cohen's, of the looks against the reference.
        consistent: parts that were judged alike at every look; None with one look a part.
    """

    name: str
    looks: int
    effectiveness: Estimate
    miss_rate: Estimate
    false_alarm_rate: Estimate
    kappa: Estimate
    consistent: int | None


@dataclass(frozen=True, slots=True)
class Agreement:
    """The study.

    Attributes:
        parts: that were looked at.
        defective: of these, by the reference.
        appraisers: the inspectors in alphabetical order, then the machine.
        between_inspectors: Fleiss' kappa of the inspectors' first looks.
        between_all: the same with the machine as one more inspector.
        pairs: Cohen's kappa of the first looks of every two, by their names.
    """

    parts: int
    defective: int
    appraisers: tuple[Appraiser, ...]
    between_inspectors: Estimate
    between_all: Estimate
    pairs: tuple[tuple[str, str, Estimate], ...]


def study(
    looks: Mapping[str, Sequence[Sequence[bool]]], reference: Sequence[bool], machine: str
) -> Agreement:
    """Compare all inspectors with the reference and with one another.

    Args:
        looks: by inspector, for each part its looks: true = rejected. At least one look at each part.
        reference: for each part, true = defective.
        machine: the machine's name among the inspectors.
    """
    truth = np.asarray(reference, bool)
    names = [*sorted(name for name in looks if name != machine), machine]
    first = {name: np.array([of_part[0] for of_part in looks[name]], bool) for name in names}
    units = np.arange(len(truth))
    pairs = [
        (one, other, cohens_kappa(first[one], first[other], units))
        for index, one in enumerate(names)
        for other in names[index + 1 :]
    ]
    return Agreement(
        parts=len(truth),
        defective=int(truth.sum()),
        appraisers=tuple(_appraiser(name, looks[name], truth) for name in names),
        between_inspectors=fleiss_kappa(np.stack([first[name] for name in names[:-1]], 1)),
        between_all=fleiss_kappa(np.stack([first[name] for name in names], 1)),
        pairs=tuple(pairs),
    )


def _appraiser(name: str, looks: Sequence[Sequence[bool]], truth: NDArray[np.bool_]) -> Appraiser:
    unit = np.repeat(np.arange(len(looks)), [len(of_part) for of_part in looks])
    rejected = np.array([look for of_part in looks for look in of_part], bool)
    defective = truth[unit]
    is_repeated = any(len(of_part) > 1 for of_part in looks)
    return Appraiser(
        name=name,
        looks=len(rejected),
        effectiveness=_rate(rejected == defective, unit),
        miss_rate=_rate(~rejected[defective], unit[defective]),
        false_alarm_rate=_rate(rejected[~defective], unit[~defective]),
        kappa=cohens_kappa(rejected, defective, unit),
        consistent=sum(len(set(of_part)) == 1 for of_part in looks) if is_repeated else None,
    )


def _rate(hit: NDArray[np.bool_], unit: NDArray[np.intp]) -> Estimate:
    return Estimate(float(hit.mean()), rate_interval(hit, unit)) if len(hit) else NOT_DETERMINED


def cohens_kappa(first: NDArray[Any], second: NDArray[Any], unit: NDArray[Any]) -> Estimate:
    """Cohen's kappa of two lists of answers, kappa = (Po - Pe) / (1 - Pe) (Cohen, 1960).

    Args:
        first: (N,) true = rejected.
        second: (N,) the same of another inspector, or the reference.
        unit: (N,) number of the part that each look was at.

    Returns:
        The kappa; not determined if both gave a single and the same answer throughout.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if not len(a):
        return NOT_DETERMINED
    differ = (a != b).astype(np.float64)
    share_a, share_b, observed = a.mean(), b.mean(), differ.mean()
    # In terms of disagreement: 1 - kappa = observed / expected.
    expected = share_a * (1 - share_b) + share_b * (1 - share_a)
    if expected == 0:
        return NOT_DETERMINED
    moved = (1 - 2 * share_b) * (a - share_a) + (1 - 2 * share_a) * (b - share_b)
    influence = -(differ - observed) / expected + observed / expected**2 * moved
    return _estimate(1 - observed / expected, influence, unit)


def fleiss_kappa(answers: NDArray[Any]) -> Estimate:
    """Fleiss' kappa of several inspectors (Fleiss, 1971).

    Args:
        answers: (N, M) for each of N parts the answers of M inspectors: true = rejected.

    Returns:
        The kappa; not determined with fewer than two inspectors, or if all answers are the same.
    """
    given = np.asarray(answers, np.float64)
    parts, inspectors = given.shape
    if inspectors < 2 or not parts:
        return NOT_DETERMINED
    rejected = given.sum(1)
    accepted = inspectors - rejected
    differ = 1 - (rejected * (rejected - 1) + accepted * (accepted - 1)) / (inspectors * (inspectors - 1))
    share, observed = float((rejected / inspectors).mean()), float(differ.mean())
    expected = 2 * share * (1 - share)
    if expected == 0:
        return NOT_DETERMINED
    moved = 2 * (1 - 2 * share) * (rejected / inspectors - share)
    influence = -(differ - observed) / expected + observed / expected**2 * moved
    return _estimate(1 - observed / expected, influence, np.arange(parts))


def _estimate(kappa: float, influence: NDArray[np.float64], unit: NDArray[Any]) -> Estimate:
    numbers = np.unique(unit, return_inverse=True)[1]
    error = math.sqrt(float(np.square(np.bincount(numbers, influence)).sum())) / len(influence)
    reach = _NORMAL * error
    return Estimate(float(kappa), Interval(max(-1.0, kappa - reach), min(1.0, kappa + reach)))
