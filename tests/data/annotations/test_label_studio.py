"""Label Studio's exports, JSON and JSON-MIN: percent, brushes, and the names of uploads."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from roinspect.data.annotations import brush, label_studio, read
from roinspect.data.annotations.polygons import Polygon, rasterise
from roinspect.errors import UserError

PAINTED = np.zeros((30, 40), np.uint8)
PAINTED[3:20, 30:37] = 1
PAINTED[25, ::2] = 1
SQUARE = [[10.0, 10.0], [50.0, 10.0], [50.0, 50.0], [10.0, 50.0]]


def result(kind: str, value: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "original_width": 40,
        "original_height": 30,
        "image_rotation": 0,
        "value": value,
        "id": "xq1N6kqUXh",
        "from_name": "label",
        "to_name": "image",
        "type": kind,
        "origin": "manual",
        **more,
    }


POLYGON = result("polygonlabels", {"points": SQUARE, "closed": True, "polygonlabels": ["teeth"]})
BOX = result(
    "rectanglelabels",
    {"x": 50.0, "y": 50.0, "width": 25.0, "height": 20.0, "rotation": 0, "rectanglelabels": ["tape"]},
)
BRUSH = result(
    "brushlabels", {"format": "rle", "rle": list(brush.encode(PAINTED)), "brushlabels": ["slider"]}
)


def task(*results: dict[str, Any], image: str = "/data/upload/1/8ab12cd4-zipper%207.png") -> dict[str, Any]:
    """As the export "JSON" has it."""
    return {
        "id": 7,
        "annotations": [
            {
                "id": 3,
                "completed_by": 1,
                "result": list(results),
                "was_cancelled": False,
                "ground_truth": False,
                "created_at": "2024-11-05T09:31:02.174932Z",
                "lead_time": 12.5,
                "unique_id": "0f2f4c2e-4d68-4f3f-9d8e-3a1ed8e0f4b1",
            }
        ],
        "file_upload": "8ab12cd4-zipper 7.png",
        "drafts": [],
        "predictions": [],
        "data": {"image": image},
        "meta": {},
    }


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(content: object) -> Path:
        (tmp_path / "x.json").write_text(json.dumps(content))
        return tmp_path / "x.json"

    return write


def test_the_export_json(write: Any) -> None:
    (drawing,) = read(write([task(POLYGON, BOX, BRUSH)])).images
    assert drawing.name == "zipper 7.png" and drawing.size_hw == (30, 40)
    assert drawing.shapes[0] == Polygon("teeth", (((4, 3), (20, 3), (20, 15), (4, 15)),))
    tape = rasterise(drawing, (30, 40), {"tape"})
    assert tape.sum() == 60 and tape[15:21, 20:30].all()
    assert np.array_equal(rasterise(drawing, (30, 40), {"slider"}), PAINTED)


def test_the_export_json_min(write: Any) -> None:
    short = {
        "image": "/data/local-files/?d=train/good/000.png",
        "id": 7,
        "label": [
            POLYGON["value"] | {"original_width": 40, "original_height": 30},
            BOX["value"] | {"original_width": 40, "original_height": 30},
        ],
        "brush": [BRUSH["value"] | {"original_width": 40, "original_height": 30}],
        "annotator": 1,
        "annotation_id": 3,
        "created_at": "2024-11-05T09:31:02.174932Z",
        "updated_at": "2024-11-05T09:31:02.174932Z",
        "lead_time": 12.5,
    }
    (found,) = read(write([short])).images
    (full,) = read(write([task(POLYGON, BOX, BRUSH)])).images
    assert found.name == "train/good/000.png" and found.shapes == full.shapes


def test_turned_rectangles_ellipses_and_several_labels(write: Any) -> None:
    turned = result("rectanglelabels", BOX["value"] | {"rotation": 90, "rectanglelabels": ["a", "b"]})
    round_one = {"x": 50, "y": 50, "radiusX": 20, "radiusY": 10, "rotation": 0, "ellipselabels": ["c"]}
    (drawing,) = read(write(task(turned, result("ellipselabels", round_one)))).images
    for label in "ab":
        mask = rasterise(drawing, (30, 40), {label})
        assert mask.sum() == 60 and mask[15:25, 14:20].all()
    assert abs(rasterise(drawing, (30, 40), {"c"}).sum() - np.pi * 24) < 4


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("/data/upload/8ab12cd4-a.png", "a.png"),
        ("http://localhost:8080/data/upload/12/8ab12cd4-a%20b.png?x=1", "a b.png"),
        ("s3://bucket/train/good/a.png", "train/good/a.png"),
        ("/data/local-files/?d=train%2Fgood%2Fa%2Bb.png", "train/good/a+b.png"),
        ("train\\good\\a%20b.png", "train/good/a%20b.png"),
    ],
)
def test_names_of_images(write: Any, image: str, name: str) -> None:
    assert read(write([task(image=image)])).images[0].name == name
    other = task(image=image)
    other["data"] = {"title": "no image", "photo": image}
    assert read(write([other])).images[0].name == name


def test_skipped_work_and_choices_are_left_out(write: Any) -> None:
    skipped = task(POLYGON)
    skipped["annotations"].append(skipped["annotations"][0] | {"was_cancelled": True, "result": []})
    assert len(read(write([skipped])).images[0].shapes) == 1
    choice = {"value": {"choices": ["good"]}, "type": "choices", "from_name": "c", "to_name": "image"}
    assert read(write([task(choice)])).passed_over == ("choices",)


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        ([task(BRUSH | {"original_width": 41})], "is no brush"),
        ([task(result("brushlabels", {"rle": [0, 0, 18, 192]}))], "end too early"),
        ([task(result("brushlabels", {"rle": [300] * 40}))], "is no brush"),
        ([task(result("brushlabels", {"rle": "abc"}))], "is no list"),
        ([task(POLYGON | {"image_rotation": 90})], "draw on the image as it lies"),
        ([task(POLYGON | {"original_width": None})], "no 'original_width'"),
        ([task(POLYGON, BOX | {"original_width": 50})], "others of its image"),
        (
            [task(result("polygonlabels", {"points": SQUARE[:2], "polygonlabels": ["a"]}))],
            "polygon of 2 points",
        ),
        ([task(result("polygonlabels", {"points": SQUARE, "polygonlabels": 3}))], "is no list"),
        ([task() | {"annotations": task()["annotations"] * 2}], "are 2 of one image"),
        ([task() | {"data": {"text": "hello"}}], "no 'image'"),
        ([task() | {"data": {"image": ""}}], "names no image"),
        ([task(), 3], "is no object"),
        ([task(), task()], "annotated twice"),
    ],
)
def test_traps_are_one_line(write: Any, document: object, fault: str) -> None:
    with pytest.raises(UserError, match=fault):
        read(write(document))


# -- the brush -----------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    mask=arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=30), elements=st.sampled_from([0, 1]))
)
def test_what_is_packed_is_unpacked(mask: NDArray[np.uint8]) -> None:
    assert np.array_equal(brush.decode(brush.encode(mask), (mask.shape[0], mask.shape[1])), mask)


def test_long_runs() -> None:
    mask = np.zeros((300, 400), np.uint8)
    mask[10:250] = 1
    packed = brush.encode(mask)
    assert len(packed) < 100 and np.array_equal(brush.decode(packed, (300, 400)), mask)


def test_single_values_count_as_runs_do() -> None:
    # Two pixels as the tool may write them: eight values of their own, alpha 0 and 9.
    values = [(8, 32), (7, 5), (2, 4), (3, 4), (7, 4), (15, 4), (0, 1), (0, 2), (7, 3)]
    values += [(value, 8) for value in (255, 255, 255, 0, 0, 0, 0, 9)]
    bits = "".join(f"{value:0{count}b}" for value, count in values)
    packed = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")
    assert brush.decode(packed, (1, 2)).tolist() == [[0, 1]]


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=40))
def test_any_bytes_are_unpacked_or_refused(data: bytes) -> None:
    whole = (4 * 6).to_bytes(4, "big") + data
    try:
        mask = brush.decode(whole, (2, 3))
    except ValueError:
        return
    assert mask.shape == (2, 3) and mask.max() <= 1


def test_tasks_are_told_from_other_lists(write: Any) -> None:
    assert not label_studio.holds_tasks(label_studio.Node([{"a": 1}], "x"))
    with pytest.raises(UserError, match="known format"):
        read(write([1, 2]))


def bitmask(pixels: NDArray[np.uint8], prefix: str = "data:image/png;base64,") -> dict[str, Any]:
    png = base64.b64encode(cv2.imencode(".png", pixels)[1].tobytes()).decode()
    return result("bitmasklabels", {"imageDataURL": prefix + png, "bitmasklabels": ["tape"]})


def test_bitmasks_grey_or_black_on_transparent(write: Any) -> None:
    black = np.zeros((30, 40, 4), np.uint8)
    black[..., 3] = PAINTED * 255
    colour = np.repeat((PAINTED * 90)[..., None], 3, axis=2)
    for pixels in (PAINTED * 255, black, colour):
        (drawing,) = read(write([task(bitmask(pixels))])).images
        assert np.array_equal(rasterise(drawing, (30, 40), {"tape"}), PAINTED)


@pytest.mark.parametrize(
    ("broken", "fault"),
    [
        (bitmask(PAINTED[1:]), "is no PNG of 30x40 pixels"),
        (bitmask(PAINTED, "data:image/jpeg;base64,"), "is no PNG in base64"),
        (result("bitmasklabels", {"imageDataURL": "", "bitmasklabels": ["tape"]}), "is no PNG of"),
    ],
)
def test_broken_bitmasks_are_one_line(write: Any, broken: dict[str, Any], fault: str) -> None:
    with pytest.raises(UserError, match=fault):
        read(write([task(broken)]))


def test_a_short_form_without_shapes_is_known_by_its_own_fields(write: Any) -> None:
    (drawing,) = read(write([{"image": "0.png", "id": 1, "annotation_id": 3, "lead_time": 2.0}])).images
    assert drawing.name == "0.png" and drawing.shapes == ()
