"""Intervals hold what they promise, do not mistake near-duplicates for evidence, and are never made up."""

import dataclasses
import time
import warnings
from statistics import NormalDist

import numpy as np
import pytest

from roinspect.evaluation.intervals import (
    AT_THRESHOLD,
    LEAST,
    UNKNOWN,
    Interval,
    find_intervals,
    rate_interval,
    student,
)


def parts(count, *, seed=0, levels=None, shift=1.5):
    """Scores of defective, outside-only and good parts; `levels` rounds them so that there are ties."""
    random = np.random.default_rng(seed)
    label = random.random(count) < 0.4
    outside = ~label & (random.random(count) < 0.4)
    scores = random.normal(size=count) + shift * label
    return (np.round(scores * levels) / levels if levels else scores), label, outside


def drawn(counts, random, *, shift, of_group):
    """Normal scores of defective, outside-only and good parts; a group shares nine tenths of its variance."""
    scores, groups = [], []
    for place, count in enumerate(counts):
        number = np.arange(count) // of_group
        shared = random.normal(size=count)[number] if of_group > 1 else random.normal(size=count)
        own = random.normal(size=count)
        scores.append(0.9**0.5 * shared + 0.1**0.5 * own + (shift if place == 0 else 0))
        groups += [f"{place}-{one}" if of_group > 1 else "" for one in number]
    return np.concatenate(scores), groups


@pytest.mark.parametrize("shift", [1.41, 2.9])
@pytest.mark.parametrize(
    ("counts", "of_group"),
    [((23, 42, 142), 1), ((10, 10, 20), 1), ((6, 6, 6), 1), ((60, 60, 120), 6)],
)
def test_intervals_hold_the_truth_as_often_as_they_say(counts, of_group, shift):
    random, trials = np.random.default_rng(0), 300
    label, outside = (np.repeat(kind, counts) for kind in ([True, False, False], [False, True, False]))
    phi = NormalDist().cdf
    # Two normal distributions a distance d apart have an AUROC of Phi(d / sqrt(2)).
    truth = {
        "image_auroc": phi(shift / 2**0.5),
        "recall": phi(shift / 2),
        "outside_alarm_rate": phi(-shift / 2),
        "good_reject_rate": phi(-shift / 2),
    }
    held, widths = dict.fromkeys(truth, 0), dict.fromkeys(truth, 0.0)
    for _ in range(trials):
        scores, groups = drawn(counts, random, shift=shift, of_group=of_group)
        bounds = find_intervals(scores, label, outside, groups, shift / 2).bounds
        for name, value in truth.items():
            held[name] += bounds[name].low <= value <= bounds[name].high
            widths[name] += (bounds[name].high - bounds[name].low) / trials
    # Three deviations of 300 trials below 95 %; and an interval of everything would be no feat.
    assert min(held.values()) / trials > 0.91, held
    assert max(widths.values()) < 0.65, widths


def test_undeclared_groups_are_what_intervals_cannot_see():
    random = np.random.default_rng(0)
    label, outside = np.repeat([True, False], (60, 120)), np.zeros(180, bool)
    widths = []
    for _ in range(20):
        scores, groups = drawn((60, 0, 120), random, shift=1.41, of_group=6)
        for names in (groups, [""] * 180):
            low, high = find_intervals(scores, label, outside, names, 0.7).bounds["image_auroc"]
            widths += [high - low]
    assert np.mean(widths[::2]) > 1.8 * np.mean(widths[1::2])


def test_wilson_and_auroc_intervals_are_those_of_the_papers():
    # Newcombe (1998), Table I, method 3: 81 of 263, and 0 of 20.
    assert rate_interval(np.arange(263) < 81) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert rate_interval(np.zeros(20, bool)) == pytest.approx((0, 0.1611), abs=1e-4)
    stats = pytest.importorskip("scipy.stats")
    for freedom in (4, 5, 10, 50):
        assert student(0.95, freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=0.01)


def test_the_alarm_rate_at_recall_holds_the_truth():
    random, phi = np.random.default_rng(1), NormalDist()
    label = np.repeat([True, False], (200, 100))
    truth = 1 - phi.cdf(2 + phi.inv_cdf(0.05))
    held = 0
    for _ in range(100):
        scores = random.normal(size=300) + 2 * label
        bounds = find_intervals(scores, label, np.zeros(300, bool), [""] * 300, None).bounds
        low, high = bounds["good_alarm_rate_at_recall95"]
        held += low <= truth <= high
        assert high < 0.9
    assert held >= 93


def test_few_defective_parts_do_not_bound_the_alarm_rate_at_recall():
    bounds = find_intervals(*parts(40), [""] * 40, None).bounds
    assert bounds["good_alarm_rate_at_recall95"].high == 1.0


def test_the_same_parts_give_the_same_intervals():
    assert find_intervals(*parts(50), [""] * 50, 0.5) == find_intervals(*parts(50), [""] * 50, 0.5)


def test_more_parts_give_narrower_intervals():
    widths = []
    for count in (50, 400, 3200):
        bounds = find_intervals(*parts(count), [""] * count, 0.5).bounds
        widths.append([high - low for low, high in bounds.values()])
    assert (np.diff(widths, axis=0) < 0).all()


def test_near_duplicates_are_no_evidence():
    scores, label, outside = parts(40)
    alone = find_intervals(scores, label, outside, [""] * 40, 0.5)
    copies = [np.repeat(one, 10) for one in (scores, label, outside)]
    taken_for_parts = find_intervals(*copies, [""] * 400, 0.5)
    grouped = find_intervals(*copies, [f"part {row}" for row in range(40) for _ in range(10)], 0.5)
    assert (alone.unit, alone.units, grouped.unit, grouped.units) == ("part", 40, "group", 40)
    for name in ("image_auroc", "recall", "good_reject_rate"):
        # Student's t makes the difference.
        assert tuple(grouped.bounds[name]) == pytest.approx(tuple(alone.bounds[name]), abs=0.03)
        narrow, wide = (np.ptp(one.bounds[name]) for one in (taken_for_parts, grouped))
        assert narrow < 0.5 * wide


def test_a_part_without_a_group_stands_for_itself():
    groups = [""] * 36 + ["same"] * 4
    assert find_intervals(*parts(40), groups, 0.5).units == 37


@pytest.mark.parametrize("defective", [0, LEAST - 1])
@pytest.mark.filterwarnings("ignore:too few")
def test_too_few_parts_have_no_interval(defective):
    label = np.arange(30) < defective
    outside = np.arange(30) >= 28
    bounds = find_intervals(np.linspace(0, 1, 30), label, outside, [""] * 30, 0.5).bounds
    assert {name for name, bound in bounds.items() if bound is not UNKNOWN} == {"good_reject_rate"}


def test_too_few_parts_are_warned_of():
    with pytest.warns(RuntimeWarning, match=r"3 defective; at least 5"):
        find_intervals(np.arange(30.0), np.arange(30) < 3, np.zeros(30, bool), [""] * 30, 0.5)
    with pytest.warns(RuntimeWarning, match="too few groups"):
        find_intervals(*parts(30), ["left", "right"] * 15, 0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        find_intervals(*parts(60), [""] * 60, 0.5)


def test_nothing_at_all_has_no_interval():
    empty = np.zeros(0, bool)
    found = find_intervals(np.zeros(0), empty, empty, [], None)
    assert found.units == 0 and set(found.bounds.values()) == {UNKNOWN}
    assert not set(found.bounds) & set(AT_THRESHOLD)


def test_perfection_on_few_parts_is_no_certainty():
    label = np.arange(70) < 10
    bounds = find_intervals(label.astype(float), label, np.zeros(70, bool), [""] * 70, 0.5).bounds
    # Wilson: ten of ten leave room for 1 / (1 + 1.96 ** 2 / 10).
    assert bounds["recall"] == pytest.approx(Interval(1 / (1 + 1.96**2 / 10), 1.0), abs=1e-4)
    assert bounds["good_reject_rate"] == pytest.approx(Interval(0.0, 1.96**2 / (60 + 1.96**2)), abs=1e-4)
    assert 0.7 < bounds["image_auroc"].low < 0.95 and bounds["image_auroc"].high == 1
    assert bounds["image_ap"] == bounds["recall"]


def test_thousands_of_parts_take_less_than_a_second():
    start = time.process_time()
    find_intervals(*parts(4000), [""] * 4000, 0.5)
    assert time.process_time() - start < 1


def test_the_sample_is_told():
    found = dataclasses.asdict(find_intervals(*parts(50), [""] * 50, 0.5))
    assert (found["level"], found["unit"], found["units"]) == (0.95, "part", 50)
