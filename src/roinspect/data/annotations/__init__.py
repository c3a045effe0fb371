"""Read annotation files: LabelMe, COCO, CVAT for images, Label Studio and YOLO segmentation.

Each format is a file here, a `Format`, and a row in `FORMATS`; its `read` and `write` are plain functions
between its text and the values of `roinspect.data.annotations.polygons`. Each recognises its files by their
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
"""By name, as `roinspect roi convert --to NAME` writes them; an earlier one looks at a file first."""

ANNOTATION_SUFFIXES = frozenset(form.SUFFIX for form in FORMATS.values())
MAX_BYTES = 256 << 20


def read(path: Path | str) -> Annotations:
    """The drawings of an annotation file, or of all annotation files below a folder.

    Raises:
        UserError: a file cannot be read, is damaged or does not hold what its format says, a single file is
            of no known format, or an image is annotated twice.
    """
    path = Path(path)
    read_files = dict(read_files_below(path)) if kind(path) == "folder" else {path: read_file(path)}
    drawings = [drawing for found in read_files.values() for drawing in found.images]
    passed_over = {name for found in read_files.values() for name in found.passed_over}
    _refuse_twice(drawings, path)
    return Annotations(tuple(drawings), tuple(sorted(passed_over)))


def read_files_below(folder: Path, listing: Listing | None = None) -> Iterator[tuple[Path, Annotations]]:
    """Each annotation file below a folder, sorted, and what it holds; files of other kinds are left out.

    Raises:
        UserError: as `read`.
    """
    for path in (listing or Listing()).files(folder, ANNOTATION_SUFFIXES):
        place = path.parent.relative_to(folder).as_posix()
        found = _read(path, "" if place == "." else place)
        if found is not None:
            yield path, found


def read_file(path: Path) -> Annotations:
    """The drawings of one file.

    Raises:
        UserError: as `read`.
    """
    found = _read(path, "")
    if found is None:
        raise UserError(
            "holds no annotations of a known format",
            where=path,
            remedy="export LabelMe, COCO instances, CVAT for images 1.1, Label Studio JSON or YOLO",
        )
    return found


def _read(path: Path, folder: str) -> Annotations | None:
    try:
        state = path.stat()
        if state.st_size > MAX_BYTES:
            raise UserError(
                f"is larger than {MAX_BYTES >> 20} MiB", where=path, remedy="export it in several files"
            )
        # A file that was written again, as by a drawing program that is open beside, is read again.
        return _parsed(path, folder, state.st_mtime_ns, state.st_size)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f"cannot be read ({reason})", where=path, remedy="check the path and its rights"
        ) from None


@lru_cache(maxsize=4096)
def _parsed(path: Path, folder: str, _mtime_ns: int, _size: int) -> Annotations | None:
    found = parse(read_regular(path), path, folder)
    if found is not None:
        _refuse_twice(found.images, path)
        if found.passed_over:
            log.warning(
                "%s: left out what encloses nothing or is not known: %s", path, ", ".join(found.passed_over)
            )
    return found


def parse(data: bytes, path: Path, folder: str = "") -> Annotations | None:
    """The drawings in the bytes of a file; None where they are of no known format.

    Args:
        data: the file's content.
        path: the file, for errors and, in YOLO's case, as the name of its image.
        folder: its place in a folder that is read as a whole: LabelMe and YOLO count image names from there.

    Raises:
        UserError: as `read`.
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
