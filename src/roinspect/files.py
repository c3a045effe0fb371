"""Files: read whole, written whole, and kept for one process at a time.

Only a regular file is read, and no more of it than it had when it was opened: a pipe named like a photograph
would be waited for without end, and a device read without end.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO

from roinspect.errors import UserError

MOST_BYTES = 4 << 30
"""Of one file; the pixels of the largest image that is decoded take as much at most, or nearly."""

_NOT_REGULAR = "is no regular file"


def read_file(path: Path | str) -> bytes:
    """The bytes of a regular file; links are followed.

    Raises:
        UserError: as `read_regular`.
    """
    try:
        return read_regular(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        if reason == _NOT_REGULAR:
            raise UserError(reason, where=path, remedy="remove it, or put a file in its place") from None
        raise UserError(
            f"cannot be read ({reason})", where=path, remedy="check the path and its rights"
        ) from None


def read_regular(path: Path | str) -> bytes:
    """The bytes of a regular file; links are followed.

    Raises:
        OSError: it cannot be read, is a folder, a pipe, a socket or a device, or is larger than `MOST_BYTES`.
        ValueError: the path holds a zero byte.
    """
    # Looked at before it is opened: to open a device may do something.
    _refuse_special(Path(path).stat(), path)
    flags = (
        os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    )
    with os.fdopen(os.open(path, flags), "rb") as file:
        told = os.fstat(file.fileno())
        _refuse_special(told, path)
        return file.read(told.st_size)


def _refuse_special(told: os.stat_result, path: Path | str) -> None:
    if not stat.S_ISREG(told.st_mode):
        raise OSError(errno.EINVAL, _NOT_REGULAR, str(path))
    if told.st_size > MOST_BYTES:
        raise OSError(errno.EFBIG, f"is larger than {MOST_BYTES >> 30} GiB", str(path))


def write_whole(path: Path, text: str) -> None:
    """Writes a text file in UTF-8, whole or not at all; folders that are missing are made.

    Raises:
        UserError: the file cannot be written.
    """
    # A random name, so that two runs never write into the same unfinished file.
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8", newline="")
        os.replace(partial, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise UserError(
            f"cannot be written ({error.strerror})",
            where=path,
            remedy="choose a folder that can be written to and has room",
        ) from error


def write_durably(file: Path, content: bytes) -> None:
    """Write a file, whole or not at all; content and name are on the disk when this returns.

    Raises:
        OSError: the disk refuses.
    """
    partial = file.with_name(f".{file.name}.part")
    try:
        with partial.open("wb") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(opened.fileno())
        os.replace(partial, file)
    except OSError:
        # What a full disk took of it must not fill the disk.
        with suppress(OSError):
            partial.unlink()
        raise
    if os.name == "posix":
        # The new name is a change of its folder; Windows has no such call and needs none.
        folder = os.open(file.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def lock(opened: IO[bytes]) -> bool:
    """Take a file for this process; the system lets go of it when the file is closed or the process dies.

    Returns:
        False where another process has it. A network share that knows no locks keeps nobody from working.
    """
    if sys.platform == "win32":
        import msvcrt

        opened.seek(0)
        try:
            msvcrt.locking(opened.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
    else:
        import fcntl

        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return True
    return True
