"""The process of a job: `python -m roinspect.deploy.studio.worker JOB`."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

from roinspect.cli import main
from roinspect.deploy.studio.lock import hold
from roinspect.deploy.studio.store import read_json, write_json

GRACE_S = 60.0
"""So long a stop may take until the process is ended where it stands; a checkpoint is whole at any time."""


def work(folder: Path) -> int:
    """Run a job's commands until one fails or somebody asks to stop; how it ended is written last."""
    kept = hold(folder / "lock")
    # Started in the background of some shells, Python would ignore interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=_heed, args=(folder,), daemon=True).start()
    code = 1
    try:
        for command in read_json(folder / "job.json")["commands"]:
            code = main(command)
            if code:
                break
    except KeyboardInterrupt:
        code = 130
    finally:
        write_json(folder / "exit.json", {"code": code, "ended": time.time()})
        os.close(kept)
    return code


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
