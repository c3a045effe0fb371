"""Results stored on disk, one file each and in order, until their receiver has accepted them.

SPOOL/NANOSECONDS-ID.json  waiting
SPOOL/refused/             rejected by the receiver; for people to look at
SPOOL/.lock                held by the process that owns the spool

SQLite would not make this simpler: a result is one atomic file write, a delivery one unlink, and refused
results remain readable files.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any

from roinspect.errors import UserError
from roinspect.files import lock, remove_unfinished, whole_file, writing
from roinspect.production.sinks import ResultRefusedError, Sink

log = logging.getLogger(__name__)

_LONGEST_WAIT_S = 30.0


class Spool:
    """Delivers results to a sink in its own thread, oldest first, each at least once.

    A result survives kills and power cuts once `put` has returned. It may be delivered twice, with the same
    id, if an acknowledgement was lost.

    Args:
        folder: for this sink alone; created if missing. Results of an earlier process are delivered.
        sink: the receiver.
        first_wait_s: seconds until the first retry; doubles with each further one, up to 30.

    Raises:
        UserError: the folder cannot be created or read, or belongs to another process.
    """

    def __init__(self, folder: Path, sink: Sink, *, first_wait_s: float = 1.0) -> None:
        self._folder, self._sink, self._first_wait = folder, sink, first_wait_s
        self._lock_file: IO[bytes] | None = None
        self._lock_guard = threading.Lock()
        self._arrived, self._stop = threading.Event(), threading.Event()
        with self._writing():
            self._take()
            remove_unfinished(folder)
        self._thread = threading.Thread(target=self._deliver_all, name="roinspect-spool", daemon=True)
        self._thread.start()

    @property
    def pending(self) -> int:
        """Number of results that wait."""
        return _count(self._folder)

    @property
    def refused(self) -> int:
        """Number of results that the receiver rejected."""
        return _count(self._folder / "refused")

    def put(self, row: Mapping[str, Any]) -> None:
        """Store a result; it is on the disk when this returns.

        Args:
            row: values for JSON; `id` is unique and consists of letters and digits.

        Raises:
            UserError: the spool cannot be written.
        """
        file, body = self._folder / f"{time.time_ns():020}-{row['id']}.json", json.dumps(row).encode()
        with self._writing():
            self._take()  # again, if the folder was removed
            with whole_file(file, durable=True) as partial:
                partial.write_bytes(body)
        self._arrived.set()

    def close(self, *, wait_s: float = 2.0) -> None:
        """Deliver for up to `wait_s` seconds, then stop; the rest stays on the disk for the next process."""
        until = time.monotonic() + wait_s
        while self.pending and time.monotonic() < until and self._thread.is_alive():
            time.sleep(0.02)
        self._stop.set()
        self._arrived.set()
        self._thread.join(timeout=15)
        self._sink.close()
        if self._lock_file is not None:
            self._lock_file.close()

    def _writing(self) -> AbstractContextManager[None]:
        remedy = "free space, or choose another --spool"
        return writing(self._folder, fault="results cannot be stored", remedy=remedy)

    def _take(self) -> None:
        """Create the folder if it is missing, and lock it for this process."""
        file = self._folder / ".lock"
        with self._lock_guard:
            if self._lock_file is not None and file.exists():
                return
            self._folder.mkdir(parents=True, exist_ok=True)
            lock_file = file.open("ab")
            if not lock(lock_file):
                lock_file.close()
                raise UserError(
                    "is in use by another process", where=self._folder, remedy="choose another --spool"
                )
            if self._lock_file is not None:
                self._lock_file.close()
            self._lock_file = lock_file

    def _deliver_all(self) -> None:
        wait = self._first_wait
        while not self._stop.is_set():
            self._arrived.clear()
            try:
                for file in self._waiting():
                    if self._stop.is_set():
                        return
                    self._deliver(file)
                    wait = self._first_wait
            except Exception as error:
                # Whatever failed, later results must still be delivered.
                log.warning(f"results are waiting: {error}", extra={"fields": {"spooled": self.pending}})
                self._stop.wait(wait)
                wait = min(2 * wait, _LONGEST_WAIT_S)
            else:
                self._arrived.wait()

    def _deliver(self, file: Path) -> None:
        key = file.stem.partition("-")[2]
        try:
            self._sink.deliver(key, file.read_bytes())
        except ResultRefusedError as error:
            # It must not block the results after it.
            log.error(f"a result was refused: {error}", extra={"fields": {"id": key}})
            (self._folder / "refused").mkdir(exist_ok=True)
            os.replace(file, self._folder / "refused" / file.name)
        else:
            file.unlink(missing_ok=True)

    def _waiting(self) -> list[Path]:
        return sorted(self._folder.glob("*.json"))


def _count(folder: Path) -> int:
    """Number of results in a folder; 0 if it is missing or unreadable."""
    try:
        return sum(1 for file in folder.iterdir() if file.suffix == ".json")
    except OSError:
        return 0
