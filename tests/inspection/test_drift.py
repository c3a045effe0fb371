"""What creeps is told before verdicts are wrong, and what is as usual is not."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import astuple, fields
from typing import Any

import numpy as np
import pytest

from roinspect.images.light import light_of
from roinspect.inspection.bundle import Bundle, Threshold
from roinspect.inspection.drift import (
    ALLOWANCE,
    FLOORS,
    LEAST_PARTS,
    UNKNOWN,
    DriftMonitor,
    Signals,
    Usual,
    limit_of,
    monitor_of,
    signals_of,
    usual_of,
)
from roinspect.inspection.inspector import Inspector, drift_row
from roinspect.inspection.plain import from_plain
from roinspect.inspection.prediction import Prediction
from roinspect.inspection.scene import Scene

NAMES = [field.name for field in fields(Signals)]


def parts(count: int, seed: int = 0, **shifts: float) -> list[Signals]:
    """Independent normal signals with a deviation of 1, some of them shifted."""
    values = np.random.default_rng(seed).normal(size=(count, len(NAMES)))
    values += [shifts.get(name, 0.0) for name in NAMES]
    return [Signals(*map(float, row)) for row in values]


KNOWN = Usual(10_000, **dict.fromkeys(NAMES, (0.0, 1.0)))


def first_alarm(monitor: DriftMonitor, coming: list[Signals]) -> int | None:
    return next((place for place, one in enumerate(coming, 1) if monitor.see(one)), None)


def test_the_mean_and_the_deviation_of_held_out_parts() -> None:
    usual = usual_of(parts(400))
    assert usual is not None and usual.parts == 400
    for name in NAMES:
        mean, deviation = getattr(usual, name)
        assert abs(mean) < 0.2 and deviation == pytest.approx(1, abs=0.15)
    assert usual_of(parts(LEAST_PARTS - 1)) is None
    # A region that is the same everywhere has no deviation, and rounding is no drift.
    still = usual_of([Signals(*[0.5] * len(NAMES))] * LEAST_PARTS)
    assert still is not None
    assert all(getattr(still, name) == (0.5, FLOORS[name].deviation) for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sign", [1, -1])
def test_a_shift_of_three_deviations_is_told_within_ten_parts(name: str, sign: int) -> None:
    monitor = DriftMonitor(KNOWN)
    assert first_alarm(monitor, parts(300)) is None
    place = first_alarm(monitor, parts(100, seed=1, **{name: 3.0 * sign}))
    assert place is not None and place <= 10
    assert monitor.moved == (name,)
    assert monitor.level[name] * sign == pytest.approx(3, abs=1)


def test_false_alarms_are_as_rare_as_was_asked_for() -> None:
    """Of the charts as a whole, by simulation; with a shorter run length, to see some."""
    wanted, runs, length = 500, 40, 2000
    alarms = 0
    for seed in range(runs):
        monitor = DriftMonitor(KNOWN, wanted)
        seen: tuple[str, ...] = ()
        for one in parts(length, seed=seed):
            monitor.see(one)
            alarms += len(set(monitor.moved) - set(seen))
            seen = monitor.moved
    # A signal that has moved cannot move again, so there are rather fewer.
    assert 0.4 < alarms / (runs * length / wanted) < 1.5


def test_ten_thousand_stable_parts_raise_no_alarm() -> None:
    """With the default; what is usual comes from thirty parts, as of two hundred in training."""
    raised = []
    for seed in range(5):
        usual = usual_of(parts(30, seed=seed))
        assert usual is not None
        monitor = DriftMonitor(usual)
        raised.append(first_alarm(monitor, parts(10_000, seed=100 + seed)))
    assert raised.count(None) >= 4


def test_a_slow_drift_is_told_before_it_is_large() -> None:
    """A lamp that loses one deviation in a hundred parts."""
    monitor = DriftMonitor(KNOWN)
    coming = [
        dataclasses.replace(one, brightness=one.brightness - 0.01 * place)
        for place, one in enumerate(parts(1000, seed=3))
    ]
    place = first_alarm(monitor, coming)
    assert place is not None and 100 < place < 400


def test_one_defect_is_no_drift_and_many_are() -> None:
    monitor = DriftMonitor(KNOWN)
    some = parts(2000, seed=5)
    rare = [
        dataclasses.replace(one, score=50.0) if place % 25 == 0 else one for place, one in enumerate(some)
    ]
    assert first_alarm(monitor, rare) is None
    often = [
        dataclasses.replace(one, score=50.0) if place % 2 == 0 else one for place, one in enumerate(some)
    ]
    assert first_alarm(monitor, often) is not None and monitor.moved == ("score",)


def test_it_is_said_once_and_ends_when_all_is_as_usual_again(caplog: pytest.LogCaptureFixture) -> None:
    monitor = DriftMonitor(KNOWN, where="zipper")
    with caplog.at_level(logging.INFO, "roinspect"):
        for one in parts(200, seed=1, sharpness=-3.0):
            words = monitor.see(one)
        assert (
            len(words) == 1 and "the sharpness is" in words[0] and "below that of 10000 held-out" in words[0]
        )
        assert len(caplog.records) == 1 and caplog.records[0].levelname == "WARNING"
        assert caplog.text.count("zipper: drift: the sharpness") == 1
        assert monitor.level["sharpness"] == pytest.approx(-3, abs=0.7)
        for one in parts(200, seed=2):
            words = monitor.see(one)
    assert not words and not monitor.moved and "as usual again" in caplog.text


@pytest.mark.parametrize("parts_between", [1_000, 100_000, 10_000_000])
def test_a_longer_run_length_needs_a_higher_limit(parts_between: int) -> None:
    limit = limit_of(parts_between, 16)
    assert limit < limit_of(10 * parts_between, 16) < limit + 2
    # Siegmund's formula, backwards.
    twice = 2 * ALLOWANCE * (limit + 1.166)
    assert (np.exp(twice) - twice - 1) / 2 == pytest.approx(16 * parts_between, rel=1e-6)


def test_signals_are_plain_numbers_whatever_the_scene() -> None:
    for scene in (Scene(0.2, 1, 0.9, (0.25, 0.75), 1.5), Scene(0.0, 0, 0.0, (0.5, 0.5), 0.0)):
        found = signals_of(0.0, scene, (0.4, 0.0))
        assert all(np.isfinite(value) for value in astuple(found))
    assert (found.roi_x, found.roi_y, found.brightness) == (0.5, 0.5, 0.4)


def test_a_darker_and_a_blurred_photograph_have_other_light() -> None:
    import cv2

    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    brightness, sharpness = light_of(image)
    assert light_of(image // 2)[0] == pytest.approx(brightness / 2, abs=0.01)
    assert light_of(cv2.GaussianBlur(image, (0, 0), 2))[1] < sharpness / 4


def test_a_bundle_keeps_what_is_usual() -> None:
    assert from_plain(Usual, dataclasses.asdict(KNOWN)) == dataclasses.replace(KNOWN)


def test_nothing_is_looked_for_without_wanting_it_or_without_enough_parts() -> None:
    assert monitor_of(None, 1000, "model") is None
    assert monitor_of(KNOWN, 0, "model") is None
    assert monitor_of(KNOWN, 1000, "model") is not None
    assert "drift is not looked for" in UNKNOWN


def test_only_inspectable_parts_count() -> None:
    def brightness(images: np.ndarray) -> Prediction:
        maps = images.mean(axis=3, dtype=np.float32) / np.float32(255)
        count = len(maps)
        return Prediction(
            maps.max((1, 2)), maps, np.ones((count, 1, 1), np.float32), np.zeros(count, np.float32)
        )

    inspector = Inspector(Bundle("test", {}, (8, 12), Threshold(0.5, "chosen")), brightness)
    dark = inspector.inspect(np.full((8, 12, 3), 51, np.uint8))
    assert dark.signals is not None and dark.signals.brightness == pytest.approx(0.2)
    usual = Usual(20, **{name: (getattr(dark.signals, name), 1.0) for name in NAMES})
    monitor = DriftMonitor(usual)
    bright: Any = inspector.inspect(np.full((8, 12, 3), 255, np.uint8))
    unseen = dataclasses.replace(bright, verdict="not inspectable")
    assert all(drift_row(monitor, verdict) == {} for verdict in [dark, unseen] * 50)
    assert drift_row(None, bright) == {}
    monitor = DriftMonitor(dataclasses.replace(usual, brightness=(0.2, 0.01)))
    (row,) = [row for row in (drift_row(monitor, bright) for _ in range(4)) if row][:1]
    assert "the brightness is" in row["drift"][0]
