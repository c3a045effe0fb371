"""Results kept on disk, one file each and in order, until their sink has accepted them.

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
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any

from roinspect.errors import UserError
from roinspect.files import lock, remove_unfinished, whole_file, writing
from roinspect.production.sinks import ResultRefusedError, Sink

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
        self._held: IO[bytes] | None = None
        self._taking = threading.Lock()
        self._news, self._stop = threading.Event(), threading.Event()
        with self._writing():
            self._take()
            remove_unfinished(folder)
        self._thread = threading.Thread(target=self._deliver_all, name="roinspect-spool", daemon=True)
        self._thread.start()

    @property
    def pending(self) -> int:
        """Results that wait."""
        return _count(self._folder)

    @property
    def refused(self) -> int:
        """Results that the receiver would not have."""
        return _count(self._folder / "refused")

    def put(self, row: Mapping[str, Any]) -> None:
        """Keep a result; it is on the disk when this returns.

        Args:
            row: values for JSON; `id` is letters and digits, and its own.

        Raises:
            UserError: the disk refuses.
        """
        file, body = self._folder / f"{time.time_ns():020}-{row['id']}.json", json.dumps(row).encode()
        with self._writing():
            self._take()  # again, if somebody has removed the folder
            with whole_file(file, durable=True) as partial:
                partial.write_bytes(body)
        self._news.set()

    def close(self, *, wait_s: float = 2.0) -> None:
        """Deliver for so long what waits, then stop; the rest stays on the disk for the next process."""
        until = time.monotonic() + wait_s
        while self.pending and time.monotonic() < until and self._thread.is_alive():
            time.sleep(0.02)
        self._stop.set()
        self._news.set()
        self._thread.join(timeout=15)
        self._sink.close()
        if self._held is not None:
            self._held.close()

    def _writing(self) -> AbstractContextManager[None]:
        remedy = "free space, or choose another --spool"
        return writing(self._folder, fault="results cannot be kept", remedy=remedy)

    def _take(self) -> None:
        """Make the folder if it is missing, and hold it for this process."""
        file = self._folder / ".lock"
        with self._taking:
            if self._held is not None and file.exists():
                return
            self._folder.mkdir(parents=True, exist_ok=True)
            held = file.open("ab")
            if not lock(held):
                held.close()
                raise UserError("another process has it", where=self._folder, remedy="choose another --spool")
            if self._held is not None:
                self._held.close()
            self._held = held

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
                log.warning(f"results wait: {error}", extra={"fields": {"spooled": self.pending}})
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
        else:
            file.unlink(missing_ok=True)

    def _waiting(self) -> list[Path]:
        return sorted(self._folder.glob("*.json"))


def _count(folder: Path) -> int:
    """Results in a folder; 0 where it is missing or cannot be read."""
    try:
        return sum(1 for file in folder.iterdir() if file.suffix == ".json")
    except OSError:
        return 0
