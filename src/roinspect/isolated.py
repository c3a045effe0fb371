"""Run work in a subprocess that reports its stage and is killed when a stage takes too long.

Request and answer are JSON, one line each on the process's standard input and output; its other output goes
to a log.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from queue import Empty, Queue
from typing import Any

from roinspect.errors import UserError

FIRST_STAGE = "loading"
"""The stage until the process reports another one."""

Work = Callable[[dict[str, Any], Callable[[str], None]], dict[str, Any]]
"""Takes the request and a function that reports a new stage; returns the answer."""

_LOOK = 0.5


class CancelledError(Exception):
    """The caller no longer waits for an answer."""


def run_isolated(
    module: str,
    request: Mapping[str, Any],
    limits: Mapping[str, float],
    *,
    name: str,
    folder: Path,
    log: Path | None,
    remedy: str,
    environment: Mapping[str, str] | None = None,
    stop: threading.Event | None = None,
) -> dict[str, Any]:
    """Run ``python -m MODULE``, whose main calls `answer`, and return its answer.

    The process is always killed when this call ends, and exits by itself if the caller is killed.

    Args:
        module: to run.
        request: values for JSON.
        limits: seconds allowed for each stage, including `FIRST_STAGE`.
        name: used in errors.
        folder: the process's working folder, for files that other libraries leave behind.
        log: file for the process's output; None drops it.
        remedy: for a stage that took too long.
        environment: variables set for it.
        stop: set from another thread to kill it.

    Returns:
        The answer.

    Raises:
        UserError: raised in the process, a stage took too long, or the process crashed or was killed.
        CancelledError: `stop` was set.
    """
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
    see_log = "" if log is None else f"see {log}"
    with Path(log or os.devnull).open("wb") as printed:
        process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=printed,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            # Ctrl-C goes to the caller, which then kills the process.
            start_new_session=True,
            text=True,
            encoding="utf-8",
        )
    assert process.stdin is not None and process.stdout is not None
    lines: Queue[str] = Queue()
    threading.Thread(target=_read, args=(process.stdout, lines), daemon=True).start()
    try:
        # Stays open: end of file tells the process that the caller is gone.
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        return _await(process, lines, limits, name, see_log, remedy, stop)
    except BrokenPipeError:
        raise _death(process, name, see_log) from None
    finally:
        process.kill()
        process.wait()
        with suppress(BrokenPipeError):
            process.stdin.close()


def answer(work: Work) -> None:
    """In the subprocess: do the work requested on standard input, and send the answer."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(**message: Any) -> None:
        channel.write(json.dumps(message) + "\n")
        channel.flush()

    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_leave_with_caller, daemon=True).start()
    try:
        say(answer=work(request, lambda stage: say(stage=stage)))
    except UserError as error:
        say(error={"what": error.what, "where": error.where, "remedy": error.remedy})
    except Exception as error:  # one line for any exception of other libraries; the rest is in the log
        traceback.print_exc()
        first = (str(error).strip() or "no message").splitlines()[0]
        say(crash=f"{type(error).__name__}: {first[:200]}")


def _await(
    process: subprocess.Popen[str],
    lines: Queue[str],
    limits: Mapping[str, float],
    name: str,
    see_log: str,
    remedy: str,
    stop: threading.Event | None,
) -> dict[str, Any]:
    stage, started = FIRST_STAGE, time.monotonic()
    while True:
        if stop is not None and stop.is_set():
            raise CancelledError(name)
        left = started + limits[stage] - time.monotonic()
        if left <= 0:
            raise UserError(
                f"{stage} took longer than {limits[stage]:.0f} s and was stopped",
                where=name,
                remedy=remedy,
            )
        try:
            line = lines.get(timeout=min(_LOOK, left))
        except Empty:
            continue
        if not line:
            raise _death(process, name, see_log)
        message = json.loads(line)
        if "stage" in message:
            stage, started = message["stage"], time.monotonic()
        elif "error" in message:
            error = message["error"]
            raise UserError(error["what"], where=error["where"] or name, remedy=error["remedy"])
        elif "crash" in message:
            raise UserError(message["crash"], where=name, remedy=see_log)
        else:
            return dict(message["answer"])


def _read(stream: Any, lines: Queue[str]) -> None:
    with stream:
        for line in stream:
            lines.put(line)
    lines.put("")


def _leave_with_caller() -> None:
    # Not sys.stdin: a waiting thread would hold its lock when the interpreter exits.
    while os.read(0, 1):
        pass
    os._exit(1)


def _death(process: subprocess.Popen[str], name: str, see_log: str) -> UserError:
    code = process.wait()
    if code == -9:
        return UserError("was killed", where=name, remedy="check whether memory ran out")
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"
    return UserError(f"its process {how} and gave no answer", where=name, remedy=see_log)
