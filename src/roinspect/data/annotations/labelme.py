"""LabelMe and X-AnyLabeling JSON: one file per image; polygons, rectangles, circles and masks."""

from __future__ import annotations

import base64
import binascii
import math
from pathlib import PurePosixPath

import cv2

from roinspect.data.annotations import rle
from roinspect.data.annotations.document import Node, known_size, to_json
from roinspect.data.annotations.format import AnnotationFile, by_file
from roinspect.data.annotations.polygons import (
    Annotations,
    ImageShapes,
    Painted,
    Polygon,
    Shape,
    bridged,
    ellipse,
    rectangle,
)
from roinspect.errors import UserError
from roinspect.images.containers import identify
from roinspect.images.pixels import read_mask

SUFFIX, IS_ONE_FILE = ".json", False
VERSION = "5.4.1"
# X-AnyLabeling stores the rotated corners of a `rotation`; its `direction` is redundant.
_CORNERS = frozenset({"polygon", "oriented_rectangle", "rotation", "quadrilateral"})
ENCLOSING = _CORNERS | {"rectangle", "circle", "mask"}


def read_file(file: AnnotationFile) -> Annotations | None:
    """See `Format.read_file`."""
    return read(file.json, file.folder) if file.json and holds_shapes(file.json) else None


def write_files(annotations: Annotations) -> dict[str, str]:
    """See `Format.write_files`."""
    return {name: write(drawing) for name, drawing in by_file(annotations, SUFFIX).items()}


def holds_shapes(document: Node) -> bool:
    """Whether a JSON document has the structure of LabelMe: shapes, and data about their image."""
    fields = document.value.keys() if isinstance(document.value, dict) else frozenset[str]()
    return "shapes" in fields and not fields.isdisjoint({"imagePath", "imageData", "imageHeight"})


def read(document: Node, folder: str = "") -> Annotations:
    """The drawing of a LabelMe file.

    Version 3 stores no image size: its coordinates are pixels of the photograph.

    Args:
        document: the file's JSON.
        folder: folder of the file relative to the folder being read; imagePath is relative to it.

    Raises:
        UserError: the file is not valid LabelMe.
    """
    size_hw = document.maybe_size_hw("imageHeight", "imageWidth")
    shapes: list[Shape] = []
    passed_over: set[str] = set()
    for entry in document.at("shapes").entries():
        kind = entry.maybe("shape_type")
        name = kind.text() if kind else "polygon"
        if name in ENCLOSING:
            shapes.append(_shape(entry, name, size_hw))
        else:
            passed_over.add(name)
    image = document.at("imagePath").image_name(folder)
    drawing = ImageShapes(image, size_hw, tuple(shapes), in_pixels=size_hw is None)
    return Annotations((drawing,), tuple(sorted(passed_over)))


def _shape(entry: Node, kind: str, size_hw: tuple[int, int] | None) -> Shape:
    label = entry.at("label").text()
    points = entry.at("points").points()
    if kind in _CORNERS:
        return Polygon(label, (entry.ring(points),))
    if kind == "rectangle" and len(points) == 4:
        return Polygon(label, (entry.ring(points),))
    if len(points) != 2:
        raise entry.fault(f"is a {kind} of {len(points)} points instead of 2")
    (x0, y0), (x1, y1) = points
    if kind == "rectangle":
        return Polygon(label, (rectangle(x0, y0, x1, y1),))
    if kind == "circle":
        radius = math.hypot(x1 - x0, y1 - y0)
        return Polygon(label, (ellipse(x0, y0, radius, radius),))
    if size_hw is None:
        raise entry.fault(
            "is painted on an image whose size is missing from the file", "save it in LabelMe again"
        )
    return Painted(label, _painted(entry.at("mask"), points, size_hw))


def _painted(mask: Node, corners: list[tuple[float, float]], size_hw: tuple[int, int]) -> tuple[int, ...]:
    """Run lengths of a base64 PNG placed at the first of two corners.

    The PNG determines the size. LabelMe draws it from the rounded first corner; the second corner is the last
    pixel. Both may be off by half a pixel if the mask was dragged.
    """
    (x, y), (right, bottom) = corners
    left, top = round(x), round(y)
    corners_hw = bottom - y + 1, right - x + 1
    try:
        data = base64.b64decode(mask.text(), validate=True)
        container = identify(data)
        # Check the size in its header first: a small file may decompress to a huge image.
        part_hw = None if container is None or container.kind != "PNG" else container.size_hw
        if part_hw is None or any(
            abs(side - expected) >= 1 for side, expected in zip(part_hw, corners_hw, strict=True)
        ):
            raise mask.fault(f"is no PNG of {corners_hw[0]:g}x{corners_hw[1]:g} pixels, as its points say")
        part = read_mask(data)
    except (binascii.Error, ValueError):
        raise mask.fault("is no base64") from None
    except UserError as error:
        raise error if error.where == mask.file else mask.fault(error.what) from None
    return rle.encode_part(part, top, left, size_hw)


def write(drawing: ImageShapes) -> str:
    """The text of a LabelMe file to be stored beside its image.

    Raises:
        UserError: the size of the image is unknown.
    """
    height, width = size_hw = known_size(drawing)
    document: dict[str, object] = {
        "version": VERSION,
        "flags": {},
        "shapes": [_entry(shape, size_hw) for shape in drawing.shapes],
        "imagePath": PurePosixPath(drawing.name).name,
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }
    return to_json(document)


def _entry(shape: Shape, size_hw: tuple[int, int]) -> dict[str, object]:
    mask = None
    if isinstance(shape, Polygon):
        points = [list(point) for point in bridged(shape)]
    else:
        part, top, left = rle.decode_part(shape.counts, size_hw)
        points = [
            [float(left), float(top)],
            [float(left + part.shape[1] - 1), float(top + part.shape[0] - 1)],
        ]
        mask = base64.b64encode(cv2.imencode(".png", part * 255)[1].tobytes()).decode("ascii")
    return {
        "label": shape.label,
        "points": points,
        "group_id": None,
        "description": "",
        "shape_type": "polygon" if isinstance(shape, Polygon) else "mask",
        "flags": {},
        "mask": mask,
    }
