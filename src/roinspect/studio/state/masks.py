"""Masks below FOLDER/roi: whose they are, which of them the studio wrote, and what these replaced.

Of each mask that the studio writes it keeps what it was made from and which file came of it. Times say
neither: a network, or somebody else, may write there at any moment.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from roinspect.data.annotations.drawn import DrawnMask, MaskSource, is_annotation
from roinspect.data.records import Record
from roinspect.errors import UserError
from roinspect.files import read_regular, sha256
from roinspect.images.pixels import write_image
from roinspect.inspection.bundle import photograph_digest
from roinspect.studio.state.drawing import Mask
from roinspect.studio.state.project import Project
from roinspect.studio.state.store import read_json, refused, write_json


class Written(NamedTuple):
    """A mask that the studio wrote."""

    made_from: str
    """What it depends on: while that is the same, the mask is up to date."""
    size: int
    mtime_ns: int
    digest: str
    """Of the file, as its size and time are, which spare reading it: copied elsewhere, only they change."""
    aside: str = ""
    """The file below .roinspect/replaced/ that had been there before; "" for none."""


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
    # It may be newer than the last look, or be listed in capitals by a disk that does not tell them apart.
    if place not in files and place.is_file() and not any(place.samefile(file) for file in files):
        files = [place, *files]
    drawn = project.drawn_regions().get(record.key)
    return [*files, drawn] if drawn and drawn.path.is_file() else [*files]


def mask_file(project: Project, record: Record) -> MaskSource | None:
    """The mask that the folder has for a photograph, whoever made it."""
    return record.roi_path or next(iter(masks_there(project, record)), None)


def mask_of_others(project: Project, record: Record) -> MaskSource | None:
    """The mask that the folder has, but for one that the studio wrote: instead of it, what that replaced."""
    mask, place = mask_file(project, record), mask_place(project, record)
    written = written_as(project, record.key, place) if mask == place else None
    if written is None:
        return mask
    aside = _aside(project, written)
    return DrawnMask(aside) if aside and is_annotation(aside) else aside


def own_file(mask: MaskSource | None) -> Path | None:
    """The file that holds this mask and no other."""
    if isinstance(mask, DrawnMask):
        return mask.path if mask.image is None else None
    return mask if isinstance(mask, Path) else None


def note_file(project: Project, key: str) -> Path:
    """Where it is kept what the studio wrote for a photograph."""
    return project.state / "masks" / f"{key}.json"


def written_as(project: Project, key: str, place: Path) -> Written | None:
    """What is kept of the mask at its place; None where somebody else made it, or changed it since."""
    written = _noted(project, key)
    with suppress(OSError):
        state = place.stat()
        if written and (state.st_size, state.st_mtime_ns) == (written.size, written.mtime_ns):
            return written
        if written and photograph_digest(place) == written.digest:
            return written
    return None


def write_mask(
    project: Project, key: str, place: Path, there: list[MaskSource], mask: Mask, made_from: str
) -> None:
    """Write a mask; somebody else's that it replaces are kept. Hold the project's lock.

    Args:
        project: the folder.
        key: of the photograph.
        place: the file to write.
        there: masks that it replaces.
        mask: (H, W) in {0, 1}.
        made_from: what the mask depends on.

    Raises:
        UserError: the disk refuses, or a mask to replace lies in one file with others.
    """
    before, is_ours = _noted(project, key), written_as(project, key, place) is not None
    moves = [_put_aside(project, one) for one in there if one != place or not is_ours]
    replaced = project.state / "replaced"
    aside = moves[-1][1].relative_to(replaced).as_posix() if moves else before.aside if before else ""
    partial = place.with_name(f".{os.getpid()}{place.suffix}")
    try:
        write_image(partial, 255 * mask)
        state = partial.stat()
        # Kept first: were the studio ended between the two, its own mask would pass for somebody else's.
        written = Written(made_from, state.st_size, state.st_mtime_ns, photograph_digest(partial), aside)
        write_json(note_file(project, key), written._asdict())
        for old, new in moves:
            move_file(old, new)
        move_file(partial, place)
    except OSError as error:
        raise refused(place, error) from None
    finally:
        with suppress(OSError):
            partial.unlink()


def take_back(project: Project, record: Record) -> bool:
    """Take away the mask that the studio wrote, and bring back what it had replaced. Hold the project's lock.

    Returns:
        Whether something came back.

    Raises:
        UserError: the disk refuses.
    """
    place = mask_place(project, record)
    written = written_as(project, record.key, place)
    aside = _aside(project, written) if written else None
    try:
        # A manifest that names a file which is not there could not be read any more.
        if written and (aside or record.roi_path != place):
            place.unlink()
        if written and aside:
            tree = project.folder / "roi"
            home = tree / written.aside if is_annotation(aside) else place.with_suffix(aside.suffix)
            if not home.exists():
                move_file(aside, home)
        note_file(project, record.key).unlink(missing_ok=True)
    except OSError as error:
        raise refused(place, error) from None
    return aside is not None


def free_aside(project: Project, name: Path | str) -> Path:
    """A path below .roinspect/replaced/ that no file has."""
    first = aside = project.state / "replaced" / name
    number = 1
    while aside.exists():
        number += 1
        aside = first.with_name(f"{first.stem}_{number}{first.suffix}")
    return aside


def move_file(old: Path, new: Path) -> None:
    """Move a file within the folder.

    Raises:
        UserError: the disk refuses.
    """
    try:
        new.parent.mkdir(parents=True, exist_ok=True)
        os.replace(old, new)
    except OSError as error:
        raise refused(new, error) from None


def digest_of(source: MaskSource) -> str:
    """Tells whether what is drawn is the same."""
    try:
        content = read_regular(source) if isinstance(source, Path) else source.content()
    except OSError as error:
        raise UserError(
            f"cannot be read ({error.strerror})", where=source, remedy="check its rights"
        ) from None
    return sha256(content)


def stamp_of(photograph: Path) -> str:
    """Tells whether the photograph is another one now, without reading it."""
    try:
        state = photograph.stat()
    except OSError as error:
        raise UserError(
            f"cannot be read ({error.strerror})", where=photograph, remedy="bring the photograph back"
        ) from None
    return f"{state.st_size} {state.st_mtime_ns}"


def _noted(project: Project, key: str) -> Written | None:
    kept = read_json(note_file(project, key))
    with suppress(TypeError):
        return Written(**kept) if kept else None
    return None


def _aside(project: Project, written: Written) -> Path | None:
    """What a mask replaced, if it is still there."""
    aside = project.state / "replaced" / written.aside
    return aside if aside.is_file() else None


def _put_aside(project: Project, mask: MaskSource) -> tuple[Path, Path]:
    """The file of a mask that is replaced, and where it will be kept."""
    file, tree = own_file(mask), project.folder / "roi"
    if file is None:
        raise UserError(
            "holds the regions of several photographs, so that of one cannot be replaced",
            where=mask,
            remedy="make a mask of each with `roinspect roi convert`, and take this file out of roi/",
        )
    return file, free_aside(project, file.relative_to(tree if file.is_relative_to(tree) else project.folder))
