"""The 400 images follow the rule for labels, and copies of a photograph stay together by default."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from roinspect.data.dataset import load_sample
from roinspect.data.reading import read_data
from roinspect.data.roi import attach_roi
from roinspect.errors import UserError
from roinspect.images.pixels import write_image
from roinspect.reproduction.zipper_copies import make_copies, split_copies


@pytest.fixture(scope="module")
def parts(zipper: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_copies(read_data(zipper), tmp_path_factory.mktemp("copies") / "zipper")


def rows(table: Path) -> list[dict[str, str]]:
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def test_216_are_good_and_184_defective_by_the_rule(parts: Path) -> None:
    manifest = split_copies(parts, "grouped", 0).manifest
    samples = {r.key: load_sample(r, None) for r in attach_roi(read_data(manifest))}
    assert Counter(sample.label for sample in samples.values()) == {0: 216, 1: 184}
    places = Counter(sample.place for sample in samples.values())
    # Good for the rule's sake: their defects are all on the cloth, and none was cut off.
    assert places["outside"] > 0 and places["none"] + places["outside"] == 216
    assert all(sample.image.shape == (64, 64, 3) and sample.roi_mask.any() for sample in samples.values())


def test_every_photograph_is_there_as_it_is_and_copies_are_altered(parts: Path, zipper: Path) -> None:
    by_group = defaultdict(list)
    for row in rows(parts):
        by_group[row["group"]].append(row)
    assert len(by_group) == 20
    for key, own in by_group.items():
        assert own[0]["image_path"] == str((zipper / key).resolve())
        contents = {(parts.parent / row["image_path"]).read_bytes() for row in own}
        assert len(contents) == len(own)
        assert len({row["label"] for row in own}) == 1


@pytest.mark.parametrize("seed", [0, 1])
def test_copies_of_a_photograph_stay_in_one_split(parts: Path, seed: int) -> None:
    made = split_copies(parts, "grouped", seed)
    split_of = defaultdict(set)
    for row in rows(made.manifest):
        split_of[row["group"]].add(row["split"])
    assert all(len(splits) == 1 for splits in split_of.values()) and made.leaked == 0
    kinds = Counter((row["split"], row["label"] == "good") for row in rows(made.manifest))
    assert all(kinds[split, is_good] > 0 for split in ("train", "val", "test") for is_good in (True, False))


def test_the_papers_split_is_70_20_10_and_its_leak_is_counted(parts: Path) -> None:
    made = split_copies(parts, "paper", 0)
    found = rows(made.manifest)
    assert Counter(row["split"] for row in found) == {"train": 280, "val": 80, "test": 40}
    assert made.test_parts == 40
    others = {row["group"] for row in found if row["split"] != "test"}
    assert made.leaked == sum(row["group"] in others for row in found if row["split"] == "test") > 30
    assert rows(split_copies(parts, "paper", 1).manifest) != found


def test_they_are_made_once_and_again_when_a_region_changes(zipper: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(zipper, tmp_path / "zipper"))
    table = make_copies(read_data(data), tmp_path / "out")
    before = table.stat().st_ino
    assert make_copies(read_data(data), tmp_path / "out").stat().st_ino == before
    mask = next((data / "roi/train/good").iterdir())
    write_image(mask, np.full((64, 64), 255, np.uint8))
    assert make_copies(read_data(data), tmp_path / "out").stat().st_ino != before


def test_regions_drawn_as_polygons_become_masks(zipper: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(zipper, tmp_path / "zipper"))
    drawn = next((data / "roi/train/good").iterdir())
    drawn.unlink()
    shape = {"label": "roi", "shape_type": "rectangle", "points": [[10, 0], [50, 64]]}
    labelme = {"shapes": [shape], "imagePath": drawn.name, "imageHeight": 64, "imageWidth": 64}
    drawn.with_suffix(".json").write_text(json.dumps(labelme))
    table = make_copies(read_data(data), tmp_path / "out")
    key = f"train/good/{drawn.name}"
    (original,) = [row for row in rows(table) if row["image_path"] == str((data / key).resolve())]
    record = next(
        record
        for record in attach_roi(read_data(split_copies(table, "grouped", 0).manifest))
        if str(record.image_path) == original["image_path"]
    )
    assert load_sample(record, None).roi_mask.sum() == 40 * 64


def test_without_a_defect_inside_nothing_is_made(zipper: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(zipper, tmp_path / "zipper"))
    for folder in (data / "test").iterdir():
        if folder.name.endswith(("_inside", "_both")):
            shutil.rmtree(folder)
    with pytest.raises(UserError, match="no photograph is defective inside the region"):
        make_copies(read_data(data), tmp_path / "out")
    assert not (tmp_path / "out").exists()
