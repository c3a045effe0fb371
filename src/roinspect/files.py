"""Read a whole file that somebody named: a regular one, and no more of it than it had when it was opened.

A pipe named like a photograph would be waited for without end, and a device read without end.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

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
