"""Regions of a folder's photographs: drawn, read from masks, shared by all; and written out for training."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple, TypeAlias

from roinspect.data.drawn import DrawnMask, MaskSource, read_source
from roinspect.data.records import Record, find_images
from roinspect.deploy.studio.drawing import Drawing, Mask, from_mask, read_drawing, render, scaled
from roinspect.deploy.studio.project import ONE_FOR_ALL, Project
from roinspect.deploy.studio.store import read_json, refused, write_json
from roinspect.errors import UserError
from roinspect.pixels import IMAGE_SUFFIXES, image_size, write_image

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

    Raises:
        UserError: the photograph cannot be read.
    """
    record = project.record(key)
    size_hw = image_size(record.image_path)
    kept = read_json(drawing_file(project, key))
    revision = int(kept.get("revision", 0)) if isinstance(kept, dict) else 0
    if isinstance(kept, dict):
        with suppress(UserError):
            own = read_drawing(kept, size_hw)
            if not own.is_blank:
                return Region(own, "own", revision)
    drawing, source = _given(project, record, size_hw)
    return Region(drawing, source, revision)


def keep(project: Project, key: str, drawing: Drawing, revision: int) -> tuple[int, bool]:
    """Keep what is drawn over a photograph. The last one to draw wins; the drawing that lost stays beside it.

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
        kept = read_json(file)
        now = int(kept.get("revision", 0)) if isinstance(kept, dict) else 0
        is_changed = now != revision
        if is_changed and isinstance(kept, dict):
            write_json(file.with_suffix(".other.json"), kept)
        write_json(file, {**drawing.to_json(), "revision": now + 1, "saved": time.time()})
    return now + 1, is_changed


def share(project: Project, key: str) -> None:
    """Make the region of this photograph the one of all that have no drawing of their own.

    Raises:
        UserError: nothing is drawn on it, or the disk refuses.
    """
    drawing = region(project, key).drawing
    if not render(drawing).any():
        raise UserError("nothing is marked yet", where=key, remedy="draw the region, then use it for all")
    write_json(project.state / "shared.json", {**drawing.to_json(), "begun": ()})


def source_of(project: Project, record: Record) -> Source:
    """Where a photograph's region comes from, told by the files' names alone."""
    if drawing_file(project, record.key).is_file():
        return "own"
    if (project.state / "shared.json").is_file():
        return "shared"
    return "file" if mask_file(project, record) else "none"


def mask_file(project: Project, record: Record) -> MaskSource | None:
    """The mask that the folder has for a photograph, if any."""
    if record.roi_path is not None:
        return record.roi_path
    stem = project.folder / "roi" / PurePosixPath(record.key).with_suffix("")
    # The stem may hold a dot: `with_suffix` would take it for a suffix once more.
    places = (stem.with_name(stem.name + suffix) for suffix in sorted(IMAGE_SUFFIXES))
    mask = next((path for path in places if path.is_file()), None)
    return mask or project.drawn_regions().get(record.key)


def own_file(mask: MaskSource | None) -> Path | None:
    """The file that holds this mask and no other."""
    if isinstance(mask, DrawnMask):
        return mask.path if mask.image is None else None
    return mask


def count_own(project: Project) -> int:
    """How many photographs have a drawing of their own."""
    found = (project.state / "drawings").rglob("*.json")
    return sum(not path.name.endswith(".other.json") for path in found)


def write_masks(project: Project) -> Iterator[Tally]:
    """Write the regions where training looks for them, a mask a photograph; what is up to date stays.

    One drawing for all photographs becomes the single file FOLDER/roi.png, however many there are; else
    FOLDER/roi/ mirrors the photographs. A mask of somebody else's that is replaced is kept in
    FOLDER/.roinspect/replaced/.

    Yields:
        After every photograph.

    Raises:
        UserError: the disk refuses, or a region to replace lies in one file with others.
    """
    shared = read_json(project.state / "shared.json")
    if isinstance(shared, dict) and not count_own(project) and not _has_masks(project):
        height, width = shared["size_hw"]
        drawing = read_drawing(shared, (height, width))
        write_image(project.folder / ONE_FOR_ALL, 255 * render(drawing))
        project.use_roi(ONE_FOR_ALL)
        total = len(project.records())
        yield Tally(total, total, 1)
        return
    tally = Tally(0, len(project.records()))
    for record in list(project.records().values()):
        source, own = source_of(project, record), drawing_file(project, record.key)
        drawn = own if source == "own" else project.state / "shared.json"
        target, there = _target(project, record), mask_file(project, record)
        is_file = source == "file" and record.roi_path is None
        if is_file or (source in ("own", "shared") and there == target and _is_newer(target, drawn)):
            tally = tally.next()
        else:
            mask, remark = mask_of(project, record)
            if mask is not None:
                _put_aside(project, there)
                write_image(target, 255 * mask)
            tally = tally.next(mask is not None, remark)
        yield tally
    if tally.missing < tally.total:
        project.use_roi("roi")
    project.forget()


def mask_of(project: Project, record: Record) -> tuple[Mask | None, str]:
    """The mask of a photograph; None where nothing is marked, with the reason if there is one to tell."""
    try:
        mask = render(region(project, record.key).drawing)
    except UserError as error:
        return None, str(error)
    return (mask, "") if mask.any() else (None, f"{record.key}: no region yet")


def _given(project: Project, record: Record, size_hw: tuple[int, int]) -> tuple[Drawing, Source]:
    """The region of a photograph that has no drawing of its own."""
    shared = read_json(project.state / "shared.json")
    if isinstance(shared, dict):
        height, width = shared["size_hw"]
        return scaled(read_drawing(shared, (height, width)), size_hw), "shared"
    file = mask_file(project, record)
    if file is None:
        return Drawing(size_hw), "none"
    mask = read_source(file, size_hw)
    if mask.shape != size_hw:
        raise UserError(
            f"is {mask.shape[0]}x{mask.shape[1]} pixels (height x width), its photograph is "
            f"{size_hw[0]}x{size_hw[1]}",
            where=file,
            remedy="remove the mask and draw the region here",
        )
    return from_mask(mask), "file"


def drawing_file(project: Project, key: str) -> Path:
    """Where the drawing of a photograph is kept."""
    path = project.state / "drawings" / key
    return path.with_name(path.name + ".json")


def _target(project: Project, record: Record) -> Path:
    path = project.folder / "roi" / PurePosixPath(record.key).with_suffix("")
    return path.with_name(path.name + ".png")


def _is_newer(file: Path, than: Path) -> bool:
    try:
        return file.stat().st_mtime_ns > than.stat().st_mtime_ns
    except OSError:
        return False


def _put_aside(project: Project, mask: MaskSource | None) -> None:
    """Keep the first mask of somebody else's that is replaced; a later one is ours."""
    tree, file = project.folder / "roi", own_file(mask)
    if isinstance(mask, DrawnMask) and file is None and mask.path.is_relative_to(tree):
        raise UserError(
            "holds the regions of several photographs, so that of one cannot be replaced",
            where=mask.path,
            remedy="make a mask of each with `roinspect roi convert`, and take this file out of roi/",
        )
    if file is None or not file.is_relative_to(tree):
        return
    aside = project.state / "replaced" / file.relative_to(tree)
    try:
        aside.parent.mkdir(parents=True, exist_ok=True)
        if aside.exists():
            file.unlink()
        else:
            os.replace(file, aside)
    except OSError as error:
        raise refused(aside, error) from None


def _has_masks(project: Project) -> bool:
    return bool(find_images(project.folder / "roi") or project.drawn_regions()) or any(
        record.roi_path is not None for record in project.records().values()
    )
