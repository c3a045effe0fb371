"""Background jobs in their own processes, `python -m roinspect.studio.state.jobs JOB`.

They outlive the browser and the studio. Their whole state is on disk:

    FOLDER/.roinspect/jobs/ID/
      job.json    the commands
      log.txt     their output
      lock        held while the process lives
      stop        requests that it end
      exit.json   exit code and time
"""

from __future__ import annotations

import os
import runpy
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from roinspect.errors import UserError
from roinspect.files import is_locked, lock, writing
from roinspect.studio.state.project import Project
from roinspect.studio.state.store import read_json, write_json

Kind: TypeAlias = Literal["train", "judge", "propose", "export", "watch"]
State: TypeAlias = Literal["running", "done", "failed", "stopped", "broken off"]

STARTING_S = 60.0
"""How long a process may take to acquire its lock."""

KEPT = 30
HEAVY = frozenset({"train", "judge", "propose"})
"""Kinds of work that use the whole computer; only one runs at a time."""

GRACE_S = 60.0
"""How long a stop may take until the process is killed. Checkpoints are complete at any time."""

_children: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True, slots=True)
class Job:
    """Commands that run one after the other."""

    folder: Path
    kind: Kind
    subject: str
    """The model's name."""
    commands: tuple[tuple[str, ...], ...]
    """Arguments of `roinspect`, a list each."""
    started: float
    """Seconds since 1970."""

    def state(self) -> State:
        """The current state, whoever started the job."""
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
        """Its run time so far."""
        ended = read_json(self.folder / "exit.json")
        until = ended.get("ended", self.started) if isinstance(ended, dict) else time.time()
        return max(0.0, float(until) - self.started)

    def log(self, most: int = 20_000) -> str:
        """The last `most` bytes of its output."""
        with suppress(OSError), (self.folder / "log.txt").open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - most))
            return file.read().decode("utf-8", "replace")
        return ""

    def fault(self) -> str:
        """The line of the log that explains a failure."""
        lines = [line.strip() for line in self.log().splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("roinspect: ") and ": INFO:" not in line]
        return (errors or lines or ["it ended without a message"])[-1].removeprefix("roinspect: ")

    def stop(self) -> None:
        """Request that it end at the next opportunity."""
        write_json(self.folder / "stop", True)


def start(project: Project, kind: Kind, subject: str, commands: Sequence[Sequence[str]]) -> Job:
    """Start a process that runs the commands.

    Raises:
        UserError: a conflicting job is running, or a file cannot be written.
    """
    with project.lock:
        for job in jobs(project):
            is_conflict = job.kind == kind or {job.kind, kind} <= HEAVY
            if is_conflict and job.state() == "running":
                remedy = "wait for it, or stop it first"
                raise UserError(f"still at work on {job.subject}", where=job.kind, remedy=remedy)
        began = time.time()
        folder = project.state / "jobs" / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
        plain = {"kind": kind, "subject": subject, "commands": [list(c) for c in commands], "started": began}
        write_json(folder / "job.json", plain)
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "100", "TERM": "dumb"}
        words = [sys.executable, "-m", "roinspect.studio.state.jobs", str(folder)]
        with writing(folder), (folder / "log.txt").open("wb") as log:
            # In a new session, so that closing the studio's terminal does not end it.
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
    """Jobs of these kinds (all by default), latest first."""
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


def work(folder: Path) -> int:
    """Run a job's commands until one fails or a stop is requested, then write the exit code."""
    with (folder / "lock").open("ab") as lock_file:
        if not lock(lock_file):
            raise UserError("is running already", where=folder)
        # Started in the background of some shells, Python would ignore interrupts.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        threading.Thread(target=_watch_stop, args=(folder,), daemon=True).start()
        code = 1
        try:
            for command in read_json(folder / "job.json")["commands"]:
                code = run_command(command)
                if code:
                    break
        except KeyboardInterrupt:
            code = 130
        finally:
            write_json(folder / "exit.json", {"code": code, "ended": time.time()})
    return code


def run_command(words: list[str]) -> int:
    """Run a command as `python -m roinspect` does, in this process; returns its exit code."""
    sys.argv[1:] = words
    try:
        runpy.run_module("roinspect", run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


def _watch_stop(folder: Path) -> None:
    while not (folder / "stop").exists():
        time.sleep(0.2)
    _interrupt()
    time.sleep(GRACE_S)
    write_json(folder / "exit.json", {"code": 130, "ended": time.time()})
    os._exit(130)


def _interrupt() -> None:
    """Interrupt the main thread. A signal to another thread would not wake it from a sleep."""
    main_thread = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main_thread is not None:
        signal.pthread_kill(main_thread, signal.SIGINT)
    else:
        signal.raise_signal(signal.SIGINT)


if __name__ == "__main__":
    sys.exit(work(Path(sys.argv[1])))
