"""Regions written out: as masks where training looks for them, or as LabelMe files."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from roinspect.data.annotations import labelme, polygons
from roinspect.data.annotations.drawn import MaskSource
from roinspect.data.records import Record
from roinspect.data.roi import mask_stems
from roinspect.errors import UserError
from roinspect.files import write_whole
from roinspect.images.pixels import image_size
from roinspect.studio.state import drawn_regions, masks
from roinspect.studio.state.drawing import render
from roinspect.studio.state.project import ONE_FOR_ALL, Project


class Saved(NamedTuple):
    """How far saving has come, and the first few reasons why a photograph has no region."""

    done: int
    total: int
    written: int = 0
    missing: int = 0
    remarks: tuple[str, ...] = ()

    def next(self, is_written: bool = False, remark: str = "") -> Saved:
        """One photograph further."""
        written, missing = self.written + is_written, self.missing + bool(remark)
        remarks = (*self.remarks, remark)[:5] if remark else self.remarks
        return Saved(self.done + 1, self.total, written, missing, remarks)


def write_masks(project: Project) -> Iterator[Saved]:
    """Write the regions where training looks for them, a mask a photograph; what is up to date stays.

    One drawing for all photographs becomes the single file FOLDER/roi.png, where they are of one size and
    FOLDER/roi/ holds no masks; else that folder mirrors the photographs. A mask of somebody else's that is
    replaced is kept in FOLDER/.roinspect/replaced/.

    Yields:
        After every photograph.

    Raises:
        UserError: the disk refuses, a region to replace shares its file with others, or two photographs would
            share a mask.
    """
    project.forget()
    if _is_one_for_all(project) and (yield from _write_one(project)):
        return
    mask_stems(project.records())
    saved = Saved(0, len(project.records()))
    for record in list(project.records().values()):
        yield (saved := saved.next(*_write(project, record)))
    if saved.missing < saved.total:
        project.use_roi("roi")
    project.forget()


def write_labelme(project: Project, out: Path) -> Iterator[Saved]:
    """Write every region as a LabelMe file, in folders that mirror the photographs.

    Yields:
        After every photograph.

    Raises:
        UserError: the disk refuses, or two photographs would share a file.
    """
    mask_stems(project.records())
    saved = Saved(0, len(project.records()))
    for record in list(project.records().values()):
        mask, remark = drawn_regions.mask_of(project, record)
        if mask is not None:
            height, width = mask.shape
            drawing = polygons.ImageShapes(record.key, (height, width), polygons.trace(mask, "roi"))
            write_whole((out / record.key).with_suffix(".json"), labelme.write(drawing))
        yield (saved := saved.next(mask is not None, remark))


def _write(project: Project, record: Record) -> tuple[bool, str]:
    """Bring the mask of one photograph up to date; returns whether it was written, and why it is missing."""
    place, named = masks.mask_place(project, record), record.roi_path
    with project.lock:
        source = drawn_regions.drawn_in(project, record.key) or (named if named != place else None)
        if source is None:
            masks.drop_mask(project, record)
            return False, "" if masks.mask_file(project, record) else drawn_regions.none_yet(record)
        try:
            made_from = f"{masks.digest_of(source)} {masks.stamp_of(record.image_path)}"
            there = masks.masks_there(project, record)
            written = masks.written_as(project, record.key, place)
            if written and written.made_from == made_from and there == [place]:
                return False, ""
            mask = drawn_regions.pixels_of(project, record)
        except UserError as error:
            return False, str(error)
        if not mask.any():
            masks.drop_mask(project, record)
            return False, drawn_regions.none_yet(record)
        in_manifest = masks.own_file(named)
        if in_manifest and in_manifest in [masks.own_file(other) for other in there if other != place]:
            remedy = "empty its field roi_path in the manifest"
            raise UserError("cannot be replaced, as the manifest names it", where=named, remedy=remedy)
        masks.write_mask(project, record.key, place, there, mask, made_from)
    return True, ""


def _write_one(project: Project) -> Generator[Saved, None, bool]:
    """Write the shared region as one file for all; returns whether the photographs are of one size."""
    records = list(project.records().values())
    saved, sizes = Saved(0, len(records)), set[tuple[int, int]]()
    for record in records:
        try:
            sizes.add(_size(record.image_path, masks.stamp_of(record.image_path)))
            saved = saved.next()
        except UserError as error:
            saved = saved.next(remark=str(error))
        if saved.done < saved.total:
            yield saved
    with project.lock:
        drawing = drawn_regions.shared_drawing(project, min(sizes)) if len(sizes) == 1 else None
        if drawing is None:
            return False
        place = project.folder / ONE_FOR_ALL
        made_from = f"{masks.digest_of(drawn_regions.shared_file(project))} {drawing.size_hw}"
        written = masks.written_as(project, ONE_FOR_ALL, place)
        is_current = written is not None and written.made_from == made_from
        if not is_current:
            there: list[MaskSource] = [place] if place.is_file() else []
            masks.write_mask(project, ONE_FOR_ALL, place, there, render(drawing), made_from)
    project.use_roi(ONE_FOR_ALL)
    yield saved._replace(written=int(not is_current))
    return True


def _is_one_for_all(project: Project) -> bool:
    """Whether the shared region alone counts, and no mask lies where training would find it first."""
    if not drawn_regions.shared_file(project).is_file() or project.masks() or project.drawn_regions():
        return False
    records = project.records().values()
    return all(
        r.roi_path is None and not drawn_regions.drawing_file(project, r.key).is_file() for r in records
    )


@lru_cache(maxsize=1 << 16)
def _size(photograph: Path, _stamp: str) -> tuple[int, int]:
    """Height and width of a photograph, which is read once as long as it is the same."""
    return image_size(photograph)
