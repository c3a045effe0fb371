"""Drawings that are kept in the folder: each photograph's own, and the one of all that have none."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from roinspect.errors import UserError
from roinspect.studio.state.drawing import Drawing, read_drawing, scaled
from roinspect.studio.state.project import Project
from roinspect.studio.state.store import read_json, refused, write_json

DROPPED = ".dropped"
"""In the place of a drawing's .json: the revision of one that was cleared, which browsers still name."""


def drawing_file(project: Project, key: str) -> Path:
    """Where the drawing of a photograph is kept; there is no such file where nothing is drawn."""
    return project.state / "drawings" / f"{key}.json"


def shared_file(project: Project) -> Path:
    """Where the region of all photographs without one of their own is kept."""
    return project.state / "shared.json"


def drawn_in(project: Project, key: str) -> Path | None:
    """The file with the drawing that counts on a photograph, told by the files' names alone."""
    return next((path for path in (drawing_file(project, key), shared_file(project)) if path.is_file()), None)


def read_kept(path: Path) -> Drawing | None:
    """A drawing at the size that it was drawn at; None where there is none, or a damaged one."""
    with suppress(UserError):
        return read_drawing(read_json(path))
    return None


def shared_drawing(project: Project, size_hw: tuple[int, int]) -> Drawing | None:
    """The drawing for all at this size; None where there is none, or one of another shape."""
    shared = read_kept(shared_file(project))
    with suppress(UserError):
        return scaled(shared, size_hw) if shared else None
    return None


def revision_of(project: Project, key: str) -> int:
    """How often the photograph's own drawing was changed; 0 before the first."""
    file = drawing_file(project, key)
    found = (read_json(path) for path in (file, file.with_suffix(DROPPED)))
    return next((int(kept.get("revision", 0)) for kept in found if isinstance(kept, dict)), 0)


def keep_own(project: Project, key: str, content: dict[str, object], revision: int) -> None:
    """Keep a photograph's own drawing.

    Raises:
        UserError: the disk refuses.
    """
    file = drawing_file(project, key)
    write_json(file, {**content, "revision": revision})
    _remove(file.with_suffix(DROPPED))


def drop_own(project: Project, key: str, revision: int) -> None:
    """Take a photograph's own drawing away.

    Raises:
        UserError: the disk refuses.
    """
    file = drawing_file(project, key)
    write_json(file.with_suffix(DROPPED), {"revision": revision})
    _remove(file)


def _remove(file: Path) -> None:
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        raise refused(file, error) from None
