"""What people say about photographs in the studio, kept with who and when.

FOLDER/.roinspect/corrections.jsonl                          labels given to photographs of the data
FOLDER/.roinspect/models/NAME.evaluation/corrections.jsonl   verdicts on page 4 that are wrong
FOLDER/.roinspect/watch/NAME.jsonl.corrections.jsonl         verdicts of a camera, for `roinspect review`
"""

from __future__ import annotations

from pathlib import Path

from roinspect.audit.recording import account
from roinspect.review.corrections import add_corrections, correction
from roinspect.studio.state.adding import add, move
from roinspect.studio.state.project import Project


def who(typed: str | None) -> str:
    """The name on the page, or else the account that runs the studio."""
    if name := " ".join((typed or "").split()):
        return name
    return f"account {account()}"


def keep_label(project: Project, key: str, *, label: int, kind: str, by: str, remark: str) -> None:
    """Keep that a person gave a photograph of the data a label.

    Raises:
        UserError: the file cannot be written, or the kind is no name of a defect.
    """
    truth = "defective" if label else "good"
    entry = correction(key, truth, by, kind=kind.strip() if label else "", remark=remark, where=key)
    add_corrections(project.state / "corrections.jsonl", entry)


def add_labelled(project: Project, source: Path, *, label: int, kind: str, split: str, by: str) -> str:
    """Copy a photograph into the data with the label that a person gives it, once that is kept.

    Returns:
        The new photograph's key.

    Raises:
        UserError: see `keep_label` and `add`; what cannot be kept is not done.
    """
    remark = f"dropped as {source.name}, to {split} with"

    def first(key: str) -> None:
        keep_label(project, key, label=label, kind=kind, by=by, remark=remark)

    return add(project, source, label=label, kind=kind, split=split, first=first)


def move_labelled(project: Project, key: str, *, label: int, kind: str, split: str, by: str) -> str:
    """Move a photograph of the data to the label that a person gives it, once that is kept.

    Returns:
        The photograph's new key.

    Raises:
        UserError: see `keep_label` and `move`; what cannot be kept is not done.
    """
    remark = f"was {key}, to {split} with"

    def first(new: str) -> None:
        keep_label(project, new, label=label, kind=kind, by=by, remark=remark)

    return move(project, key, label=label, kind=kind, split=split, first=first)
