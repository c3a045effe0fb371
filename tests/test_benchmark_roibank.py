"""The tables of roibank's benchmark, and the changes of light that it tests."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
pytest.importorskip("torch")

import roibank
from few_defects import write_with_defects
from results import NotMeasuredError, Results

from roinspect.data.reading import read_data
from roinspect.data.records import Record
from roinspect.images.pixels import read_mask
from roinspect.synthetic.products import write_dataset

MEASURES = {
    "image_auroc": 0.9, "pixel_auroc": 0.8, "aupro": 0.7, "outside_alarm_rate_at_recall95": None,
    "roi_iou": 0.95, "caught": 9, "defective": 10, "rejected": 1, "good": 20,
    "outside_alarms": 0, "outside": 5, "hidden": 0,
    "in_light": 20, "rejected_in_light": dict.fromkeys(("unchanged", *roibank.LIGHTS), 2),
    "fit_seconds": 30.0, "inference_ms": 40.0, "model_mb": 15.0,
}  # fmt: skip


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Results:
    results = Results("roibank", tmp_path)
    monkeypatch.setattr(roibank, "RESULTS", results)
    return results


@pytest.fixture
def headline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Results:
    headline = Results("headline", tmp_path)
    monkeypatch.setattr(roibank, "HEADLINE", headline)
    return headline


def ours(name: str, candidate: str = "default") -> dict[str, str]:
    return {"verb": "ours", "set": name, "candidate": candidate}


def test_counts_are_sums_over_the_seeds(headline: Results) -> None:
    for seed in (0, 1):
        headline.append(ours("tile"), MEASURES, seed=seed)
    (row,) = [line for line in roibank.sets_table().splitlines() if "magnetic_tile" in line]
    assert (
        "18 of 2 × 10" in row
        and "2 of 2 × 20" in row
        and "4 / 4 / 4 / 4 / 4 of 2 × 20" in row
        and "0.950 ± 0.000" in row
    )


def test_the_ablation_has_the_sets_that_all_variants_were_measured_on(headline: Results) -> None:
    headline.append(ours("tile"), MEASURES, seed=0)
    with pytest.raises(NotMeasuredError):
        roibank.ablation_table()
    headline.append(ours("zipper"), MEASURES, seed=0)
    headline.append(ours("zipper"), {**MEASURES, "image_auroc": 0.1}, seed=1)
    headline.append(ours("zipper", "no places"), {**MEASURES, "image_auroc": 0.7}, seed=0)
    headline.append(ours("zipper", "a removed variant"), MEASURES, seed=0)
    table = roibank.ablation_table()
    assert "| default | 0.900 |" in table and "| no places | 0.700 |" in table and "removed" not in table
    assert "Sets: synthetic zipper, seeds 0." in table
    headline.append(ours("zipper", "no places"), {**MEASURES, "image_auroc": 0.5}, seed=1)
    table = roibank.ablation_table()
    assert "| default | 0.500 |" in table and "| no places | 0.600 |" in table
    assert "Sets: synthetic zipper, seeds 0, 1." in table


def test_ratios_of_speed_say_what_precisions_they_compare(results: Results) -> None:
    rates = {
        "roibank, OpenVINO": 40.0,
        "PaDiM, OpenVINO": 20.0,
        "roibank, torch": 30.0,
        "MH-PatchCore, torch": 15.0,
    }
    against = {title: f"roibank, {title.split(', ')[1]}" for title in rates}
    fit = {"images": 9, "fit_seconds": 1.0, "fit_cpu_seconds": 2.0, "gflop": 1.0, "share_of_peak": 0.5}
    results.append({"verb": "cost"}, {"rates": rates, "against": against, **fit})
    table = roibank.cost_table()
    assert "| PaDiM, OpenVINO | bfloat16 | 20.0 | 2.0 x (float32 against bfloat16) |" in table
    assert "| MH-PatchCore, torch | float32 | 15.0 | 2.0 x (float32) |" in table
    assert "| roibank, OpenVINO | float32 | 40.0 |  |" in table


def test_labels_have_a_row_for_each_number_and_kind(results: Results) -> None:
    for kind, count in (("masks", 0), ("labels", 5), ("masks", 5)):
        results.append({"verb": "labels", "set": "right", "labels": kind, "count": count}, MEASURES, seed=0)
    rows = [line for line in roibank.labels_table().splitlines() if "ball screw" in line]
    numbers = [row.split(" | ")[1] for row in rows]
    assert numbers == ["none", "5, with masks", "5, with image labels alone"]


def test_a_manifest_has_the_defects_asked_for_and_always_the_same_test_photographs(tmp_path: Path) -> None:
    data = tmp_path / "zipper"
    write_dataset("zipper", data, count=80, seed=0, size_hw=(64, 64), train_defects=0.9)
    read: dict[tuple[int, str], list[Record]] = {}
    for count, marks in ((0, "masks"), (2, "masks"), (4, "masks"), (4, "labels"), (4, "polygons")):
        folder = tmp_path / f"{count}{marks}"
        folder.mkdir()
        manifest = write_with_defects(data, "auto", folder, count=count, marks=marks, seed=1)
        read[count, marks] = read_data(manifest).records
    defects = {
        key: {record.image_path for record in records if record.split == "train" and record.label == 1}
        for key, records in read.items()
    }
    assert [len(paths) for paths in defects.values()] == [0, 2, 4, 4, 4]
    assert defects[2, "masks"] < defects[4, "masks"] == defects[4, "labels"] == defects[4, "polygons"]
    assert all(record.mask_path is None for record in read[4, "labels"] if record.split == "train")
    for exact, rough in zip(read[4, "masks"], read[4, "polygons"], strict=True):
        if exact.split == "train" and exact.mask_path is not None:
            assert isinstance(exact.mask_path, Path) and isinstance(rough.mask_path, Path)
            marked, around = read_mask(exact.mask_path) > 0, read_mask(rough.mask_path) > 0
            assert around[marked].all() and around.sum() > marked.sum()
    tested = [{r.image_path for r in records if r.split == "test"} for records in read.values()]
    assert tested[0] and all(paths == tested[0] for paths in tested)
    with pytest.raises(ValueError, match="defective training photographs, not 40"):
        write_with_defects(data, "auto", tmp_path, count=40, marks="masks", seed=1)


def test_changed_light_keeps_the_shape_and_does_what_it_says() -> None:
    images = np.random.default_rng(0).uniform(0, 200, (2, 8, 8, 3)).astype(np.float32)
    changed = {title: change(images) for title, change in roibank.LIGHTS.items()}
    assert all(each.shape == images.shape for each in changed.values())
    assert np.allclose(changed["brightness x0.87"], 0.87 * images, rtol=1e-5)
    assert np.allclose(changed["contrast x1.2"].mean((1, 2, 3)), images.mean((1, 2, 3)), rtol=1e-4)
    assert np.allclose(changed["contrast x1.2"].std((1, 2, 3)), 1.2 * images.std((1, 2, 3)), rtol=1e-4)
    assert np.ptp(changed["grey"], axis=3).max() == 0
