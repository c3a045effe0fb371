"""What people say about photographs in the studio, kept with who and when.

FOLDER/.roinspect/corrections.jsonl                          labels given to photographs of the data
FOLDER/.roinspect/models/NAME.evaluation/corrections.jsonl   verdicts on page 4 that are wrong
FOLDER/.roinspect/watch/NAME.jsonl.corrections.jsonl         verdicts of a camera, for `roinspect review`
"""

from __future__ import annotations

from roinspect.audit.recording import account
from roinspect.review.corrections import add_corrections, correction
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
