"""Tables of the benchmarks compare like with like."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
pytest.importorskip("torch")

import latency_tables
import rivals
from results import NotMeasuredError, Results
from tables import filled, out_of, outcomes_table

COST = {"train_seconds": 60.0, "steps": 300, "inference_ms": 10.0, "peak_bytes": 10**9}


def add(results: Results, method: str, auroc: float, *, steps: int = 300) -> None:
    arm = {
        "image_auroc": auroc,
        "pixel_auroc": auroc,
        "aupro": auroc,
        "outside_alarm_rate_at_recall95": 1 - auroc,
    }
    measures = {"arms": {"plain": arm, "roi-at-test": arm}, "cost": {**COST, "steps": steps}}
    settings = {"verb": "compare", "set": "right", "method": method, "terms": {"size": "64x64"}}
    results.append(settings, measures, seed=0)


def rows(table: str) -> dict[str, list[str]]:
    lines = [line.strip("| ").split(" | ") for line in table.splitlines() if " | plain | " in line]
    return {line[0]: line[2:6] for line in lines}


def test_a_method_that_is_set_apart_comes_last_and_is_not_compared(tmp_path: Path) -> None:
    results = Results("toy", tmp_path)
    for method, auroc in (("ceod", 0.99), ("padim", 0.9), ("patchcore", 0.8)):
        add(results, method, auroc)
    found = rows(outcomes_table(results.read(), ("plain",), {"ceod": "learns from defects too"}))
    assert list(found) == ["padim", "patchcore", "ceod (learns from defects too)"]
    assert found["padim"] == ["64x64", "**0.900**", "**0.900**", "**0.900**"]
    assert not any("**" in cell for name in found if name != "padim" for cell in found[name])


def test_what_all_do_equally_well_is_not_bold(tmp_path: Path) -> None:
    results = Results("toy", tmp_path)
    for method in ("padim", "patchcore"):
        add(results, method, 1.0)
    assert "**" not in outcomes_table(results.read(), ("plain",))


def test_trainings_that_have_hardly_begun_are_named_without_their_quality(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = Results("rivals", tmp_path)
    monkeypatch.setattr(rivals, "RESULTS", results)
    monkeypatch.setattr(rivals.roibank, "RESULTS", Results("roibank", tmp_path))
    for method, steps in (("grdnet", rivals.LEAST_STEPS), ("draem", 5), ("padim", 3)):
        add(results, method, 0.7, steps=steps)
    table = rivals.table("right")
    # PaDiM's three batches are all of its training.
    assert list(rows(table)) == ["grdnet", "padim"]
    assert table.endswith("Not shown, as they had hardly begun: draem (5 steps).")


def test_the_same_parts_tested_again_are_not_more_parts() -> None:
    assert out_of(209, [80, 80, 80]) == "209 of 3 × 80"
    assert out_of(21, [23]) == "21 of 23" and out_of(3, [10, 12]) == "3 of 22"
    assert out_of(0, [0, 0]) == out_of(0, []) == "–"


def test_a_table_needs_its_place_on_the_page_before_it_has_results() -> None:
    def not_measured() -> str:
        raise NotMeasuredError

    page = "<!-- a -->\n<!-- /a -->"
    assert filled(page, {"a": not_measured}) == page
    with pytest.raises(ValueError, match="<!-- b --> and <!-- /b --> once each"):
        filled(page, {"b": not_measured})


def contender(method: str, precision: str, rate: float, gflop: float) -> dict[str, Any]:
    return {"method": method, "precision": precision, "images_per_second": {"batch 1": rate}, "gflop": gflop}


def test_speed_is_compared_at_one_precision_and_the_unlike_is_told_apart(tmp_path: Path) -> None:
    results = Results("latency", tmp_path)
    contenders = [
        contender("grdnet", "float32", 20.0, 10.0), contender("grdnet", "int8", 60.0, 10.0),
        contender("draem", "float32", 0.5, 400.0), contender("draem", "bfloat16", 1.0, 400.0),
        contender("roibank", "bfloat16", 150.0, 1.5), contender("padim", "bfloat16", 50.0, 4.5),
        contender("patchcore", "bfloat16", 3.0, 90.0),
    ]  # fmt: skip
    for size in latency_tables.SIZES:
        results.append({"verb": "rivals", "size": size}, {"contenders": contenders})
    lines = latency_tables.tables(results)["ratios"]().splitlines()
    (draem, *_) = [line for line in lines if line.startswith("| grdnet / DRAEM | 256 |")]
    assert draem == "| grdnet / DRAEM | 256 | 40.0 x | – | 60.0 x (int8 / bfloat16) | 10.0 / 400.0 (40 x) |"
    (padim, *_) = [line for line in lines if "PaDiM | 256 |" in line]
    assert padim.startswith(
        "| roibank, former version / PaDiM | 256 | – | 3.0 x | 3.0 x (bfloat16 / bfloat16)"
    )
