"""Label Studio's JSON and JSON-MIN: polygons, rectangles, ellipses in percent of the image, and brushes."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any, TypeAlias
from urllib.parse import parse_qs, quote, unquote, urlsplit

import cv2
import numpy as np

from roinspect.data.annotations import brush, rle
from roinspect.data.annotations.document import Node, known_size, to_json
from roinspect.data.annotations.format import AnnotationFile
from roinspect.data.annotations.polygons import (
    Annotations,
    ImageShapes,
    Painted,
    Polygon,
    Ring,
    Shape,
    bridged,
    ellipse,
    rectangle,
    turned,
)
from roinspect.images.containers import identify
from roinspect.images.pixels import IMAGE_SUFFIXES

SUFFIX, IS_ONE_FILE = ".json", True

Reader: TypeAlias = Callable[[str, Node, tuple[int, int]], Shape]

LOCAL = "/data/local-files/?d="
_UPLOADED = re.compile(r".*/upload/(?:\d+/)?[0-9a-f]{8}-(.+)")
_DATA_URL = re.compile(r"data:image/png;base64,")
# Fields that the JSON-MIN export adds to a task's own fields.
_SHORT = frozenset({"annotation_id", "annotator", "lead_time"})


def read_file(file: AnnotationFile) -> Annotations | None:
    """See `Format.read_file`."""
    return read(file.json) if file.json and holds_tasks(file.json) else None


def write_files(annotations: Annotations) -> dict[str, str]:
    """See `Format.write_files`."""
    return {"": write(annotations)}


def holds_tasks(document: Node) -> bool:
    """Whether a JSON document has the structure of Label Studio: starts with a full or short task.

    An image name alone does not make a task, since files of other tools contain image names too.
    """
    first = document.value[0] if isinstance(document.value, list) and document.value else document.value
    return isinstance(first, dict) and (_is_whole(first) or _is_short(first))


def _is_whole(task: dict[str, Any]) -> bool:
    return isinstance(task.get("data"), dict) and isinstance(task.get("annotations"), list)


def _is_short(task: dict[str, Any]) -> bool:
    if not _names_image(task):
        return False
    drawn = (entry for value in task.values() if isinstance(value, list) for entry in value)
    return not _SHORT.isdisjoint(task) or any(
        isinstance(entry, dict) and "original_width" in entry for entry in drawn
    )


def read(document: Node) -> Annotations:
    """The drawings of a Label Studio file.

    Raises:
        UserError: the file is not valid Label Studio, an image was rotated while annotating, or an image has
            several annotations that are not merged.
    """
    drawings: list[ImageShapes] = []
    passed_over: set[str] = set()
    for task in document.entries() if isinstance(document.value, list) else [document]:
        size_hw: tuple[int, int] | None = None
        shapes: list[Shape] = []
        if isinstance(task.value, dict) and not (_is_whole(task.value) or _names_image(task.value)):
            raise task.fault("is no task with an image")
        for result in _results(task):
            value = result.maybe("value") or result
            read_value = _reader(value)
            if read_value is None:
                passed_over.add(_kind(result))
                continue
            drawn_hw = _size(result)
            if size_hw not in (None, drawn_hw):
                raise result.fault(f"is drawn at {drawn_hw}, others of its image at {size_hw}")
            size_hw = drawn_hw
            shapes += [read_value(label, value, drawn_hw) for label in _labels(value)]
        drawings.append(ImageShapes(_image(task), size_hw, tuple(shapes)))
    return Annotations(tuple(drawings), tuple(sorted(passed_over)))


def _results(task: Node) -> Iterator[Node]:
    """The drawing results of a task in full or short form."""
    annotations = task.maybe("annotations")
    if annotations is None:
        for name in task.value:
            field = task.maybe(name)
            if field is not None and isinstance(field.value, list):
                yield from (entry for entry in field.entries() if isinstance(entry.value, dict))
        return
    valid = []
    for entry in annotations.entries():
        cancelled = entry.maybe("was_cancelled")
        if cancelled is None or cancelled.value is not True:
            valid.append(entry)
    if len(valid) > 1:
        raise annotations.fault(f"are {len(valid)} of one image", "keep one annotation per task")
    for entry in valid:
        yield from entry.at("result").entries()


def _size(result: Node) -> tuple[int, int]:
    rotation = result.maybe("image_rotation")
    if rotation is not None and rotation.number():
        raise rotation.fault("is not 0", "draw on the image as it lies")
    return result.size_hw("original_height", "original_width")


def _labels(value: Node) -> list[str]:
    """Labels of a shape, which may have several; without any, the empty label."""
    for name in value.value:
        field = value.maybe(name)
        if isinstance(name, str) and name.endswith("labels") and field is not None:
            return [label.text() for label in field.entries()] or [""]
    return [""]


def _kind(result: Node) -> str:
    kind = result.maybe("type")
    return kind.text() if kind else "an unknown shape"


class _Percent:
    """Converts values from percent of the image's width and height to pixels."""

    def __init__(self, value: Node, size_hw: tuple[int, int]) -> None:
        self._value = value
        self._down, self._across = size_hw[0] / 100, size_hw[1] / 100

    def x(self, name: str) -> float:
        return self._value.at(name).number() * self._across

    def y(self, name: str) -> float:
        return self._value.at(name).number() * self._down

    def points(self) -> Ring:
        points = self._value.at("points")
        return points.ring([(x * self._across, y * self._down) for x, y in points.points()])

    def degrees(self) -> float:
        rotation = self._value.maybe("rotation")
        return rotation.number() if rotation else 0.0


def _polygon(label: str, value: Node, size_hw: tuple[int, int]) -> Shape:
    return Polygon(label, (_Percent(value, size_hw).points(),))


def _rectangle(label: str, value: Node, size_hw: tuple[int, int]) -> Shape:
    percent = _Percent(value, size_hw)
    x, y = percent.x("x"), percent.y("y")
    ring = rectangle(x, y, x + percent.x("width"), y + percent.y("height"))
    return Polygon(label, (turned(ring, (x, y), percent.degrees()),))


def _ellipse(label: str, value: Node, size_hw: tuple[int, int]) -> Shape:
    percent = _Percent(value, size_hw)
    x, y, across, down = percent.x("x"), percent.y("y"), percent.x("radiusX"), percent.y("radiusY")
    return Polygon(label, (ellipse(x, y, across, down, percent.degrees()),))


def _brush(label: str, value: Node, size_hw: tuple[int, int]) -> Shape:
    runs = value.at("rle")
    try:
        return Painted(label, rle.encode(brush.decode(bytes(runs.counts()), size_hw)))
    except ValueError as error:
        raise runs.fault(f"is no brush ({error})") from None


def _bitmask(label: str, value: Node, size_hw: tuple[int, int]) -> Shape:
    """Decode a PNG of the image's size: painted pixels are opaque or, without alpha, not black."""
    address = value.at("imageDataURL")
    try:
        data = base64.b64decode(_DATA_URL.sub("", address.text(), count=1), validate=True)
    except (binascii.Error, ValueError):
        raise address.fault("is no PNG in base64") from None
    container = identify(data)
    # Check the size in its header first: a small file may decompress to a huge image.
    if container is None or container.kind != "PNG" or container.size_hw != size_hw:
        raise address.fault(f"is no PNG of {size_hw[0]}x{size_hw[1]} pixels (height x width) like its image")
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise address.fault("is a damaged PNG")
    if pixels.ndim == 3:
        pixels = pixels[..., 3] if pixels.shape[2] == 4 else pixels.max(axis=2)
    return Painted(label, rle.encode((pixels > 0).astype(np.uint8)))


_READERS: tuple[tuple[frozenset[str], Reader], ...] = (
    (frozenset({"rle"}), _brush),
    (frozenset({"imageDataURL"}), _bitmask),
    (frozenset({"points"}), _polygon),
    (frozenset({"radiusX", "radiusY"}), _ellipse),
    (frozenset({"x", "y", "width", "height"}), _rectangle),
)


def _reader(value: Node) -> Reader | None:
    """The reader for a value, chosen by its fields; None if it encloses no area."""
    if not isinstance(value.value, dict):
        raise value.fault("is no object with fields")
    return next((read_value for names, read_value in _READERS if names <= value.value.keys()), None)


def _names_image(fields: dict[str, Any]) -> bool:
    return any(
        isinstance(value, str) and PurePosixPath(_path(value)).suffix.lower() in IMAGE_SUFFIXES
        for value in fields.values()
    )


def _image(task: Node) -> str:
    """The name of a task's image: its field `image`, else the first that looks like an image name."""
    data = task.maybe("data") or task
    if data.maybe("image") is None and isinstance(data.value, dict):
        for name, value in data.value.items():
            if isinstance(value, str) and _names_image({name: value}):
                return Node(_path(value), data.file, f"{data.way}.{name}").image_name()
    image = data.at("image")
    return Node(_path(image.text()), image.file, image.way).image_name()


def _path(address: str) -> str:
    """The path in a Label Studio image address: an upload, a file in local storage, a URL or a path."""
    if "://" not in address and not address.startswith("/data/"):
        return address
    try:
        parts = urlsplit(address)
    except ValueError:
        return address
    if local := parse_qs(parts.query).get("d"):
        return local[0]
    path = unquote(parts.path)
    uploaded = _UPLOADED.fullmatch(path)
    return uploaded[1] if uploaded else path


def write(annotations: Annotations) -> str:
    """The text of a file to import as tasks with images in local storage.

    Raises:
        UserError: the size of an image is unknown.
    """
    tasks = []
    for drawing in annotations.images:
        # A task without shapes stores no size, so none is needed.
        size_hw = known_size(drawing) if drawing.shapes else (1, 1)
        result = [_result(shape, size_hw, number) for number, shape in enumerate(drawing.shapes)]
        image = LOCAL + quote(drawing.name)
        tasks.append({"data": {"image": image}, "annotations": [{"result": result}]})
    return to_json(tasks)


def _result(shape: Shape, size_hw: tuple[int, int], number: int) -> dict[str, object]:
    height, width = size_hw
    value: dict[str, object]
    if isinstance(shape, Polygon):
        kind = "polygonlabels"
        points = [[100 * x / width, 100 * y / height] for x, y in bridged(shape)]
        value = {"points": points, "closed": True}
    else:
        kind = "brushlabels"
        runs = brush.encode(rle.decode(shape.counts, size_hw))
        value = {"format": "rle", "rle": list(runs)}
    return {
        "id": f"shape{number}",
        "type": kind,
        "from_name": "label",
        "to_name": "image",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {**value, kind: [shape.label]},
    }
