"""Shares and rates: against scipy, by hand, and by simulating lines whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from roinspect.review.rates import Estimate, Rates, Stratum, rates_of, share_odd


@pytest.mark.parametrize(("odd", "sample"), [(0, 10), (1, 50), (7, 20), (20, 20), (3, 400)])
@pytest.mark.parametrize("level", [0.95, 0.975])
def test_the_share_of_a_sample_has_exact_bounds(odd: int, sample: int, level: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    expected = stats.binomtest(odd, sample).proportion_ci(level, method="exact")
    found = share_odd(Stratum(1_000_000, sample=sample, sample_odd=odd), level)
    assert found.value == pytest.approx(odd / sample)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-5)
    assert not found.is_exact


def test_nothing_looked_at_is_unknown_and_not_zero() -> None:
    found = share_odd(Stratum(40))
    assert math.isnan(found.value) and (found.low, found.high) == (0.0, 1.0) and not found.is_known
    rates = rates_of(Stratum(10, sample=10, sample_odd=4), Stratum(90))
    assert not rates.false_reject.is_known and not rates.detection.is_known
    # If nothing that passed is defective, 4 of 94 good parts were rejected; if everything is, all were.
    assert (rates.false_reject.low, rates.false_reject.high) == pytest.approx((4 / 94, 1.0))
    assert (rates.detection.low, rates.detection.high) == pytest.approx((6 / 96, 1.0))


def test_where_all_were_looked_at_there_is_nothing_to_estimate() -> None:
    rates = rates_of(Stratum(10, sample=10, sample_odd=4), Stratum(90, known=40, known_odd=1, sample=50))
    assert rates.false_reject == Estimate(4 / 93, 4 / 93, 4 / 93, is_exact=True)
    assert rates.detection == Estimate(6 / 7, 6 / 7, 6 / 7, is_exact=True)


def test_parts_that_were_not_drawn_count_for_themselves_only() -> None:
    # 5 complaints, all defective, say nothing of the other 95; 19 of these were drawn, and one is defective.
    found = share_odd(Stratum(100, known=5, known_odd=5, sample=19, sample_odd=1, is_drawn=True))
    assert found.value == pytest.approx((5 + 95 / 19) / 100)
    # Six are known to be defective, and 18 + 0 of those looked at to be good.
    assert found.low >= 0.06 and found.high <= 0.82


def test_bounds_say_no_more_than_the_parts_not_looked_at_could_change() -> None:
    found = share_odd(Stratum(100, sample=99, sample_odd=3))
    assert (found.low, found.high) == pytest.approx((0.03, 0.04))


@pytest.mark.parametrize(
    ("rejected", "passed", "false_reject", "detection"),
    [
        (Stratum(0), Stratum(100, sample=100), 0.0, math.nan),
        (Stratum(0), Stratum(100, sample=100, sample_odd=2), 0.0, 0.0),
        (Stratum(5, sample=5), Stratum(0), math.nan, 1.0),
        (Stratum(5, sample=5, sample_odd=5), Stratum(0), 1.0, math.nan),
        (Stratum(0), Stratum(0), math.nan, math.nan),
    ],
)
def test_a_verdict_that_no_part_got_leaves_the_others(
    rejected: Stratum, passed: Stratum, false_reject: float, detection: float
) -> None:
    rates = rates_of(rejected, passed)
    assert rates.false_reject.value == pytest.approx(false_reject, nan_ok=True)
    assert rates.detection.value == pytest.approx(detection, nan_ok=True)
    for found in (rates.false_reject, rates.detection):
        assert 0 <= found.low <= found.high <= 1


def test_the_bounds_of_the_rates_are_those_at_the_ends_of_both_shares() -> None:
    stats = pytest.importorskip("scipy.stats")
    rejected, passed = Stratum(2000, sample=40, sample_odd=12), Stratum(50_000, sample=300, sample_odd=2)
    p_r = stats.binomtest(12, 40).proportion_ci(0.975, method="exact")
    p_p = stats.binomtest(2, 300).proportion_ci(0.975, method="exact")
    rates = rates_of(rejected, passed)

    def false_reject(r: float, p: float) -> float:
        return 2000 * r / (2000 * r + 50_000 * (1 - p))

    def detection(r: float, p: float) -> float:
        return 2000 * (1 - r) / (2000 * (1 - r) + 50_000 * p)

    assert rates.false_reject.value == pytest.approx(false_reject(12 / 40, 2 / 300))
    assert rates.detection.value == pytest.approx(detection(12 / 40, 2 / 300))
    assert rates.false_reject.low == pytest.approx(false_reject(p_r.low, p_p.low))
    assert rates.false_reject.high == pytest.approx(false_reject(p_r.high, p_p.high))
    assert rates.detection.low == pytest.approx(detection(p_r.high, p_p.high))
    assert rates.detection.high == pytest.approx(detection(p_r.low, p_p.low))


def test_with_one_share_known_the_other_has_all_of_the_risk() -> None:
    sampled = rates_of(Stratum(30, sample=30, sample_odd=6), Stratum(970, sample=100, sample_odd=1))
    split = rates_of(Stratum(31, sample=30, sample_odd=6), Stratum(970, sample=100, sample_odd=1))
    assert sampled.detection.high - sampled.detection.low < split.detection.high - split.detection.low
    assert sampled.detection.low == pytest.approx(24 / (24 + 970 * sampled.defective_of_passed.high))


def reviewed(
    rng: np.random.Generator, good: tuple[int, int], defective: tuple[int, int], looks: int
) -> Rates:
    """A period of a line: of the good and of the defective parts so many are rejected, others pass."""
    (good_rejected, good_passed), (caught, escaped) = good, defective
    rejected, passed = good_rejected + caught, good_passed + escaped
    looked = min(looks, rejected)
    wrong = int(rng.hypergeometric(good_rejected, caught, looked)) if looked else 0
    escapes = int(rng.hypergeometric(escaped, good_passed, min(looks, passed)))
    return rates_of(
        Stratum(rejected, sample=looked, sample_odd=wrong),
        Stratum(passed, sample=min(looks, passed), sample_odd=escapes),
    )


@pytest.mark.parametrize(
    ("parts", "share", "false_reject", "found", "looks"),
    [
        (2000, 0.05, 0.02, 0.9, 30),
        (2000, 0.05, 0.02, 0.9, 300),
        (500, 0.3, 0.1, 0.7, 60),
        (5000, 0.01, 0.005, 0.95, 100),
    ],
)
def test_the_bounds_hold_as_often_as_they_say(
    parts: int, share: float, false_reject: float, found: float, looks: int
) -> None:
    rng, held = np.random.default_rng(7), np.zeros(4)
    rounds = 400
    for _ in range(rounds):
        defective = int(rng.binomial(parts, share))
        caught = int(rng.binomial(defective, found))
        rejected = int(rng.binomial(parts - defective, false_reject))
        good, bad = (rejected, parts - defective - rejected), (caught, defective - caught)
        rates = reviewed(rng, good, bad, looks)
        truths = (
            rejected / (rejected + caught),
            bad[1] / (bad[1] + good[1]),
            rejected / sum(good),
            caught / defective,
        )
        estimates = (rates.good_of_rejected, rates.defective_of_passed, rates.false_reject, rates.detection)
        held += [
            one.low - 1e-12 <= truth <= one.high + 1e-12 for truth, one in zip(truths, estimates, strict=True)
        ]
    # Three standard errors of 400 rounds below 95 %.
    assert (held / rounds >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / rounds)).all()
