"""Folders that a browser may look through: those below the home folder and the start folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from roinspect.errors import UserError
from roinspect.files import writing
from roinspect.images.pixels import IMAGE_SUFFIXES
from roinspect.studio.state.project import Projects

MOST = 400
"""Folders that are listed."""


class Folder(NamedTuple):
    """A folder, and what lies in it."""

    path: Path
    folders: tuple[Path, ...]
    photographs: int
    """Image files directly in it."""
    above: Path | None
    """None where no folder above may be looked at."""
    unlisted: int
    """Further folders, which are not in `folders`."""


def browse(projects: Projects, text: str = "") -> Folder:
    """The content of a folder; hidden folders are left out, and links that lead elsewhere.

    Args:
        projects: the open folders, which say where to look.
        text: a path; "" for the first place to look.

    Raises:
        UserError: it is not a folder, cannot be read, or must not be looked at.
    """
    path = projects.folder(text) if text else projects.places[0]
    if not _is_within(projects, path):
        places = " or ".join(map(str, projects.places))
        raise UserError("cannot be browsed", where=path, remedy=f"type its path, or choose one in {places}")
    try:
        with os.scandir(path) as entries:
            seen = [entry for entry in entries if entry.name[0] != "."]
            inner = sorted(Path(entry.path) for entry in seen if entry.is_dir())
            count = sum(Path(entry.name).suffix.lower() in IMAGE_SUFFIXES for entry in seen)
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", where=path, remedy="choose another") from None
    allowed = [folder for folder in inner if _is_within(projects, folder.resolve())]
    above = path.parent if path.parent != path and _is_within(projects, path.parent) else None
    return Folder(path, tuple(allowed[:MOST]), count, above, max(0, len(allowed) - MOST))


def make_folder(projects: Projects, where: str, name: str) -> Path:
    """A new folder in one that may be looked at.

    Raises:
        UserError: the name is not that of a folder, it exists already, or it cannot be made.
    """
    name = name.strip()
    if not name or name[0] == "." or Path(name).name != name or "\\" in name:
        raise UserError("is no name of a folder", where=name or "the name", remedy="type one, such as screws")
    folder = browse(projects, where).path / name
    if folder.exists():
        raise UserError("exists already", where=folder, remedy="open it, or choose another name")
    with writing(folder):
        folder.mkdir()
    return folder


def _is_within(projects: Projects, path: Path) -> bool:
    return any(path.is_relative_to(place) for place in projects.places)
