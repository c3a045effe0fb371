"""Probability of detection (POD) against the size of a defect, from hits and misses.

    POD(a) = 1 / (1 + exp(-(b0 + b1 * ln a)))

is fitted by maximum likelihood, as MIL-HDBK-1823A does for hit/miss data. a50 and a90 are the sizes that are
found with a probability of 50 % and 90 %. a90/95 is the upper 95 % confidence bound of a90, from the
likelihood ratio: the largest size at which a curve with that a90 is still compatible with the parts,

    2 * (l(best curve) - l(best curve with this a90)) <= z(0.95)^2.

Unlike the bound from the curvature at the best curve (Wald's), it shows where the parts are too few for one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEAST_SIZES = 5
"""Fewest different sizes for a curve."""
FEW_PARTS = 60
"""Below this number of defects MIL-HDBK-1823A calls hit/miss data too few for a reliable curve."""

_SHOWN = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99)
"""Probabilities at which the bound of a curve is computed."""
_STEPS = 100
_CONVERGED = 1e-10
_HALVINGS = 50
_FARTHEST = 60.0
"""Of ln a from the best a90, where a bound is searched; without a bound there is none at any distance."""


class NoCurveError(Exception):
    """No curve can be fitted; the text says why, in words."""


@dataclass(frozen=True, slots=True)
class PodCurve:
    """A fitted curve.

    Attributes:
        intercept: b0.
        slope: b1, above 0.
        a50: size found with a probability of 50 %.
        a90: the same for 90 %.
        a90_bound: upper confidence bound of a90; infinite where the parts are too few to have one.
        confidence: of the bound.
        parts: defects.
        hits: those found.
        smallest: size.
        largest: size. Beyond these two the curve is an extrapolation.
    """

    intercept: float
    slope: float
    a50: float
    a90: float
    a90_bound: float
    confidence: float
    parts: int
    hits: int
    smallest: float
    largest: float

    def probability(self, size: float) -> float:
        """POD at a size above 0."""
        return float(_sigmoid(np.array(self.intercept + self.slope * math.log(size))))


def fit_pod(sizes: NDArray[Any], hits: NDArray[Any], confidence: float = 0.95) -> PodCurve:
    """Fit a curve to hits and misses.

    Args:
        sizes: (N,) of each defect, above 0.
        hits: (N,) true where it was found.
        confidence: of a90's bound and of the curve's, in (0.5, 1).

    Raises:
        NoCurveError: the parts do not determine a curve: all were found or all missed, there are fewer than
            `LEAST_SIZES` sizes, hits and misses do not overlap in size, or larger defects are not found more
            often.
        ValueError: a size is not above 0.
    """
    size, hit = np.asarray(sizes, np.float64), np.asarray(hits, bool)
    if not (np.isfinite(size).all() and (size > 0).all()):
        raise ValueError("sizes must be finite and above 0")
    _refuse_undetermined(size, hit)
    x, y = np.log(size), hit.astype(np.float64)
    intercept, slope = _fit(x, y)
    if slope <= 0:
        raise NoCurveError("larger defects were not found more often than smaller ones")
    worst = _least_likely(x, y, intercept, slope, confidence)
    at_90 = _place(intercept, slope, 0.9)
    return PodCurve(
        intercept=intercept,
        slope=slope,
        a50=math.exp(_place(intercept, slope, 0.5)),
        a90=math.exp(at_90),
        a90_bound=_exp(_bound(x, y, 0.9, at_90, worst)),
        confidence=confidence,
        parts=len(size),
        hits=int(hit.sum()),
        smallest=float(size.min()),
        largest=float(size.max()),
    )


def lower_bound(sizes: NDArray[Any], hits: NDArray[Any], curve: PodCurve) -> list[tuple[float, float]]:
    """The lower confidence bound of a curve, for a plot.

    Args:
        sizes: that the curve was fitted to.
        hits: likewise.
        curve: from `fit_pod`.

    Returns:
        Sizes and probabilities, rising; at a probability of 0.9 the size is `a90_bound`.
    """
    x, y = np.log(np.asarray(sizes, np.float64)), np.asarray(hits, np.float64)
    worst = _least_likely(x, y, curve.intercept, curve.slope, curve.confidence)
    places = [
        (_bound(x, y, probability, _place(curve.intercept, curve.slope, probability), worst), probability)
        for probability in _SHOWN
    ]
    return [(_exp(place), probability) for place, probability in places if math.isfinite(place)]


def _least_likely(
    x: NDArray[np.float64], y: NDArray[np.float64], intercept: float, slope: float, confidence: float
) -> float:
    """The lowest log-likelihood of a curve that is compatible with the parts."""
    return _log_likelihood(intercept + slope * x, y) - NormalDist().inv_cdf(confidence) ** 2 / 2


def _place(intercept: float, slope: float, probability: float) -> float:
    """The logarithm of the size at a probability."""
    return (_logit(probability) - intercept) / slope


def _refuse_undetermined(size: NDArray[np.float64], hit: NDArray[np.bool_]) -> None:
    if not len(size):
        raise NoCurveError("there are no defects of known size")
    span = f"of {size.min():.1f} to {size.max():.1f} px"
    if hit.all():
        raise NoCurveError(
            f"all {len(hit)} defects {span} were found: smaller ones are needed to see where detection ends"
        )
    if not hit.any():
        raise NoCurveError(f"none of {len(hit)} defects {span} was found")
    sizes = len(np.unique(size))
    if sizes < LEAST_SIZES:
        raise NoCurveError(
            f"there are {sizes} different sizes of defects; a curve needs {LEAST_SIZES} or more"
        )
    missed, found = float(size[~hit].max()), float(size[hit].min())
    if missed <= found:
        raise NoCurveError(
            f"every defect of {found:.1f} px or more was found and none of {missed:.1f} px or less: hits and "
            "misses do not overlap in size, so no single curve fits best; defects near these sizes are needed"
        )


def _fit(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    """Intercept and slope of the highest likelihood, by Newton's method with step halving."""
    centre = float(x.mean())
    design = np.stack([np.ones_like(x), x - centre], 1)
    beta = np.zeros(2)
    best = _log_likelihood(design @ beta, y)
    for _ in range(_STEPS):
        mean = _sigmoid(design @ beta)
        weight = mean * (1 - mean)
        step = np.linalg.solve(design.T @ (weight[:, None] * design), design.T @ (y - mean))
        factor = 1.0
        while (reached := _log_likelihood(design @ (beta + factor * step), y)) < best and factor > 1e-8:
            factor /= 2
        beta = beta + factor * step
        is_done = reached - best < _CONVERGED
        best = max(best, reached)
        if is_done:
            break
    return float(beta[0] - beta[1] * centre), float(beta[1])


def _bound(
    x: NDArray[np.float64], y: NDArray[np.float64], probability: float, start: float, worst: float
) -> float:
    """The largest ln a at which the curve through (a, probability) is still as likely as `worst`."""
    step, low = 0.25, start
    while _most_likely(x, y, probability, start + step) >= worst:
        low, step = start + step, 2 * step
        if step > _FARTHEST:
            return math.inf
    high = start + step
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        is_compatible = _most_likely(x, y, probability, middle) >= worst
        low, high = (middle, high) if is_compatible else (low, middle)
    return low


def _most_likely(x: NDArray[np.float64], y: NDArray[np.float64], probability: float, place: float) -> float:
    """The highest log-likelihood among curves with the given probability at ln a = place."""
    fixed, away = _logit(probability), x - place
    slope, best = 0.0, _log_likelihood(np.full_like(x, fixed), y)
    for _ in range(_STEPS):
        mean = _sigmoid(fixed + slope * away)
        curvature = float((mean * (1 - mean) * away**2).sum())
        if curvature <= 0:
            break
        step = float(((y - mean) * away).sum()) / curvature
        while (reached := _log_likelihood(fixed + (slope + step) * away, y)) < best and abs(step) > 1e-12:
            step /= 2
        slope += step
        is_done = reached - best < _CONVERGED
        best = max(best, reached)
        if is_done:
            break
    return best


def _log_likelihood(logits: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    return float(-np.logaddexp(0, np.where(y > 0, -logits, logits)).sum())


def _sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    half: NDArray[np.float64] = 0.5 * (1 + np.tanh(logits / 2))
    return half


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def _exp(value: float) -> float:
    return math.inf if value > 700 else math.exp(value)
