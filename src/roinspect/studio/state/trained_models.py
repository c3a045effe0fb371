"""Trained models of a folder: FOLDER/.roinspect/models/NAME, with its run and evaluation."""

from __future__ import annotations

import re
from pathlib import Path

from roinspect.errors import UserError
from roinspect.studio.state.project import NotYetError, Project

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")


def new_path(project: Project, name: str) -> Path:
    """The folder for a model of this name.

    Raises:
        UserError: the name is not allowed as a folder name.
    """
    if not _NAME.fullmatch(name.strip()):
        raise UserError(
            "is not a valid model name",
            where=name or "an empty name",
            remedy="use up to 40 letters, digits, - and _, such as zipper-1",
        )
    return project.state / "models" / name.strip()


def names(project: Project) -> list[str]:
    """Names of the trained models, newest first."""
    bundles = (project.state / "models").glob("*/bundle.json")
    dated = sorted((-file.stat().st_mtime, file.parent.name) for file in bundles)
    return [name for _, name in dated if _NAME.fullmatch(name)]


def model_path(project: Project, name: str | None) -> Path:
    """The folder of a trained model; None for the newest.

    Raises:
        UserError: there is no such model.
    """
    if name is None:
        name = next(iter(names(project)), None)
    path = project.state / "models" / (name or "")
    if not name or not _NAME.fullmatch(name) or not (path / "bundle.json").is_file():
        missing = f"There is no model {name}" if name else "There is no trained model yet"
        raise NotYetError(missing, remedy="train one on page 3, Train")
    return path


def free_name(project: Project, prefix: str) -> str:
    """The first unused name of prefix-1, prefix-2, ..."""
    number = 1
    while (path := new_path(project, f"{prefix}-{number}")).exists() or run_path(path).exists():
        number += 1
    return path.name


def run_path(model: Path) -> Path:
    """The training run beside a model."""
    return model.with_name(model.name + ".run")


def evaluation_path(model: Path) -> Path:
    """The evaluation beside a model."""
    return model.with_name(model.name + ".evaluation")
