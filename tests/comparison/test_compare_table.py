"""The table says who is best, on what it rests, and what could not be measured."""

from __future__ import annotations

import csv
import dataclasses
import math

import pytest

pytest.importorskip("torch")

from roinspect.comparison.arms import PLAIN, ROI_AT_TEST, ROI_PREDICTED
from roinspect.comparison.compare_table import Outcome, as_csv, as_markdown, plot, rows

MEASURES = ("image_auroc", "pixel_auroc", "aupro", "outside_alarm_rate_at_recall95", "roi_mass")
COST = {"train_seconds": 60.0, "steps": 9, "inference_ms": 2.0, "model_bytes": 4e6, "peak_bytes": None}


def outcome(method: str, seed: int, auroc: float, learns: str = "good parts", **arms: float) -> Outcome:
    found = {arm: dict.fromkeys(MEASURES, value) for arm, value in {PLAIN: auroc, **arms}.items()}
    return Outcome(method, seed, found, COST, {"learns from": learns, "weights": "none"}, machine="a PC")


def test_means_deviations_and_the_best_in_bold() -> None:
    outcomes = [outcome("ours", 0, 0.7), outcome("ours", 1, 0.8), outcome("theirs", 0, 0.9)]
    shown = rows(outcomes, [PLAIN])
    spread = shown[0].spreads["image_auroc"]
    assert spread.mean == pytest.approx(0.75) and spread.deviation == pytest.approx(0.05 * math.sqrt(2))
    page = as_markdown(shown, outcomes, {"size": "64x64"})
    (ours,) = (line for line in page.splitlines() if line.startswith("| ours"))
    (theirs,) = (line for line in page.splitlines() if line.startswith("| theirs"))
    # Of alarms, fewer are better.
    assert ours.split(" | ")[3:7] == ["0.750 ± 0.071"] * 3 + ["**0.750 ± 0.071**"]
    assert theirs.split(" | ")[3:7] == ["**0.900**"] * 3 + ["0.900"]
    assert ours.rstrip(" |").endswith("–")
    assert next(csv.DictReader(as_csv(shown).splitlines()))["peak_bytes"] == ""


def test_what_a_measure_may_err_by_is_printed_where_it_counts() -> None:
    rough, fine = outcome("rough", 0, 0.64), outcome("fine", 0, 0.787)
    for one, error in ((rough, 0.3), (fine, 0.0004)):
        one.arms[PLAIN]["pixel_auroc_error"] = error  # type: ignore[index]
    page = as_markdown(rows([rough, fine], [PLAIN]), [rough, fine], {})
    assert "0.640 (to 0.300)" in page and "(to x): accurate to within x" in page
    assert page.count("(to ") == 2 and "0.787 (" not in page


def test_where_all_are_alike_none_is_best() -> None:
    outcomes = [outcome("ours", 0, 0.7), outcome("theirs", 0, 0.7)]
    assert "**0" not in as_markdown(rows(outcomes, [PLAIN]), outcomes, {})


def test_missing_seeds_and_mixed_machines_are_told() -> None:
    failed = Outcome("theirs", 1, error="theirs: broke down")
    elsewhere = dataclasses.replace(outcome("ours", 1, 0.8), machine="a server")
    outcomes = [outcome("ours", 0, 0.7), elsewhere, outcome("theirs", 0, 0.9), failed]
    page = as_markdown(rows(outcomes, [PLAIN]), outcomes, {})
    assert "| ours |" in page and "| theirs (1 of 2 seeds) |" in page
    assert "- **theirs**, seed 1: broke down\n" in page
    assert "Measured on a PC and a server." in page


def test_those_that_saw_defects_are_told_apart() -> None:
    broken = Outcome("broken", 0, error="broken: no")
    seen = outcome("supervised", 0, 0.8, "good and defective parts")
    outcomes = [outcome("ours", 0, 0.7), seen, broken]
    shown = rows(outcomes, [PLAIN])
    told = [row["learns_from"] for row in csv.DictReader(as_csv(shown).splitlines())]
    assert told == ["good", "good and defective", ""]
    page = as_markdown(shown, outcomes, {})
    assert (
        "| supervised | good and defective | plain |" in page
        and "| broken (0 of 1 seeds) | – | plain |" in page
    )
    # The column says it; the notes below say the rest.
    assert "- **ours**: weights: none\n" in page


def test_only_the_arms_that_are_shown_are_explained() -> None:
    outcomes = [outcome("ours", 0, 0.7, **{ROI_AT_TEST: 0.8, ROI_PREDICTED: 0.75})]
    page = as_markdown(rows(outcomes, [PLAIN, ROI_PREDICTED]), outcomes, {})
    assert "`roi-predicted` multiplies in the region that roibank" in page and ROI_AT_TEST not in page


def test_the_plot_shows_what_there_is() -> None:
    failed = Outcome("broken", 0, error="broken: no")
    outcomes = [outcome("ours", 0, 0.7, **{ROI_AT_TEST: 0.8}), failed]
    drawing = plot(rows(outcomes, [PLAIN, ROI_AT_TEST]))
    assert "<svg" in drawing and drawing == plot(rows(outcomes, [PLAIN, ROI_AT_TEST]))
    assert "<svg" in plot(rows([failed], [PLAIN])) and "<svg" in plot([])
