"""Rows that survive a kill: one JSON object per line; an incomplete last line is dropped.

SQLite would not make this simpler: the rows of `watch` are its public output format, and a network share,
where tables may be written, does not support SQLite's locks.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from roinspect.errors import UserError
from roinspect.files import lock, open_regular, writing

ROWS_AT_RISK = 64
SECONDS_AT_RISK = 1.0
"""A power cut loses at most this many rows, or those of this time; a killed process loses none."""


class Journal:
    """A file of rows, appended to by one process at a time.

    Args:
        path: the file; it and its folder are created if missing.
        replay: called with the byte offset of every existing row, and the row.
        wait_s: seconds to wait for another process that is writing the file.

    Raises:
        UserError: another process is writing the file, it cannot be written, or contains anything but rows.
    """

    def __init__(
        self, path: Path, replay: Callable[[int, dict[str, Any]], object], *, wait_s: float = 0.0
    ) -> None:
        self.path = path
        self._until = time.monotonic() + wait_s
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
        """Append a row; returns its byte offset.

        Raises:
            UserError: the file cannot be written.
        """
        line, offset = json.dumps(row).encode() + b"\n", self._end
        with writing(self.path):
            self._file.seek(offset)
            self._file.write(line)
            self._file.flush()
        self._end += len(line)
        self._unsafe += 1
        if self._unsafe >= ROWS_AT_RISK or time.monotonic() - self._safe_at >= SECONDS_AT_RISK:
            self.sync()
        return offset

    def at(self, offset: int) -> dict[str, Any]:
        """The row at a byte offset."""
        # A seek, even to the current position, discards the read buffer.
        if self._file.tell() != offset:
            self._file.seek(offset)
        return dict(json.loads(self._file.readline()))

    def clear(self) -> None:
        """Delete all rows."""
        self._file.truncate(0)
        self._end = 0

    def sync(self) -> None:
        """Flush added rows to the disk.

        Raises:
            UserError: the file cannot be written.
        """
        if self._unsafe:
            with writing(self.path):
                os.fsync(self._file.fileno())
        self._unsafe, self._safe_at = 0, time.monotonic()

    def remove(self) -> None:
        """Close and remove the file."""
        try:
            # While it is locked; afterwards it may belong to another run.
            self.path.unlink(missing_ok=True)
        except PermissionError:  # Windows removes no open file
            self.close()
            self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Flush to the disk and release the file."""
        try:
            self.sync()
        finally:
            # Write errors were already reported by `add`.
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
            # The previous run removed it in between.
            file.close()

    def _lock(self, file: BinaryIO) -> None:
        # On Windows a lock would block readers as well.
        while os.name == "posix" and not lock(file):
            if time.monotonic() >= self._until:
                raise UserError(
                    "another run is writing it", where=self.path, remedy="wait for it, or name another file"
                )
            time.sleep(0.02)

    def _recover(self, replay: Callable[[int, dict[str, Any]], object]) -> int:
        """Replay all rows and drop an incomplete last one; returns the file's size."""
        offset = 0
        for line in self._file:
            row = _row(line)
            if row is None:
                _refuse_other(line, offset, self.path)
                self._file.truncate(offset)
                break
            replay(offset, row)
            offset += len(line)
            if not line.endswith(b"\n"):
                self._file.seek(offset)
                self._file.write(b"\n")
                offset += 1
        return offset


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number, from 1, and content of every row, also while a `Journal` appends to the file.

    An incomplete last line, which is still being written, is left out.

    Raises:
        UserError: the file cannot be read, or contains anything but rows.
    """
    try:
        with open_regular(path) as file:
            offset = 0
            for number, line in enumerate(file, 1):
                row = _row(line)
                if row is None:
                    _refuse_other(line, offset, path)
                    return
                yield number, row
                offset += len(line)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"cannot be read ({reason})", where=path, remedy="check the path and its permissions"
        ) from None


def _refuse_other(line: bytes, offset: int, path: Path) -> None:
    """Only the start of a row may be left out; anything else means that the file is not ours."""
    if line.endswith(b"\n") or line[:1] not in (b"{", b"\0"):
        raise UserError(
            f"contains something other than rows (from byte {offset})",
            where=path,
            remedy="move it away, or name another file",
        )


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None
