"""A job's process: `python -m roinspect.studio.state.worker JOB`."""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time
from pathlib import Path

from roinspect.errors import UserError
from roinspect.files import lock
from roinspect.studio.state.store import read_json, write_json

GRACE_S = 60.0
"""So long a stop may take until the process is ended where it stands; a checkpoint is whole at any time."""


def work(folder: Path) -> int:
    """Run a job's commands until one fails or somebody asks to stop; how it ended is written last."""
    with (folder / "lock").open("ab") as held:
        if not lock(held):
            raise UserError("is running already", where=folder)
        # Started in the background of some shells, Python would ignore interrupts.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        threading.Thread(target=_heed, args=(folder,), daemon=True).start()
        code = 1
        try:
            for command in read_json(folder / "job.json")["commands"]:
                code = run(command)
                if code:
                    break
        except KeyboardInterrupt:
            code = 130
        finally:
            write_json(folder / "exit.json", {"code": code, "ended": time.time()})
    return code


def run(words: list[str]) -> int:
    """A command as `python -m roinspect` runs it, in this process; its exit code."""
    sys.argv[1:] = words
    try:
        runpy.run_module("roinspect", run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


def _heed(folder: Path) -> None:
    while not (folder / "stop").exists():
        time.sleep(0.2)
    _interrupt()
    time.sleep(GRACE_S)
    write_json(folder / "exit.json", {"code": 130, "ended": time.time()})
    os._exit(130)


def _interrupt() -> None:
    """Ctrl-C for the main thread, which may be asleep: a signal to another thread would not wake it."""
    main_thread = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main_thread is not None:
        signal.pthread_kill(main_thread, signal.SIGINT)
    else:
        signal.raise_signal(signal.SIGINT)


if __name__ == "__main__":
    sys.exit(work(Path(sys.argv[1])))
