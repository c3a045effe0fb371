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
    """As `Format.read_file`."""
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
    """As `Format.write_files`, with the names of the classes."""
    labels = annotations.labels
    texts = {name: write(drawing, labels) for name, drawing in by_file(annotations, SUFFIX).items()}
    return {CLASSES: "".join(f"{label}\n" for label in labels), **texts}


def looks_like_lines(text: str) -> bool:
    """Whether the first line that is not blank is one of YOLO's; a file without any has no shapes."""
    first = next((line for line in text.splitlines() if line.strip()), None)
    return first is None or _LINE.fullmatch(first) is not None


def read(
    text: str, name: str, file: str, classes: Sequence[str] = (), *, has_key_points: bool = False
) -> Annotations:
    """The drawing of one text file; its coordinates stay fractions, as the image's size is not told.

    Four numbers are a box, five a box with the confidence of a prediction.

    Args:
        text: the file.
        name: the image's name.
        file: the file's name, for errors.
        classes: names of the classes; a class without one is called by its number.
        has_key_points: whether the data set's settings say that longer lines hold key points.

    Raises:
        UserError: a line is none of YOLO's, or holds key points, which enclose nothing.
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
    """Whether a line is a box and then key points x y v, where v in {0, 1, 2} says how well each is seen.

    A polygon may have such numbers where it touches the picture's edge, so all key points must also lie in
    the box: those of a polygon that begins with the middle of its own bounding box do not occur.
    """
    seen = values[6::3]
    if len(values) < 7 or (len(values) - 4) % 3 or not set(seen) <= {"0", "1", "2"}:
        return False
    x, y, width, height = coordinates[:4]
    key_points = zip(coordinates[4::3], coordinates[5::3], seen, strict=True)
    return "2" in seen or all(
        (visible == "0" and a == b == 0)
        or (abs(a - x) <= width / 2 + _SLACK and abs(b - y) <= height / 2 + _SLACK)
        for a, b, visible in key_points
    )


def _box(centre: tuple[float, float], size: tuple[float, float]) -> list[tuple[float, float]]:
    """The corners of a line with four numbers: a box of YOLO's detection."""
    (x, y), (width, height) = centre, size
    left, right, top, bottom = x - width / 2, x + width / 2, y - height / 2, y + height / 2
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def key_points(folder: Path) -> bool:
    """Whether data.yaml in a folder or the two above says, by `kpt_shape`, that labels hold key points.

    Raises:
        UserError: as `class_names`.
    """
    for place in (folder, *folder.parents[:2]):
        if (place / SETTINGS).is_file():
            return _read(place / SETTINGS)[1]
    return False


def class_names(folder: Path) -> Sequence[str]:
    """Names of the classes, from classes.txt or data.yaml in a folder or the two above; empty without.

    Raises:
        UserError: the file found cannot be read or holds no names.
    """
    for place in (folder, *folder.parents[:2]):
        for name in (CLASSES, SETTINGS):
            if (place / name).is_file():
                return _read(place / name)[0]
    return ()


def _read(path: Path) -> tuple[Sequence[str], bool]:
    """Names of the classes, and whether labels hold key points."""
    try:
        state = path.stat()
        return _parsed(path, state.st_mtime_ns, state.st_size)
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        raise UserError(
            "the names of the classes cannot be read", where=path, remedy="mend or remove it"
        ) from None


@lru_cache(maxsize=64)
def _parsed(path: Path, _mtime_ns: int, _size: int) -> tuple[Sequence[str], bool]:
    """What a file says; it is read once for all the text files that it is for, until it is changed."""
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
    found = {Node(key, file, "names").whole(0, 10**6): name for key, name in names.value.items()}
    return [Node(found.get(key, key), file, "names").text() for key in range(max(found, default=-1) + 1)]


def write(drawing: ImageShapes, classes: Sequence[str]) -> str:
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
