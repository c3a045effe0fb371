"""Rows that survive a kill: one JSON object per line, appended; an incomplete last line is ignored."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from roinspect.errors import UserError
from roinspect.files import lock, writing

ROWS_AT_RISK = 64
SECONDS_AT_RISK = 1.0
"""What a power cut may cost: so many rows, or as many as came in that time. A killed process loses none."""


class Journal:
    """A file of rows that one process at a time appends to.

    Args:
        path: the file; it and its folder are made where they are missing.
        replay: is given the place of every row that is there, in bytes, and the row.

    Raises:
        UserError: another process writes the file, it cannot be written, or holds something else.
    """

    def __init__(self, path: Path, replay: Callable[[int, dict[str, Any]], object]) -> None:
        self.path = path
        self._file = self._open()
        try:
            self._end = self._recover(replay)
        except BaseException:
            self._file.close()
            raise
        self._unsafe = 0
        self._safe_at = time.monotonic()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def add(self, row: Mapping[str, Any]) -> int:
        """Append a row; returns its place.

        Raises:
            UserError: the disk refuses.
        """
        line, place = json.dumps(row).encode() + b"\n", self._end
        with writing(self.path):
            self._file.seek(place)
            self._file.write(line)
            self._file.flush()
        self._end += len(line)
        self._unsafe += 1
        if self._unsafe >= ROWS_AT_RISK or time.monotonic() - self._safe_at >= SECONDS_AT_RISK:
            self.sync()
        return place

    def at(self, place: int) -> dict[str, Any]:
        """The row at a place."""
        # Looking elsewhere throws away what was read ahead.
        if self._file.tell() != place:
            self._file.seek(place)
        return dict(json.loads(self._file.readline()))

    def clear(self) -> None:
        """Drop all rows."""
        self._file.truncate(0)
        self._end = 0

    def sync(self) -> None:
        """Bring to the disk what was added.

        Raises:
            UserError: the disk refuses.
        """
        if self._unsafe:
            with writing(self.path):
                os.fsync(self._file.fileno())
        self._unsafe, self._safe_at = 0, time.monotonic()

    def remove(self) -> None:
        """Close, and take the file away."""
        try:
            # While it is locked: afterwards it may be another run's.
            self.path.unlink(missing_ok=True)
        except PermissionError:  # Windows removes no open file
            self.close()
            self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Bring all to the disk and let others write."""
        try:
            self.sync()
        finally:
            # What could not be written was told when it was added.
            with suppress(OSError):
                self._file.close()

    def _open(self) -> BinaryIO:
        """The file, locked."""
        while True:
            with writing(self.path):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                file = os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
            try:
                self._lock(file)
                with suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(file.fileno()), self.path.stat()):
                        return file
            except BaseException:
                file.close()
                raise
            # The run before took it away in between.
            file.close()

    def _lock(self, file: BinaryIO) -> None:
        # On Windows a lock would keep readers out as well.
        if os.name == "posix" and not lock(file):
            raise UserError(
                "another run is writing it", where=self.path, remedy="wait for it, or choose another --out"
            )

    def _recover(self, replay: Callable[[int, dict[str, Any]], object]) -> int:
        """Read all rows and drop what a kill or a power cut left of the last one; returns the file's end."""
        place = 0
        for line in self._file:
            row = _row(line)
            if row is None:
                # Only an end that looks like ours may go: the file may be somebody's own.
                if line.endswith(b"\n") or line[:1] not in (b"{", b"\0"):
                    raise UserError(
                        f"holds something else than rows (from byte {place} on)",
                        where=self.path,
                        remedy="move it away, or choose another --out",
                    )
                self._file.truncate(place)
                break
            replay(place, row)
            place += len(line)
            if not line.endswith(b"\n"):
                self._file.seek(place)
                self._file.write(b"\n")
                place += 1
        return place


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None
