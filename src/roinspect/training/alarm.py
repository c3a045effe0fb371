"""A shared abort flag, polled by a thread in every process: if one process fails, all of them exit."""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable

from torch.distributed import TCPStore  # type: ignore[attr-defined]  # torch's own export is not a typed one

_INTERVAL = 0.25
"""Seconds between two polls."""
_LINGER = 3 * _INTERVAL
"""Seconds that the first process, which hosts the flag, waits so that the others can read it."""
_PATIENCE = 10.0
"""Maximum seconds that a child waits for its parent to exit."""
_KEY = "ended"


class Alarm:
    """A flag that any process can set, and a thread in each process that polls it.

    A process that waits in a collective operation cannot be interrupted, so the thread exits it with the exit
    code of the process that failed.

    Args:
        rank: of this process; rank 0 hosts the flag.
        address: host and port of rank 0; rank 0 itself passes port 0 and gets a free one.
        is_child: whether rank 0 started this process. Such a process must not exit before rank 0, which
            Lightning would then kill.

    Attributes:
        port: on which rank 0 listens.
        farewells: callbacks before the thread exits the process.
    """

    def __init__(self, rank: int, address: tuple[str, int], *, is_child: bool) -> None:
        self.farewells: list[Callable[[], None]] = []
        self._rank, self._parent = rank, os.getppid() if is_child else None
        self._store = TCPStore(*address, is_master=rank == 0, wait_for_workers=False)
        self.port = int(self._store.port)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="alarm", daemon=True)
        self._thread.start()

    def ring(self, code: int) -> bool:
        """Set the flag: this process ends with this exit code.

        Returns:
            Whether this process is the first to fail; otherwise its error is a consequence of the first.
        """
        self.stop()
        value = f"{self._rank} {code}"
        atexit.register(self._wait)
        try:
            return bool(self._store.compare_set(_KEY, "", value) == value.encode())
        except RuntimeError:  # rank 0 has exited
            return False

    def stop(self) -> None:
        """Stop the polling thread."""
        self._stopped.set()
        self._thread.join()

    def _poll(self) -> None:
        while not self._stopped.wait(_INTERVAL):
            try:
                if not self._store.check([_KEY]):
                    continue
                code = int(self._store.get(_KEY).split()[1])
            except RuntimeError:  # rank 0 has exited without setting the flag
                code = 1
            for farewell in self.farewells:
                farewell()
            self._wait()
            os._exit(code)

    def _wait(self) -> None:
        if self._rank == 0:
            time.sleep(_LINGER)
        deadline = time.monotonic() + _PATIENCE
        while self._parent is not None and os.getppid() == self._parent and time.monotonic() < deadline:
            time.sleep(_INTERVAL / 5)
