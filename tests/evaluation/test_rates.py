"""Exact bounds against scipy's beta distribution, and against figures that are well known."""

from __future__ import annotations

import math

import pytest

from roinspect.evaluation.rates import parts_needed, rate_of


@pytest.mark.parametrize(
    ("found", "parts"), [(0, 1), (1, 1), (0, 20), (3, 20), (20, 20), (58, 60), (500, 900)]
)
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_the_bounds_are_those_of_clopper_and_pearson(found: int, parts: int, confidence: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    exact = stats.binomtest(found, parts)
    # A two-sided interval at 1 - 2 * risk has the one-sided bounds at 1 - risk.
    expected = exact.proportion_ci(1 - 2 * (1 - confidence), method="exact")
    rate = rate_of(found, parts, confidence)
    assert rate.low == pytest.approx(expected.low, abs=1e-9)
    assert rate.high == pytest.approx(expected.high, abs=1e-9)
    assert rate.share == found / parts


def test_29_of_29_show_90_percent() -> None:
    # MIL-HDBK-1823A speaks of the "29 of 29" rule: the fewest parts that can show 90 % with 95 % confidence.
    assert rate_of(29, 29, 0.95).low >= 0.9 > rate_of(28, 28, 0.95).low
    assert parts_needed(0.1, 0, 0.95) == 29


def test_no_parts_say_nothing() -> None:
    rate = rate_of(0, 0, 0.95)
    assert (rate.low, rate.high) == (0.0, 1.0)
    assert math.isnan(rate.share)


@pytest.mark.parametrize("limit", [0.3, 0.1, 0.01, 0.001])
@pytest.mark.parametrize("wrong", [0, 1, 7])
def test_the_parts_needed_are_the_fewest_that_do(limit: float, wrong: int) -> None:
    needed = parts_needed(limit, wrong, 0.95)
    assert needed is not None
    assert rate_of(wrong, needed, 0.95).high <= limit
    assert needed - 1 == wrong or rate_of(wrong, needed - 1, 0.95).high > limit


def test_a_limit_beyond_a_million_parts_has_no_number() -> None:
    assert parts_needed(1e-7, 0, 0.95) is None


@pytest.mark.parametrize("limit", [0.0, 1.0])
def test_no_number_of_parts_shows_a_limit_of_0_or_1(limit: float) -> None:
    with pytest.raises(ValueError, match="must be in"):
        parts_needed(limit, 0, 0.95)
