"""Kappas and rates against published figures, statsmodels, and a study counted by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from roinspect.qualification.agreement import cohens_kappa, fleiss_kappa, study


def test_cohens_kappa_and_its_interval_are_the_published_ones() -> None:
    # The example of ci.kappa in the R package statpsych (Bonett): f00 = 31, f01 = 12, f10 = 4, f11 = 58.
    first = np.repeat([0, 0, 1, 1], [31, 12, 4, 58])
    second = np.repeat([0, 1, 0, 1], [31, 12, 4, 58])
    kappa = cohens_kappa(first, second, np.arange(105))
    assert kappa.value == pytest.approx(0.6756757, abs=5e-8)
    assert kappa.interval == pytest.approx((0.5317210, 0.8196303), abs=5e-6)


@pytest.mark.parametrize("seed", range(4))
def test_cohens_kappa_is_that_of_statsmodels(seed: int) -> None:
    rater = pytest.importorskip("statsmodels.stats.inter_rater")
    generator = np.random.default_rng(seed)
    first = generator.random(80) < 0.4
    second = np.where(generator.random(80) < 0.2, ~first, first)
    table = [[int(((first == a) & (second == b)).sum()) for b in (False, True)] for a in (False, True)]
    expected = rater.cohens_kappa(table)
    kappa = cohens_kappa(first, second, np.arange(80))
    assert kappa.value == pytest.approx(expected.kappa)
    assert kappa.interval == pytest.approx((expected.kappa_low, expected.kappa_upp), abs=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_fleiss_kappa_is_that_of_statsmodels(seed: int) -> None:
    rater = pytest.importorskip("statsmodels.stats.inter_rater")
    generator = np.random.default_rng(seed)
    answers = generator.random((40, 4)) < generator.random((40, 1))
    table = np.stack([(~answers).sum(1), answers.sum(1)], 1)
    assert fleiss_kappa(answers).value == pytest.approx(rater.fleiss_kappa(table))


def test_the_interval_of_fleiss_kappa_covers_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)

    def answers(parts: int) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
        chance = np.where(generator.random((parts, 1)) < 0.5, 0.9, 0.1)
        return generator.random((parts, 3)) < chance

    truth = fleiss_kappa(answers(50_000)).value
    covered = [low <= truth <= high for low, high in (fleiss_kappa(answers(60)).interval for _ in range(300))]
    assert 0.91 <= np.mean(covered) <= 0.985


def test_looks_repeated_at_the_same_parts_add_no_certainty() -> None:
    generator = np.random.default_rng(1)
    truth = generator.random(50) < 0.5
    answer = np.where(generator.random(50) < 0.1, ~truth, truth)
    once = cohens_kappa(answer, truth, np.arange(50))
    thrice = cohens_kappa(np.repeat(answer, 3), np.repeat(truth, 3), np.repeat(np.arange(50), 3))
    assert thrice.value == pytest.approx(once.value)
    assert thrice.interval == pytest.approx(once.interval)


def test_a_single_answer_throughout_determines_no_kappa() -> None:
    same = np.ones(8, bool)
    assert math.isnan(cohens_kappa(same, same, np.arange(8)).value)
    assert math.isnan(fleiss_kappa(np.ones((8, 3), bool)).value)
    assert math.isnan(fleiss_kappa(np.ones((8, 1), bool)).value)


def test_agreement_is_1_and_disagreement_below_0() -> None:
    half = np.arange(8) < 4
    assert cohens_kappa(half, half, np.arange(8)).value == 1
    assert cohens_kappa(half, ~half, np.arange(8)).value == -1


def test_the_rates_are_those_counted_by_hand() -> None:
    # Parts 0 and 1 are good, 2 and 3 defective; two looks each.
    reference = [False, False, True, True]
    looks = {
        "B": [[False, True], [False, False], [True, True], [True, True]],
        "A": [[False, False], [False, False], [True, False], [False, False]],
        "machine": [[False], [True], [True], [True]],
    }
    found = study(looks, reference, "machine")
    assert [one.name for one in found.appraisers] == ["A", "B", "machine"]
    a, b, machine = found.appraisers
    assert (a.effectiveness.value, a.miss_rate.value, a.false_alarm_rate.value) == (5 / 8, 3 / 4, 0)
    assert (b.effectiveness.value, b.miss_rate.value, b.false_alarm_rate.value) == (7 / 8, 0, 1 / 4)
    assert (machine.effectiveness.value, machine.miss_rate.value, machine.false_alarm_rate.value) == (
        3 / 4,
        0,
        1 / 2,
    )
    assert (a.consistent, b.consistent, machine.consistent) == (3, 3, None)
    assert (found.parts, found.defective) == (4, 2)
    # First looks: A rejects part 2; B rejects 2 and 3: Po = 3/4, Pe = 1/4 * 1/2 + 3/4 * 1/2 = 1/2.
    assert found.pairs[0][:2] == ("A", "B")
    assert found.pairs[0][2].value == pytest.approx(0.5)
