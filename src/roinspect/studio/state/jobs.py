"""Background jobs in processes of their own, which outlive the browser and the studio.

    FOLDER/.roinspect/jobs/ID/
      job.json    what is done
      log.txt     what it says
      lock        held by the process as long as it lives
      stop        asks it to end
      exit.json   how it ended

Nothing else is needed to find them again.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from roinspect.errors import UserError
from roinspect.files import is_locked, writing
from roinspect.studio.state.project import Project
from roinspect.studio.state.store import read_json, write_json

Kind: TypeAlias = Literal["train", "judge", "propose", "export", "watch"]
State: TypeAlias = Literal["running", "done", "failed", "stopped", "broken off"]

STARTING_S = 60.0
"""So long a process may take until it holds its lock."""

KEPT = 30
HEAVY = frozenset({"train", "judge", "propose"})
"""Kinds of work that take all of the computer: one at a time."""

_children: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True, slots=True)
class Job:
    """Some commands, one after the other."""

    folder: Path
    kind: Kind
    subject: str
    """The model's name."""
    commands: tuple[tuple[str, ...], ...]
    """Arguments of `roinspect`, a list each."""
    started: float
    """Seconds since 1970."""

    def state(self) -> State:
        """How it stands, whoever started it."""
        _children[:] = [child for child in _children if child.poll() is None]
        if isinstance(ended := read_json(self.folder / "exit.json"), dict):
            code = ended.get("code")
            return "done" if code == 0 else "stopped" if code == 130 else "failed"
        if is_locked(self.folder / "lock"):
            return "running"
        is_starting = not (self.folder / "lock").exists() and time.time() - self.started < STARTING_S
        # The process may have ended between the first look and the second.
        ended = (self.folder / "exit.json").exists()
        return self.state() if ended else "running" if is_starting else "broken off"

    def seconds(self) -> float:
        """How long it ran, or has been running."""
        ended = read_json(self.folder / "exit.json")
        until = ended.get("ended", self.started) if isinstance(ended, dict) else time.time()
        return max(0.0, float(until) - self.started)

    def log(self, most: int = 20_000) -> str:
        """The end of what it says."""
        with suppress(OSError), (self.folder / "log.txt").open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - most))
            return file.read().decode("utf-8", "replace")
        return ""

    def fault(self) -> str:
        """The line that says why it failed."""
        lines = [line.strip() for line in self.log().splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("roinspect: ") and ": INFO:" not in line]
        return (errors or lines or ["it ended without a message"])[-1].removeprefix("roinspect: ")

    def stop(self) -> None:
        """Ask it to end; it does so at the next chance."""
        write_json(self.folder / "stop", True)


def start(project: Project, kind: Kind, subject: str, commands: Sequence[Sequence[str]]) -> Job:
    """Start a process for some commands.

    Raises:
        UserError: such a job is running already, or the disk refuses.
    """
    with project.lock:
        for job in jobs(project):
            is_rival = job.kind == kind or {job.kind, kind} <= HEAVY
            if is_rival and job.state() == "running":
                remedy = "wait for it, or stop it first"
                raise UserError(f"still at work on {job.subject}", where=job.kind, remedy=remedy)
        began = time.time()
        folder = project.state / "jobs" / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
        plain = {"kind": kind, "subject": subject, "commands": [list(c) for c in commands], "started": began}
        write_json(folder / "job.json", plain)
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "100", "TERM": "dumb"}
        words = [sys.executable, "-m", "roinspect.studio.state.worker", str(folder)]
        with writing(folder), (folder / "log.txt").open("wb") as log:
            # A session of its own: closing the studio's terminal does not end it.
            child = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        _children.append(child)
        for job in jobs(project)[KEPT:]:
            if job.state() != "running":
                shutil.rmtree(job.folder, ignore_errors=True)
    return Job(folder, kind, subject, tuple(map(tuple, commands)), began)


def jobs(project: Project, *kinds: Kind) -> list[Job]:
    """Jobs of these kinds, or all, the latest first."""
    listed = list[Job]()
    for file in (project.state / "jobs").glob("*/job.json"):
        saved = read_json(file)
        with suppress(KeyError, TypeError, ValueError):
            commands = tuple(tuple(map(str, command)) for command in saved["commands"])
            job = Job(file.parent, saved["kind"], str(saved["subject"]), commands, float(saved["started"]))
            listed += [job] if not kinds or job.kind in kinds else []
    return sorted(listed, key=lambda job: -job.started)


def latest(project: Project, *kinds: Kind) -> Job | None:
    """The latest job of these kinds."""
    return next(iter(jobs(project, *kinds)), None)
