"""Files as LabelMe 5 writes them, and what people do to them."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from roinspect.data.annotations import read
from roinspect.data.annotations.polygons import Polygon, rasterise
from roinspect.errors import UserError

PIXEL = base64.b64encode(cv2.imencode(".jpg", np.zeros((1, 1, 3), np.uint8))[1].tobytes()).decode()
FILE = r"""{
  "version": "5.4.1",
  "flags": {},
  "shapes": [
    {
      "label": "teeth",
      "points": [[2.5, 1.0], [10.0, 1.0], [10.0, 9.25]],
      "group_id": null,
      "description": "",
      "shape_type": "polygon",
      "flags": {},
      "mask": null
    },
    {
      "label": "slider",
      "points": [[30.0, 20.0], [20.0, 10.0]],
      "group_id": null,
      "description": "",
      "shape_type": "rectangle",
      "flags": {},
      "mask": null
    }
  ],
  "imagePath": "..\\photographs\\zipper 7.jpg",
  "imageData": null,
  "imageHeight": 30,
  "imageWidth": 40
}"""


def document(**changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FILE)
    return found | changes


def shape(kind: str, points: Any, **more: Any) -> dict[str, Any]:
    return {"label": "a", "points": points, "shape_type": kind, "flags": {}, "group_id": None, **more}


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(content: object) -> Path:
        path = tmp_path / "x.json"
        text = content if isinstance(content, str) else json.dumps(content)
        path.write_text(text, encoding="utf-8-sig")
        return path

    return write


def test_a_file_of_labelme(write: Any) -> None:
    (drawing,) = read(write(FILE)).images
    assert drawing.name == "photographs/zipper 7.jpg" and drawing.size_hw == (30, 40)
    assert drawing.shapes[0] == Polygon("teeth", (((2.5, 1), (10, 1), (10, 9.25)),))
    assert rasterise(drawing, (30, 40), {"slider"})[10:20, 20:30].all()
    assert rasterise(drawing, (30, 40), {"slider"}).sum() == 100


def test_image_data_within_the_file_plays_no_part(write: Any) -> None:
    assert read(write(document(imageData=PIXEL))) == read(write(FILE))


def test_circles_and_masks(write: Any) -> None:
    part = np.zeros((4, 6), np.uint8)
    part[1:3, 2:] = 255
    png = base64.b64encode(cv2.imencode(".png", part, [cv2.IMWRITE_PNG_BILEVEL, 1])[1].tobytes()).decode()
    shapes = [
        shape("circle", [[20.0, 15.0], [20.0, 9.0]]),
        shape("mask", [[30.0, 2.0], [35.0, 5.0]], mask=png) | {"label": "b"},
    ]
    (drawing,) = read(write(document(shapes=shapes))).images
    assert abs(rasterise(drawing, (30, 40), {"a"}).sum() - np.pi * 36) < 5
    painted = rasterise(drawing, (30, 40), {"b"})
    assert painted.sum() == 8 and painted[3:5, 32:36].all()


def test_lines_are_left_out_with_a_word(write: Any, caplog: pytest.LogCaptureFixture) -> None:
    path = write(document(shapes=[shape("linestrip", [[1, 2], [3, 4]]), shape("point", [[1, 2]])]))
    assert read(path).images[0].shapes == () and read(path).passed_over == ("linestrip", "point")
    assert "linestrip, point" in caplog.text and len(caplog.records) == 1


def test_unicode_and_a_byte_order_mark(write: Any) -> None:
    found = read(
        write(document(imagePath="фото/ключ №1.png", shapes=[shape("polygon", [[0, 0], [9, 0], [9, 9]])]))
    )
    assert found.images[0].name == "фото/ключ №1.png"


@pytest.mark.parametrize("name", [r"C:\a\b.png", "/a/b.png", "../../a/./x/../b.png", "a//b.png"])
def test_paths_of_any_system(write: Any, name: str) -> None:
    assert read(write(document(imagePath=name))).images[0].name == "a/b.png"


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"shapes": [shape("polygon", [[0, 0], [1, 1]])]}, "polygon of 2 points"),
        ({"shapes": [shape("polygon", [])]}, "polygon of 0 points"),
        (
            {"shapes": [shape("polygon", [[0, 0], [1, 1], [0, 0]] * 2 + [[0, float("nan")]])]},
            "no finite number",
        ),
        ({"shapes": [shape("polygon", [[0, 0], [1, 1], [0, 1e300]])]}, "beyond any image"),
        ({"shapes": [shape("polygon", [[0, 0], [1, 1], [0, 10**400]])]}, "no finite number"),
        ({"shapes": [shape("polygon", [[0, 0], [1, 1], [0]])]}, r"points\[2\] is no pair"),
        ({"shapes": [shape("polygon", [[0, 0], [1, 1], [True, "x"]])]}, "no finite number"),
        ({"shapes": [shape("circle", [[0, 0]])]}, "circle of 1 points"),
        ({"shapes": [shape("mask", [[0, 0], [5, 5]], mask="?")]}, "no base64"),
        ({"shapes": [shape("mask", [[0, 0], [5, 5]], mask=PIXEL)]}, "no PNG of 6x6"),
        ({"shapes": [shape("mask", [[0, 0], [5, 5]])]}, "no 'mask'"),
        ({"shapes": {}}, "no list"),
        ({"shapes": [3]}, "no object"),
        ({"imageHeight": 0}, "whole number from 1"),
        ({"imageHeight": 60_000, "imageWidth": 60_000}, "60000x60000 pixels"),
        ({"imagePath": ".."}, "names no image"),
        ({"imagePath": "a\u0000.png"}, "control character"),
        ({"imagePath": "\ud800.png"}, "control character"),
        ({"imagePath": None}, "no 'imagePath'"),
    ],
)
def test_traps_are_one_line(write: Any, changes: dict[str, Any], fault: str) -> None:
    path = write(document(**changes))
    with pytest.raises(UserError, match=fault) as caught:
        read(path)
    assert caught.value.where == str(path) and "\n" not in str(caught.value)


def masked(x: float, y: float, size_hw: tuple[int, int], *, far: float = 0.0) -> dict[str, Any]:
    part = np.full(size_hw, 255, np.uint8)
    png = base64.b64encode(cv2.imencode(".png", part)[1].tobytes()).decode()
    end = [x + size_hw[1] - 1 + far, y + size_hw[0] - 1 + far]
    return document(shapes=[shape("mask", [[x, y], end], mask=png)])


@pytest.mark.parametrize(("x", "left"), [(10.0, 10), (10.5, 10), (11.5, 12), (10.4, 10), (10.6, 11)])
def test_a_mask_that_was_dragged_begins_at_its_rounded_corner(write: Any, x: float, left: int) -> None:
    (drawing,) = read(write(masked(x, 5.0, (6, 9)))).images
    mask = rasterise(drawing, (30, 40))
    assert mask.sum() == 54 and mask[5:11, left : left + 9].all()


@pytest.mark.parametrize("far", [1.0, -1.0, 5.0])
def test_a_mask_whose_png_is_of_another_size_is_refused(write: Any, far: float) -> None:
    with pytest.raises(UserError, match="is no PNG of"):
        read(write(masked(10.0, 5.0, (6, 9), far=far)))


@pytest.mark.parametrize("kind", ["rotation", "quadrilateral"])
def test_x_anylabelings_corners_are_read_as_they_lie(write: Any, kind: str) -> None:
    corners = [[10, 5], [30, 9], [28, 19], [8, 15]]
    (drawing,) = read(write(document(shapes=[shape(kind, corners, direction=0.3)]))).images
    assert drawing.shapes == (Polygon("a", (tuple((float(x), float(y)) for x, y in corners),)),)


def test_version_3_tells_no_size(write: Any) -> None:
    old = document(version="3.16.7", shapes=[{"label": "a", "points": [[1, 1], [9, 1], [9, 9]]}])
    del old["imageHeight"], old["imageWidth"]
    (drawing,) = read(write(old)).images
    assert (
        drawing.size_hw is None
        and rasterise(drawing, (30, 40)).sum() == rasterise(drawing, (50, 50)).sum() > 20
    )
    old["shapes"] = masked(1, 1, (2, 2))["shapes"]
    with pytest.raises(UserError, match="size is missing from the file"):
        read(write(old))
