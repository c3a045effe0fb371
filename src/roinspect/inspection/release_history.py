"""The states of a line's model: each is kept whole under a name, with notes of when and by whom.

    LINE_MODEL.releases/         beside LINE_MODEL, the bundle that the line's programs open
      2026-11-28-3fa9c0d1e2b4/   a bundle
      releases.jsonl             a note for each time that one was kept or released, in this order
      releases.lock              locked while one is released

The folders count: without notes, they can still be listed and rolled back to.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from itertools import count
from pathlib import Path
from typing import Literal, TypeAlias

from roinspect.audit.recording import account, recorded
from roinspect.errors import UserError, nearest
from roinspect.files import lock, read_file, remove_unfinished, whole_folder, write_whole, writing
from roinspect.inspection.bundle import bundle_version, is_bundle
from roinspect.inspection.plain import from_plain, parse_object
from roinspect.inspection.release_files import copy_files, digest_of

log = logging.getLogger(__name__)

Did: TypeAlias = Literal["kept", "released"]
_HISTORY, _NOTES, _LOCK = ".releases", "releases.jsonl", "releases.lock"
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9_-])?")
_OF_WINDOWS = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
"""Names that Windows gives to devices."""


@dataclass(frozen=True, slots=True)
class Note:
    """A line of releases.jsonl.

    Attributes:
        did: "kept" in the history, or "released", so that the line uses it.
        name: of the state.
        digest: see `digest_of`.
        when: local time in ISO 8601, with the offset from UTC.
        account: of the operating system.
    """

    did: Did
    name: str
    digest: str
    when: str
    account: str


@dataclass(frozen=True, slots=True)
class History:
    """The states of a line's model.

    Attributes:
        line: the bundle that the line's programs open.
    """

    line: Path

    @property
    def path(self) -> Path:
        """The folder of the states."""
        return self.line.with_name(f"{self.line.name}{_HISTORY}")

    def names(self) -> list[str]:
        """The names of all states, sorted."""
        if not self.path.is_dir():
            return []
        return sorted(path.name for path in self.path.iterdir() if path.name[0] != "." and path.is_dir())

    def folder(self, name: str) -> Path:
        """The folder of a state.

        Raises:
            UserError: there is no such state.
        """
        names = self.names()
        if name not in names:
            raise UserError(
                f"has no release named {name}{nearest(name, names)}",
                where=self.line,
                remedy=f"run: roinspect release --to {shlex.quote(str(self.line))}",
            )
        return self.path / name

    def notes(self) -> list[Note]:
        """All readable notes, oldest first; a warning is logged for each other line."""
        notes, file = list[Note](), self.path / _NOTES
        for number, line in enumerate(self._written().splitlines(), 1):
            try:
                note = from_plain(Note, parse_object(line))
                if datetime.fromisoformat(note.when).tzinfo is None:
                    raise ValueError("when must have an offset from UTC")
            except ValueError as error:
                log.warning(f"{file}: line {number} is not a note and is ignored ({error})")
            else:
                notes.append(note)
        return notes

    def digests(self) -> dict[str, str]:
        """The noted digests by name."""
        return {note.name: note.digest for note in self.notes()}

    def find(self, digest: str) -> str | None:
        """The name of the state with this content; None if none has it now, whatever was noted."""
        noted = self.digests()
        for name in self.names():
            if noted.get(name, digest) == digest == digest_of(self.path / name):
                return name
        return None

    def free_name(self, day: date, version: str) -> str:
        """The default name of a new state, such as "2026-11-28-3fa9c0d1e2b4"."""
        # Windows does not distinguish upper and lower case.
        name, taken = f"{day.isoformat()}-{version}", {name.casefold() for name in self.names()}
        return name if name not in taken else next(n for i in count(2) if (n := f"{name}-{i}") not in taken)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Create the history if there is none, and keep others from changing it.

        Raises:
            UserError: another process is changing it, or it cannot be written.
        """
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            opened = (self.path / _LOCK).open("ab")
        with opened:
            if not lock(opened):
                raise UserError(
                    "another release is running", where=self.line, remedy="wait for it, and then try again"
                )
            with writing(self.path):
                remove_unfinished(self.path)
            yield

    def keep(self, bundle: Path, name: str, digest: str) -> None:
        """Copy a bundle into the history under a new name; call it while `locked`.

        Raises:
            UserError: the name is taken, the disk refuses, or the bundle no longer has this digest.
        """
        target = self.path / name
        if target.exists():
            raise UserError("exists already", where=target, remedy="choose another name")
        fault, remedy = "cannot be kept", "free space, or make the folder writable"
        with writing(target, fault=fault, remedy=remedy), whole_folder(target) as partial:
            copy_files(bundle, partial, digest)
        self.note("kept", name, digest)

    def put(self, name: str, digest: str) -> None:
        """Replace the line's model by a copy of a state; call it while `locked`.

        Raises:
            UserError: the disk refuses, or the state no longer has this digest, and the line's model is
                unchanged; or the note cannot be written, after the line's model was replaced.
        """
        fault = "cannot be replaced"
        remedy = "free space, make the folder writable, or stop programs that use it, such as roinspect watch"
        facts = {"release": name, "version": bundle_version(self.path / name), "digest": digest}
        # The temporary folders are in the history, where the next release removes those of a killed one.
        with (
            writing(self.line, fault=fault, remedy=remedy),
            recorded("released", self.line, facts),
            whole_folder(self.line, self.path) as partial,
        ):
            copy_files(self.path / name, partial, digest)
        self.note("released", name, digest)

    def note(self, did: Did, name: str, digest: str) -> None:
        """Add a note.

        Raises:
            UserError: it cannot be written.
        """
        when = datetime.now().astimezone().isoformat(timespec="seconds")
        note = Note(did, name, digest, when, account())
        former = self._written()
        gap = b"" if former.endswith(b"\n") or not former else b"\n"
        try:
            line = json.dumps(dataclasses.asdict(note)).encode() + b"\n"
            write_whole(self.path / _NOTES, former + gap + line, durable=True)
        except UserError as error:
            what = f"{name} was {did}, but its note {error.what}"
            raise UserError(what, where=error.where, remedy=error.remedy) from None

    def _written(self) -> bytes:
        file = self.path / _NOTES
        return read_file(file) if file.exists() else b""


def history_of(line: Path) -> History:
    """The history of a line's model, which may not exist yet.

    Raises:
        UserError: the path cannot be that of a line's model.
    """
    if line.is_symlink():
        raise UserError("is a link", where=line, remedy=f"name the folder it points to: {line.resolve()}")
    # "." has no name.
    line = line if line.name not in ("", "..") else line.resolve()
    refuse_kept(line)
    for parent in line.resolve().parents:
        if is_bundle(parent):
            # The next release to the bundle would remove it.
            raise UserError(f"is inside the bundle {parent}", where=line, remedy="name another folder")
    if line.exists() and not is_bundle(line):
        raise UserError("is not a bundle and is not replaced", where=line, remedy="name another folder")
    return History(line)


def refuse_kept(bundle: Path) -> None:
    """Raise a UserError if a path lies in a history, whose states stay as they were kept."""
    # As it is written as well: a history may be a link to a folder of another name.
    for parent in (*Path(os.path.abspath(bundle)).parents, *bundle.resolve().parents):  # noqa: PTH100 (keeps links)
        line = parent.parent / parent.name.removesuffix(_HISTORY)
        if line in (parent, parent.parent):
            continue
        # A copied history may lack either file.
        if is_bundle(line) or (parent / _NOTES).exists() or (parent / _LOCK).exists():
            remedy = f"it stays as it was kept; name {line}"
            raise UserError("is a release of a line's model", where=bundle, remedy=remedy)


def refuse_unportable(name: str) -> None:
    """Raise a UserError unless a name is valid as that of a folder on every operating system."""
    if not _NAME.fullmatch(name) or _OF_WINDOWS.fullmatch(name) or name.lower() in (_NOTES, _LOCK):
        raise UserError(
            f"{name!r} is not a valid name of a folder on every operating system",
            where="--name",
            remedy="use up to 64 letters, digits, dots, dashes and underscores, such as line-2-accepted",
        )
