"""COCO files as CVAT exports them: polygons of several parts, boxes, plain and packed run lengths."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from roinspect.data.annotations import coco, read, rle
from roinspect.data.annotations.polygons import Annotations, ImageShapes, Painted, Polygon, rasterise, trace
from roinspect.errors import UserError

SIZE = (30, 40)
MASK = np.zeros(SIZE, np.uint8)
MASK[4:20, 7:9] = MASK[25:, 30:] = 1
# The form of CVAT's export "COCO 1.0".
FILE: dict[str, Any] = {
    "licenses": [{"name": "", "id": 0, "url": ""}],
    "info": {"contributor": "", "date_created": "", "description": "", "url": "", "version": "", "year": ""},
    "categories": [
        {"id": 1, "name": "teeth", "supercategory": ""},
        {"id": 2, "name": "tape", "supercategory": ""},
    ],
    "images": [
        {
            "id": 1,
            "width": 40,
            "height": 30,
            "file_name": "train/good/000.png",
            "license": 0,
            "flickr_url": "",
        },
        {
            "id": 2,
            "width": 40,
            "height": 30,
            "file_name": "train\\good\\001.png",
            "license": 0,
            "coco_url": "",
        },
    ],
    "annotations": [
        {
            "id": 1,
            "image_id": 1,
            "category_id": 1,
            "segmentation": [[1.0, 1.0, 6.0, 1.0, 6.0, 6.0, 1.0, 6.0], [10, 10, 20, 10, 20, 20, 10, 20]],
            "area": 125.0,
            "bbox": [1.0, 1.0, 19.0, 19.0],
            "iscrowd": 0,
            "attributes": {"occluded": False},
        },
        {
            "id": 2,
            "image_id": 2,
            "category_id": 2,
            "segmentation": {"counts": list(rle.encode(MASK)), "size": [30, 40]},
            "area": 82.0,
            "bbox": [7.0, 4.0, 33.0, 26.0],
            "iscrowd": 1,
        },
        {
            "id": 3,
            "image_id": 1,
            "category_id": 2,
            "segmentation": [],
            "area": 12.0,
            "bbox": [30.0, 20.0, 4.0, 3.0],
            "iscrowd": 0,
            "attributes": {"rotation": 0.0},
        },
    ],
}


def changed(**changes: Any) -> dict[str, Any]:
    """The file with only its second annotation, changed."""
    return FILE | {"annotations": [FILE["annotations"][1] | changes]}


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(content: object) -> Path:
        (tmp_path / "x.json").write_text(json.dumps(content))
        return tmp_path / "x.json"

    return write


def test_a_file_of_cvat(write: Any) -> None:
    one, other = read(write(FILE)).images
    assert (one.name, other.name) == ("train/good/000.png", "train/good/001.png")
    assert [shape.label for shape in one.shapes] == ["teeth", "teeth", "tape"]
    teeth = rasterise(one, SIZE, {"teeth"})
    assert teeth.sum() == 125 and teeth[1:6, 1:6].all() and teeth[10:20, 10:20].all()
    assert rasterise(one, SIZE, {"tape"})[20:23, 30:34].all()
    assert np.array_equal(rasterise(other, SIZE), MASK)


def test_packed_run_lengths_of_pycocotools(write: Any) -> None:
    packed = coco_mask.encode(np.asfortranarray(MASK))["counts"].decode()
    (_, drawing) = read(write(changed(segmentation={"size": [30, 40], "counts": packed}, iscrowd=0))).images
    assert drawing.shapes == (Painted("tape", rle.encode(MASK)),)


def test_pycocotools_reads_what_is_written(write: Any, capsys: pytest.CaptureFixture[str]) -> None:
    holed = trace(np.pad(np.zeros((4, 4), np.uint8), 3, constant_values=1), "a")
    box = Polygon("b", (((1.0, 2.0), (8.0, 2.0), (8.0, 9.0), (1.0, 9.0)),))
    drawing = ImageShapes("x.png", (10, 10), (*holed, box))
    index = COCO(str(write(json.loads(coco.write(Annotations((drawing,)))))))
    ring, square = index.loadAnns([1, 2])
    assert np.array_equal(index.annToMask(ring), rasterise(drawing, (10, 10), {"a"}))
    assert np.array_equal(index.annToMask(square), rasterise(drawing, (10, 10), {"b"}))
    assert square["bbox"] == [1, 2, 7, 7] and square["area"] == 49 and ring["area"] == 84


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        (changed(segmentation={"size": [30, 40], "counts": [5, 6]}), "do not add up to 30 x 40"),
        (changed(segmentation={"size": [30, 40], "counts": "04"}), "add up"),
        (changed(segmentation={"size": [30, 40], "counts": "ö"}), "cannot be unpacked"),
        (changed(segmentation={"size": [30, 40], "counts": [-4, 1204]}), "run length"),
        (
            changed(segmentation={"size": [20000, 10000], "counts": [200_000_000]}),
            "another size than its image",
        ),
        (changed(segmentation=[[0, 0, 1, 1]]), "polygon of 2 points"),
        (changed(segmentation=[[0, 0, 1, 1, 2]]), "x without a y"),
        (changed(segmentation=[[0, 0, 1, 1, 2, None]]), "no finite number"),
        (changed(segmentation=[], bbox=[1, 2, 3]), "x without a y"),
        (changed(segmentation=None, bbox=None), "no 'bbox'"),
        (changed(image_id=9), "image 9, which is not in the file"),
        (FILE | {"images": [FILE["images"][0]] * 2}, "the id 1 of an image before"),
        (FILE | {"images": [FILE["images"][0], FILE["images"][0] | {"id": 2}]}, "annotated twice"),
        (FILE | {"images": [{"id": 1, "file_name": "a.png", "width": 1e9, "height": 2}]}, "whole number"),
        (FILE | {"images": 3}, "images is no list"),
    ],
)
def test_traps_are_one_line(write: Any, document: dict[str, Any], fault: str) -> None:
    with pytest.raises(UserError, match=fault):
        read(write(document))


def boxed(**entry: Any) -> dict[str, Any]:
    image = {"id": 1, "file_name": "0.png", "height": 30, "width": 40}
    annotation = {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "segmentation": [],
        "bbox": [10, 12, 20, 4],
        **entry,
    }
    return {"images": [image], "annotations": [annotation], "categories": [{"id": 1, "name": "teeth"}]}


@pytest.mark.parametrize("degrees", [0, 30.0, 90.0, 135, 270])
def test_a_box_that_cvat_turned_is_turned_about_its_middle(write: Any, degrees: float) -> None:
    (drawing,) = read(write(boxed(attributes={"occluded": False, "rotation": degrees}))).images
    corners = np.array([[10, 12], [30, 12], [30, 16], [10, 16]], float) - (20, 14)
    turn = np.radians(degrees)
    # Clockwise as the picture is seen: from x, which points right, to y, which points down.
    expected = corners @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) + (20, 14)
    (shape,) = drawing.shapes
    assert isinstance(shape, Polygon) and np.allclose(shape.rings[0], expected, atol=1e-5)


def test_attributes_of_other_tools_turn_nothing(write: Any) -> None:
    for attributes in (None, [], "x", {"rotation": None}, {}):
        (drawing,) = read(write(boxed(attributes=attributes))).images
        assert rasterise(drawing, (30, 40))[12:16, 10:30].all() and rasterise(drawing, (30, 40)).sum() == 80


def test_without_a_size_that_of_the_photograph_counts(write: Any) -> None:
    document = boxed(segmentation=[[10, 10, 30, 10, 30, 20, 10, 20]])
    for name in ("height", "width"):
        del document["images"][0][name]
    (drawing,) = read(write(document)).images
    assert drawing.size_hw is None
    for size_hw in ((30, 40), (60, 50)):
        mask = rasterise(drawing, size_hw)
        assert mask.shape == size_hw and mask.sum() == 200 and mask[10:20, 10:30].all()
    document["annotations"][0]["segmentation"] = {"size": [30, 40], "counts": [1200]}
    with pytest.raises(UserError, match="size is missing from the file"):
        read(write(document))


def test_the_panoptic_kind_is_named(write: Any) -> None:
    document = boxed()
    document["annotations"] = [{"image_id": 1, "file_name": "0.png", "segments_info": [{"id": 1}]}]
    with pytest.raises(UserError, match="panoptic"):
        read(write(document))
