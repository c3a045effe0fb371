"""Regions of a folder's photographs: drawn, read from masks, shared by all; and written out for training."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from roinspect.data.annotations.drawn import MaskSource, read_source
from roinspect.data.records import Record
from roinspect.data.roi import mask_stems
from roinspect.errors import UserError
from roinspect.images.pixels import image_size
from roinspect.studio.state.drawing import Drawing, Mask, from_mask, render, scaled
from roinspect.studio.state.kept import (
    drawing_file,
    drawn_in,
    drop_own,
    keep_own,
    read_kept,
    revision_of,
    shared_drawing,
    shared_file,
)
from roinspect.studio.state.masks import (
    digest_of,
    mask_file,
    mask_of_others,
    mask_place,
    masks_there,
    own_file,
    stamp_of,
    take_back,
    write_mask,
    written_as,
)
from roinspect.studio.state.project import ONE_FOR_ALL, Project
from roinspect.studio.state.store import read_json, write_json

Source: TypeAlias = Literal["own", "shared", "file", "none"]
"""Drawn on this photograph, on another one for all, a mask file, or nothing yet."""


class Region(NamedTuple):
    """The region of one photograph."""

    drawing: Drawing
    source: Source
    revision: int
    """Counts the changes of an own drawing; 0 before the first."""


class Tally(NamedTuple):
    """How far writing has come, and the first few reasons why a photograph has no region."""

    done: int
    total: int
    written: int = 0
    missing: int = 0
    remarks: tuple[str, ...] = ()

    def next(self, is_written: bool = False, remark: str = "") -> Tally:
        """One photograph further."""
        remarks = (*self.remarks, remark)[:5] if remark else self.remarks
        return Tally(
            self.done + 1, self.total, self.written + is_written, self.missing + bool(remark), remarks
        )


def region(project: Project, key: str) -> Region:
    """What is drawn over a photograph: its own drawing, else the shared one, else its mask file.

    A drawing from a photograph of another shape is not shown, so that a new one can be drawn.

    Raises:
        UserError: the photograph or its mask cannot be read.
    """
    record = project.record(key)
    size_hw, revision = image_size(record.image_path), revision_of(project, key)
    drawing, source = _drawing(project, key)
    if drawing is None:
        mask = _given(project, record, size_hw)
        return Region(*((Drawing(size_hw), "none") if mask is None else (from_mask(mask), "file")), revision)
    with suppress(UserError):
        return Region(scaled(drawing, size_hw), source, revision)
    return Region(Drawing(size_hw), "none", revision)


def keep(project: Project, key: str, drawing: Drawing, revision: int) -> tuple[int, bool]:
    """Keep what is drawn over a photograph. The last one to draw wins; the drawing that lost stays beside it.

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
        kept, now = read_json(file), revision_of(project, key)
        is_changed = now != revision
        if is_changed and isinstance(kept, dict):
            write_json(file.with_suffix(".other.json"), kept)
        if drawing.is_blank or drawing == shared_drawing(project, drawing.size_hw):
            drop_own(project, key, now + 1)
        else:
            keep_own(project, key, {**drawing.to_json(), "saved": time.time()}, now + 1)
    return now + 1, is_changed


def share(project: Project, key: str) -> None:
    """Make the region of this photograph the one of all that have no drawing of their own.

    Raises:
        UserError: nothing is drawn on it, or the disk refuses.
    """
    with project.lock:
        found = region(project, key)
        if not render(found.drawing).any():
            raise UserError("nothing is marked yet", where=key, remedy="draw the region, then use it for all")
        write_json(shared_file(project), {**found.drawing.to_json(), "begun": ()})
        if found.source == "own" and not found.drawing.begun_xy:
            drop_own(project, key, found.revision)


def source_of(project: Project, record: Record) -> Source:
    """Where a photograph's region comes from, told by the files' names alone."""
    drawn = drawn_in(project, record.key)
    if drawn is not None:
        return "shared" if drawn == shared_file(project) else "own"
    return "file" if mask_of_others(project, record) else "none"


def write_masks(project: Project) -> Iterator[Tally]:
    """Write the regions where training looks for them, a mask a photograph; what is up to date stays.

    One drawing for all photographs becomes the single file FOLDER/roi.png, where they are of one size and
    FOLDER/roi/ holds no masks; else that folder mirrors the photographs. A mask of somebody else's that is
    replaced is kept in FOLDER/.roinspect/replaced/, and comes back when the drawing is cleared.

    Yields:
        After every photograph.

    Raises:
        UserError: the disk refuses, a region to replace lies in one file with others, or two photographs
            would share a mask.
    """
    project.forget()
    if _is_one_for_all(project) and (yield from _write_one(project)):
        return
    mask_stems(project.records())
    tally = Tally(0, len(project.records()))
    for record in list(project.records().values()):
        is_written, remark = _write(project, record)
        tally = tally.next(is_written, remark)
        yield tally
    if tally.missing < tally.total:
        project.use_roi("roi")
    project.forget()


def mask_of(project: Project, record: Record) -> tuple[Mask | None, str]:
    """The mask of a photograph; None where nothing is marked, with the reason if there is one to tell."""
    try:
        mask = _pixels(project, record)
    except UserError as error:
        return None, str(error)
    return (mask, "") if mask.any() else (None, _none_yet(record))


def _drawing(project: Project, key: str) -> tuple[Drawing | None, Source]:
    """The drawing that counts on a photograph, at the size that it was drawn at."""
    own = read_kept(drawing_file(project, key))
    return (own, "own") if own else (read_kept(shared_file(project)), "shared")


def _pixels(project: Project, record: Record) -> Mask:
    """The mask of a photograph; all zeros where nothing is marked."""
    size_hw = image_size(record.image_path)
    drawing, _ = _drawing(project, record.key)
    if drawing is not None:
        return render(scaled(drawing, size_hw))
    mask = _given(project, record, size_hw)
    return render(Drawing(size_hw)) if mask is None else mask


def _given(project: Project, record: Record, size_hw: tuple[int, int]) -> Mask | None:
    """The mask of a photograph that nobody drew on."""
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


def _write(project: Project, record: Record) -> tuple[bool, str]:
    """Bring the mask of one photograph up to date; returns whether it was written, and why it is missing."""
    place, named = mask_place(project, record), record.roi_path
    with project.lock:
        source = drawn_in(project, record.key) or (named if named != place else None)
        if source is None:
            has_mask = take_back(project, record) or mask_file(project, record) is not None
            return False, "" if has_mask else _none_yet(record)
        try:
            made_from = f"{digest_of(source)} {stamp_of(record.image_path)}"
            there = masks_there(project, record)
            written = written_as(project, record.key, place)
            if written and written.made_from == made_from and there == [place]:
                return False, ""
            mask = _pixels(project, record)
        except UserError as error:
            return False, str(error)
        if not mask.any():
            take_back(project, record)
            return False, _none_yet(record)
        in_manifest = own_file(named)
        if in_manifest and in_manifest in [own_file(one) for one in there if one != place]:
            raise UserError(
                "cannot be replaced, as the manifest names it",
                where=named,
                remedy="empty its field roi_path in the manifest",
            )
        write_mask(project, record.key, place, there, mask, made_from)
    return True, ""


def _write_one(project: Project) -> Generator[Tally, None, bool]:
    """Write the shared region as one file for all; returns whether the photographs are of one size."""
    records = list(project.records().values())
    tally, sizes = Tally(0, len(records)), set[tuple[int, int]]()
    for record in records:
        try:
            sizes.add(_size(record.image_path, stamp_of(record.image_path)))
            tally = tally.next()
        except UserError as error:
            tally = tally.next(remark=str(error))
        if tally.done < tally.total:
            yield tally
    with project.lock:
        drawing = shared_drawing(project, min(sizes)) if len(sizes) == 1 else None
        if drawing is None:
            return False
        place = project.folder / ONE_FOR_ALL
        made_from = f"{digest_of(shared_file(project))} {drawing.size_hw}"
        written = written_as(project, ONE_FOR_ALL, place)
        is_current = written is not None and written.made_from == made_from
        if not is_current:
            there: list[MaskSource] = [place] if place.is_file() else []
            write_mask(project, ONE_FOR_ALL, place, there, render(drawing), made_from)
    project.use_roi(ONE_FOR_ALL)
    yield tally._replace(written=int(not is_current))
    return True


def _is_one_for_all(project: Project) -> bool:
    """Whether the shared region alone counts, and no mask lies where training would find it first."""
    if not shared_file(project).is_file() or project.masks() or project.drawn_regions():
        return False
    records = project.records().values()
    return all(r.roi_path is None and not drawing_file(project, r.key).is_file() for r in records)


@lru_cache(maxsize=1 << 16)
def _size(photograph: Path, _stamp: str) -> tuple[int, int]:
    """Height and width of a photograph, which is read once as long as it is the same."""
    return image_size(photograph)


def _none_yet(record: Record) -> str:
    return f"{record.key}: no region yet"
