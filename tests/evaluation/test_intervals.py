"""Intervals hold what they promise, do not mistake near-duplicates for evidence, and are never made up."""

import dataclasses
import math
import time
import warnings

import numpy as np
import pytest

from roinspect.evaluation import curves
from roinspect.evaluation.intervals import (
    AT_THRESHOLD,
    LEAST,
    NEEDED,
    UNKNOWN,
    Interval,
    _measured,
    _rank,
    bootstrap,
)


def parts(count, *, seed=0, levels=None, shift=1.5):
    """Scores of defective, outside-only and good parts; `levels` rounds them so that there are ties."""
    random = np.random.default_rng(seed)
    label = random.random(count) < 0.4
    outside = ~label & (random.random(count) < 0.4)
    scores = random.normal(size=count) + shift * label
    return (np.round(scores * levels) / levels if levels else scores), label, outside


@pytest.mark.parametrize("levels", [None, 2])
def test_every_part_once_gives_the_plain_measures(levels):
    scores, label, outside = parts(60, levels=levels)
    threshold = 0.5
    ranking = _rank(scores, label, outside, np.arange(60), threshold)
    found = {name: one[0] for name, one in _measured(np.ones((1, 60), np.int32), ranking).items()}
    _, positive, negative = curves.tally(scores, label)
    at_recall = curves.threshold_at_recall(scores[label], 0.95)
    good = ~label & ~outside
    assert found == pytest.approx(
        {
            "image_auroc": curves.auroc(positive, negative).value,
            "image_ap": curves.average_precision(positive, negative).value,
            "outside_alarm_rate_at_recall95": (scores[outside] >= at_recall).mean(),
            "good_alarm_rate_at_recall95": (scores[good] >= at_recall).mean(),
            "recall": (scores[label] >= threshold).mean(),
            "outside_alarm_rate": (scores[outside] >= threshold).mean(),
            "good_reject_rate": (scores[good] >= threshold).mean(),
        }
    )


def test_a_part_drawn_twice_counts_twice():
    scores, label, outside = parts(40, levels=3)
    times = np.random.default_rng(1).integers(0, 3, 40)
    drawn = np.repeat(np.arange(40), times)
    rankings = [
        _rank(scores, label, outside, np.arange(40), 0.3),
        _rank(scores[drawn], label[drawn], outside[drawn], np.arange(len(drawn)), 0.3),
    ]
    # The first has its parts in falling order of score.
    weights = times[np.argsort(-scores, kind="stable")]
    ones = np.ones(len(drawn), int)
    first, second = (
        _measured(w[None].astype(np.int32), r) for w, r in zip((weights, ones), rankings, strict=True)
    )
    for name in NEEDED:
        assert first[name] == pytest.approx(second[name]), name


def test_the_same_parts_give_the_same_intervals():
    assert bootstrap(*parts(50), [""] * 50, 0.5) == bootstrap(*parts(50), [""] * 50, 0.5)


def test_intervals_hold_the_truth_as_often_as_they_say():
    # Two normal distributions a distance d apart have an AUROC of Phi(d / sqrt(2)).
    truth = 0.5 * (1 + math.erf(1.5 / 2))
    found = [bootstrap(*parts(80, seed=seed), [""] * 80, None).bounds["image_auroc"] for seed in range(120)]
    held = np.mean([low <= truth <= high for low, high in found])
    assert 0.88 <= held <= 0.99
    assert np.mean([high - low for low, high in found]) < 0.25


def test_more_parts_give_narrower_intervals():
    widths = []
    for count in (50, 400, 3200):
        bounds = bootstrap(*parts(count), [""] * count, 0.5).bounds
        widths.append([high - low for low, high in bounds.values()])
    assert (np.diff(widths, axis=0) < 0).all()


def test_near_duplicates_are_no_evidence():
    scores, label, outside = parts(40)
    alone = bootstrap(scores, label, outside, [""] * 40, 0.5)
    copies = [np.repeat(one, 10) for one in (scores, label, outside)]
    taken_for_parts = bootstrap(*copies, [""] * 400, 0.5)
    grouped = bootstrap(*copies, [f"part {row}" for row in range(40) for _ in range(10)], 0.5)
    assert (alone.unit, alone.units, grouped.unit, grouped.units) == ("part", 40, "group", 40)
    for name in ("image_auroc", "recall", "good_reject_rate"):
        assert grouped.bounds[name] == pytest.approx(alone.bounds[name])
        narrow, wide = (np.ptp(one.bounds[name]) for one in (taken_for_parts, grouped))
        assert narrow < 0.5 * wide


def test_a_part_without_a_group_stands_for_itself():
    groups = [""] * 36 + ["same"] * 4
    assert bootstrap(*parts(40), groups, 0.5).units == 37


@pytest.mark.parametrize("defective", [0, LEAST - 1])
@pytest.mark.filterwarnings("ignore:too few")
def test_too_few_parts_have_no_interval(defective):
    label = np.arange(30) < defective
    outside = np.arange(30) >= 28
    bounds = bootstrap(np.linspace(0, 1, 30), label, outside, [""] * 30, 0.5).bounds
    assert {name for name, bound in bounds.items() if bound is not UNKNOWN} == {"good_reject_rate"}


def test_too_few_parts_are_warned_of():
    with pytest.warns(RuntimeWarning, match=r"3 defective \(at least 5"):
        bootstrap(np.arange(30.0), np.arange(30) < 3, np.zeros(30, bool), [""] * 30, 0.5)
    with pytest.warns(RuntimeWarning, match="too few groups"):
        bootstrap(*parts(30), ["left", "right"] * 15, 0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bootstrap(*parts(60), [""] * 60, 0.5)


def test_nothing_at_all_has_no_interval():
    empty = np.zeros(0, bool)
    found = bootstrap(np.zeros(0), empty, empty, [], None)
    assert found.units == 0 and set(found.bounds.values()) == {UNKNOWN}
    assert not set(found.bounds) & set(AT_THRESHOLD)


def test_perfection_on_few_parts_is_no_certainty():
    label = np.arange(70) < 10
    bounds = bootstrap(label.astype(float), label, np.zeros(70, bool), [""] * 70, 0.5).bounds
    # Ten of ten, when the true rate is r, come about with a chance of r ** 10.
    assert bounds["recall"] == pytest.approx(Interval(0.025 ** (1 / 10), 1.0))
    assert bounds["good_reject_rate"] == pytest.approx(Interval(0.0, 1 - 0.025 ** (1 / 60)))
    assert bounds["image_auroc"] == bounds["recall"]
    assert bounds["image_ap"] is UNKNOWN


def test_thousands_of_parts_take_less_than_a_second():
    start = time.process_time()
    bootstrap(*parts(4000), [""] * 4000, 0.5)
    assert time.process_time() - start < 1


def test_the_sample_and_the_seed_are_told():
    found = dataclasses.asdict(bootstrap(*parts(50), [""] * 50, 0.5))
    assert (found["level"], found["resamples"], found["seed"], found["units"]) == (0.95, 1000, 0, 50)
