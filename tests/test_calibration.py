"""Thresholds reject no more good parts than asked, and no threshold would do better."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from roinspect.calibration import (
    best_f1_threshold,
    choose_threshold,
    false_reject_threshold,
    highest_rate,
)

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
    lower = np.nextafter(np.float32(value), np.float32(-np.inf))
    assert as_float32(value) == value
    assert np.sum(scores >= lower) > np.floor(rate * len(scores) + 1e-9)


@pytest.mark.parametrize(("rate", "count", "rejected"), [(0.07, 100, 7), (0.29, 100, 29), (0.1, 30, 3)])
def test_a_rate_that_divides_evenly_is_used_up(rate: float, count: int, rejected: int) -> None:
    scores = np.arange(count, dtype=np.float32)
    assert np.sum(scores >= false_reject_threshold(scores, rate).value) == rejected


def test_too_few_parts_for_the_rate_are_warned_of() -> None:
    few, enough = false_reject_threshold(np.arange(14), 0.01), false_reject_threshold(np.arange(100), 0.01)
    assert "14" in few.warning and few.value > 13 and enough.warning == ""
    assert "at least 100 are wanted" in few.warning
    # One minus the 14th root of 0.05: 14 passes out of 14 leave room for a rate of 19 %.
    assert "19%" in few.warning


def test_no_number_of_parts_supports_a_rate_of_zero() -> None:
    threshold = false_reject_threshold(np.arange(5000), 0)
    assert threshold.value > 4999 and "none can" in threshold.warning


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
    held = 0
    for _ in range(400):
        threshold = false_reject_threshold(random.random(parts), rate)
        # Of uniform scores the share above the threshold is known.
        held += 1 - threshold.value <= highest_rate(int(rate * parts), parts)
    assert 0.92 <= held / 400 <= 0.98


def test_what_is_known_is_told_in_words() -> None:
    origin = false_reject_threshold(np.arange(200), 0.01).origin
    assert origin.startswith("rejects at most 1.00% of 200 held-out good parts")
    assert f"fewer than {highest_rate(2, 200):.1%} of all good parts (95% sure)" in origin


def test_near_duplicates_are_no_evidence() -> None:
    scores = np.arange(200)
    alone = false_reject_threshold(scores, 0.02, [""] * 200)
    grouped = false_reject_threshold(scores, 0.02, [f"part {row // 20}" for row in range(200)])
    assert alone == false_reject_threshold(scores, 0.02) and grouped.value == alone.value
    assert "200 held-out good parts of 10 groups cannot support" in grouped.warning
    # The four rejected parts are of one group: one of ten.
    assert f"below {highest_rate(1, 10):.0%}" in grouped.warning


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
    best = max(f1(scores, labels, cut) for cut in scores)
    assert f1(scores, labels, threshold.value) == pytest.approx(best)
    assert f1(scores.astype(np.float64), labels, threshold.value) == pytest.approx(best)
    assert f"{best:.3f}" in threshold.origin


def test_neighbouring_float32_scores_are_told_apart() -> None:
    # Their middle rounds to the even one, whichever of the two that is.
    for start in (0.5, float(np.nextafter(np.float32(0.5), np.float32(1)))):
        good = np.float32(start)
        bad = np.nextafter(good, np.float32(1))
        scores = np.array([good, bad], np.float32)
        value = best_f1_threshold(scores, [0, 1]).value
        assert (scores >= value).tolist() == (scores >= np.float32(value)).tolist() == [False, True]


def test_the_threshold_lies_halfway() -> None:
    assert best_f1_threshold([1, 2, 4, 5], [0, 0, 1, 1]).value == 3


@pytest.mark.parametrize(
    ("scores", "labels"), [([1, 2], [0, 0]), ([1, 2], [1, 1]), ([1], [0, 1]), ([np.nan, 1], [0, 1])]
)
def test_best_f1_needs_both_kinds(scores: list[float], labels: list[int]) -> None:
    with pytest.raises(ValueError, match="both classes"):
        best_f1_threshold(scores, labels)


def test_good_parts_alone_give_a_quantile_and_both_kinds_the_best_f1() -> None:
    scores = np.arange(10, dtype=np.float32)
    labels, groups = np.zeros(10, np.int64), [""] * 10
    assert np.sum(scores >= choose_threshold(scores, labels, groups, 0.2).value) == 2
    labels[7:] = 1
    assert 6 < choose_threshold(scores, labels, groups, 0.2).value <= 7


def test_the_groups_of_the_good_parts_alone_are_counted() -> None:
    scores = np.arange(8, dtype=np.float32)
    labels = np.array([0, -1, 0, 0, -1, 0, 0, -1])
    origin = choose_threshold(scores, labels, ["a", "x", "a", "b", "y", "b", "", "z"], 0.4).origin
    assert "5 held-out good parts of 3 groups" in origin
