"""YOLO segmentation: one text file per image, one polygon per line: class, then x y x y ... as fractions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath

import yaml

from roinspect.data.annotations.document import Node
from roinspect.data.annotations.format import AnnotationFile, by_file
from roinspect.data.annotations.polygons import Annotations, ImageShapes, Painted, Polygon, bridged, trace
from roinspect.data.annotations.rle import decode
from roinspect.errors import UserError

SUFFIX, IS_ONE_FILE = ".txt", False
CLASSES = "classes.txt"
SETTINGS = "data.yaml"
_LINE = re.compile(r"\s*[0-9]{1,6}(\s+[-+.0-9eE]+){4,}\s*")
_DECIMALS = 12
_SLACK = 0.02


def read_file(file: AnnotationFile) -> Annotations | None:
    """See `Format.read_file`."""
    path = file.path
    if path.suffix.lower() != SUFFIX or path.name == CLASSES or file.is_xml or file.json is not None:
        return None
    try:
        text = file.data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    if not looks_like_lines(text):
        return None
    name, folder = (PurePosixPath(file.folder) / path.stem).as_posix(), path.parent
    return read(text, name, str(path), class_names(folder), has_key_points=key_points(folder))


def write_files(annotations: Annotations) -> dict[str, str]:
    """See `Format.write_files`; also writes the class names."""
    labels = annotations.labels
    texts = {name: write(drawing, labels) for name, drawing in by_file(annotations, SUFFIX).items()}
    return {CLASSES: "".join(f"{label}\n" for label in labels), **texts}


def looks_like_lines(text: str) -> bool:
    """Whether the first non-blank line is a YOLO line; a blank file is valid and has no shapes."""
    first = next((line for line in text.splitlines() if line.strip()), None)
    return first is None or _LINE.fullmatch(first) is not None


def read(
    text: str, name: str, file: str, classes: Sequence[str] = (), *, has_key_points: bool = False
) -> Annotations:
    """The drawing of one text file; coordinates remain fractions, as the image size is unknown.

    Four numbers are a box, five are a box with the confidence of a prediction.

    Args:
        text: content of the file.
        name: the image's name.
        file: the file's name, for errors.
        classes: class names; a class without a name gets its number.
        has_key_points: whether longer lines hold key points according to the data set's settings.

    Raises:
        UserError: a line is not valid YOLO, or holds key points, which enclose no area.
    """
    shapes = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        node = Node(line, file, f"line {number}")
        if not _LINE.fullmatch(line):
            raise node.fault("is not a class and points x y x y ...")
        first, *values = line.split()
        # Values slightly outside [0, 1] are imprecise drawing; values far outside are pixels.
        coordinates = [Node(value, file, node.way).number() for value in values]
        if not all(-1 <= value <= 2 for value in coordinates):
            raise node.fault("holds pixels, not fractions of the image's width and height")
        if len(values) > 5 and (has_key_points or _is_pose(values, coordinates)):
            raise node.fault(
                "holds the key points of a pose, which enclose nothing", "export YOLO segmentation, or boxes"
            )
        if len(values) == 5:
            coordinates.pop()
        if len(coordinates) % 2:
            raise node.fault(
                "has an x without a y, or a confidence behind its polygon",
                "save it without confidences, or mend it",
            )
        points = list(zip(coordinates[::2], coordinates[1::2], strict=True))
        if len(points) == 2:
            points = _box(*points)
        label = classes[int(first)] if int(first) < len(classes) else first
        shapes.append(Polygon(label, (node.ring(points, _DECIMALS),)))
    return Annotations((ImageShapes(name, None, tuple(shapes)),))


def _is_pose(values: Sequence[str], coordinates: Sequence[float]) -> bool:
    """Whether a line is a box followed by key points x y v with visibility v in {0, 1, 2}.

    A polygon that touches the image border may contain such numbers too, so all key points must also lie in
    the box. No polygon passes this: it would have to start with the centre of its own bounding box.
    """
    visibilities = values[6::3]
    if len(values) < 7 or (len(values) - 4) % 3 or not set(visibilities) <= {"0", "1", "2"}:
        return False
    x, y, width, height = coordinates[:4]
    key_points = zip(coordinates[4::3], coordinates[5::3], visibilities, strict=True)
    return "2" in visibilities or all(
        (visible == "0" and a == b == 0)
        or (abs(a - x) <= width / 2 + _SLACK and abs(b - y) <= height / 2 + _SLACK)
        for a, b, visible in key_points
    )


def _box(centre: tuple[float, float], size: tuple[float, float]) -> list[tuple[float, float]]:
    """The corners of a box in YOLO detection format."""
    (x, y), (width, height) = centre, size
    left, right, top, bottom = x - width / 2, x + width / 2, y - height / 2, y + height / 2
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def key_points(folder: Path) -> bool:
    """Whether data.yaml in a folder or its two parents declares key points by `kpt_shape`.

    Raises:
        UserError: same as `class_names`.
    """
    for parent in (folder, *folder.parents[:2]):
        if (parent / SETTINGS).is_file():
            return _read(parent / SETTINGS)[1]
    return False


def class_names(folder: Path) -> Sequence[str]:
    """Class names from classes.txt or data.yaml in a folder or its two parents; empty if neither exists.

    Raises:
        UserError: the file cannot be read or holds no names.
    """
    for parent in (folder, *folder.parents[:2]):
        for name in (CLASSES, SETTINGS):
            if (parent / name).is_file():
                return _read(parent / name)[0]
    return ()


def _read(path: Path) -> tuple[Sequence[str], bool]:
    """Class names, and whether labels hold key points."""
    try:
        state = path.stat()
        return _parsed(path, state.st_mtime_ns, state.st_size)
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        raise UserError(
            "the names of the classes cannot be read", where=path, remedy="mend or remove it"
        ) from None


@lru_cache(maxsize=64)
def _parsed(path: Path, _mtime_ns: int, _size: int) -> tuple[Sequence[str], bool]:
    """Parsed settings, cached until the file changes, since many label files share them."""
    text = path.read_text(encoding="utf-8-sig")
    if path.name == CLASSES:
        return tuple(_lines(text, str(path))), False
    settings = Node(yaml.safe_load(text), str(path))
    return tuple(_settings(settings)), settings.maybe("kpt_shape") is not None


def _lines(text: str, file: str) -> list[str]:
    return [
        Node(line, file, f"line {number}").text() for number, line in enumerate(text.splitlines(), start=1)
    ]


def _settings(settings: Node) -> list[str]:
    names, file = settings.maybe("names"), settings.file
    if names is None:
        return []
    if not isinstance(names.value, dict):
        return [name.text() for name in names.entries()]
    by_number = {Node(key, file, "names").whole(0, 10**6): name for key, name in names.value.items()}
    return [
        Node(by_number.get(key, key), file, "names").text() for key in range(max(by_number, default=-1) + 1)
    ]


def write(drawing: ImageShapes, classes: Sequence[str]) -> str:
    """The text of one image's file; a hole is joined to its outline by a cut.

    Args:
        drawing: the drawing to write.
        classes: the labels in order of their numbers, as in classes.txt.
    """
    height, width = drawing.size_hw or (1, 1)
    lines = []
    for shape in drawing.shapes:
        pieces = trace(decode(shape.counts, (height, width)), "") if isinstance(shape, Painted) else (shape,)
        for piece in pieces:
            values = [f"{x / width} {y / height}" for x, y in bridged(piece)]
            lines.append(" ".join([str(classes.index(shape.label)), *values]))
    return "".join(f"{line}\n" for line in lines)
