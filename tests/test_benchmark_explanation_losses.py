"""The benchmark of losses on explanations: parts with nothing in common, choices without the test part."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
pytest.importorskip("torch")

import explanation_losses as benchmark
from results import NotMeasuredError, Results

from roinspect.data.records import Record
from roinspect.methods.ceod_settings import CeodSettings

MEASURES: dict[str, Any] = {
    "accuracy": 0.8, "image_auroc": 0.9, "pixel_auroc": 0.7, "roi_mass": 0.5,
    "outside_alarm_rate_at_recall95": 0.25, "caught": 9, "defective_parts": 10, "outside_alarms": 1,
    "outside_only_parts": 5, "good_rejects": 2, "good_parts": 40, "train_seconds": 1.0, "train": {},
}  # fmt: skip


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Results:
    results = Results("explanation_losses", tmp_path)
    monkeypatch.setattr(benchmark, "RESULTS", results)
    return results


def record(key: str) -> Record:
    return Record(Path(key), "train", 0, "good", key=key)


def test_photographs_of_one_position_are_in_one_part() -> None:
    positions = list(itertools.chain(*benchmark.POSITIONS))
    assert len(set(positions)) == 9
    records = [
        record(f"train/good/01_2008_{position}_crop_{n}.jpg") for position in positions for n in (1, 2)
    ]
    parts = benchmark.by_position(records)
    assert parts == [part for part in range(3) for _ in range(6)]


def test_shots_of_one_tile_are_in_one_part() -> None:
    """Tiles are 5,000 numbers apart, their shots 50; the cuts by count alone would fall within a tile."""
    numbers = [5000 * tile + 50 * shot for tile in range(20) for shot in range(1 + tile % 4)]
    records = [record(f"test/crack/exp{n % 6}_num_{n}.jpg") for n in reversed(numbers)]
    parts = benchmark.by_order(records)[::-1]
    assert parts == sorted(parts) and set(parts) == {0, 1, 2}
    by_tile = {number // 5000: set() for number in numbers}
    for number, part in zip(numbers, parts, strict=True):
        by_tile[number // 5000].add(part)
    assert all(len(each) == 1 for each in by_tile.values())
    assert min(parts.count(part) for part in range(3)) > len(parts) / 4


def test_every_arm_is_a_setting_that_can_be() -> None:
    for arm in benchmark.ARMS.values():
        for omega in arm.weights or (0.0,):
            assert CeodSettings(**{**arm.changes, "omega": omega, "area": "roi"}).omega == omega
    assert {CeodSettings(**arm.changes).loss for arm in benchmark.STEERED.values()} == {
        "ceod", "energy", "evidence", "res", "rrr", "isnet",
    }  # fmt: skip


def test_nothing_is_chosen_on_the_part_that_is_tested(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The best weight on the validation part wins, and the test part is seen once an arm."""
    seen: list[tuple[Any, ...]] = []

    def run(name: str, changes: Any, train: tuple[int, ...], test: int, seed: int) -> dict[str, Any]:
        seen.append((name, dict(changes), train, test, seed))
        best = changes.get("omega") in (1.0, 30.0)
        return {**MEASURES, "accuracy": 0.9 if best else 0.8}

    monkeypatch.setattr(benchmark, "run", run)
    benchmark.quality()
    for _, _, train, test, seed in seen:
        assert test not in train
        assert (test == seed) == (len(train) == 2), "the test part is measured by what saw both others"
    final = [each for each in seen if each[3] == each[4]]
    arms = (*benchmark.ARMS, benchmark.BEST)
    assert len(final) == len(arms) * len(benchmark.SETS) * benchmark.PARTS
    for run_ in results.read(verb="measured"):
        if run_.settings["arm"] in benchmark.STEERED:
            assert run_.measures["chosen"]["omega"] in (1.0, 30.0)
    # Nothing is repeated: it continues where it stopped.
    count = len(seen)
    benchmark.quality()
    assert len(seen) == count == len({repr(each) for each in seen})
    assert f"{benchmark.BEST} | CEOD 2022 1 on the ROI" in benchmark.choices_table()


def test_the_table_sums_counts_over_the_parts_and_has_the_ratio_of_steps(results: Results) -> None:
    for table in benchmark.TABLES.values():
        with pytest.raises(NotMeasuredError):
            table()
    (name, *_) = benchmark.SETS
    for seed in range(3):
        settings = {"verb": "measured", **benchmark.about(name), "arm": "RRR"}
        results.append(settings, {**MEASURES, "chosen": {"omega": 3.0}}, seed=seed)
    results.append({"verb": "cost"}, {"ratios": {"frozen": {"RRR": 2.5}, "finetuned": {"RRR": 9.0}}})
    (row,) = [line for line in benchmark.quality_table().splitlines() if "RRR" in line]
    assert "| 3 | 0.800 ± 0.000 | 0.900 ± 0.000 | 27 of 30 | 3 of 15 |" in row
    assert row.endswith("| 2.50 | 9.00 |")
