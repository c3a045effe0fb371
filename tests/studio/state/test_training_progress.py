"""How a training goes, as its TensorBoard files tell it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("tensorboard")

from torch.utils.tensorboard import SummaryWriter

from roinspect.studio.state.training import read_progress


def write(run: Path, epochs: range, value: float) -> None:
    writer = SummaryWriter(str(run / "tensorboard"))
    for epoch in epochs:
        step = 10 * epoch + 9
        writer.add_scalar("epoch", epoch, step, walltime=1_000_000 * value + 7 * epoch)
        writer.add_scalar("train/loss", value + epoch, step)
        writer.add_image("part, found", np.full((3, 4, 8), epoch / 10), epoch)
    writer.close()


def test_a_run_that_has_not_begun_has_no_progress(tmp_path: Path) -> None:
    assert read_progress(tmp_path / "none") == (0, 0, {}, [], None)


def test_a_run_that_went_on_from_a_checkpoint_has_one_value_an_epoch(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text(json.dumps({"training": {"epochs_trained": 6}}))
    write(tmp_path, range(4), 0.0)
    first = read_progress(tmp_path)
    assert (first.epoch, first.epochs) == (4, 6) and first.left_s == pytest.approx(14)
    assert first.curves["train/loss"] == [(1.0, 0.0), (2.0, 1.0), (3.0, 2.0), (4.0, 3.0)]
    # Stopped in the fourth epoch, it went on after the second; files of one second have no fixed order.
    time.sleep(1.1)
    write(tmp_path, range(2, 6), 100.0)
    found = read_progress(tmp_path)
    assert found.epoch == 6 and found.left_s == 0
    assert found.curves["train/loss"] == [
        (1.0, 0.0),
        (2.0, 1.0),
        (3.0, 102.0),
        (4.0, 103.0),
        (5.0, 104.0),
        (6.0, 105.0),
    ]
    (shown,) = found.pictures
    assert shown[0] == "part, found" and shown[1].startswith(b"\x89PNG")
