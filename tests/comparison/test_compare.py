"""A comparison goes on where it stopped, refuses what cannot be, and says what it could not measure."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from roinspect import UserError
from roinspect.cli import main
from roinspect.comparison.arms import PLAIN, ROI_AT_TEST, ROI_PREDICTED
from roinspect.comparison.compare import CompareSettings, compare
from roinspect.comparison.job import ComparisonJob
from roinspect.comparison.schedule import run_all

FAST = CompareSettings(methods=("grdnet",), seeds=2, size="64", budget_seconds=1)


def test_a_killed_comparison_goes_on_where_it_stopped(
    zipper: Path, made_up: Callable[[], Any], tmp_path: Path
) -> None:
    made_up().stop_after = 1
    with pytest.raises(KeyboardInterrupt, match="the same command continues"):
        compare(zipper, tmp_path, FAST)
    assert [file.name for file in (tmp_path / "jobs").iterdir()] == ["grdnet-seed0.json"]
    run = made_up()
    found = compare(zipper, tmp_path, FAST)
    assert run.asked == ["grdnet-seed1"]
    # Arms and seeds fewer or more, the trainings that are there serve again.
    again = made_up()
    assert compare(zipper, tmp_path, FAST) == found and not again.asked


def test_good_folders_are_named_and_files_that_are_not_used_are_told(
    zipper: Path, made_up: Callable[[], Any], tmp_path: Path
) -> None:
    data = Path(shutil.copytree(zipper, tmp_path / "data"))
    for split in ("train", "test"):
        (data / split / "good").rename(data / split / "Gut")
        (data / "roi" / split / "good").rename(data / "roi" / split / "Gut")
    (data / "train/Gut/phone.heic").write_bytes(b"")
    told: list[str] = []
    made_up()
    compare(data, tmp_path / "out", FAST, good=["Gut"], tell=told.append)
    assert "1 file is not used" in told[0] and "roinspect check" in told[0]
    made_up()
    with pytest.raises(UserError, match=r"other terms \(good\)"):
        compare(data, tmp_path / "out", FAST, tell=told.append)
    with pytest.raises(UserError, match="'Gutt'"):
        compare(data, tmp_path / "out", FAST, good=["Gutt"], tell=told.append)


def test_a_methods_settings_are_terms_of_its_own_jobs_only(
    zipper: Path, made_up: Callable[[], Any], tmp_path: Path
) -> None:
    both = dataclasses.replace(FAST, methods=("ceod", "grdnet"), seeds=1)
    made_up()
    compare(zipper, tmp_path, both)
    changed = dataclasses.replace(both, settings={"grdnet": {"width": 8}})
    with pytest.raises(UserError, match=r"grdnet-seed0\.json: was measured on other terms \(settings\)"):
        compare(zipper, tmp_path, changed)
    (tmp_path / "jobs" / "grdnet-seed0.json").unlink()
    again = made_up()
    compare(zipper, tmp_path, changed)
    assert again.asked == ["grdnet-seed0"]
    with pytest.raises(UserError, match=r"--settings\.draem: is not among the --methods"):
        CompareSettings(methods=("grdnet",), settings={"draem": {}})


def test_what_failed_is_a_row_and_the_rest_goes_on(
    zipper: Path, made_up: Callable[[], Any], tmp_path: Path
) -> None:
    made_up()
    told: list[str] = []
    both = CompareSettings(methods=("ceod", "grdnet"), seeds=1, size="64")
    compare(zipper, tmp_path, both, tell=told.append)
    with (tmp_path / "compare.csv").open(newline="") as file:
        table = {(row["method"], row["arm"]): row for row in csv.DictReader(file)}
    assert set(table) == {("ceod", PLAIN), ("grdnet", PLAIN), ("grdnet", ROI_AT_TEST)}
    assert table["ceod", PLAIN]["image_auroc"] == "" and "broke down" in table["ceod", PLAIN]["error"]
    assert float(table["grdnet", ROI_AT_TEST]["image_auroc"]) == 1.0
    page = (tmp_path / "compare.md").read_text()
    assert "**ceod**: broke down" in page and "made up" in page
    # A failure stands until its file is removed, as is said.
    assert told[-1].startswith("Failed: ceod-seed0. To try them again, remove their files in ")
    assert not made_up().asked and compare(zipper, tmp_path, both)
    (tmp_path / "jobs" / "ceod-seed0.json").unlink()
    again = made_up()
    compare(zipper, tmp_path, both)
    assert again.asked == ["ceod-seed0"]
    with pytest.raises(UserError, match=r"no training succeeded \(first: ceod: broke down"):
        compare(zipper, tmp_path / "other", CompareSettings(methods=("ceod",), seeds=1, size="64"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"methods": ("grdnett",)}, "grdnett"),
        ({"arms": ("roi",)}, "--arms roi: no such arm; use plain, roi-at-test, roi-predicted"),
        ({"seeds": 0}, "--seeds: must be at least 1"),
        ({"budget_seconds": 60, "limit_seconds": 59}, "--limit: 59 s is less than the budget of 60 s"),
    ],
)
def test_bad_settings(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        CompareSettings(**{"methods": ("grdnet",), **options})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--budget", "soon"], "--budget: 'soon' is not a time"),
        (["--limit", "soon"], "--limit: 'soon' is not a time"),
        (["--methods", "grdnett"], "grdnett: "),
        (["--size", "huge", "--methods", "grdnet"], "--size"),
        (
            ["--methods", "grdnet", "--arms", "roi-predicted", "--roi", "none"],
            "--arms roi-predicted --roi none",
        ),
    ],
)
def test_bad_options(
    zipper: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(["compare", str(zipper), "--out", str(tmp_path / "out"), *arguments]) == 2
    err = capsys.readouterr().err
    assert words in err and len(err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


# -- in earnest ----------------------------------------------------------------------------------------------


def test_ours_and_anothers_side_by_side(
    zipper: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("anomalib", reason='the extra "peers" is not installed')
    options = ["--methods", "grdnet,padim", "--seeds", "1", "--budget", "2s", "--size", "64", "--jobs", "2"]
    # Far more than it takes, for a machine with other work.
    options += ["--limit", "300s", "--batch-size", "4", "--arms", "plain,roi-at-test,roi-predicted"]
    assert main(["compare", str(zipper), "--out", str(tmp_path), *options]) == 0
    told = capsys.readouterr().out
    # Nobody named roibank, but the arm rests on it: it comes first.
    assert told.index("roibank, seed 0: image AUROC") < told.index("grdnet, seed 0: image AUROC")
    assert told.index("roibank, seed 0: image AUROC") < told.index("padim, seed 0: image AUROC")
    for method in ("grdnet", "padim", "roibank"):
        found = json.loads((tmp_path / "jobs" / f"{method}-seed0.json").read_text())
        assert not found["error"] and set(found["arms"]) == {PLAIN, ROI_AT_TEST, ROI_PREDICTED}
        assert found["arms"][PLAIN]["defective_parts"] == 4
        assert all(value > 0 for value in found["cost"].values())
        assert found["notes"]
    assert "tf_efficientnet_lite0, pretrained" in (tmp_path / "compare.md").read_text()


def test_jobs_on_a_local_ray(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason='the extra "scale" is not installed')
    job = ComparisonJob("grdnet", 0, tmp_path / "missing", (64, 64), 4, 1.0, 1, tmp_path / "log")
    ((same, told),) = run_all([job], at_once=1, on="ray")
    assert same == job and isinstance(told, str) and "no such folder" in told
