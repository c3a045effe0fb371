"""The ROI Benchmark: its leaderboard has no fault, every fault is named, and its sets can be built."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
pytest.importorskip("torch")
pytest.importorskip("jsonschema")

import leaderboard
import roi_benchmark
import roi_sets
import roibank
from leaderboard import FILE, faults

from roinspect.comparison.contender import Cost, Scored
from roinspect.data.records import read_records
from roinspect.errors import UserError
from roinspect.images.pixels import read_image, read_mask, write_image

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("ROINSPECT_DATA", ROOT.parent / "shared" / "data"))
LINES = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]


# -- the leaderboard -------------------------------------------------------------------------------------


def test_the_committed_leaderboard_has_no_fault() -> None:
    assert faults(FILE) == []


def test_it_has_what_was_recorded_and_nothing_else_of_these_methods() -> None:
    recorded = json.loads(json.dumps(leaderboard.recorded()))
    assert len(recorded) > 100
    assert [line for line in LINES if line in recorded] == recorded
    known = [[line[name] for name in leaderboard.IDENTITY] for line in recorded]
    same = [line for line in LINES if [line[name] for name in leaderboard.IDENTITY] in known]
    assert same == recorded


def test_every_line_can_be_measured_again() -> None:
    for line in LINES:
        assert line["set"] in roibank.SETS and line["measures"]["image_auroc"] is not None
        has_outside = line["set"] in ("zipper", "vials", "right", "tile")
        assert (line["measures"]["outside_alarm_rate_at_recall95"] is not None) == has_outside


def without(line: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in line.items() if key != name}


FAULTS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "no set": (lambda line: without(line, "set"), "'set' is a required property"),
    "another set": (lambda line: {**line, "set": "bottle"}, "set: 'bottle' is not one of"),
    "a stranger": (lambda line: {**line, "rank": 1}, r"Additional properties .*'rank' was unexpected"),
    "seed": (lambda line: {**line, "seed": -1}, "seed: -1 is less than the minimum of 0"),
    "not whole": (lambda line: {**line, "seed": 0.5}, "seed: 0.5 is not of type 'integer'"),
    "percent": (
        lambda line: {**line, "measures": {**line["measures"], "aupro": 87.3}},
        "measures.aupro: 87.3 is greater than the maximum of 1",
    ),
    "a measure less": (
        lambda line: {**line, "measures": without(line["measures"], "aupro")},
        "measures: 'aupro' is a required property",
    ),
    "date": (lambda line: {**line, "date": "28.11.2026"}, "date: '28.11.2026' does not match"),
    "arm": (lambda line: {**line, "arm": "best"}, "arm: 'best' is not one of"),
    "version": (lambda line: {**line, "version": "2"}, "version: '1.0' was expected"),
    "chosen": (lambda line: {**line, "settings_chosen": "by hand"}, "settings_chosen: 'by hand' is not one"),
    "list": (lambda line: [line], "is not of type 'object'"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_one_line_with_its_place(name: str, tmp_path: Path) -> None:
    change, words = FAULTS[name]
    file = tmp_path / "board.jsonl"
    file.write_text(f"{json.dumps(LINES[0])}\n{json.dumps(change(LINES[1]))}\n")
    (fault,) = faults(file)
    assert fault.startswith(f"{file}:2: ") and "\n" not in fault and len(fault) < 300
    assert re.search(words, fault), fault


def test_text_that_is_no_line_and_lines_that_repeat(tmp_path: Path) -> None:
    file, line = tmp_path / "board.jsonl", json.dumps(LINES[0])
    nan = line.replace(f'"image_auroc": {LINES[0]["measures"]["image_auroc"]}', '"image_auroc": NaN')
    later = json.dumps({**LINES[0], "date": "2026-12-01"})
    file.write_text("\n".join([line, "{", "", nan, later, json.dumps(LINES[1])]))
    found = faults(file)
    assert [fault.split(": ")[0] for fault in found] == [f"{file}:{number}" for number in (2, 3, 4, 5)]
    assert all("is no JSON" in fault for fault in found[:3])
    assert "NaN is no number of JSON; write null" in found[2]
    assert "repeats line 1: the same set, method, arm, settings, size, seed" in found[3]
    with pytest.raises(UserError, match=r"board.jsonl:2: is no JSON .* \(and 3 more faults\)"):
        leaderboard.read(file)
    with pytest.raises(UserError, match="cannot be read"):
        faults(tmp_path)


def test_a_training_that_a_budget_stopped_is_named_and_not_ranked() -> None:
    table, below = roi_benchmark.board_table().split("\n\n")
    stopped = {line["method"] for line in LINES if "budget_seconds" in line["settings"]}
    ranked = {line["method"] for line in LINES if "budget_seconds" not in line["settings"]}
    assert stopped and ranked
    assert all(method in below and f"| {method} |" not in table for method in stopped - ranked)
    assert all(f"| {method} |" in table for method in ranked)


def test_two_faults_of_a_line_are_two_lines(tmp_path: Path) -> None:
    file = tmp_path / "board.jsonl"
    file.write_text(json.dumps({**LINES[0], "seed": -1, "arm": "best"}))
    assert len(faults(file)) == 2


# -- entering a method -----------------------------------------------------------------------------------


@pytest.fixture
def zipper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small set in place of the synthetic zipper, and trainings that answer by brightness."""
    from roinspect.synthetic.products import write_dataset

    write_dataset("zipper", tmp_path / "zipper", count=40, seed=0, size_hw=(64, 64))
    small = roibank.SETS["zipper"]._replace(data=tmp_path / "zipper", size="64")
    monkeypatch.setitem(roibank.SETS, "zipper", small)

    def by_brightness(job: Any) -> Scored:
        images = np.stack([read_image(r.image_path) for r in read_records(job.data) if r.split == "test"])
        maps = images.mean(3, dtype=np.float32)
        return Scored(maps.max((1, 2)), maps, Cost(1.0, 2, 3.0, 4, None), {"weights": "none"})

    monkeypatch.setattr(roi_benchmark, "run", by_brightness)
    monkeypatch.setattr(roi_benchmark, "refuse_unknown_peer", lambda name: None)
    monkeypatch.setattr(roi_benchmark, "version", lambda package: "1.2.3")
    return tmp_path


def test_a_method_enters_once_with_a_line_for_each_arm(zipper: Path) -> None:
    file = zipper / "board.jsonl"
    enter = roi_benchmark.run_method
    enter("anomalib:Padim", ["zipper"], [0, 1], {"n_features": 50}, file=file)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert faults(file) == []
    assert [(line["seed"], line["arm"]) for line in lines] == [
        (seed, arm) for seed in (0, 1) for arm in ("plain", "roi-at-test")
    ]
    assert lines[0]["versions"] == {"roinspect": "1.2.3", "anomalib": "1.2.3"}
    assert lines[0]["note"] == "weights: none; 2 steps, budget 3600 s"
    assert lines[0]["settings"] == {"n_features": 50}
    before = file.read_bytes()
    enter("anomalib:Padim", ["zipper"], [0], {"n_features": 50}, file=file)
    assert file.read_bytes() == before, "what has a line is not measured again"
    enter("anomalib:Padim", ["zipper"], [0], {}, file=file)
    enter("roibank", ["zipper"], [0], {}, file=file)
    arms = [json.loads(line)["arm"] for line in file.read_text().splitlines()]
    assert arms[4:] == ["plain", "roi-at-test", "plain"], "ours predicts the region"


def test_an_unknown_model_is_refused_before_any_training(monkeypatch: pytest.MonkeyPatch) -> None:
    from roinspect.comparison import peers

    monkeypatch.setattr(peers, "peer_names", lambda: ["padim", "efficient_ad"])
    with pytest.raises(UserError, match=r"^anomalib:Padin: anomalib has no such model, did you mean padim"):
        roi_benchmark.run_method("anomalib:Padin", ["zipper"], [0], {})


# -- building the sets -----------------------------------------------------------------------------------


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[tuple[str, str]]]:
    """The first photograph of each folder of each set."""
    few = {
        name: [(folder, names[0]) for folder, names in recipe["images"].items()]
        for name, recipe in roi_sets.RECIPES.items()
    }
    monkeypatch.setattr(roi_sets, "_listed", lambda name: iter(few[name]))
    return few


def bright(size_hw: tuple[int, int]) -> Any:
    return np.random.default_rng(0).integers(0, 255, (*size_hw, 3), np.uint8)


def test_the_ball_screw_is_built_from_its_authors_layout(few: Any, tmp_path: Path) -> None:
    source = tmp_path / "BSData"
    for folder in ("data", "label"):
        (source / folder).mkdir(parents=True)
    for folder, name in few["ballscrew"]:
        crop = roi_sets.RECIPES["ballscrew"]["crops"][f"crop_{name[-1]}"]
        height, width = crop["source_hw"]
        write_image(source / "data" / f"{name}.jpg", bright((height, width)))
        square = [[10, 10], [width / 2, 10], [width / 2, height / 2], [10, height / 2]]
        shapes = [{"label": "pitting", "points": square, "shape_type": "polygon"}]
        told = {"version": "4", "shapes": shapes, "imagePath": f"{name}.jpg", "imageData": None}
        if "pitting" in folder:
            text = json.dumps({**told, "imageHeight": height, "imageWidth": width})
            (source / "label" / f"{name}.json").write_text(text)
    out = tmp_path / "ballscrew"
    assert roi_sets.build("ballscrew", source, out) == 4
    records = read_records(out / "manifest.csv")
    found = sorted((record.split, record.label) for record in records)
    assert found == [("test", 0), ("test", 1), ("train", 0), ("train", 1)]
    assert all(read_image(record.image_path).shape == (256, 640, 3) for record in records)
    defect = read_mask(next((out / "ground_truth/test/pitting").iterdir()))
    assert defect.shape == (256, 640) and 0.2 < defect.mean() < 0.25
    parts = ("raceway", "raceway_right")
    whole, right = (read_mask(next((out / f"roi/{part}/test/pitting").iterdir())) for part in parts)
    assert (right <= whole).all() and 0.4 < right.sum() / whole.sum() < 0.6


@pytest.mark.parametrize("name", ["hazelnut_toy", "magnetic_tile"])
def test_sets_in_folders_are_built_in_mvtecs_layout(name: str, few: Any, tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / name
    mask = np.zeros((256, 256), np.uint8)
    mask[100:150, 100:150] = 255
    for folder, stem in few[name]:
        kind = folder.split("/")[1]
        images = source / kind if name == "hazelnut_toy" else source / f"MT_{kind.capitalize()}" / "Imgs"
        images = source / "MT_Free/Imgs" if images.name == "Imgs" and kind == "good" else images
        masks = source / "mask" / kind if name == "hazelnut_toy" else images
        for place in (images, masks):
            place.mkdir(parents=True, exist_ok=True)
        write_image(images / f"{stem}.jpg", bright((256, 256)))
        if kind != "good":
            write_image(masks / f"{stem}.png", mask)
    assert roi_sets.build(name, source, out) == len(few[name])
    records = read_records(out)
    assert {record.split for record in records} == {"train", "test"} and len(records) == len(few[name])
    defective = [record for record in records if record.label == 1]
    assert defective and all((read_mask(Path(str(r.mask_path))) == mask // 255).all() for r in defective)
    assert len(list((out / "roi").rglob("*.png"))) == len(records)


def test_what_is_missing_is_named_and_nothing_is_left(few: Any, tmp_path: Path) -> None:
    out = tmp_path / "tile"
    with pytest.raises(
        UserError, match=r"Imgs.*\.jpg: is missing; name the folder of Magnetic-tile.* MT_Free"
    ):
        roi_sets.build("magnetic_tile", tmp_path, out)
    assert list(tmp_path.iterdir()) == []
    out.mkdir()
    with pytest.raises(UserError, match="exists already"):
        roi_sets.build("magnetic_tile", tmp_path, out)


def overlap(one: Any, other: Any) -> float:
    return float(((one > 0) & (other > 0)).sum() / ((one > 0) | (other > 0)).sum())


def test_the_polygons_are_the_regions_that_were_measured() -> None:
    """On the photographs of the recorded lines."""
    if not (DATA / "ballscrew").is_dir():
        pytest.skip("needs the photographs in ROINSPECT_DATA")
    for folder, name in [*roi_sets._listed("ballscrew")][::60]:
        for part in ("raceway", "raceway_right"):
            drawn = read_mask(DATA / "ballscrew/roi" / part / folder / f"{name}.png")
            built = roi_sets.ballscrew_region(f"crop_{name[-1]}", right=part == "raceway_right")
            assert overlap(drawn, built) > 0.99
    for folder, name in roi_sets._listed("hazelnut_toy"):
        drawn = read_mask(DATA / "hazelnut_toy/roi" / folder / f"{name}.png")
        assert overlap(drawn, roi_sets.hazelnut_region(f"{folder}/{name}", drawn.shape)) > 0.99
    for folder, name in [*roi_sets._listed("magnetic_tile")][::20]:
        drawn = read_mask(DATA / "magnetic_tile/roi" / folder / f"{name}.png")
        assert (drawn == roi_sets.tile_region(drawn.shape)).all()


def test_the_lists_are_the_photographs_that_were_measured() -> None:
    for name in roi_sets.SOURCES:
        if not (DATA / name).is_dir():
            pytest.skip("needs the photographs in ROINSPECT_DATA")
        files = {
            f"{path.parent.relative_to(DATA / name)}/{path.stem}" for path in (DATA / name).rglob("*.jpg")
        }
        assert files == {f"{folder}/{stem}" for folder, stem in roi_sets._listed(name)}
