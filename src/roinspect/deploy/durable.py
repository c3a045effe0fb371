"""Files that a power cut cannot take back, and a folder that one process at a time may have."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO


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
