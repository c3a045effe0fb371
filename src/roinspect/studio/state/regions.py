"""Regions of a folder's images, drawn, shared by all or read from files, and the masks written from them.

For every mask that it writes, the studio notes what the mask was made from and the file's digest, so that it
can tell its own masks from those of other programs. Modification times are too unreliable for that.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple, TypeAlias

from roinspect.data.annotations import labelme, polygons
from roinspect.data.annotations.drawn import DrawnMask, MaskSource, read_source
from roinspect.data.records import Record
from roinspect.data.roi import ONE_FOR_ALL, mask_stems
from roinspect.errors import UserError
from roinspect.files import read_regular, sha256, write_whole
from roinspect.images.pixels import image_size, write_image
from roinspect.inspection.bundle import photograph_digest
from roinspect.studio.state.drawing import Drawing, Mask, from_mask, read_drawing, render, scaled
from roinspect.studio.state.project import Project
from roinspect.studio.state.store import move_file, read_json, remove_file, write_json

Source: TypeAlias = Literal["own", "shared", "file", "proposed", "none"]
"""Drawn on this photograph, drawn once for all, a mask file, a mask proposed by the network, or no region."""


CORNERS = 500
"""The outlines of proposals are simplified by the longer side of the photograph over this number."""


class DrawnRegion(NamedTuple):
    """The region of one photograph."""

    drawing: Drawing
    source: Source


class Written(NamedTuple):
    """A mask that the studio wrote."""

    made_from: str
    """Identifies the mask's inputs: while it is unchanged, the mask is up to date."""
    digest: str
    """Of the file."""


class Saved(NamedTuple):
    """Progress of saving, and the first few reasons why a photograph has no region."""

    done: int
    total: int
    written: int = 0
    missing: int = 0
    remarks: tuple[str, ...] = ()

    def next(self, is_written: bool = False, remark: str = "") -> Saved:
        """The progress after one more photograph."""
        written, missing = self.written + is_written, self.missing + bool(remark)
        remarks = (*self.remarks, remark)[:5] if remark else self.remarks
        return Saved(self.done + 1, self.total, written, missing, remarks)


# Drawings


def drawing_file(project: Project, key: str) -> Path:
    """The drawing of a photograph; the file exists only if something is drawn."""
    return project.state / "drawings" / f"{key}.json"


def shared_file(project: Project) -> Path:
    """The region of all photographs without one of their own."""
    return project.state / "shared.json"


def drawn_in(project: Project, key: str) -> Path | None:
    """The file with the drawing that applies to a photograph. No file is opened."""
    return next((path for path in (drawing_file(project, key), shared_file(project)) if path.is_file()), None)


def source_of(project: Project, record: Record) -> Source:
    """Where a photograph's region comes from. No drawing is opened."""
    if file := drawn_in(project, record.key):
        return "shared" if file == shared_file(project) else "own"
    return _mask_source(project, record.key) if mask_of_others(project, record) else "none"


def region(project: Project, key: str) -> DrawnRegion:
    """The region of a photograph as a drawing: its own, else the shared one, else its mask file.

    A drawing from a photograph with another aspect ratio is ignored, so that a new one can be drawn.

    Raises:
        UserError: the photograph or its mask cannot be read.
    """
    record = project.record(key)
    size_hw = image_size(record.image_path)
    drawing, source = _drawing(project, key)
    if drawing is not None:
        with suppress(UserError):
            return DrawnRegion(scaled(drawing, size_hw), source)
    elif (mask := _read_mask(project, record, size_hw)) is not None:
        source = _mask_source(project, key)
        # A network's outline is coarse: few corners are as exact, and can be moved.
        tolerance = max(size_hw) / CORNERS if source == "proposed" else 0.0
        return DrawnRegion(from_mask(mask, tolerance), source)
    return DrawnRegion(Drawing(size_hw), "none")


def save_drawing(project: Project, key: str, drawing: Drawing) -> None:
    """Save the drawing of a photograph; one that is blank or equal to the shared one is removed instead.

    Raises:
        UserError: there is no such photograph, or the file cannot be written.
    """
    project.record(key)
    with project.lock:
        if drawing.is_blank or drawing == shared_drawing(project, drawing.size_hw):
            remove_file(drawing_file(project, key))
        else:
            write_json(drawing_file(project, key), drawing.to_json())


def accept(project: Project, keys: Iterable[str]) -> int:
    """Make proposed regions the drawings of their photographs; returns their number.

    Raises:
        UserError: a photograph or its mask cannot be read, or a file cannot be written.
    """
    count = 0
    for key in keys:
        found = region(project, key)
        if found.source == "proposed":
            save_drawing(project, key, found.drawing)
            count += 1
    return count


def share(project: Project, key: str) -> None:
    """Use the region of this photograph for all that have no drawing of their own.

    Raises:
        UserError: nothing is drawn on it, or the file cannot be written.
    """
    with project.lock:
        drawing = region(project, key).drawing
        if not render(drawing).any():
            raise UserError("nothing is marked yet", where=key, remedy="draw the region, then use it for all")
        write_json(shared_file(project), {**drawing.to_json(), "begun": ()})
        if not drawing.begun_xy:
            remove_file(drawing_file(project, key))


def shared_drawing(project: Project, size_hw: tuple[int, int]) -> Drawing | None:
    """The shared drawing at this size; None if there is none or the aspect ratio differs."""
    shared = _read(shared_file(project))
    with suppress(UserError):
        return scaled(shared, size_hw) if shared else None
    return None


def mask_of(project: Project, record: Record) -> tuple[Mask | None, str]:
    """The mask of a photograph; None with the reason if nothing is marked."""
    try:
        mask = pixels_of(project, record)
    except UserError as error:
        return None, str(error)
    return (mask, "") if mask.any() else (None, _no_region(record))


def pixels_of(project: Project, record: Record) -> Mask:
    """The mask of a photograph; all zeros if nothing is marked.

    Raises:
        UserError: the photograph or its mask cannot be read, or the drawing has another aspect ratio.
    """
    size_hw = image_size(record.image_path)
    drawing, _ = _drawing(project, record.key)
    if drawing is not None:
        return render(scaled(drawing, size_hw))
    mask = _read_mask(project, record, size_hw)
    return render(Drawing(size_hw)) if mask is None else mask


def _no_region(record: Record) -> str:
    return f"{record.key}: no region yet"


def _read(path: Path) -> Drawing | None:
    """A drawing at its original size; None if the file is missing or damaged."""
    with suppress(UserError):
        return read_drawing(read_json(path))
    return None


def _drawing(project: Project, key: str) -> tuple[Drawing | None, Source]:
    """The drawing that applies to a photograph, at its original size."""
    own = _read(drawing_file(project, key))
    return (own, "own") if own else (_read(shared_file(project)), "shared")


def _mask_source(project: Project, key: str) -> Source:
    return "proposed" if key in project.confidences() else "file"


def _read_mask(project: Project, record: Record, size_hw: tuple[int, int]) -> Mask | None:
    """The mask file of a photograph without a readable drawing."""
    # A mask made from a drawing is dropped together with it, but not if the drawing is merely damaged.
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


# Mask files below FOLDER/roi


def mask_path(project: Project, record: Record) -> Path:
    """Where the studio writes the mask of a photograph."""
    stem = project.folder / "roi" / PurePosixPath(record.key).with_suffix("")
    named = record.roi_path
    if isinstance(named, Path) and named.with_suffix("") == stem:
        return named
    # The stem may contain a dot, which `with_suffix` would take for a suffix.
    return stem.with_name(stem.name + ".png")


def existing_masks(project: Project, record: Record) -> list[MaskSource]:
    """All masks below roi/ that training would find for a photograph; it accepts one and rejects several."""
    path = mask_path(project, record)
    files = [file for file in project.masks().get(path.with_suffix(""), ()) if file.is_file()]
    # It may be newer than the listing, or listed in capitals on a file system that ignores case.
    if path not in files and path.is_file() and not any(path.samefile(file) for file in files):
        files = [path, *files]
    drawn = project.drawn_regions().get(record.key)
    return [*files, drawn] if drawn and drawn.path.is_file() else [*files]


def mask_file(project: Project, record: Record) -> MaskSource | None:
    """The mask of a photograph in the folder, whoever made it."""
    return record.roi_path or next(iter(existing_masks(project, record)), None)


def mask_of_others(project: Project, record: Record) -> MaskSource | None:
    """The mask of a photograph in the folder, unless the studio wrote it."""
    mask, path = mask_file(project, record), mask_path(project, record)
    return None if mask == path and written_note(project, record.key, path) else mask


def own_file(mask: MaskSource | None) -> Path | None:
    """The file that holds this mask and no other."""
    if isinstance(mask, DrawnMask):
        return mask.path if mask.image is None else None
    return mask if isinstance(mask, Path) else None


def note_file(project: Project, key: str) -> Path:
    """Where the studio notes what it wrote for a photograph."""
    return project.state / "masks" / f"{key}.json"


def written_note(project: Project, key: str, path: Path) -> Written | None:
    """The studio's note on a mask; None if it did not write the mask, or the mask was changed since."""
    with suppress(TypeError, UserError, OSError):
        note = Written(**read_json(note_file(project, key)))
        if _digest(path, stamp_of(path)) == note.digest:
            return note
    return None


def set_aside(project: Project, file: Path) -> None:
    """Move a file to .roinspect/replaced/, the one backup of that name."""
    tree = project.folder / "roi"
    name = file.relative_to(tree if file.is_relative_to(tree) else project.folder)
    move_file(file, project.state / "replaced" / name)


def stamp_of(file: Path) -> str:
    """Size and modification time of a file, as the key of a cache."""
    try:
        state = file.stat()
    except OSError as error:
        raise UserError(
            f"cannot be read ({error.strerror})", where=file, remedy="bring the photograph back"
        ) from None
    return f"{state.st_size} {state.st_mtime_ns}"


def _write_mask(
    project: Project, key: str, path: Path, existing: list[MaskSource], mask: Mask, made_from: str
) -> None:
    """Write a mask (H, W) in {0, 1}, and back up masks of other programs that it replaces. Hold the lock.

    Raises:
        UserError: the file cannot be written, or a mask to replace shares its file with others.
    """
    is_ours = written_note(project, key, path) is not None
    replaced = [_only_file(source) for source in existing if source != path or not is_ours]
    partial = path.with_name(f".{os.getpid()}{path.suffix}")
    try:
        write_image(partial, 255 * mask)
        # Note first: if the studio ended between the two, its own mask would look like another program's.
        write_json(note_file(project, key), Written(made_from, photograph_digest(partial))._asdict())
        for file in replaced:
            set_aside(project, file)
        move_file(partial, path)
    finally:
        with suppress(OSError):
            partial.unlink()


def _drop_mask(project: Project, record: Record) -> None:
    """Remove the mask if the studio wrote it. Hold the project's lock."""
    path = mask_path(project, record)
    # A manifest is invalid if a file that it names is missing.
    if record.roi_path != path and written_note(project, record.key, path):
        remove_file(path)
    remove_file(note_file(project, record.key))


def _source_digest(source: MaskSource) -> str:
    """The digest of a drawing or mask."""
    try:
        content = read_regular(source) if isinstance(source, Path) else source.content()
    except OSError as error:
        raise UserError(
            f"cannot be read ({error.strerror})", where=source, remedy="check its permissions"
        ) from None
    return sha256(content)


@lru_cache(maxsize=1 << 16)
def _digest(file: Path, _stamp: str) -> str:
    return photograph_digest(file)


@lru_cache(maxsize=1 << 16)
def _size(photograph: Path, _stamp: str) -> tuple[int, int]:
    return image_size(photograph)


def _only_file(mask: MaskSource) -> Path:
    """The file of a mask that will be replaced."""
    file = own_file(mask)
    if file is None:
        raise UserError(
            "holds the regions of several photographs, so that of one cannot be replaced",
            where=mask,
            remedy="make a mask of each with `roinspect roi convert`, and take this file out of roi/",
        )
    return file


# Saving


def write_masks(project: Project) -> Iterator[Saved]:
    """Write the regions where training looks for them, one mask per photograph; unchanged masks stay.

    A drawing shared by all photographs becomes the single file FOLDER/roi.png if they are of one size and
    FOLDER/roi/ holds no masks; otherwise that folder mirrors the photographs. A replaced mask of another
    program is kept in FOLDER/.roinspect/replaced/.

    Yields:
        The progress after every photograph.

    Raises:
        UserError: a file cannot be written, a region to replace shares its file with others, or two
            photographs would share a mask.
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
        The progress after every photograph.

    Raises:
        UserError: a file cannot be written, or two photographs would share one.
    """
    mask_stems(project.records())
    saved = Saved(0, len(project.records()))
    for record in list(project.records().values()):
        mask, remark = mask_of(project, record)
        if mask is not None:
            height, width = mask.shape
            shapes = polygons.ImageShapes(record.key, (height, width), polygons.trace(mask, "roi"))
            write_whole((out / record.key).with_suffix(".json"), labelme.write(shapes))
        yield (saved := saved.next(mask is not None, remark))


def _write(project: Project, record: Record) -> tuple[bool, str]:
    """Update the mask of one photograph; returns whether it was written, and why it is missing."""
    path, named = mask_path(project, record), record.roi_path
    with project.lock:
        source = drawn_in(project, record.key) or (named if named != path else None)
        if source is None:
            _drop_mask(project, record)
            return False, "" if mask_file(project, record) else _no_region(record)
        try:
            made_from = f"{_source_digest(source)} {stamp_of(record.image_path)}"
            existing = existing_masks(project, record)
            note = written_note(project, record.key, path)
            if note and note.made_from == made_from and existing == [path]:
                return False, ""
            mask = pixels_of(project, record)
        except UserError as error:
            return False, str(error)
        if not mask.any():
            _drop_mask(project, record)
            return False, _no_region(record)
        in_manifest = own_file(named)
        if in_manifest and in_manifest in [own_file(other) for other in existing if other != path]:
            remedy = "empty its field roi_path in the manifest"
            raise UserError("cannot be replaced, as the manifest names it", where=named, remedy=remedy)
        _write_mask(project, record.key, path, existing, mask, made_from)
    return True, ""


def _write_one(project: Project) -> Generator[Saved, None, bool]:
    """Write the shared region as one file for all; returns whether the photographs are of one size."""
    records = list(project.records().values())
    saved, sizes = Saved(0, len(records)), set[tuple[int, int]]()
    for record in records:
        try:
            sizes.add(_size(record.image_path, stamp_of(record.image_path)))
            saved = saved.next()
        except UserError as error:
            saved = saved.next(remark=str(error))
        if saved.done < saved.total:
            yield saved
    with project.lock:
        drawing = shared_drawing(project, min(sizes)) if len(sizes) == 1 else None
        if drawing is None:
            return False
        path = project.folder / ONE_FOR_ALL
        made_from = f"{_source_digest(shared_file(project))} {drawing.size_hw}"
        note = written_note(project, ONE_FOR_ALL, path)
        is_current = note is not None and note.made_from == made_from
        if not is_current:
            existing: list[MaskSource] = [path] if path.is_file() else []
            _write_mask(project, ONE_FOR_ALL, path, existing, render(drawing), made_from)
    project.use_roi(ONE_FOR_ALL)
    yield saved._replace(written=int(not is_current))
    return True


def _is_one_for_all(project: Project) -> bool:
    """Whether only the shared region applies, and training would find no mask before it."""
    if not shared_file(project).is_file() or project.masks() or project.drawn_regions():
        return False
    records = project.records().values()
    return all(r.roi_path is None and not drawing_file(project, r.key).is_file() for r in records)
