"""YOLO segmentation: one text file an image, fractions, and classes by number or name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from roinspect.data.annotations import read
from roinspect.data.annotations.polygons import rasterise
from roinspect.errors import UserError

LINES = "0 0.1 0.1 0.5 0.1 0.5 0.5 0.1 0.5\n\n2 0.75 0.75 0.5 0.5\n"
EXPORT = """path: ../zipper
train: images/train
val: images/val
names:
  0: teeth
  1: tape
  2: slider
"""


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    folder = tmp_path / "labels/train"
    folder.mkdir(parents=True)
    (folder / "000.txt").write_text(LINES)
    (folder / "001.txt").write_text("")
    return tmp_path / "labels"


def test_a_folder_of_text_files(labels: Path) -> None:
    one, other = read(labels).images
    assert (one.name, other.name) == ("train/000", "train/001") and other.shapes == ()
    assert one.size_hw is None and [shape.label for shape in one.shapes] == ["0", "2"]
    teeth, box = (rasterise(one, (20, 40), {label}) for label in ("0", "2"))
    assert teeth.sum() == 8 * 16 and teeth[2:10, 4:20].all()
    assert box.sum() == 10 * 20 and box[10:, 20:].all()


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("data.yaml", EXPORT),
        ("data.yaml", "names: [teeth, tape, slider]"),
        ("labels/classes.txt", "teeth\ntape\nslider\n"),
        ("labels/train/classes.txt", "\ufeffteeth\r\ntape\r\nslider\r\n"),
    ],
)
def test_classes_have_names(labels: Path, place: str, text: str) -> None:
    (labels.parent / place).write_text(text, encoding="utf-8")
    assert read(labels).labels == ["slider", "teeth"]
    assert read(labels / "train/000.txt").labels == ["slider", "teeth"]


def test_names_are_read_once_and_anew_when_changed(labels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, parsed, parse = labels.parent / "data.yaml", list[str](), yaml.safe_load

    def count(text: str) -> object:
        parsed.append(text)
        return parse(text)

    monkeypatch.setattr(yaml, "safe_load", count)
    for number in range(20):
        (labels / f"train/{number}.txt").write_text(LINES)
    settings.write_text(EXPORT)
    assert read(labels).labels == ["slider", "teeth"] and len(parsed) == 1
    settings.write_text(EXPORT.replace("teeth", "chain"))
    for file in labels.rglob("*.txt"):
        os.utime(file, (1, 1))
    assert read(labels).labels == ["chain", "slider"] and len(parsed) == 2


@pytest.mark.parametrize(
    "text", ["names: 3", "names: {x: y}", "a: [", "[" * 700, "- 1", "names: {0: [1]}", "\0"]
)
def test_broken_names_are_one_line(labels: Path, text: str) -> None:
    (labels.parent / "data.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        read(labels)
    assert caught.value.where == str(labels.parent / "data.yaml")


def test_other_texts_are_left_alone(labels: Path) -> None:
    (labels / "README.txt").write_text("Drawn by Anna.\n1 2 3\n")
    (labels / "latin.txt").write_bytes("Maß".encode("latin-1"))
    assert len(read(labels).images) == 2
    with pytest.raises(UserError, match="known format"):
        read(labels / "README.txt")


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("1 0.1 0.2 0.3 0.4 0.5 0.6 0.7", "line 2 has an x without a y"),
        ("1 0.1 0.2", "line 2 is not a class and points"),
        ("teeth 0.1 0.2 0.3 0.4", "line 2 is not a class and points"),
        ("1 10 20 300 400 500 600", "pixels, not fractions"),
        ("1 0.1 0.2 0.3 0.4 0.5 e", "no finite number"),
        ("1 0.1 0.2 0.3 0.4 0.5 1e999", "no finite number"),
    ],
)
def test_traps_are_one_line(labels: Path, line: str, fault: str) -> None:
    (labels / "train/000.txt").write_text(f"0 0.1 0.1 0.5 0.1 0.5 0.5\n{line}\n")
    with pytest.raises(UserError, match=fault):
        read(labels)


POSE = "0 0.5 0.5 0.4 0.3 0.4 0.4 2 0.45 0.5 0 0.6 0.55 1 0.5 0.6 0\n"


def test_key_points_are_no_polygon(labels: Path) -> None:
    (labels / "train/000.txt").write_text(POSE)
    with pytest.raises(UserError, match="line 1 holds the key points"):
        read(labels)


@pytest.mark.parametrize("line", ["0 0.5 0.5 0.4 0.3 0.4 0.4 0.6 0.6", "0 0.5 0.5 0.4 0.3 0.4 0.4 2"])
def test_settings_with_key_points_rule_polygons_out(labels: Path, line: str) -> None:
    (labels / "train/000.txt").write_text(line)
    (labels.parent / "data.yaml").write_text("kpt_shape: [2, 2]\nnames: [part]\n")
    with pytest.raises(UserError, match="key points"):
        read(labels)
    # A box alone is one in a data set of poses as well.
    (labels / "train/000.txt").write_text("0 0.5 0.5 0.4 0.4")
    assert rasterise(read(labels).images[0], (20, 40)).sum() == 8 * 16


@pytest.mark.parametrize(
    "line",
    [
        # Polygons that touch the picture's edge where a pose would say how well a point is seen.
        "0 0.5 0.5 0.9 0.5 0.9 0.9 0 0.9 0.3 0",
        "0 0.2 0.3 0.4 0.1 1 0.5 1 0.9 0.5 1",
        "0 0 0 1 0 1 1 0 1",
    ],
)
def test_polygons_at_the_edge_stay_polygons(labels: Path, line: str) -> None:
    (labels / "train/000.txt").write_text(line)
    (shape,) = read(labels / "train/000.txt").images[0].shapes
    assert len(shape.rings[0]) == len(line.split()) // 2


def test_a_box_with_a_confidence_is_the_box(labels: Path) -> None:
    (labels / "train/000.txt").write_text("0 0.5 0.5 0.4 0.4 0.91\n")
    assert rasterise(read(labels / "train/000.txt").images[0], (20, 40)).sum() == 8 * 16


def test_a_polygon_with_a_confidence_is_refused(labels: Path) -> None:
    (labels / "train/000.txt").write_text("0 0.1 0.1 0.5 0.1 0.5 0.5 0.91\n")
    with pytest.raises(UserError, match=r"a confidence behind its polygon; save it without confidences"):
        read(labels)
