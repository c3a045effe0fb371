"""An arm multiplies a region into the maps, and is measured as any method is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from roinspect.comparison.arms import PLAIN, ROI_AT_TEST, ROI_PREDICTED, measure, weighted
from roinspect.comparison.contender import Cost, Scored
from roinspect.data.dataset import DecodedCache

COST = Cost(train_seconds=10.0, steps=5, inference_ms=20.0, model_bytes=10**6, peak_bytes=10**9)


def scored(maps: np.ndarray[Any, Any] | None, scores: np.ndarray[Any, Any]) -> Scored:
    return Scored(np.asarray(scores, np.float32), maps, COST)


def test_the_truth_gets_full_marks_once_the_roi_is_known(test_set: DecodedCache) -> None:
    maps = test_set.gt_masks.astype(np.float32)
    arms = measure(scored(maps, maps.max((1, 2))), test_set)
    assert set(arms) == {PLAIN, ROI_AT_TEST}
    # As it is, it raises an alarm on every defect outside the region as well.
    assert arms[PLAIN]["outside_alarm_rate_at_recall95"] == 1.0
    assert arms[ROI_AT_TEST]["outside_alarm_rate_at_recall95"] == 0.0
    assert arms[ROI_AT_TEST]["image_auroc"] == arms[ROI_AT_TEST]["roi_mass"] == 1.0
    # Pixels are measured inside the region, whatever the arm.
    assert arms[PLAIN]["pixel_auroc"] == arms[ROI_AT_TEST]["pixel_auroc"] == 1.0


@pytest.mark.parametrize("shift", [0.0, -7.0])
def test_a_prediction_of_the_true_roi_is_as_good_as_the_roi(test_set: DecodedCache, shift: float) -> None:
    random = np.random.default_rng(0)
    maps = random.random(test_set.gt_masks.shape, dtype=np.float32) + test_set.gt_masks + np.float32(shift)
    predicted = test_set.roi_masks.astype(np.float32)
    arms = measure(scored(maps, maps.max((1, 2))), test_set, predicted)
    assert set(arms) == {PLAIN, ROI_AT_TEST, ROI_PREDICTED}
    assert arms[ROI_PREDICTED] == arms[ROI_AT_TEST] != arms[PLAIN]


def test_a_predicted_roi_that_is_everywhere_changes_nothing(test_set: DecodedCache) -> None:
    maps = test_set.gt_masks.astype(np.float32)
    arms = measure(scored(maps, maps.max((1, 2))), test_set, np.ones(maps.shape, np.float32))
    assert arms[ROI_PREDICTED] == arms[PLAIN]


def test_a_wrong_prediction_loses_defects(test_set: DecodedCache) -> None:
    maps = test_set.gt_masks.astype(np.float32)
    predicted = 1 - test_set.roi_masks.astype(np.float32)
    arms = measure(scored(maps, maps.max((1, 2))), test_set, predicted)
    assert arms[ROI_PREDICTED]["image_auroc"] < 0.5 < arms[PLAIN]["image_auroc"]


def test_constants_earn_nothing(test_set: DecodedCache) -> None:
    maps = np.ones(test_set.gt_masks.shape, np.float32)
    for values in measure(scored(maps, np.ones(len(maps))), test_set).values():
        assert values["image_auroc"] == pytest.approx(0.5)
        assert values["pixel_auroc"] == pytest.approx(0.5)


def test_without_maps_only_the_image_is_measured(test_set: DecodedCache) -> None:
    predicted = np.ones(test_set.roi_masks.shape, np.float32)
    arms = measure(scored(None, test_set.labels), test_set, predicted)
    assert set(arms) == {PLAIN}
    assert arms[PLAIN]["image_auroc"] == 1.0
    assert arms[PLAIN]["pixel_auroc"] is arms[PLAIN]["aupro"] is arms[PLAIN]["roi_mass"] is None


MAPS = hnp.arrays(np.float32, (1, 2, 5), elements=st.floats(-1000, 1000, width=32))


@given(maps=MAPS, roi=hnp.arrays(np.uint8, (1, 2, 5), elements=st.integers(0, 1)))
def test_a_mask_keeps_what_lies_inside_and_gives_the_lowest_to_the_rest(
    maps: np.ndarray[Any, Any], roi: np.ndarray[Any, Any]
) -> None:
    lowest = min(0.0, float(maps.min()))
    assert (weighted(maps, roi, lowest) == np.where(roi, maps, np.float32(lowest))).all()


@given(maps=MAPS, shares=st.tuples(st.floats(0, 1, width=32), st.floats(0, 1, width=32)))
def test_the_less_inside_the_lower_but_never_below_the_lowest(
    maps: np.ndarray[Any, Any], shares: tuple[float, float]
) -> None:
    lowest = min(0.0, float(maps.min()))
    less, more = (weighted(maps, np.full(maps.shape, share, np.float32), lowest) for share in sorted(shares))
    # Of two values at the same place of the region, the higher one stays so.
    assert (np.diff(less.ravel()[np.argsort(maps.ravel())]) >= 0).all()
    assert (less <= more + 1e-3).all() and (less >= lowest - 1e-3).all()
