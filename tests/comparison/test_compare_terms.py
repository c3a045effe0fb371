"""Results stand in one table only where they rest on the same, and serve again wherever they do."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")

from roinspect import UserError
from roinspect.comparison.arms import PLAIN, ROI_AT_TEST, ROI_PREDICTED
from roinspect.comparison.compare import CompareSettings, compare
from roinspect.comparison.contender import run_contender

OURS = CompareSettings(methods=("grdnet",), seeds=1, size="64", budget_seconds=1)


@pytest.fixture
def theirs() -> CompareSettings:
    pytest.importorskip("anomalib", reason='the extra "peers" is not installed')
    return dataclasses.replace(OURS, methods=("padim", "patchcore"))


def predicted(settings: CompareSettings) -> CompareSettings:
    return dataclasses.replace(settings, arms=(PLAIN, ROI_AT_TEST, ROI_PREDICTED))


def arms(out: Path, name: str) -> set[str]:
    return set(json.loads((out / "jobs" / f"{name}.json").read_text())["arms"])


def redraw_training_roi(data: Path) -> None:
    """Draw the ROI of one training image anew."""
    mask = next(iter(sorted((data / "roi" / "train").rglob("*.png"))))
    cv2.imwrite(str(mask), 255 * np.tri(64, dtype=np.uint8))


def test_other_terms_are_refused(zipper: Path, made_up: Callable[[], Any], tmp_path: Path) -> None:
    made_up()
    compare(zipper, tmp_path, OURS)
    with pytest.raises(UserError, match=r"grdnet-seed0.json: .*other terms \(budget_seconds, size\)"):
        compare(zipper, tmp_path, dataclasses.replace(OURS, size="96", budget_seconds=2))
    (tmp_path / "jobs" / "grdnet-seed0.json").write_text("{")
    with pytest.raises(UserError, match="is damaged; remove it"):
        compare(zipper, tmp_path, OURS)


def test_another_limit_is_no_other_term(zipper: Path, made_up: Callable[[], Any], tmp_path: Path) -> None:
    made_up()
    compare(zipper, tmp_path, OURS)
    again = made_up()
    compare(zipper, tmp_path, dataclasses.replace(OURS, limit_seconds=9))
    assert not again.asked


def test_ours_join_a_comparison_of_others(
    zipper: Path, made_up: Callable[[], Any], tmp_path: Path, theirs: CompareSettings
) -> None:
    made_up()
    compare(zipper, tmp_path, theirs)
    run = made_up()
    found = compare(zipper, tmp_path, dataclasses.replace(theirs, methods=("padim", "grdnet", "patchcore")))
    assert run.asked == ["grdnet-seed0"]
    assert [outcome.method for outcome in found] == ["padim", "grdnet", "patchcore"]


def test_only_those_that_learn_from_it_rest_on_the_training_roi(
    zipper: Path, made_up: Callable[[], Any], tmp_path: Path, theirs: CompareSettings
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(zipper, data)
    made_up()
    compare(data, out, dataclasses.replace(theirs, methods=("padim", "grdnet")))
    redraw_training_roi(data)
    again = made_up()
    compare(data, out, dataclasses.replace(theirs, methods=("padim",)))
    assert not again.asked
    with pytest.raises(UserError, match=r"grdnet-seed0.json: .*other terms \(training_roi_sha256\)"):
        compare(data, out, OURS)


# -- the arm that rests on another job -----------------------------------------------------------------------


def test_the_provider_runs_first_and_its_roi_is_kept(
    zipper: Path, made_up: Callable[[], Any], tmp_path: Path
) -> None:
    run = made_up()
    run.stop_after = 3
    both = predicted(dataclasses.replace(OURS, seeds=2))
    with pytest.raises(KeyboardInterrupt):
        compare(zipper, tmp_path, both)
    assert run.asked == ["roibank-seed0", "roibank-seed1", "grdnet-seed0"]
    again = made_up()
    compare(zipper, tmp_path, both)
    assert again.asked == ["grdnet-seed1"]
    for name in ("grdnet-seed0", "grdnet-seed1", "roibank-seed0"):
        assert arms(tmp_path, name) == {PLAIN, ROI_AT_TEST, ROI_PREDICTED}
    # It predicted the truth: the arms are equal, and better than none.
    found = json.loads((tmp_path / "jobs" / "grdnet-seed1.json").read_text())["arms"]
    assert found[ROI_PREDICTED] == found[ROI_AT_TEST] != found[PLAIN]
    assert not [file for file in (tmp_path / "jobs").iterdir() if file.suffix == ".tmp"]


def test_asked_for_later_only_maps_that_nobody_kept_are_made_again(
    zipper: Path, made_up: Callable[[], Any], tmp_path: Path
) -> None:
    made_up()
    compare(zipper, tmp_path, OURS)
    compare(zipper, tmp_path, dataclasses.replace(OURS, methods=("roibank", "ceod"), seeds=2))
    run = made_up()
    told: list[str] = []
    settings = predicted(dataclasses.replace(OURS, methods=("ceod", "grdnet", "roibank"), seeds=1))
    compare(zipper, tmp_path, settings, tell=told.append)
    assert run.asked == ["grdnet-seed0"]
    assert told[0].endswith("1 of them again, for the arm roi-predicted")
    assert ROI_PREDICTED in arms(tmp_path, "grdnet-seed0")


def test_without_a_provider_the_other_arms_stand(
    zipper: Path, made_up: Callable[[], Any], tmp_path: Path
) -> None:
    made_up().broken = {"roibank"}
    compare(zipper, tmp_path, predicted(OURS))
    assert arms(tmp_path, "grdnet-seed0") == {PLAIN, ROI_AT_TEST}
    assert "**roibank**: broke down" in (tmp_path / "compare.md").read_text()
    again = made_up()
    compare(zipper, tmp_path, predicted(OURS))
    assert not again.asked


def test_a_lost_or_damaged_roi(zipper: Path, made_up: Callable[[], Any], tmp_path: Path) -> None:
    made_up()
    compare(zipper, tmp_path, predicted(OURS))
    kept = tmp_path / "jobs" / "roibank-seed0.roi.npz"
    kept.write_bytes(kept.read_bytes()[:-30])
    (tmp_path / "jobs" / "grdnet-seed0.json").unlink()
    with pytest.raises(UserError, match=r"roibank-seed0.roi.npz: is damaged; remove it"):
        compare(zipper, tmp_path, predicted(OURS))
    kept.unlink()
    again = made_up()
    compare(zipper, tmp_path, predicted(OURS))
    assert again.asked == ["roibank-seed0", "grdnet-seed0"]


def test_in_that_arm_others_rest_on_the_training_roi_too(
    zipper: Path, made_up: Callable[[], Any], tmp_path: Path, theirs: CompareSettings
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(zipper, data)
    made_up()
    compare(data, out, predicted(theirs))
    redraw_training_roi(data)
    for kept in (out / "jobs").glob("roibank*"):
        kept.unlink()
    with pytest.raises(UserError, match=r"padim-seed0.json: .*other terms \(training_roi_sha256\)"):
        compare(data, out, predicted(theirs))
    again = made_up()
    compare(data, out, theirs)
    assert not again.asked


# -- the limit -----------------------------------------------------------------------------------------------

DEAF = """
import time
from roinspect.isolated import answer

def work(request, begin):
    begin("training")
    time.sleep(60)

if __name__ == "__main__":
    answer(work)
"""


def test_a_training_that_does_not_heed_the_budget_is_ended_at_the_limit(tmp_path: Path) -> None:
    (tmp_path / "deaf.py").write_text(DEAF)
    with pytest.raises(UserError, match="deaf: training took longer than 1 s and was stopped"):
        run_contender(
            "deaf",
            {},
            [],
            (64, 64),
            name="deaf",
            budget_seconds=0.1,
            limit_seconds=0.6,
            log=tmp_path / "log",
            environment={"PYTHONPATH": os.pathsep.join((str(tmp_path), os.environ.get("PYTHONPATH", "")))},
        )


@pytest.mark.parametrize(("given", "used"), [(None, 1.5 * 100 + 60), (100.0, 100.0), (1000.0, 1000.0)])
def test_the_limit_is_that_of_training_alone(
    given: float | None, used: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, float] = {}

    def spy(module: str, request: Any, limits: dict[str, float], **_: Any) -> None:
        seen.update(limits)
        raise UserError("enough")

    monkeypatch.setattr("roinspect.comparison.contender.run_isolated", spy)
    with pytest.raises(UserError):
        run_contender(
            "module",
            {},
            [Path("one"), Path("two")],
            (64, 64),
            name="name",
            budget_seconds=100.0,
            limit_seconds=given,
            log=tmp_path / "log",
            environment={},
        )
    assert seen == {"loading": 400.0, "training": used, "scoring": 80.0}
