"""Doctored predictors, run on the photographs of a synthetic product, get the scores they must."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from roinspect.data.dataset import DecodedCache
from roinspect.data.reading import read_data
from roinspect.data.records import read_records
from roinspect.data.roi import attach_roi
from roinspect.evaluation.metrics import RoiMetrics
from roinspect.evaluation.values import MetricValues

Maps = NDArray[np.float32]
Masks = NDArray[np.uint8]
Measure = Callable[[Callable[[Masks, Masks], Maps]], MetricValues]

pytestmark = pytest.mark.filterwarnings("ignore:too few parts:RuntimeWarning")


@pytest.fixture
def measure(zipper: Path) -> Measure:
    """Measures a predictor that sees ROI and truth, (N, H, W) each, and answers with maps."""
    records = [record for record in read_records(zipper) if record.split == "test"]

    def measured(predictor: Callable[[Masks, Masks], Maps]) -> MetricValues:
        with DecodedCache(attach_roi(read_data(zipper, "auto"), records), (64, 64)) as parts:
            maps = predictor(parts.roi_masks, parts.gt_masks)
            outside = np.array([place == "outside" for place in parts.places])
            metrics = RoiMetrics()
            metrics.update(
                maps.max((1, 2)),
                maps,
                parts.labels,
                outside,
                parts.gt_masks,
                parts.roi_masks,
                [record.category for record in records],
            )
            return metrics.compute(0.5)

    return measured


CURVES = ("image_auroc", "pixel_auroc", "aupro", "aupro_005")
CHANCE = (0.5, 0.5, 0.15, 0.025)


def test_one_that_peeks_at_nothing_but_the_region_is_no_better_than_chance(measure: Measure) -> None:
    values = measure(lambda roi, truth: roi.astype(np.float32))
    assert [getattr(values, name) for name in CURVES] == pytest.approx(CHANCE)
    assert values.image_ap == pytest.approx(values.defective_parts / 8)
    assert values.outside_alarm_rate_at_recall95 == values.good_alarm_rate_at_recall95 == 1.0
    # It looks where it should, which is all that this measure says.
    assert values.roi_mass == 1.0


def test_a_constant_is_no_better_than_chance(measure: Measure) -> None:
    values = measure(lambda roi, truth: np.full(roi.shape, 0.3, np.float32))
    assert [getattr(values, name) for name in CURVES] == pytest.approx(CHANCE)
    assert values.good_alarm_rate_at_recall95 == 1.0
    assert (values.escapes, values.false_rejects) == (values.defective_parts, 0)
    assert 0 < values.roi_mass < 1


def test_the_truth_inside_the_region_earns_everything(measure: Measure) -> None:
    values = measure(lambda roi, truth: (roi & truth).astype(np.float32))
    for name in (*CURVES, "image_ap", "image_f1_max", "pixel_ap", "pixel_f1_max", "roi_mass"):
        assert getattr(values, name) == pytest.approx(1.0), name
    assert (values.escapes, values.false_rejects) == (0, 0)
    assert values.good_alarm_rate_at_recall95 == values.outside_alarm_rate_at_recall95 == 0.0


def test_the_truth_everywhere_pays_for_what_lies_outside(measure: Measure) -> None:
    values = measure(lambda roi, truth: truth.astype(np.float32))
    assert values.pixel_auroc == values.aupro == pytest.approx(1.0)
    assert values.outside_only_parts == values.outside_alarms == 2
    assert (values.escapes, values.good_rejects) == (0, 0)
    assert values.outside_alarm_rate_at_recall95 == 1.0
    assert values.roi_mass < 1 and values.image_auroc < 1


def test_the_opposite_of_the_truth_earns_nothing(measure: Measure) -> None:
    values = measure(lambda roi, truth: np.where(truth, 0, 1).astype(np.float32))
    assert values.pixel_auroc == values.aupro == pytest.approx(0.0)
