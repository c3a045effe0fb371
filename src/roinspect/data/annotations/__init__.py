"""Read annotation files: LabelMe, COCO, CVAT for images, Label Studio and YOLO segmentation.

Each format is a module here that implements `Format`, with an entry in `FORMATS`. Its `read` and `write`
convert between text and the types of `roinspect.data.annotations.polygons`. Files are recognised by their
content.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from roinspect.data.annotations import coco, cvat, label_studio, labelme, yolo
from roinspect.data.annotations.format import AnnotationFile, Format
from roinspect.data.annotations.polygons import Annotations, ImageShapes
from roinspect.data.paths import Listing, kind
from roinspect.errors import UserError
from roinspect.files import read_regular

log = logging.getLogger(__name__)

FORMATS: dict[str, Format] = {
    "labelme": labelme,
    "coco": coco,
    "cvat": cvat,
    "label-studio": label_studio,
    "yolo": yolo,
}
"""Formats by their name in `roinspect roi convert --to NAME`; tried in this order when reading."""

ANNOTATION_SUFFIXES = frozenset(form.SUFFIX for form in FORMATS.values())
MAX_BYTES = 256 << 20


def read(path: Path | str) -> Annotations:
    """The drawings of an annotation file, or of all annotation files below a folder.

    Raises:
        UserError: a file cannot be read or is invalid, a single file is of no known format, or an image is
            annotated twice.
    """
    path = Path(path)
    read_files = dict(read_files_below(path)) if kind(path) == "folder" else {path: read_file(path)}
    drawings = [drawing for annotations in read_files.values() for drawing in annotations.images]
    passed_over = {name for annotations in read_files.values() for name in annotations.passed_over}
    _refuse_twice(drawings, path)
    return Annotations(tuple(drawings), tuple(sorted(passed_over)))


def read_files_below(folder: Path, listing: Listing | None = None) -> Iterator[tuple[Path, Annotations]]:
    """Each annotation file below a folder, sorted, and its drawings; other files are skipped.

    Raises:
        UserError: same as `read`.
    """
    for path in (listing or Listing()).files(folder, ANNOTATION_SUFFIXES):
        below = path.parent.relative_to(folder).as_posix()
        annotations = _read(path, "" if below == "." else below)
        if annotations is not None:
            yield path, annotations


def read_file(path: Path) -> Annotations:
    """The drawings of one file.

    Raises:
        UserError: same as `read`.
    """
    annotations = _read(path, "")
    if annotations is None:
        raise UserError(
            "holds no annotations of a known format",
            where=path,
            remedy="export LabelMe, COCO instances, CVAT for images 1.1, Label Studio JSON or YOLO",
        )
    return annotations


def _read(path: Path, folder: str) -> Annotations | None:
    try:
        state = path.stat()
        if state.st_size > MAX_BYTES:
            raise UserError(
                f"is larger than {MAX_BYTES >> 20} MiB", where=path, remedy="export it in several files"
            )
        # The key includes time and size, so a file saved again by an annotation tool is parsed again.
        return _parsed(path, folder, state.st_mtime_ns, state.st_size)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f"cannot be read ({reason})", where=path, remedy="check the path and its rights"
        ) from None


@lru_cache(maxsize=4096)
def _parsed(path: Path, folder: str, _mtime_ns: int, _size: int) -> Annotations | None:
    annotations = parse(read_regular(path), path, folder)
    if annotations is not None:
        _refuse_twice(annotations.images, path)
        if annotations.passed_over:
            log.warning(
                "%s: left out what encloses nothing or is not known: %s",
                path,
                ", ".join(annotations.passed_over),
            )
    return annotations


def parse(data: bytes, path: Path, folder: str = "") -> Annotations | None:
    """The drawings in the bytes of a file; None if the format is unknown.

    Args:
        data: the file's content.
        path: the file, for errors and, for YOLO, as the name of its image.
        folder: folder of the file relative to the folder being read; image names of LabelMe and YOLO are
            relative to it.

    Raises:
        UserError: same as `read`.
    """
    file = AnnotationFile(data, path, folder)
    for form in FORMATS.values():
        annotations = form.read_file(file)
        if annotations is not None:
            return annotations
    if file.json is None and not file.is_xml and path.suffix.lower() != yolo.SUFFIX:
        raise UserError(
            "is neither JSON nor XML" if data.strip() else "is empty", where=path, remedy="export it again"
        )
    return None


def _refuse_twice(drawings: list[ImageShapes] | tuple[ImageShapes, ...], path: Path) -> None:
    seen: set[str] = set()
    for drawing in drawings:
        if drawing.name in seen:
            raise UserError(
                f"{drawing.name} is annotated twice", where=path, remedy="keep one annotation of each image"
            )
        seen.add(drawing.name)
