"""Results on disk until their receiver has them: a file each, in order, through crashes and absences.

SPOOL/NANOSECONDS-ID.json  waits
SPOOL/refused/             the receiver will not have it; for people to look at
SPOOL/.lock                held by the process whose spool it is
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from roinspect.deploy.durable import lock, write_durably
from roinspect.deploy.sinks import ResultRefusedError, Sink
from roinspect.errors import UserError

log = logging.getLogger(__name__)

_LONGEST_WAIT_S = 30.0


class Spool:
    """Delivers results to a sink in a thread of its own, oldest first, each at least once.

    A result that `put` has taken survives the process and a power cut. One may be delivered twice, when
    the receiver took it but could not say so; its id is the same both times.

    Args:
        folder: for this sink alone; made if missing, and what a former process left in it is delivered.
        sink: the receiver.
        first_wait_s: seconds until the second try; doubled with each further one, up to 30.

    Raises:
        UserError: the folder cannot be made or read, or is another process's.
    """

    def __init__(self, folder: Path, sink: Sink, *, first_wait_s: float = 1.0) -> None:
        self._folder, self._sink, self._first_wait = folder, sink, first_wait_s
        self._lock = threading.Lock()
        self._news, self._stop = threading.Event(), threading.Event()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._held = (folder / ".lock").open("ab")
            if not lock(self._held):
                self._held.close()
                raise UserError("another server has it", where=folder, remedy="choose another --spool")
            for rest in folder.glob(".*.part"):
                rest.unlink(missing_ok=True)
            self._pending = len(self._waiting())
            self._refused = sum(1 for _ in (folder / "refused").glob("*.json"))
        except OSError as error:
            raise _cannot(folder, error) from None
        self._thread = threading.Thread(target=self._deliver_all, name="roinspect-spool", daemon=True)
        self._thread.start()

    @property
    def pending(self) -> int:
        """Results that wait."""
        return self._pending

    @property
    def refused(self) -> int:
        """Results that the receiver would not have."""
        return self._refused

    def put(self, row: Mapping[str, Any]) -> None:
        """Keep a result; it is on the disk when this returns.

        Args:
            row: values for JSON; `id` is letters and digits, and its own.

        Raises:
            UserError: the disk refuses.
        """
        file = self._folder / f"{time.time_ns():020}-{row['id']}.json"
        try:
            write_durably(file, json.dumps(row).encode())
        except OSError as error:
            raise _cannot(self._folder, error) from None
        self._count(pending=1)
        self._news.set()

    def close(self, *, wait_s: float = 2.0) -> None:
        """Deliver for so long what waits, then stop; the rest stays on the disk for the next process."""
        until = time.monotonic() + wait_s
        while self._pending and time.monotonic() < until and self._thread.is_alive():
            time.sleep(0.02)
        self._stop.set()
        self._news.set()
        self._thread.join(timeout=15)
        self._sink.close()
        self._held.close()

    def _deliver_all(self) -> None:
        wait = self._first_wait
        while not self._stop.is_set():
            self._news.clear()
            try:
                for file in self._waiting():
                    if self._stop.is_set():
                        return
                    self._deliver(file)
                    wait = self._first_wait
            except Exception as error:
                # Away, the disk, or a fault in a sink: whatever it is, what comes later must not be lost.
                log.warning(f"results wait: {error}", extra={"fields": {"spooled": self._pending}})
                self._stop.wait(wait)
                wait = min(2 * wait, _LONGEST_WAIT_S)
            else:
                self._news.wait()

    def _deliver(self, file: Path) -> None:
        key = file.stem.partition("-")[2]
        try:
            self._sink.deliver(key, file.read_bytes())
        except ResultRefusedError as error:
            # One that nobody takes must not stand in the others' way.
            log.error(f"a result is refused: {error}", extra={"fields": {"id": key}})
            (self._folder / "refused").mkdir(exist_ok=True)
            os.replace(file, self._folder / "refused" / file.name)
            self._count(pending=-1, refused=1)
        else:
            file.unlink()
            self._count(pending=-1)

    def _waiting(self) -> list[Path]:
        return sorted(self._folder.glob("*.json"))

    def _count(self, *, pending: int, refused: int = 0) -> None:
        with self._lock:
            self._pending += pending
            self._refused += refused


def _cannot(folder: Path, error: OSError) -> UserError:
    return UserError(
        f"results cannot be kept ({error.strerror or error})",
        where=folder,
        remedy="free space, or choose another --spool",
    )
