"""The ball screw's positions, each left out in turn: on a few synthetic zippers of three positions."""

from __future__ import annotations

import csv
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
pytest.importorskip("torch")

import positions
from positions import CONTENDERS, Ours, Theirs
from results import NotMeasuredError, Results
from roibank import Set

from roinspect.comparison.contender import Cost, Scored
from roinspect.data.reading import read_data
from roinspect.data.roi import attach_roi
from roinspect.synthetic.products import write_dataset

SIDE = 64


@pytest.fixture(scope="module")
def screw(tmp_path_factory: pytest.TempPathFactory) -> Set:
    """A manifest like the ball screw's, of zippers."""
    folder = tmp_path_factory.mktemp("screw")
    write_dataset("zipper", folder / "zipper", count=60, seed=0, size_hw=(SIDE, SIDE), train_defects=0.5)
    data = read_data(folder / "zipper")
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image_path", "split", "label", "position", "mask_path", "roi_right_path"])
        for number, record in enumerate(attach_roi(data, data.records)):
            label = "good" if record.label == 0 else "pitting"
            paths = [
                str(Path(str(path)).resolve()) if path else "" for path in (record.mask_path, record.roi_path)
            ]
            image = str(record.image_path.resolve())
            writer.writerow([image, record.split, label, f"place {number % 3}", *paths])
    return Set("ball screw", folder / "manifest.csv", "column:roi_right_path", str(SIDE))


@pytest.fixture(autouse=True)
def _small(screw: Set, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(positions.SETS, positions.SET, screw)
    monkeypatch.setattr(positions, "COUNT", 3)


def test_a_model_has_seen_no_photograph_of_the_position_it_is_tested_on() -> None:
    found = dict(positions.folds())
    assert list(found) == ["place 0", "place 1", "place 2"]
    for position, data in found.items():
        assert {record.group for record in data.split("test")} == {position}
        assert position not in {record.group for record in data.not_test()}
        assert {record.label for record in data.not_test()} == {0}
        assert {record.label for record in data.split("test")} == {0, 1}
    tested = [record.image_path for data in found.values() for record in data.split("test")]
    assert len(tested) == len(set(tested)) == 60


def test_what_is_not_taught_the_roi_is_also_measured_with_the_true_one() -> None:
    pytest.importorskip("lightning")
    small = {"weights": "none", "memory_size": 50, "candidates": 500, "strides": (8, 16)}
    _, data = next(positions.folds())
    for name, arms in (("roibank", ["plain"]), ("memories", ["plain", "roi-at-test"])):
        contender = CONTENDERS[name]
        assert isinstance(contender, Ours)
        settings = replace(contender.settings, **small)
        measures = positions.measured(contender._replace(settings=settings), data, 0)
        assert list(measures["scores"]) == arms
        assert all(len(scores) == len(measures["kinds"]) == 20 for scores in measures["scores"].values())
        assert measures["threshold"] > 0 and set(measures["kinds"]) <= set("dog")
    # Multiplied by a mask, a map can only become lower.
    plain, inside = (np.array(measures["scores"][arm]) for arm in ("plain", "roi-at-test"))
    assert (inside <= plain + 1e-3).all() and (inside < plain - 1e-3).any()


def test_rivals_get_the_same_photographs_and_a_memory_of_the_same_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def run(
        method: str, fitted: list[object], test: list[object], size_hw: tuple[int, int], **options: object
    ) -> Scored:
        asked.append((method, len(fitted), options["settings"], options["seed"]))
        maps = np.random.default_rng(0).random((len(test), *size_hw)).astype(np.float32)
        return Scored(maps.max((1, 2)), maps, Cost(1.0, 2, 3.0, 4, None))

    monkeypatch.setattr(positions, "run_peer", run)
    _, data = next(positions.folds())
    for name in ("patchcore", "patchcore-fine", "padim"):
        contender = CONTENDERS[name]
        assert isinstance(contender, Theirs)
        measures = positions.measured(contender, data, 2)
        assert list(measures["scores"]) == ["plain", "roi-at-test"] and measures["threshold"] is None
    (_, count, coarse, seed), (_, same, fine, _), (_, _, none, _) = asked
    assert count == same and seed == 2 and none == {}
    assert coarse["layers"] == ["blocks.2", "blocks.4"] and fine["layers"] == ["blocks.1", "blocks.2"]
    # Four times as many patches, so a quarter of the share; of so few photographs, all or 1,500 patches.
    assert coarse["coreset_sampling_ratio"] == 1.0
    assert fine["coreset_sampling_ratio"] == min(1.0, 1500 / (count * (SIDE // 4) ** 2))


def test_the_table_has_what_was_measured_at_every_position(tmp_path: Path) -> None:
    results = Results("headline", tmp_path)
    with pytest.raises(NotMeasuredError):
        positions.table(results)
    random = np.random.default_rng(0)
    for number in range(3):
        kinds = "g" * 12 + ("d" if number else "o") * 8
        low = random.normal(size=len(kinds)) + np.where(np.array(list(kinds)) == "d", 9.0, 0.0)
        measures = {"kinds": kinds, "scores": {"plain": low.tolist()}, "threshold": 5.0, "seconds": 30.0}
        settings = {
            "verb": "positions",
            "set": "right",
            "contender": "roibank",
            "position": f"place {number}",
        }
        with pytest.raises(NotMeasuredError):
            positions.table(results)
        results.append(settings, measures, seed=0)
    (row,) = [line for line in positions.table(results).splitlines() if line.startswith("| roibank")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    # Three positions are too few for an interval.
    assert cells == [
        "roibank", "plain", "1.000", "1.000", "–", "0.000", "–", "16 of 16", "0 of 8", "0 of 36", "30", "1",
    ]  # fmt: skip
