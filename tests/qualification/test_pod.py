"""The POD curve against published estimates and against statsmodels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from roinspect.qualification.pod import NoCurveError, fit_pod, lower_bound

# Bliss (1935): beetles killed by carbon disulphide, log10 of the dose. The logistic curve is the
# worked example of Dobson and Barnett, An Introduction to Generalized Linear Models, section 7.3.
LOG_DOSE = (1.6907, 1.7242, 1.7552, 1.7842, 1.8113, 1.8369, 1.8610, 1.8839)
BEETLES = (59, 60, 62, 56, 63, 59, 62, 60)
KILLED = (6, 13, 18, 28, 52, 53, 61, 60)
INTERCEPT, SLOPE = -60.717, 34.270


def beetles() -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    dose = np.repeat([10**log for log in LOG_DOSE], BEETLES)
    killed = [index < dead for count, dead in zip(BEETLES, KILLED, strict=True) for index in range(count)]
    return dose, np.array(killed)


def drawn(
    count: int, seed: int, a50: float = 5.0, slope: float = 4.0
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    generator = np.random.default_rng(seed)
    sizes = np.exp(generator.uniform(math.log(1), math.log(20), count))
    chance = 1 / (1 + np.exp(-slope * np.log(sizes / a50)))
    return sizes, generator.random(count) < chance


def test_the_curve_is_the_published_one() -> None:
    curve = fit_pod(*beetles())
    assert curve.intercept == pytest.approx(INTERCEPT, abs=5e-4)
    # Published per power of ten; here per power of e.
    assert curve.slope * math.log(10) == pytest.approx(SLOPE, abs=5e-4)
    assert math.log10(curve.a50) == pytest.approx(-INTERCEPT / SLOPE, abs=1e-4)
    assert curve.probability(curve.a90) == pytest.approx(0.9)
    assert (curve.parts, curve.hits) == (481, 291)


@pytest.mark.parametrize("seed", range(3))
def test_the_curve_is_that_of_statsmodels(seed: int) -> None:
    statsmodels = pytest.importorskip("statsmodels.api")
    sizes, hits = drawn(80, seed)
    fitted = statsmodels.Logit(hits.astype(float), statsmodels.add_constant(np.log(sizes))).fit(
        disp=0, tol=1e-12
    )
    curve = fit_pod(sizes, hits)
    assert (curve.intercept, curve.slope) == pytest.approx(tuple(fitted.params), rel=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_the_bound_is_where_statsmodels_likelihood_has_fallen_by_z_squared(seed: int) -> None:
    statsmodels = pytest.importorskip("statsmodels.api")
    stats = pytest.importorskip("scipy.stats")
    sizes, hits = drawn(80, seed)
    x, y = np.log(sizes), hits.astype(float)
    binomial = statsmodels.families.Binomial()
    best = statsmodels.GLM(y, statsmodels.add_constant(x), family=binomial).fit(tol=1e-12).llf
    curve = fit_pod(sizes, hits)
    away = x - math.log(curve.a90_bound)
    with_this_a90 = statsmodels.GLM(
        y, away[:, None], offset=np.full(len(x), math.log(9)), family=binomial
    ).fit(tol=1e-12)
    # One-sided at 95 %: the quantile of chi-squared with one degree of freedom at 90 %.
    assert 2 * (best - with_this_a90.llf) == pytest.approx(stats.chi2.ppf(0.9, 1), rel=1e-4)
    assert curve.a90_bound > curve.a90 > curve.a50


def test_with_many_parts_the_bound_is_near_walds() -> None:
    statsmodels = pytest.importorskip("statsmodels.api")
    sizes, hits = drawn(4000, 0)
    fitted = statsmodels.Logit(hits.astype(float), statsmodels.add_constant(np.log(sizes))).fit(
        disp=0, tol=1e-12
    )
    (b0, b1), covariance = fitted.params, fitted.cov_params()
    log_a90 = (math.log(9) - b0) / b1
    gradient = np.array([-1 / b1, -log_a90 / b1])
    error = math.sqrt(gradient @ covariance @ gradient)
    assert math.log(fit_pod(sizes, hits).a90_bound) == pytest.approx(log_a90 + 1.6449 * error, abs=0.003)


def test_the_bound_covers_the_true_a90_about_as_often_as_it_says() -> None:
    truth = 5 * 9 ** (1 / 4)
    covered = [fit_pod(*drawn(150, seed)).a90_bound >= truth for seed in range(200)]
    # Exact for many parts only: 95 %, less what 150 parts cost, and the error of 200 draws.
    assert 0.89 <= np.mean(covered) <= 0.99


def test_few_parts_have_a_curve_but_no_bound() -> None:
    sizes = np.array([1, 2, 3, 4, 5, 6, 7, 8.0])
    curve = fit_pod(sizes, np.array([0, 1, 0, 1, 0, 1, 0, 1], bool))
    assert math.isfinite(curve.a90)
    assert curve.a90_bound == math.inf


def test_the_curves_bound_lies_below_it_and_passes_a90_95() -> None:
    sizes, hits = drawn(200, 1)
    curve = fit_pod(sizes, hits)
    bound = lower_bound(sizes, hits, curve)
    assert len(bound) > 10
    assert all(probability <= curve.probability(size) for size, probability in bound)
    assert {probability: size for size, probability in bound}[0.9] == pytest.approx(curve.a90_bound)


@pytest.mark.parametrize(
    ("sizes", "hits", "words"),
    [
        ([], [], "no defects of known size"),
        ([3, 4, 5, 6, 7, 8], [1] * 6, "all 6 defects of 3.0 to 8.0 px were found"),
        ([3, 4, 5, 6, 7, 8], [0] * 6, "none of 6 defects"),
        ([3, 3, 4, 4, 5, 5], [0, 1] * 3, "3 different sizes"),
        ([3, 4, 5, 6, 7, 8], [0, 0, 0, 1, 1, 1], "do not overlap"),
        ([3, 4, 5, 5, 6, 7], [0, 0, 0, 1, 1, 1], "do not overlap"),
        ([3, 4, 5, 6, 7, 8], [1, 1, 0, 1, 0, 0], "not found more often"),
    ],
)
def test_parts_that_determine_no_curve_are_refused(sizes: list[float], hits: list[int], words: str) -> None:
    with pytest.raises(NoCurveError, match=words):
        fit_pod(np.array(sizes), np.array(hits, bool))


def test_a_size_of_zero_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="above 0"):
        fit_pod(np.array([0.0, 1.0]), np.array([False, True]))
