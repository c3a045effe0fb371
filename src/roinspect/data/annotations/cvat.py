"""CVAT for images 1.1, XML: polygons, boxes, ellipses and masks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NoReturn
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

import numpy as np

from roinspect.data.annotations import rle
from roinspect.data.annotations.document import MAX_PIXELS, Node, known_size
from roinspect.data.annotations.format import AnnotationFile
from roinspect.data.annotations.polygons import (
    Annotations,
    ImageShapes,
    Painted,
    Polygon,
    Shape,
    bridged,
    ellipse,
    rectangle,
    turned,
)
from roinspect.errors import UserError

SUFFIX, IS_ONE_FILE = ".xml", True
ENCLOSING = frozenset({"polygon", "box", "ellipse", "mask"})


def read_file(file: AnnotationFile) -> Annotations | None:
    """See `Format.read_file`."""
    return read(file.data, str(file.path)) if file.is_xml else None


def write_files(annotations: Annotations) -> dict[str, str]:
    """See `Format.write_files`."""
    return {"": write(annotations)}


def read(data: bytes, file: str) -> Annotations | None:
    """The drawings of a CVAT file; None for other XML.

    Args:
        data: content of the file.
        file: its name, for errors.

    Raises:
        UserError: it is malformed XML, declares a document type or entities, annotates a video, or is not
            valid CVAT.
    """
    document = _Document(file)
    document.parse(data)
    if document.root != "annotations":
        return None
    drawings = []
    passed_over: set[str] = set()
    uses = Counter(attributes.get("name") for attributes, _ in document.images)
    for attributes, elements in document.images:
        image = Node(attributes, file, f"image {attributes.get('name', '')!r}")
        size_hw = image.size_hw()
        shapes = [
            _shape(Node(fields, file, f"{image.way}, {tag} {number}"), tag, size_hw)
            for number, (tag, fields) in enumerate(elements, start=1)
            if tag in ENCLOSING
        ]
        passed_over |= {tag for tag, _ in elements if tag not in ENCLOSING}
        # A project's export distinguishes images of the same name by subset: a folder of the data set.
        subset = image.maybe("subset") if uses[attributes.get("name")] > 1 else None
        name = image.at("name").image_name(subset.text() if subset else "")
        drawings.append(ImageShapes(name, size_hw, tuple(shapes)))
    return Annotations(tuple(drawings), tuple(sorted(passed_over)))


class _Document:
    """The parts of the XML that matter: the root's name, and images with their shapes."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.root = ""
        self.images: list[tuple[Mapping[str, str], list[tuple[str, Mapping[str, str]]]]] = []
        self._path: list[str] = []

    def parse(self, data: bytes) -> None:
        parser = expat.ParserCreate()
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        # Entities can only be declared in a document type, and CVAT writes none.
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        try:
            parser.Parse(data, True)
        except (expat.ExpatError, LookupError, ValueError) as error:
            raise UserError(f"is no sound XML ({error})", where=self.file, remedy="export it again") from None

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        if not self._path:
            self.root = tag
        elif self._path == ["annotations"] and tag == "track":
            raise UserError("annotates a video", where=self.file, remedy="export it as 'CVAT for images 1.1'")
        elif self._path == ["annotations"] and tag == "image":
            self.images.append((attributes, []))
        elif self._path == ["annotations", "image"]:
            self.images[-1][1].append((tag, attributes))
        self._path.append(tag)

    def _end(self, tag: str) -> None:
        self._path.pop()

    def _refuse_doctype(self, *_: object) -> NoReturn:
        raise UserError(
            "declares a document type, which could hide entities", where=self.file, remedy="remove <!DOCTYPE>"
        )


def _shape(element: Node, tag: str, size_hw: tuple[int, int]) -> Shape:
    label = element.at("label").text()
    rotation = element.maybe("rotation")
    degrees = rotation.number() if rotation else 0.0
    if tag == "polygon":
        points = element.at("points")
        pairs = [pair.split(",") for pair in points.text().split(";")]
        ring = element.ring(Node(pairs, element.file, points.way).points())
    elif tag == "box":
        x0, y0, x1, y1 = (element.at(name).number() for name in ("xtl", "ytl", "xbr", "ybr"))
        ring = turned(rectangle(x0, y0, x1, y1), ((x0 + x1) / 2, (y0 + y1) / 2), degrees)
    elif tag == "ellipse":
        x, y, across, down = (element.at(name).number() for name in ("cx", "cy", "rx", "ry"))
        ring = ellipse(x, y, across, down, degrees)
    else:
        return Painted(label, _painted(element, size_hw))
    return Polygon(label, (ring,))


def _painted(element: Node, size_hw: tuple[int, int]) -> tuple[int, ...]:
    """Run lengths from those within a rectangle, row by row, starting with zeros."""
    top, left = (element.at(name).whole(-MAX_PIXELS, MAX_PIXELS) for name in ("top", "left"))
    height, width = element.size_hw()
    # Checked before allocating pixels: one line of text can claim a huge rectangle.
    if height > size_hw[0] or width > size_hw[1]:
        raise element.fault(
            f"is {height}x{width} pixels (height x width), larger than its image of {size_hw[0]}x{size_hw[1]}"
        )
    runs = element.at("rle")
    counts = [Node(text, element.file, runs.way).whole(0, MAX_PIXELS) for text in runs.text().split(",")]
    if sum(counts) != height * width:
        raise runs.fault(f"does not add up to {height} x {width} pixels")
    part = np.ascontiguousarray(rle.decode(counts, (width, height)).T)
    return rle.encode_part(part, top, left, size_hw)


def write(annotations: Annotations) -> str:
    """The text of a CVAT file.

    Raises:
        UserError: the size of an image is unknown.
    """
    lines = ['<?xml version="1.0" encoding="utf-8"?>', "<annotations>", "  <version>1.1</version>"]
    for number, drawing in enumerate(annotations.images):
        height, width = size_hw = known_size(drawing)
        fields = {"id": number, "name": drawing.name, "width": width, "height": height}
        lines.append(f"  <image {_attributes(fields)}>")
        lines += [f"    {_element(shape, size_hw)}" for shape in drawing.shapes]
        lines.append("  </image>")
    return "\n".join([*lines, "</annotations>", ""])


def _element(shape: Shape, size_hw: tuple[int, int]) -> str:
    common = {"label": shape.label, "source": "manual", "occluded": 0}
    if isinstance(shape, Polygon):
        points = ";".join(f"{x},{y}" for x, y in bridged(shape))
        return f"<polygon {_attributes({**common, 'points': points, 'z_order': 0})}></polygon>"
    part, top, left = rle.decode_part(shape.counts, size_hw)
    box = {"left": left, "top": top, "width": part.shape[1], "height": part.shape[0]}
    runs = ", ".join(map(str, rle.encode(part.T)))
    return f"<mask {_attributes({**common, 'rle': runs, **box, 'z_order': 0})}></mask>"


def _attributes(fields: Mapping[str, object]) -> str:
    return " ".join(f"{name}={quoteattr(str(value))}" for name, value in fields.items())
