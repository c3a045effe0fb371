"""The next training set: labels as people gave them, nothing twice, nothing that has changed."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from roinspect.cli import main
from roinspect.data.reading import Data, read_data
from roinspect.data.records import Record, read_records
from roinspect.errors import UserError
from roinspect.images.pixels import read_image, read_mask, write_image
from roinspect.review import training_set
from roinspect.review.corrections import Correction, correction
from roinspect.review.rows import Row
from roinspect.review.training_set import TrainingSet, write_training_set
from roinspect.review.words import written

Found = list[tuple[Row, Correction]]


class Finder:
    """In place of the model: the region is the left half, and there is none in a black photograph."""

    def inspect_many(self, photographs: list[Path]) -> Iterator[Any]:
        for path in photographs:
            image = read_image(path)
            region = np.zeros((4, 8), np.float32)
            region[:, :4] = float(image.any())
            yield SimpleNamespace(image=image, roi_map=region, error=None)


@pytest.fixture(autouse=True)
def finder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_set, "Inspector", SimpleNamespace(load=lambda bundle: Finder()))


@pytest.fixture
def line(tmp_path: Path) -> Path:
    """A camera's folder."""
    for number, name in enumerate(("a", "b", "c", "sub/a", "black")):
        image = np.random.default_rng(number).integers(1, 255, (64, 64, 3), np.uint8)
        write_image(tmp_path / f"line/{name}.png", image * (name != "black"))
    return tmp_path / "line"


def found(*words: tuple[Path, str], kind: str = "") -> Found:
    """Photographs as the line inspected them, and what they are."""
    pairs = []
    for number, (path, truth) in enumerate(words, 1):
        status = path.stat()
        state = (status.st_size, status.st_mtime_ns)
        entry = correction(str(path), truth, "Anna", kind=kind if truth == "defective" else "", state=state)
        pairs.append((Row(number, str(path), "good", 0.1, 0.5, state=state), entry))
    return pairs


def by_name(made: TrainingSet) -> dict[str, Record]:
    return {record.image_path.name: record for record in read_records(made.manifest)}


def test_new_photographs_are_copied_with_their_labels_and_predicted_regions(
    line: Path, model: Path, zipper: Path, tmp_path: Path
) -> None:
    seen = found((line / "a.png", "good"), (line / "sub/a.png", "defective"), kind="dent")
    made = write_training_set(tmp_path / "next", model, seen, read_data(zipper))
    assert (made.records, made.predicted, made.left_out) == (20, 2, [])
    assert dict(made.added) == {"good": 1, "dent": 1}
    # What the camera's folder holds later changes nothing.
    shutil.rmtree(line)
    records = read_records(made.manifest)
    added = [record for record in records if record.image_path.is_relative_to(tmp_path)]
    assert [(one.key, one.split, one.label, one.category) for one in added] == [
        ("photographs/a.png", "train", 0, "good"),
        ("photographs/a_2.png", "train", 1, "dent"),
    ]
    for one in added:
        assert isinstance(one.roi_path, Path)
        region = read_mask(one.roi_path)
        assert region[:, :30].all() and not region[:, 34:].any()
    assert "are predicted by the model" in "\n".join(written(made))


def test_the_data_stay_as_they_are(line: Path, model: Path, zipper: Path, tmp_path: Path) -> None:
    before = read_data(zipper)
    made = write_training_set(tmp_path / "next", model, found((line / "a.png", "good")), before)
    after = {one.image_path: one for one in read_records(made.manifest)}
    for one in before.records:
        same = after[one.image_path]
        assert (same.split, same.label, same.category, same.group) == (
            one.split,
            one.label,
            one.category,
            one.group,
        )
        assert (same.mask_path is None) == (one.mask_path is None) and same.roi_path is not None


def test_drawings_of_the_data_become_masks_of_the_same_pixels(
    line: Path, model: Path, zipper: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(zipper, data)
    shutil.rmtree(data / "roi")
    shape = '{"label": "teeth", "shape_type": "rectangle", "points": [[8, 4], [40, 60]]}'
    for path in sorted(data.glob("t*/*/*.png")):
        drawn = (data / "roi" / path.relative_to(data)).with_suffix(".json")
        drawn.parent.mkdir(parents=True, exist_ok=True)
        drawn.write_text(
            f'{{"imagePath": "{path.name}", "imageHeight": 64, "imageWidth": 64, "shapes": [{shape}]}}'
        )
    made = write_training_set(tmp_path / "next", model, [], read_data(data))
    for record in read_records(made.manifest):
        assert isinstance(record.roi_path, Path) and record.roi_path.is_relative_to(tmp_path / "next")
        region = read_mask(record.roi_path)
        assert region.shape == (64, 64) and region[10, 20] and not region[10, 50]


def test_a_photograph_that_the_data_have_keeps_its_split_and_gets_the_label(
    model: Path, zipper: Path, tmp_path: Path
) -> None:
    data = read_data(zipper)
    test_good, train_good = (
        next(one for one in data.records if one.split == split and one.label == 0)
        for split in ("test", "train")
    )
    damaged = next(one for one in data.records if "inside" in one.category)
    outside = next(one for one in data.records if "outside" in one.category)
    # The line saw them under other names.
    copies = []
    for number, record in enumerate((test_good, train_good, damaged, outside)):
        copies.append(tmp_path / f"{number}.png")
        shutil.copy(record.image_path, copies[-1])
    truths = ("defective", "good", "good", "good")
    seen = found(*zip(copies, truths, strict=True), kind="dent")
    made = write_training_set(tmp_path / "next", model, seen, data)
    # The defect outside the region makes a good part, as the person says.
    assert (made.known, dict(made.relabelled), sum(made.added.values())) == (2, {"test": 2}, 0)
    after = {one.image_path: one for one in read_records(made.manifest)}
    assert len(after) == len(data.records)
    wrong = after[test_good.image_path]
    assert (wrong.split, wrong.label, wrong.category) == ("test", 1, "dent")
    repaired = after[damaged.image_path]
    assert (repaired.split, repaired.label, repaired.mask_path) == ("test", 0, None)
    assert after[outside.image_path].category == outside.category
    words = "\n".join(written(made))
    assert (
        "2 photographs of the data have the label that people gave them; they stay in its test split" in words
    )
    assert "2 looked-at photographs are in the data already, with this label" in words


def test_what_is_gone_or_has_changed_is_left_out_by_name(
    line: Path, model: Path, zipper: Path, tmp_path: Path
) -> None:
    write_image(line / "broken.png", np.zeros((8, 8, 3), np.uint8))
    (line / "broken.png").write_bytes(b"no photograph")
    shutil.copyfile(line / "a.png", line / "twin.png")
    names = ("a", "b", "c", "black", "broken", "twin")
    seen = found(*((line / f"{name}.png", "good") for name in names[:-1]), (line / "twin.png", "defective"))
    (line / "b.png").unlink()
    os.utime(line / "c.png", ns=(5, 5))
    made = write_training_set(tmp_path / "next", model, seen, read_data(zipper))
    said = {Path(words.partition(".png")[0]).name: words.partition(": ")[2] for words in made.left_out}
    assert said.keys() == {"b", "c", "black", "broken", "twin"}
    assert said["b"] == "is not there any more" and said["c"] == "was changed since it was inspected"
    assert said["black"] == "the model finds no region of interest in it"
    assert said["twin"] == f"is the same picture as {line / 'a.png'}, which is good"
    assert dict(made.added) == {"good": 1}
    assert not (tmp_path / "next/photographs/black.png").exists()
    words = "\n".join(written(made))
    assert "5 photographs are left out:" in words and f"    {line / 'b.png'}: is not there any more" in words


def test_a_folder_that_exists_is_never_touched(line: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "next").mkdir()
    with pytest.raises(UserError, match="exists already, and is not overwritten"):
        write_training_set(tmp_path / "next", model, found((line / "a.png", "good")))
    assert list((tmp_path / "next").iterdir()) == []


def test_without_a_photograph_nothing_is_written(line: Path, model: Path, tmp_path: Path) -> None:
    seen = found((line / "a.png", "good"))
    (line / "a.png").unlink()
    with pytest.raises(UserError, match=r"no photograph is left for it; first left out: .*a\.png: is not"):
        write_training_set(tmp_path / "next", model, seen)
    assert not (tmp_path / "next").exists() and not list(tmp_path.glob(".next*"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no limit of a file's size")
def test_on_a_full_disk_nothing_half_written_stays(line: Path, model: Path, tmp_path: Path) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(UserError, match=r"next: cannot be written .*; free space, or name another"):
            write_training_set(tmp_path / "next", model, found((line / "a.png", "good")))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not (tmp_path / "next").exists() and not list(tmp_path.glob(".next*"))
    assert (line / "a.png").exists()


def test_without_regions_in_the_data_none_are_predicted(
    line: Path, model: Path, zipper: Path, tmp_path: Path
) -> None:
    data: Data = read_data(zipper, roi="none")
    made = write_training_set(tmp_path / "next", model, found((line / "black.png", "good")), data)
    assert made.predicted == 0 and dict(made.added) == {"good": 1}
    assert not any(record.roi_path for record in read_records(made.manifest))
    assert f"roinspect train {made.manifest} --roi none" in "\n".join(written(made))


def test_labels_are_read_with_the_usual_names(line: Path, model: Path, zipper: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(zipper, data)
    for folder in sorted(data.rglob("good")):
        folder.rename(folder.with_name("Gut"))
    made = write_training_set(tmp_path / "next", model, [], read_data(data, good=["Gut"]))
    with made.manifest.open(newline="") as file:
        labels = {row["label"] for row in csv.DictReader(file)}
    assert "good" in labels and "Gut" not in labels
    assert {one.label for one in read_records(made.manifest)} == {0, 1}


def test_the_next_training_runs(
    line: Path, model: Path, zipper: Path, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    seen = found((line / "a.png", "good"), (line / "b.png", "good"), (line / "c.png", "defective"))
    made = write_training_set(tmp_path / "next", model, seen, read_data(zipper))
    words = ["train", "grdnet", str(made.manifest), "--out", str(tmp_path / "new.model")]
    assert main([*words, "--training.steps", "2", *tiny]) == 0
    assert (tmp_path / "new.model/bundle.json").exists()
