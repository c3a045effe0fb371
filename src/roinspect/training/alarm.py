"""A shared abort flag, polled by a thread in every process: when one fails, the others end too."""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable

from torch.distributed import TCPStore  # type: ignore[attr-defined]  # torch's own export is not a typed one

_LOOKS = 0.25
"""Seconds between two looks."""
_LINGER = 3 * _LOOKS
"""Seconds that the first process, which keeps the word, stays for the others to hear it."""
_PATIENCE = 10.0
_WORD = "ended"


class Alarm:
    """A word that every process can give, and a thread in each that listens for it.

    A process that waits in a collective operation for another one can neither be told so nor be woken up, so
    the thread ends it from inside, with the exit code of the one that failed.

    Args:
        rank: of this process; the first one keeps the word.
        address: host and port where the first one listens; the first one itself gives port 0.
        is_child: the first process has started this one, and would be killed by what watches over it if this
            one left with an exit code of its own.

    Attributes:
        port: where the first process listens.
        farewells: called before this process is ended from inside.
    """

    def __init__(self, rank: int, address: tuple[str, int], *, is_child: bool) -> None:
        self.farewells: list[Callable[[], None]] = []
        self._rank, self._parent = rank, os.getppid() if is_child else None
        self._store = TCPStore(*address, is_master=rank == 0, wait_for_workers=False)
        self.port = int(self._store.port)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="alarm", daemon=True)
        self._thread.start()

    def ring(self, code: int) -> bool:
        """Say that this process ends with this exit code.

        Returns:
            Whether it is the first to fail; if not, its own fault comes from the other's.
        """
        self.stop()
        mine = f"{self._rank} {code}"
        atexit.register(self._stay)
        try:
            return bool(self._store.compare_set(_WORD, "", mine) == mine.encode())
        except RuntimeError:  # the first process has gone
            return False

    def stop(self) -> None:
        """Listen no longer."""
        self._over.set()
        self._thread.join()

    def _listen(self) -> None:
        while not self._over.wait(_LOOKS):
            try:
                if not self._store.check([_WORD]):
                    continue
                code = int(self._store.get(_WORD).split()[1])
            except RuntimeError:  # the first process has gone without a word
                code = 1
            for farewell in self.farewells:
                farewell()
            self._stay()
            os._exit(code)

    def _stay(self) -> None:
        if self._rank == 0:
            time.sleep(_LINGER)
        deadline = time.monotonic() + _PATIENCE
        while self._parent is not None and os.getppid() == self._parent and time.monotonic() < deadline:
            time.sleep(_LOOKS / 5)
