"""Thresholds reject no more good parts than asked, and no threshold would do better."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from roinspect.inspection.calibration import (
    LeftOut,
    best_f1_threshold,
    choose_threshold,
    false_reject_threshold,
    highest_rate,
)
from roinspect.inspection.tolerance import LEAST, SCORE_TOLERANCE, above

# Rounded ones give ties.
FLOAT32 = st.floats(-1e6, 1e6, width=32) | st.integers(0, 5).map(lambda x: x / 4)
SCORES = arrays(np.float32, st.integers(1, 60), elements=FLOAT32)


def as_float32(value: float) -> float:
    return float(np.float32(value))


@settings(deadline=None)
@given(scores=SCORES, rate=st.floats(0, 0.99))
def test_at_most_the_asked_share_of_good_parts_is_rejected(scores: NDArray[np.float32], rate: float) -> None:
    threshold = false_reject_threshold(scores, rate)
    assert np.mean(scores >= threshold.value) <= rate + 1e-9
    # In double precision and in single, as scores are compared by whatever runs the model.
    assert np.array_equal(scores >= threshold.value, scores.astype(np.float64) >= threshold.value)


@settings(deadline=None)
@given(scores=SCORES, rate=st.floats(0, 0.99))
def test_no_lower_threshold_would_do(scores: NDArray[np.float32], rate: float) -> None:
    value = false_reject_threshold(scores, rate).value
    assert as_float32(value) == value
    falling = np.sort(scores)[::-1]
    spared = max(0, int(np.floor(rate * (len(scores) + 1) + 1e-9)) - 1)
    assert value >= above(float(falling[spared]))
    # No part passes by less than the room that engines need, and none has more than it needs.
    assert value == above(float(scores[scores < value].max()))
    told_apart = len(scores) < 2 or np.diff(np.sort(scores.astype(np.float64))).min() > 1e3
    assert not told_apart or value == above(float(falling[spared]))


@pytest.mark.parametrize(("rate", "count", "rejected"), [(0.07, 99, 6), (0.29, 99, 28), (0.1, 29, 2)])
def test_a_rate_that_divides_evenly_is_used_up(rate: float, count: int, rejected: int) -> None:
    scores = np.arange(count, dtype=np.float32)
    assert np.sum(scores >= false_reject_threshold(scores, rate).value) == rejected


@pytest.mark.parametrize("count", [99, 150, 250, 999])
def test_the_asked_rate_holds_among_parts_that_were_not_seen(count: int) -> None:
    random = np.random.default_rng(0)
    rates = [1 - false_reject_threshold(random.random(count), 0.01).value for _ in range(500)]
    # (k + 1) / (N + 1) of uniform scores lie above; three deviations of the mean of 500.
    assert np.mean(rates) < 0.01 + 3 * 0.01 / np.sqrt(500)


def test_too_few_parts_for_the_rate_are_warned_of() -> None:
    few, enough = false_reject_threshold(np.arange(22), 0.01), false_reject_threshold(np.arange(99), 0.01)
    assert few.value > 21 and enough.warning == ""
    assert few.origin == (
        "rejects 0 of 22 held-out good parts; expect 4.3% of all good parts to be rejected, at most 13% "
        "(95% sure)"
    )
    assert "22 held-out good parts cannot support a false-reject rate of 1.00%" in few.warning
    assert "at least 99 are required" in few.warning and "expect 4.3%" in few.warning


def test_no_number_of_parts_supports_a_rate_of_zero() -> None:
    threshold = false_reject_threshold(np.arange(5000), 0)
    assert threshold.value > 4999 and "none can" in threshold.warning


@given(
    score=st.floats(-1e6, 1e6, width=32),
    other=st.floats(-1, 1).map(lambda share: share * SCORE_TOLERANCE),
)
def test_a_part_that_passed_passes_in_every_engine(score: float, other: float) -> None:
    value = false_reject_threshold([score], 0.01).value
    # The most that the parity gate lets an engine differ by.
    answer = np.float32(score + other * max(abs(score), LEAST * abs(value)))
    assert not answer >= value


@settings(deadline=None)
@given(st.integers(1, 300), st.data())
def test_the_bound_is_that_of_clopper_and_pearson(parts: int, data: st.DataObject) -> None:
    stats = pytest.importorskip("scipy.stats")
    found = data.draw(st.integers(0, parts - 1))
    assert highest_rate(found, parts) == pytest.approx(stats.beta.ppf(0.95, found + 1, parts - found))


def test_the_bound_of_many_parts_is_finite_and_all_found_says_nothing() -> None:
    assert 0.01 < highest_rate(2000, 200_000) < 0.0105
    assert highest_rate(7, 7) == 1


def test_the_bound_holds_as_often_as_it_says() -> None:
    random, rate, parts = np.random.default_rng(0), 0.05, 120
    rejected, held = int(rate * (parts + 1)) - 1, 0
    for _ in range(400):
        threshold = false_reject_threshold(random.random(parts), rate)
        # Of uniform scores the share above the threshold is known.
        held += 1 - threshold.value <= highest_rate(rejected, parts)
    assert 0.92 <= held / 400 <= 0.98


def test_what_is_known_is_told_in_words() -> None:
    origin = false_reject_threshold(np.arange(199), 0.01).origin
    assert origin.startswith("rejects 1 of 199 held-out good parts; expect 1.0% of all good parts")
    assert origin.endswith(f"at most {highest_rate(1, 199):.1%} (95% sure)")


def test_groups_are_counted_and_not_their_parts() -> None:
    scores = np.arange(200)
    alone = false_reject_threshold(scores, 0.02, [""] * 200)
    grouped = false_reject_threshold(scores, 0.02, [f"part {row // 20}" for row in range(200)])
    assert alone == false_reject_threshold(scores, 0.02) and grouped.value > 199
    assert "200 held-out good parts of 10 groups cannot support" in grouped.warning
    assert "in 0 of 10 groups; expect a part to be rejected in 9.1% of all groups" in grouped.origin
    assert f"at most {highest_rate(0, 10):.0%}" in grouped.origin


def test_of_unequal_groups_the_sentence_and_the_bound_are_both_of_groups() -> None:
    random, asked = np.random.default_rng(0), 0.1
    shares = []
    for _ in range(400):
        sizes = random.integers(1, 30, 41)
        scores = np.concatenate([random.normal() + 0.1 * random.normal(size=size) for size in sizes])
        groups = [f"group {row}" for row, size in enumerate(sizes) for _ in range(size)]
        unseen = groups.index("group 40")
        found = false_reject_threshold(scores[:unseen], asked, groups[:unseen])
        shares.append(scores[unseen:].max() >= found.value)
    # 3 of 40 groups may be touched: the 41st is with a chance of 4 in 41.
    assert 0.05 < np.mean(shares) < 0.145


@pytest.mark.parametrize(
    ("scores", "rate"), [([], 0.1), ([np.nan, 1.0], 0.1), ([np.inf], 0.1), ([1.0], 1.0), ([1.0], -0.1)]
)
def test_what_cannot_be_calibrated_is_refused(scores: list[float], rate: float) -> None:
    with pytest.raises(ValueError, match="finite scores"):
        false_reject_threshold(scores, rate)


def f1(scores: NDArray[np.float32], labels: NDArray[np.int64], threshold: float) -> float:
    rejected = scores >= threshold
    hits = np.sum(rejected & (labels == 1))
    return float(2 * hits / (np.sum(rejected) + np.sum(labels == 1)))


@st.composite
def labelled(draw: st.DrawFn) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    scores = draw(arrays(np.float32, st.integers(2, 30), elements=FLOAT32))
    labels = draw(arrays(np.int64, len(scores), elements=st.integers(0, 1)))
    labels[:2] = (0, 1)
    return scores, labels


@settings(deadline=None)
@given(labelled())
def test_best_f1_is_that_of_every_cut_tried(case: tuple[NDArray[np.float32], NDArray[np.int64]]) -> None:
    scores, labels = case
    threshold = best_f1_threshold(scores, labels)
    cuts = np.unique(scores)
    told_apart = [cuts[0], *(high for low, high in pairwise(cuts) if above(float(low)) <= high)]
    best = max(f1(scores, labels, cut) for cut in told_apart)
    assert f1(scores, labels, threshold.value) == pytest.approx(best)
    assert f1(scores.astype(np.float64), labels, threshold.value) == pytest.approx(best)
    assert f"{best:.3f}" in threshold.origin


def test_scores_that_engines_do_not_tell_apart_are_on_one_side() -> None:
    for start in (0.5, float(np.nextafter(np.float32(0.5), np.float32(1)))):
        good = np.float32(start)
        bad = np.nextafter(good, np.float32(1))
        scores = np.array([good, bad], np.float32)
        value = best_f1_threshold(scores, [0, 1]).value
        assert (scores >= value).all()


def test_the_threshold_lies_halfway() -> None:
    assert best_f1_threshold([1, 2, 4, 5], [0, 0, 1, 1]).value == 3


@pytest.mark.parametrize(
    ("scores", "labels"), [([1, 2], [0, 0]), ([1, 2], [1, 1]), ([1], [0, 1]), ([np.nan, 1], [0, 1])]
)
def test_best_f1_needs_both_kinds(scores: list[float], labels: list[int]) -> None:
    with pytest.raises(ValueError, match="both classes"):
        best_f1_threshold(scores, labels)


def test_labelled_defects_do_not_replace_the_asked_rate() -> None:
    random = np.random.default_rng(0)
    labels, groups = np.repeat([0, 1], [10, 20]), [""] * 30
    rejected = []
    for _ in range(200):
        # An uninformative model.
        scores = random.random(30).astype(np.float32)
        value = choose_threshold(scores, labels, groups, 0.01).value
        assert value == false_reject_threshold(scores[labels == 0], 0.01).value
        rejected.append(1 - min(value, 1))
    assert np.mean(rejected) == pytest.approx(1 / 11, abs=0.02)


def test_best_f1_is_taken_where_it_is_asked_for() -> None:
    scores, labels = np.arange(10, dtype=np.float32), np.repeat([0, 1], [7, 3])
    found = choose_threshold(scores, labels, [""] * 10, None)
    assert found == best_f1_threshold(scores, labels) and found.value == 6.5
    assert "rejects 0 of 7 good and 3 of 3 defective ones" in found.origin


def test_what_the_threshold_does_to_held_out_defects_is_told() -> None:
    scores, labels = np.arange(10, dtype=np.float32), np.repeat([0, 1], [7, 3])
    told = choose_threshold(scores, labels, [""] * 10, 0.01)
    assert told.origin.endswith("; rejects 3 of 3 held-out defective ones")
    none = choose_threshold(-scores, labels, [""] * 10, 0.01)
    assert "rejects 0 of 3 held-out defective ones: the model cannot distinguish them" in none.warning


def test_the_groups_of_the_good_parts_alone_are_counted() -> None:
    scores = np.arange(8, dtype=np.float32)
    labels = np.array([0, -1, 0, 0, -1, 0, 0, -1])
    origin = choose_threshold(scores, labels, ["a", "x", "a", "b", "y", "b", "", "z"], 0.4).origin
    assert "5 held-out good parts, in 0 of 3 groups" in origin


def test_parts_that_were_left_out_in_turn_count_too() -> None:
    scores, labels = np.arange(4, dtype=np.float32), np.zeros(4, np.int64)
    left_out = LeftOut(np.linspace(0, 5, 96, dtype=np.float32), [""] * 96)
    found = choose_threshold(scores, labels, [""] * 4, 0.01, left_out)
    assert found.value == above(5.0) and not found.warning
    assert found.origin.startswith(
        "rejects 0 of 100 good parts (4 held out, 96 left out in turn); expect 0.99%"
    )
