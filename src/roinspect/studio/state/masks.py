"""Masks below FOLDER/roi: which image each belongs to, and which of them the studio wrote.

Of each mask that it writes, the studio notes what it was made from and the file's digest. Times say neither:
a network, or somebody else, may write there at any moment.
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from roinspect.data.annotations.drawn import DrawnMask, MaskSource
from roinspect.data.records import Record
from roinspect.errors import UserError
from roinspect.files import read_regular, sha256
from roinspect.images.pixels import write_image
from roinspect.inspection.bundle import photograph_digest
from roinspect.studio.state.drawing import Mask
from roinspect.studio.state.project import Project
from roinspect.studio.state.store import move_file, read_json, remove_file, write_json


class Written(NamedTuple):
    """A mask that the studio wrote."""

    made_from: str
    """What it depends on: while that is the same, the mask is up to date."""
    digest: str
    """Of the file."""


def mask_place(project: Project, record: Record) -> Path:
    """Where the studio writes the mask of a photograph."""
    stem = project.folder / "roi" / PurePosixPath(record.key).with_suffix("")
    named = record.roi_path
    if isinstance(named, Path) and named.with_suffix("") == stem:
        return named
    # The stem may hold a dot: `with_suffix` would take it for a suffix once more.
    return stem.with_name(stem.name + ".png")


def masks_there(project: Project, record: Record) -> list[MaskSource]:
    """All that training would find below roi/ for a photograph: it takes one, and refuses several."""
    place = mask_place(project, record)
    files = [file for file in project.masks().get(place.with_suffix(""), ()) if file.is_file()]
    # It may be newer than the last look, or be listed in capitals by a disk that ignores case.
    if place not in files and place.is_file() and not any(place.samefile(file) for file in files):
        files = [place, *files]
    drawn = project.drawn_regions().get(record.key)
    return [*files, drawn] if drawn and drawn.path.is_file() else [*files]


def mask_file(project: Project, record: Record) -> MaskSource | None:
    """The mask that the folder has for a photograph, whoever made it."""
    return record.roi_path or next(iter(masks_there(project, record)), None)


def mask_of_others(project: Project, record: Record) -> MaskSource | None:
    """The mask that the folder has for a photograph, unless the studio wrote it."""
    mask, place = mask_file(project, record), mask_place(project, record)
    return None if mask == place and written_as(project, record.key, place) else mask


def own_file(mask: MaskSource | None) -> Path | None:
    """The file that holds this mask and no other."""
    if isinstance(mask, DrawnMask):
        return mask.path if mask.image is None else None
    return mask if isinstance(mask, Path) else None


def note_file(project: Project, key: str) -> Path:
    """Where the studio notes what it wrote for a photograph."""
    return project.state / "masks" / f"{key}.json"


def written_as(project: Project, key: str, place: Path) -> Written | None:
    """The note on a mask; None where somebody else made the mask, or changed it since."""
    with suppress(TypeError, UserError, OSError):
        note = Written(**read_json(note_file(project, key)))
        if _digest(place, stamp_of(place)) == note.digest:
            return note
    return None


def write_mask(
    project: Project, key: str, place: Path, there: list[MaskSource], mask: Mask, made_from: str
) -> None:
    """Write a mask, and set somebody else's that it replaces aside. Hold the project's lock.

    Args:
        project: the folder.
        key: of the photograph.
        place: the file to write.
        there: masks that it replaces.
        mask: (H, W) in {0, 1}.
        made_from: what the mask depends on.

    Raises:
        UserError: the disk refuses, or a mask to replace shares its file with others.
    """
    is_ours = written_as(project, key, place) is not None
    replaced = [_only_file(source) for source in there if source != place or not is_ours]
    partial = place.with_name(f".{os.getpid()}{place.suffix}")
    try:
        write_image(partial, 255 * mask)
        # Noted first: were the studio ended between the two, its own mask would pass for somebody else's.
        write_json(note_file(project, key), Written(made_from, photograph_digest(partial))._asdict())
        for file in replaced:
            set_aside(project, file)
        move_file(partial, place)
    finally:
        with suppress(OSError):
            partial.unlink()


def drop_mask(project: Project, record: Record) -> None:
    """Remove the mask that the studio wrote, if it did. Hold the project's lock."""
    place = mask_place(project, record)
    # A manifest could not be read any more if a file that it names were missing.
    if record.roi_path != place and written_as(project, record.key, place):
        remove_file(place)
    remove_file(note_file(project, record.key))


def set_aside(project: Project, file: Path) -> None:
    """Move a file to .roinspect/replaced/, the one backup of that name."""
    tree = project.folder / "roi"
    name = file.relative_to(tree if file.is_relative_to(tree) else project.folder)
    move_file(file, project.state / "replaced" / name)


def digest_of(source: MaskSource) -> str:
    """Tells whether what is drawn is the same."""
    try:
        content = read_regular(source) if isinstance(source, Path) else source.content()
    except OSError as error:
        raise UserError(
            f"cannot be read ({error.strerror})", where=source, remedy="check its permissions"
        ) from None
    return sha256(content)


def stamp_of(file: Path) -> str:
    """Tells whether a file has changed, without reading it."""
    try:
        state = file.stat()
    except OSError as error:
        raise UserError(
            f"cannot be read ({error.strerror})", where=file, remedy="bring the photograph back"
        ) from None
    return f"{state.st_size} {state.st_mtime_ns}"


@lru_cache(maxsize=1 << 16)
def _digest(file: Path, _stamp: str) -> str:
    """A file's digest, read once as long as the file is the same."""
    return photograph_digest(file)


def _only_file(mask: MaskSource) -> Path:
    """The file of a mask that is to be replaced."""
    file = own_file(mask)
    if file is None:
        raise UserError(
            "holds the regions of several photographs, so that of one cannot be replaced",
            where=mask,
            remedy="make a mask of each with `roinspect roi convert`, and take this file out of roi/",
        )
    return file
