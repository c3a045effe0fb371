"""A lock on a file that ends with its process, however that ends; it tells whether a process lives."""

from __future__ import annotations

import os
from pathlib import Path


def hold(path: Path) -> int:
    """Take the lock until the process ends.

    Returns:
        The open file, to be kept.

    Raises:
        OSError: another process holds it, or the file cannot be made.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _lock(file)
    except OSError:
        os.close(file)
        raise
    return file


def is_held(path: Path) -> bool:
    """Whether some process holds the lock."""
    try:
        file = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        _lock(file)
    except OSError:
        return True
    finally:
        os.close(file)
    return False


def _lock(file: int) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        return
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
