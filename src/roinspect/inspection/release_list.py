"""What has been released to a line: a row for each state in its history."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from roinspect.errors import UserError
from roinspect.inspection.bundle import bundle_version, is_bundle, read_bundle
from roinspect.inspection.release_files import digest_of, files_of
from roinspect.inspection.release_history import Note, history_of


@dataclass(frozen=True, slots=True)
class Release:
    """A row of `releases`.

    Attributes:
        name: to roll back to.
        version: result of `bundle_version`; "" if there is no manifest.
        method: the method's name; "" if the manifest is damaged.
        threshold: None if the manifest is damaged.
        size: of all files, in bytes.
        note: the last one; None if there is none.
        is_current: whether it is what the line uses.
        remark: what is unusual about it; "" if nothing is.
    """

    name: str
    version: str
    method: str
    threshold: float | None
    size: int
    note: Note | None
    is_current: bool
    remark: str


def releases(line: Path) -> list[Release]:
    """All states in the history of a line's model, in the order of their last notes.

    Raises:
        UserError: there are none.
    """
    history = history_of(line)
    names = history.names()
    if not names:
        raise UserError(
            "has no releases",
            where=line,
            remedy=f"put a bundle there: roinspect release BUNDLE --to {shlex.quote(str(line))}",
        )
    last, set_back, latest = dict[str, Note](), set[str](), ""
    for note in history.notes():
        # Popped, as the order is that of the last notes.
        last.pop(note.name, None)
        last[note.name] = note
        is_later = not latest or _time(note.when) >= _time(latest)
        (set_back.discard if is_later else set_back.add)(note.name)
        latest = note.when if is_later else latest
    current = history.find(digest_of(line)) if line.exists() else None
    ordered = [*(name for name in names if name not in last), *(name for name in last if name in names)]
    return [
        _row(history.path / name, last.get(name), is_current=name == current, is_set_back=name in set_back)
        for name in ordered
    ]


def _row(folder: Path, note: Note | None, *, is_current: bool, is_set_back: bool) -> Release:
    remarks = ["its clock was behind that of an earlier note"] if is_set_back else []
    bundle, size = None, 0
    try:
        size = sum((folder / name).stat().st_size for name in files_of(folder))
        if note is not None and digest_of(folder) != note.digest:
            remarks.append("was changed since it was kept")
        bundle = read_bundle(folder)
    except UserError as fault:
        remarks.append(fault.what)
    return Release(
        name=folder.name,
        version=bundle_version(folder) if is_bundle(folder) else "",
        method=bundle.method if bundle else "",
        threshold=bundle.threshold.value if bundle else None,
        size=size,
        note=note,
        is_current=is_current,
        remark=", ".join(remarks),
    )


def _time(when: str) -> datetime:
    return datetime.fromisoformat(when)
