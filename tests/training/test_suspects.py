"""Good photographs that score far above the others are named, and nearly none without a reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from roinspect.images.pixels import write_image
from roinspect.inspection.bundle import Bundle, Threshold
from roinspect.inspection.calibration import by_group
from roinspect.methods.roibank_settings import RoiBankSettings
from roinspect.training.settings import TrainingSettings
from roinspect.training.suspects import EXPECTED, FEWEST, NAMED, Suspects, far_above, with_suspects
from roinspect.training.train import train


@pytest.mark.parametrize("count", [20, 150, 1000])
def test_without_a_reason_no_more_are_named_than_stated(count: int) -> None:
    rng = np.random.default_rng(count)
    named = [far_above(np.exp(0.3 * rng.normal(size=count))).sum() for _ in range(200)]
    # With few photographs the spread itself is uncertain.
    assert np.mean(named) < 5 * EXPECTED


@pytest.mark.parametrize("count", [1, 3, 20])
def test_scores_far_above_are_found_whatever_their_unit(count: int) -> None:
    scores = np.exp(0.2 * np.random.default_rng(0).normal(size=150))
    scores[:count] = 5
    for unit in (1e-3, 1, 1e3):
        assert np.flatnonzero(far_above(unit * scores)).tolist() == list(range(count))


def test_equal_scores_and_few_scores_are_not_suspicious() -> None:
    assert not far_above(np.zeros(50)).any() and not far_above(np.ones(50)).any()
    assert not far_above(np.array([1.0] * (FEWEST - 2) + [99.0])).any()


def test_the_names_are_kept_with_the_model_ten_at_most() -> None:
    before = Threshold(3.0, "somehow", "few parts")
    assert with_suspects(before, {"a": 1}, None) == (before, {"a": 1})
    names = [f"good/{number}.png" for number in range(12)]
    threshold, metrics = with_suspects(before, {"a": 1}, Suspects(names, 150, 1.5))
    assert threshold.value == 3.0 and threshold.warning.startswith("few parts; 12 of 150 good photographs")
    assert "instead of 3" in threshold.warning and "good/11.png" not in threshold.warning
    assert metrics["suspicious_photographs"] == 12 and metrics["suspicious"] == names[:NAMED]
    assert metrics["threshold_without_suspicious"] == 1.5 and metrics["a"] == 1


def test_groups_are_together_in_the_order_of_their_first_good_part() -> None:
    assert by_group(np.array([1, 0, 0, 0]), ["b", "", "b", "b"]) == [[1], [2, 3]]


def trained(photographs: list[NDArray[np.uint8]], place: Path) -> Bundle:
    for number, photograph in enumerate(photographs):
        write_image(place / f"train/good/{number:02}.png", photograph)
    settings = RoiBankSettings(
        backbone="tf_efficientnet_lite0",
        weights="none",
        strides=(4, 8),
        memory_size=64,
        roi_head=False,
        light=0.0,
    )
    training = TrainingSettings(size="32", steps=1, seed=1)
    return train("roibank", place, place / "model", method_settings=settings, training=training, roi="none")


def noisy(seed: int) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).integers(0, 12, (32, 32, 3), np.uint8)
    return np.full((32, 32, 3), 90, np.uint8) + noise


def test_a_defect_among_the_good_is_named_by_training(tmp_path: Path) -> None:
    photographs = [noisy(number) for number in range(40)]
    photographs[7][8:20, 8:20] = (250, 20, 20)
    bundle = trained(photographs, tmp_path)
    assert bundle.metrics["suspicious"] == ["train/good/07.png"]
    assert bundle.metrics["threshold_without_suspicious"] < bundle.threshold.value
    assert "train/good/07.png" in bundle.threshold.warning


@pytest.mark.parametrize("kind", ["show one colour each", "are the same picture"])
def test_photographs_that_do_not_vary_are_said_to_mean_nothing(kind: str, tmp_path: Path) -> None:
    if kind == "show one colour each":
        photographs = [np.full((32, 32, 3), 100 + number % 2, np.uint8) for number in range(12)]
    else:
        photographs = [noisy(0)] * 12
    bundle = trained(photographs, tmp_path)
    assert bundle.threshold.warning.startswith("all ") and kind in bundle.threshold.warning
    assert "suspicious" not in bundle.metrics and np.isfinite(bundle.threshold.value)
