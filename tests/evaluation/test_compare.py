"""A comparison is the same for all, goes on where it stopped, and says what it could not measure."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from roinspect import UserError
from roinspect.cli import main
from roinspect.data.dataset import DecodedCache
from roinspect.evaluation import compare as module
from roinspect.evaluation.arms import PLAIN, ROI_AT_TEST, in_roi, measure
from roinspect.evaluation.compare import CompareSettings, compare
from roinspect.evaluation.compare_table import Outcome, as_csv, as_markdown, plot, rows
from roinspect.evaluation.contender import Cost, Scored
from roinspect.evaluation.job import Job, records_to_test
from roinspect.evaluation.pace import measure_pace
from roinspect.evaluation.schedule import run_all
from roinspect.methods.grdnet import GrdNetSettings
from roinspect.training import TrainingSettings

HW = (64, 64)
COST = Cost(train_seconds=10.0, steps=5, inference_ms=20.0, model_bytes=10**6, peak_bytes=10**9)
FAST = CompareSettings(methods=("grdnet",), seeds=2, size="64", budget_seconds=1)


@pytest.fixture(scope="module")
def test_set(zipper: Path) -> DecodedCache:
    return DecodedCache(records_to_test(zipper, "auto", {}), HW)


def scored(maps: np.ndarray[Any, Any] | None, scores: np.ndarray[Any, Any]) -> Scored:
    return Scored(np.asarray(scores, np.float32), maps, COST, {"weights": "none"})


# -- arms ----------------------------------------------------------------------------------------------------


def test_the_truth_gets_full_marks_once_the_roi_is_known(test_set: DecodedCache) -> None:
    maps = test_set.gt_masks.astype(np.float32)
    arms = measure(scored(maps, maps.max((1, 2))), test_set)
    # As it is, it raises an alarm on every defect outside the region as well.
    assert arms[PLAIN]["outside_alarm_rate_at_recall95"] == 1.0
    assert arms[ROI_AT_TEST]["outside_alarm_rate_at_recall95"] == 0.0
    assert arms[ROI_AT_TEST]["image_auroc"] == arms[ROI_AT_TEST]["roi_mass"] == 1.0
    # Pixels are measured inside the region, whatever the arm.
    assert arms[PLAIN]["pixel_auroc"] == arms[ROI_AT_TEST]["pixel_auroc"] == 1.0


def test_constants_earn_nothing(test_set: DecodedCache) -> None:
    maps = np.ones(test_set.gt_masks.shape, np.float32)
    for values in measure(scored(maps, np.ones(len(maps))), test_set).values():
        assert values["image_auroc"] == pytest.approx(0.5)
        assert values["pixel_auroc"] == pytest.approx(0.5)


def test_without_maps_only_the_image_is_measured(test_set: DecodedCache) -> None:
    arms = measure(scored(None, test_set.labels), test_set)
    assert set(arms) == {PLAIN}
    assert arms[PLAIN]["image_auroc"] == 1.0
    assert arms[PLAIN]["pixel_auroc"] is arms[PLAIN]["aupro"] is arms[PLAIN]["roi_mass"] is None


def test_maps_below_zero_are_lowest_outside() -> None:
    maps = np.array([[[-3.0, -1.0]]], np.float32)
    assert in_roi(maps, np.array([[[0, 1]]], np.uint8)).tolist() == [[[-3.0, -1.0]]]
    assert in_roi(-maps, np.array([[[0, 1]]], np.uint8)).tolist() == [[[0.0, 1.0]]]


# -- what is run ---------------------------------------------------------------------------------------------


class MadeUp:
    """Stands in for the processes: every training takes no time and finds the truth."""

    def __init__(self, test_set: DecodedCache, stop_after: int = 99) -> None:
        self.test_set, self.stop_after = test_set, stop_after
        self.asked: list[str] = []

    def __call__(self, jobs: Sequence[Job], **_: Any) -> Generator[tuple[Job, Scored | str], None, None]:
        for done, job in enumerate(jobs):
            if done == self.stop_after:
                raise KeyboardInterrupt
            self.asked.append(job.name)
            if job.method == "ceod":
                yield job, "ceod: needs both"
            else:
                maps = self.test_set.gt_masks.astype(np.float32)
                yield job, scored(maps, maps.max((1, 2)))


def made_up(monkeypatch: pytest.MonkeyPatch, test_set: DecodedCache, stop_after: int = 99) -> MadeUp:
    run = MadeUp(test_set, stop_after)
    monkeypatch.setattr(module, "run_all", run)
    return run


def test_a_killed_comparison_goes_on_where_it_stopped(
    zipper: Path, test_set: DecodedCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_up(monkeypatch, test_set, stop_after=1)
    with pytest.raises(KeyboardInterrupt):
        compare(zipper, tmp_path, FAST)
    assert [file.name for file in (tmp_path / "jobs").iterdir()] == ["grdnet-seed0.json"]
    run = made_up(monkeypatch, test_set)
    found = compare(zipper, tmp_path, FAST)
    assert run.asked == ["grdnet-seed1"]
    # Arms and seeds fewer or more, the trainings that are there serve again.
    again = made_up(monkeypatch, test_set)
    assert compare(zipper, tmp_path, FAST) == found and not again.asked


def test_other_terms_are_refused(
    zipper: Path, test_set: DecodedCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_up(monkeypatch, test_set)
    compare(zipper, tmp_path, FAST)
    with pytest.raises(UserError, match=r"grdnet-seed0.json: .*other terms \(budget_seconds, size\)"):
        compare(zipper, tmp_path, CompareSettings(methods=("grdnet",), seeds=1, size="96", budget_seconds=2))
    (tmp_path / "jobs" / "grdnet-seed0.json").write_text("{")
    with pytest.raises(UserError, match="is damaged; remove it"):
        compare(zipper, tmp_path, FAST)


def test_what_failed_is_a_row_and_the_rest_goes_on(
    zipper: Path, test_set: DecodedCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_up(monkeypatch, test_set)
    both = CompareSettings(methods=("ceod", "grdnet"), seeds=1, size="64")
    compare(zipper, tmp_path, both)
    with (tmp_path / "compare.csv").open(newline="") as file:
        table = {(row["method"], row["arm"]): row for row in csv.DictReader(file)}
    assert set(table) == {("ceod", PLAIN), ("grdnet", PLAIN), ("grdnet", ROI_AT_TEST)}
    assert table["ceod", PLAIN]["image_auroc"] == "" and "needs both" in table["ceod", PLAIN]["error"]
    assert float(table["grdnet", ROI_AT_TEST]["image_auroc"]) == 1.0
    page = (tmp_path / "compare.md").read_text()
    assert "ceod: needs both" in page and "made up" in page
    with pytest.raises(UserError, match=r"none of 1 trainings came to an end \(first: ceod: needs both"):
        compare(zipper, tmp_path / "other", CompareSettings(methods=("ceod",), seeds=1, size="64"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"methods": ("grdnett",)}, "grdnett"),
        ({"arms": ("roi-predicted",)}, "needs a model that predicts the region of interest"),
        ({"arms": ("roi",)}, "no such arm"),
        ({"seeds": 0}, "--seeds: must be at least 1"),
    ],
)
def test_bad_settings(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        CompareSettings(**{"methods": ("grdnet",), **options})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--budget", "soon"], "--budget: 'soon' is no time"),
        (["--methods", "grdnett"], "grdnett: "),
        (["--size", "huge", "--methods", "grdnet"], "--size"),
    ],
)
def test_bad_options(
    zipper: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    assert main(["compare", str(zipper), "--out", str(tmp_path / "out"), *arguments]) == 2
    err = capsys.readouterr().err
    assert words in err and len(err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


# -- the table -----------------------------------------------------------------------------------------------


def outcome(method: str, seed: int, auroc: float, **arms: float) -> Outcome:
    names = ("image_auroc", "pixel_auroc", "aupro", "outside_alarm_rate_at_recall95", "roi_mass")
    cost = {"train_seconds": 60.0, "steps": 9, "inference_ms": 2.0, "model_bytes": 4e6, "peak_bytes": None}
    found = {arm: dict.fromkeys(names, value) for arm, value in {PLAIN: auroc, **arms}.items()}
    return Outcome(method, seed, found, cost)


def test_means_deviations_and_the_best_in_bold() -> None:
    outcomes = [outcome("ours", 0, 0.7), outcome("ours", 1, 0.8), outcome("theirs", 0, 0.9)]
    shown = rows(outcomes, [PLAIN])
    spread = shown[0].spreads["image_auroc"]
    assert spread.mean == pytest.approx(0.75) and spread.deviation == pytest.approx(0.05 * math.sqrt(2))
    page = as_markdown(shown, outcomes, {"size": "64x64"})
    (ours,) = (line for line in page.splitlines() if line.startswith("| ours"))
    (theirs,) = (line for line in page.splitlines() if line.startswith("| theirs"))
    # Of alarms, fewer are better.
    assert ours.split(" | ")[2:6] == ["0.750 ± 0.071"] * 3 + ["**0.750 ± 0.071**"]
    assert theirs.split(" | ")[2:6] == ["**0.900**"] * 3 + ["0.900"]
    assert ours.rstrip(" |").endswith("–")
    assert next(csv.DictReader(as_csv(shown).splitlines()))["peak_bytes"] == ""


def test_the_plot_shows_what_there_is() -> None:
    failed = Outcome("broken", 0, error="broken: no")
    outcomes = [outcome("ours", 0, 0.7, **{ROI_AT_TEST: 0.8}), failed]
    drawing = plot(rows(outcomes, [PLAIN, ROI_AT_TEST]))
    assert "<svg" in drawing and drawing == plot(rows(outcomes, [PLAIN, ROI_AT_TEST]))
    assert "<svg" in plot(rows([failed], [PLAIN]))


# -- in earnest ----------------------------------------------------------------------------------------------


def test_a_time_becomes_steps(zipper: Path) -> None:
    settings = GrdNetSettings(width=8, segmenter_width=8)
    pace = measure_pace("grdnet", settings, zipper, TrainingSettings(size="64", batch_size=4))
    assert pace.step_seconds > 0 and pace.start_seconds >= 0 and pace.steps == 2
    assert pace.epochs(1000) > pace.epochs(100) > pace.epochs(0) == 1


def test_ours_and_anothers_side_by_side(
    zipper: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("anomalib", reason='the extra "peers" is not installed')
    options = ["--methods", "grdnet,padim", "--seeds", "1", "--budget", "2s", "--size", "64", "--jobs", "2"]
    assert main(["compare", str(zipper), "--out", str(tmp_path), "--batch_size", "4", *options]) == 0
    told = capsys.readouterr().out
    assert "grdnet, seed 0: image AUROC" in told and "padim, seed 0: image AUROC" in told
    for method in ("grdnet", "padim"):
        found = json.loads((tmp_path / "jobs" / f"{method}-seed0.json").read_text())
        assert not found["error"] and set(found["arms"]) == {PLAIN, ROI_AT_TEST}
        assert found["arms"][PLAIN]["defective_parts"] == 4
        assert all(value > 0 for value in found["cost"].values())
        assert found["notes"]
    assert "tf_efficientnet_lite0, pretrained" in (tmp_path / "compare.md").read_text()


def test_jobs_on_a_local_ray(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason='the extra "scale" is not installed')
    job = Job("grdnet", 0, tmp_path / "missing", HW, 4, 1.0, 1, tmp_path / "log")
    ((same, told),) = run_all([job], at_once=1, engine="ray")
    assert same == job and isinstance(told, str) and "no such folder" in told
