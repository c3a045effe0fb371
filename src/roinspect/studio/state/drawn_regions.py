"""Regions of a folder's images: drawn, read from masks or shared by all; written out for training."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from roinspect.data.annotations.drawn import read_source
from roinspect.data.records import Record
from roinspect.errors import UserError
from roinspect.files import sha256_of
from roinspect.images.pixels import image_size
from roinspect.studio.state.drawing import Drawing, Mask, from_mask, read_drawing, render, scaled
from roinspect.studio.state.masks import mask_file, mask_of_others
from roinspect.studio.state.project import Project
from roinspect.studio.state.store import move_file, read_json, remove_file, write_json

Source: TypeAlias = Literal["own", "shared", "file", "proposed", "none"]
"""Drawn on this photograph, on another one for all, a mask file, one by the network, or nothing yet."""


class DrawnRegion(NamedTuple):
    """The region of one photograph."""

    drawing: Drawing
    source: Source
    revision: str
    """Changes with every change of an own drawing; "" without one."""


def drawing_file(project: Project, key: str) -> Path:
    """The drawing of a photograph; there is no such file where nothing is drawn."""
    return project.state / "drawings" / f"{key}.json"


def shared_file(project: Project) -> Path:
    """The region of all photographs without one of their own."""
    return project.state / "shared.json"


def drawn_in(project: Project, key: str) -> Path | None:
    """The file with the drawing that counts on a photograph, told by the files' names alone."""
    return next((path for path in (drawing_file(project, key), shared_file(project)) if path.is_file()), None)


def source_of(project: Project, record: Record) -> Source:
    """Where a photograph's region comes from; no drawing is opened."""
    if file := drawn_in(project, record.key):
        return "shared" if file == shared_file(project) else "own"
    return _given_as(project, record.key) if mask_of_others(project, record) else "none"


def region(project: Project, key: str) -> DrawnRegion:
    """The region of a photograph as a drawing: its own, else the shared one, else its mask file.

    A drawing from a photograph of another shape is not shown, so that a new one can be drawn.

    Raises:
        UserError: the photograph or its mask cannot be read.
    """
    record = project.record(key)
    size_hw, revision = image_size(record.image_path), _revision(drawing_file(project, key))
    drawing, source = _drawing(project, key)
    if drawing is None:
        mask = _mask_given(project, record, size_hw)
        if mask is None:
            return DrawnRegion(Drawing(size_hw), "none", revision)
        return DrawnRegion(from_mask(mask), _given_as(project, key), revision)
    with suppress(UserError):
        return DrawnRegion(scaled(drawing, size_hw), source, revision)
    return DrawnRegion(Drawing(size_hw), "none", revision)


def keep(project: Project, key: str, drawing: Drawing, revision: str) -> tuple[str, bool]:
    """Save what is drawn over a photograph. The last one to draw wins; the drawing that lost stays beside it.

    A drawing that is blank, or the same as the shared one, is none of the photograph's own.

    Args:
        project: the folder.
        key: of the photograph.
        drawing: all of it.
        revision: that the drawing began from.

    Returns:
        The new revision, and whether somebody else had changed the drawing in between.

    Raises:
        UserError: there is no such photograph, or the disk refuses.
    """
    project.record(key)
    file = drawing_file(project, key)
    with project.lock:
        is_changed = _revision(file) != revision
        if is_changed and file.is_file():
            move_file(file, file.with_suffix(".other.json"))
        if drawing.is_blank or drawing == shared_drawing(project, drawing.size_hw):
            remove_file(file)
        else:
            write_json(file, drawing.to_json())
        return _revision(file), is_changed


def share(project: Project, key: str) -> None:
    """Make the region of this photograph the one of all that have no drawing of their own.

    Raises:
        UserError: nothing is drawn on it, or the disk refuses.
    """
    with project.lock:
        chosen = region(project, key)
        if not render(chosen.drawing).any():
            raise UserError("nothing is marked yet", where=key, remedy="draw the region, then use it for all")
        write_json(shared_file(project), {**chosen.drawing.to_json(), "begun": ()})
        if not chosen.drawing.begun_xy:
            remove_file(drawing_file(project, key))


def shared_drawing(project: Project, size_hw: tuple[int, int]) -> Drawing | None:
    """The drawing for all at this size; None where there is none, or one of another shape."""
    shared = _read(shared_file(project))
    with suppress(UserError):
        return scaled(shared, size_hw) if shared else None
    return None


def mask_of(project: Project, record: Record) -> tuple[Mask | None, str]:
    """The mask of a photograph; None where nothing is marked, with the reason."""
    try:
        mask = pixels_of(project, record)
    except UserError as error:
        return None, str(error)
    return (mask, "") if mask.any() else (None, none_yet(record))


def pixels_of(project: Project, record: Record) -> Mask:
    """The mask of a photograph; all zeros where nothing is marked.

    Raises:
        UserError: the photograph or its mask cannot be read, or the drawing is of another shape.
    """
    size_hw = image_size(record.image_path)
    drawing, _ = _drawing(project, record.key)
    if drawing is not None:
        return render(scaled(drawing, size_hw))
    mask = _mask_given(project, record, size_hw)
    return render(Drawing(size_hw)) if mask is None else mask


def none_yet(record: Record) -> str:
    """What to say of a photograph without a region."""
    return f"{record.key}: no region yet"


def _read(path: Path) -> Drawing | None:
    """A drawing at the size that it was drawn at; None where there is none, or a damaged one."""
    with suppress(UserError):
        return read_drawing(read_json(path))
    return None


def _revision(file: Path) -> str:
    with suppress(OSError):
        return sha256_of(file)[:16]
    return ""


def _drawing(project: Project, key: str) -> tuple[Drawing | None, Source]:
    """The drawing that counts on a photograph, at the size that it was drawn at."""
    own = _read(drawing_file(project, key))
    return (own, "own") if own else (_read(shared_file(project)), "shared")


def _given_as(project: Project, key: str) -> Source:
    return "proposed" if key in project.confidences() else "file"


def _mask_given(project: Project, record: Record, size_hw: tuple[int, int]) -> Mask | None:
    """The mask file of a photograph that nobody drew on."""
    # What was made from a drawing goes with it, but not where that was only damaged, as by a power cut.
    is_damaged = drawn_in(project, record.key) is not None
    file = mask_file(project, record) if is_damaged else mask_of_others(project, record)
    if file is None:
        return None
    mask = read_source(file, size_hw)
    if mask.shape != size_hw:
        raise UserError(
            f"is {mask.shape[0]}x{mask.shape[1]} pixels (height x width), its photograph is "
            f"{size_hw[0]}x{size_hw[1]}",
            where=file,
            remedy="remove the mask and draw the region here",
        )
    return mask
