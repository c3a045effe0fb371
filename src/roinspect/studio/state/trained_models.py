"""Trained models of a folder: FOLDER/.roinspect/models/NAME, with its run and evaluation."""

from __future__ import annotations

import re
from pathlib import Path

from roinspect.errors import UserError
from roinspect.studio.state.project import Project

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")


def new_path(project: Project, name: str) -> Path:
    """Where a model of this name goes.

    Raises:
        UserError: the name is no name for a folder.
    """
    if not _NAME.fullmatch(name.strip()):
        raise UserError(
            "is no name for a model",
            where=name or "an empty name",
            remedy="use up to 40 letters, figures, - and _, such as zipper-1",
        )
    return project.state / "models" / name.strip()


def names(project: Project) -> list[str]:
    """Models that are there, the newest first."""
    found = (project.state / "models").glob("*/bundle.json")
    dated = sorted((-file.stat().st_mtime, file.parent.name) for file in found)
    return [name for _, name in dated if _NAME.fullmatch(name)]


def model_path(project: Project, name: str | None) -> Path:
    """A model that is there; None is the newest, which a page shows first: it may be used before it is shown.

    Raises:
        UserError: there is none of that name.
    """
    if name is None:
        name = next(iter(names(project)), None)
    path = project.state / "models" / (name or "")
    if not name or not _NAME.fullmatch(name) or not (path / "bundle.json").is_file():
        raise UserError("there is no model", where=name or "this page", remedy="train one on page 3, Train")
    return path


def free_name(project: Project, wanted: str) -> str:
    """The first of wanted-1, wanted-2... that nothing has been trained under."""
    number = 1
    while (path := new_path(project, f"{wanted}-{number}")).exists() or run_path(path).exists():
        number += 1
    return path.name


def run_path(model: Path) -> Path:
    """The training run beside a model."""
    return model.with_name(model.name + ".run")


def evaluation_path(model: Path) -> Path:
    """The evaluation beside a model."""
    return model.with_name(model.name + ".evaluation")
