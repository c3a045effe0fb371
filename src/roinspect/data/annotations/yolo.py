"""YOLO segmentation: a text file an image, a line a polygon: class, then x y x y ... as fractions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import yaml

from roinspect.data.annotations.document import Node
from roinspect.data.polygons import Annotations, Drawing, Painted, Polygon, bridged, trace
from roinspect.data.rle import decode
from roinspect.errors import UserError

CLASSES = "classes.txt"
SETTINGS = "data.yaml"
_LINE = re.compile(r"\s*[0-9]{1,6}(\s+[-+.0-9eE]+){4,}\s*")
_DECIMALS = 12


def looks_like_lines(text: str) -> bool:
    """Whether the first line that is not blank is one of YOLO's; a file without any has no shapes."""
    first = next((line for line in text.splitlines() if line.strip()), None)
    return first is None or _LINE.fullmatch(first) is not None


def read(text: str, name: str, file: str, classes: Sequence[str] = ()) -> Annotations:
    """The drawing of one text file; its coordinates stay fractions, as the image's size is not told.

    Args:
        text: the file.
        name: the image's name.
        file: the file's name, for errors.
        classes: names of the classes; a class without one is called by its number.

    Raises:
        UserError: a line is none of YOLO's.
    """
    shapes = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        node = Node(line, file, f"line {number}")
        if not _LINE.fullmatch(line):
            raise node.fault("is not a class and points x y x y ...")
        first, *values = line.split()
        # A little outside is a hasty hand; far outside are pixels.
        coordinates = [Node(value, file, node.way).number() for value in values]
        if not all(-1 <= value <= 2 for value in coordinates):
            raise node.fault("holds pixels, not fractions of the image's width and height")
        if len(values) % 2:
            raise node.fault("has an x without a y")
        points = list(zip(coordinates[::2], coordinates[1::2], strict=True))
        if len(points) == 2:
            points = _box(*points)
        label = classes[int(first)] if int(first) < len(classes) else first
        shapes.append(Polygon(label, (node.ring(points, _DECIMALS),)))
    return Annotations((Drawing(name, None, tuple(shapes)),))


def _box(centre: tuple[float, float], size: tuple[float, float]) -> list[tuple[float, float]]:
    """The corners of a line with four numbers: a box of YOLO's detection."""
    (x, y), (width, height) = centre, size
    left, right, top, bottom = x - width / 2, x + width / 2, y - height / 2, y + height / 2
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def class_names(folder: Path) -> Sequence[str]:
    """Names of the classes, from classes.txt or data.yaml in a folder or the two above; empty without.

    Raises:
        UserError: the file found cannot be read or holds no names.
    """
    for place in (folder, *folder.parents[:2]):
        for name in (CLASSES, SETTINGS):
            path = place / name
            if path.is_file():
                try:
                    state = path.stat()
                    return _names(path, state.st_mtime_ns, state.st_size)
                except (OSError, ValueError, RecursionError, yaml.YAMLError):
                    raise UserError(
                        "the names of the classes cannot be read", where=path, remedy="mend or remove it"
                    ) from None
    return ()


@lru_cache(maxsize=64)
def _names(path: Path, _mtime_ns: int, _size: int) -> tuple[str, ...]:
    """The names in a file, which is read once for all the text files that it is for, until it is changed."""
    text = path.read_text(encoding="utf-8-sig")
    return tuple(_lines(text, str(path)) if path.name == CLASSES else _settings(text, str(path)))


def _lines(text: str, file: str) -> list[str]:
    return [
        Node(line, file, f"line {number}").text() for number, line in enumerate(text.splitlines(), start=1)
    ]


def _settings(text: str, file: str) -> list[str]:
    names = Node(yaml.safe_load(text), file).maybe("names")
    if names is None:
        return []
    if not isinstance(names.value, dict):
        return [name.text() for name in names.entries()]
    found = {Node(key, file, "names").whole(0, 10**6): name for key, name in names.value.items()}
    return [Node(found.get(key, key), file, "names").text() for key in range(max(found, default=-1) + 1)]


def write(drawing: Drawing, classes: Sequence[str]) -> str:
    """The text of the file of one image; a hole is joined to its outline by a cut.

    Args:
        drawing: what is drawn.
        classes: the labels in the order of their numbers, as they stand in classes.txt.
    """
    height, width = drawing.size_hw or (1, 1)
    lines = []
    for shape in drawing.shapes:
        pieces = trace(decode(shape.counts, (height, width)), "") if isinstance(shape, Painted) else (shape,)
        for piece in pieces:
            values = [f"{x / width} {y / height}" for x, y in bridged(piece)]
            lines.append(" ".join([str(classes.index(shape.label)), *values]))
    return "".join(f"{line}\n" for line in lines)
