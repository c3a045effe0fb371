"""GRD-Net's tables: one run per form where one seed is promised, and times as shares of the default's."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
pytest.importorskip("torch")

import grdnet
from results import NotMeasuredError, Results

MEASURED = dict.fromkeys(("image_auroc", "pixel_auroc", "aupro", "roi_mass"), 0.5)
LOSSES = ("adversarial", "contextual", "encoder", "ssim")


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Results:
    results = Results("grdnet", tmp_path)
    monkeypatch.setattr(grdnet, "RESULTS", results)
    return results


def add(results: Results, job: str, seed: int, image_auroc: float, alarms: float | None = None) -> None:
    measured = MEASURED | {"image_auroc": image_auroc, "outside_alarm_rate_at_recall95": alarms}
    history = {f"{stage}/{loss}": image_auroc for stage in ("train", "held-out") for loss in LOSSES}
    results.append({"job": job}, {"history": history, "measured": {"nut": measured}}, seed=seed)


@pytest.mark.parametrize("table", [grdnet.forms_table, grdnet.residual_table])
def test_other_seeds_do_not_enter_tables_of_one(table: Callable[[], str], results: Results) -> None:
    with pytest.raises(NotMeasuredError):
        table()
    for job in (*grdnet.FORMS, "target-without-head", "vanilla"):
        add(results, f"ablation/{job}", 0, 0.9)
    before = table()
    add(results, "ablation/target", 1, 0.123)
    assert table() == before and "0.123" not in before


def test_forms_of_repair_are_means_over_their_seeds(results: Results) -> None:
    for base, alarms in (("ablation", None), ("zipper200", 0.25)):
        for name in grdnet.REPAIRS:
            for seed in range(2):
                add(results, f"{base}/{name}", seed, 0.8 + 0.2 * seed, alarms)
    with pytest.raises(NotMeasuredError):
        grdnet.repair_table()
    results.append({"job": "repair/speed"}, {"target": 4.0, "no-unet": 2.0, "form-2026": 1.0}, seed=0)
    rows = [line.split(" | ") for line in grdnet.repair_table().splitlines() if "| 2 |" in line]
    assert len(rows) == 2 * len(grdnet.REPAIRS)
    assert all("0.900 ± 0.141" in row for row in rows)
    assert [row[-1] for row in rows] == 2 * ["1.00 |", "0.50 |", "0.25 |"]
    assert [row[-2] for row in rows] == 3 * ["–"] + 3 * ["0.250 ± 0.000"]


def test_speed_is_measured_of_networks_that_are_trained_for_it(
    results: Results, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trained: list[dict[str, Any]] = []

    class Timed:
        @classmethod
        def load(cls, bundle: Path, engine: str) -> Timed:
            return cls()

        def inspect(self, image: object) -> None:
            pass

    monkeypatch.setattr(grdnet, "train", lambda *arguments, **options: trained.append(options))
    monkeypatch.setattr(grdnet, "export", lambda *arguments, **options: None)
    monkeypatch.setattr(grdnet, "Inspector", Timed)
    grdnet.measure_speed(tmp_path)
    grdnet.measure_speed(tmp_path)
    assert [one["method_settings"].segmenter for one in trained] == ["unet", "none", "none"]
    (run,) = results.read(job="repair/speed")
    assert run.measures.keys() == grdnet.REPAIRS.keys() and all(run.measures.values())
