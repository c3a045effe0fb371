"""Convert annotations of any format, or masks, to another format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from roinspect.data.annotations import FORMATS, read
from roinspect.data.annotations.document import known_size
from roinspect.data.annotations.drawn import match, refuse_unknown_labels, split_labels
from roinspect.data.annotations.format import by_file
from roinspect.data.annotations.polygons import Annotations, ImageShapes, chosen, rasterise, simplified, trace
from roinspect.data.names import NO_CATEGORY
from roinspect.data.paths import kind
from roinspect.data.records import find_images
from roinspect.errors import UserError
from roinspect.files import whole_folder, write_whole, writing
from roinspect.images.pixels import IMAGE_SUFFIXES, image_size, read_mask, write_image

MASKS = "masks"
"""Output format besides `FORMATS`: one PNG per image."""


def convert(
    source: str,
    out: Path,
    to: str,
    *,
    images: Path | None = None,
    label: str = "roi",
    tolerance: float = 0,
) -> Annotations:
    """Read annotations or masks and write them in another format.

    Args:
        source: an annotation file, a folder of them, a mask, or a folder of masks; PATH#LABEL,LABEL selects
            labels of annotations.
        out: a file for coco, cvat and label-studio, a folder for the others.
        to: a name in `FORMATS`, or `MASKS`.
        images: folder of the photographs: each drawing is named after its photograph and, if the annotation
            has no image size, as with YOLO, gets the photograph's size.
        label: label of shapes traced from masks.
        tolerance: how many pixels an outline traced from a mask may move to save points; 0 follows the pixels
            exactly.

    Returns:
        What was written.

    Raises:
        UserError: the source cannot be read, the output cannot be written, `out` already exists or lacks the
            format's suffix, a photograph is missing, or the size of one is unknown.
    """
    out_kind = kind(out)
    if out_kind != "none" and (out_kind != "folder" or any(out.iterdir())):
        raise UserError("exists and is not empty", where=out, remedy="name another file or folder")
    form = FORMATS.get(to)
    if form and form.IS_ONE_FILE and out.suffix.lower() != form.SUFFIX:
        suffix = form.SUFFIX
        raise UserError(
            f"is no name for a {suffix[1:].upper()} file", where=out, remedy=f"call it {out.name}{suffix}"
        )
    annotations = _read(source, label, tolerance)
    if images is not None:
        annotations = _of_photographs(annotations, images)
    _write(out, form.write_files(annotations) if form else _sized(by_file(annotations, ".png")))
    return annotations


def _read(source: str, label: str, tolerance: float) -> Annotations:
    name, labels = split_labels(source)
    path = Path(name)
    if kind(path) == "folder":
        annotations = read(path)
        masks = {} if annotations.images else {m.relative_to(path).as_posix(): m for m in find_images(path)}
    elif path.suffix.lower() in IMAGE_SUFFIXES:
        annotations, masks = Annotations(()), {path.name: path}
    else:
        annotations, masks = read(path), {}
    if masks:
        annotations = Annotations(tuple(_traced(key, mask, label, tolerance) for key, mask in masks.items()))
    if not annotations.images:
        raise UserError("holds no annotations and no masks", where=path, remedy="check the path")
    refuse_unknown_labels(annotations.labels, labels, path)
    return Annotations(
        tuple(replace(drawing, shapes=chosen(drawing, labels)) for drawing in annotations.images)
    )


def _traced(name: str, path: Path, label: str, tolerance: float) -> ImageShapes:
    mask = read_mask(path)
    shapes = tuple(simplified(shape, tolerance) if tolerance else shape for shape in trace(mask, label))
    return ImageShapes(name, (mask.shape[0], mask.shape[1]), shapes)


def _of_photographs(annotations: Annotations, folder: Path) -> Annotations:
    below = {path.relative_to(folder).as_posix(): path for path in find_images(folder)}
    photographs = {key: path for key, path in below.items() if key.partition("/")[0] not in NO_CATEGORY}
    names = [drawing.name for drawing in annotations.images]
    keys = {name: key for key, name in match(names, photographs, lambda: photographs, where=folder).items()}
    if missing := [name for name in names if name not in keys]:
        raise UserError(
            f"has no photograph {missing[0]} ({len(missing)} of {len(names)} are missing)",
            where=folder,
            remedy="check --images",
        )
    return Annotations(
        tuple(
            replace(drawing.at_size(image_size(photographs[keys[drawing.name]])), name=keys[drawing.name])
            for drawing in annotations.images
        )
    )


def _sized(files: Mapping[str, ImageShapes]) -> Mapping[str, ImageShapes]:
    for drawing in files.values():
        known_size(drawing)
    return files


def _write(out: Path, files: Mapping[str, ImageShapes] | Mapping[str, str]) -> None:
    """Write a single file (named "") or a folder of files, completely or not at all."""
    if isinstance(text := files.get(""), str):
        write_whole(out, text)
        return
    with writing(out), whole_folder(out) as unfinished:
        for name, content in files.items():
            path = unfinished / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, str):
                path.write_text(content, encoding="utf-8", newline="")
            else:
                write_image(path, 255 * rasterise(content, known_size(content)))
