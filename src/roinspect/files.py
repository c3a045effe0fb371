"""Read and write whole files, lock them, and compute digests.

Only regular files are read, and only as many bytes as they had when opened: a pipe named like a photograph
would block forever, and a device would never end.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from roinspect.errors import UserError

MOST_BYTES = 4 << 30
"""Largest file that is read, about the size of the largest decoded image."""

_KEPT_OF_NAME = 40
_NOT_REGULAR = "is not a regular file"


def read_file(path: Path | str) -> bytes:
    """The bytes of a regular file; links are followed.

    Raises:
        UserError: see `read_regular`.
    """
    try:
        return read_regular(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        if reason == _NOT_REGULAR:
            raise UserError(reason, where=path, remedy="remove it, or put a file in its place") from None
        raise UserError(
            f"cannot be read ({reason})", where=path, remedy="check the path and its permissions"
        ) from None


def read_regular(path: Path | str) -> bytes:
    """The bytes of a regular file; links are followed.

    Raises:
        OSError, ValueError: see `open_regular`.
    """
    with open_regular(path) as file:
        return file.read(os.fstat(file.fileno()).st_size)


def open_regular(path: Path | str) -> IO[bytes]:
    """Open a regular file for reading; links are followed.

    Raises:
        OSError: it cannot be read, is a folder, a pipe, a socket or a device, or is larger than `MOST_BYTES`.
        ValueError: the path holds a zero byte.
    """
    # Checked before opening, because opening a device can have side effects.
    _refuse_special(Path(path).stat(), path)
    flags = (
        os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    )
    file = os.fdopen(os.open(path, flags), "rb")
    try:
        _refuse_special(os.fstat(file.fileno()), path)
    except OSError:
        file.close()
        raise
    return file


def _refuse_special(status: os.stat_result, path: Path | str) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, _NOT_REGULAR, str(path))
    if status.st_size > MOST_BYTES:
        raise OSError(errno.EFBIG, f"is larger than {MOST_BYTES >> 30} GiB", str(path))


# -- writing -----------------------------------------------------------------------------------------------


@contextmanager
def writing(
    path: Path,
    *,
    fault: str = "cannot be written",
    remedy: str = "free space, or choose a folder that can be written to",
) -> Iterator[None]:
    """Turn an OSError into a UserError about `path`."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{fault} ({error.strerror or error})", where=path, remedy=remedy) from error


def write_whole(path: Path, content: str | bytes, *, durable: bool = False) -> None:
    """Write a file, text as UTF-8, completely or not at all. Missing folders are created.

    Args:
        path: the file.
        content: its new content.
        durable: see `whole_file`.

    Raises:
        UserError: the file cannot be written.
    """
    with writing(path), whole_file(path, durable=durable) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def whole_file(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """A temporary path next to `path` to write to; it replaces `path` unless the block fails.

    Missing folders are created.

    Args:
        path: the file.
        durable: content and name survive a power failure once this returns.

    Raises:
        OSError: the file cannot be written; an existing one is unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _beside(path)
    try:
        yield partial
        if durable:
            with partial.open("rb+") as written:
                os.fsync(written.fileno())
        os.replace(partial, path)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    if durable and os.name == "posix":
        # Renaming changes the folder, which must reach the disk too; Windows has no such call and needs none.
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def whole_folder(path: Path, room: Path | None = None) -> Iterator[Path]:
    """A new folder to fill; it replaces `path` unless the block fails.

    Args:
        path: the folder.
        room: folder for the temporary ones, on the same disk; by default they are next to `path`.

    Raises:
        OSError: the folder cannot be written; an existing one is unchanged.
    """
    partial = _beside(path, room)
    try:
        partial.mkdir(parents=True)
        yield partial
        replace_folder(partial, path, room)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def replace_folder(new: Path, target: Path, room: Path | None = None) -> None:
    """Replace the folder `target` by `new`.

    Args:
        new: the folder to rename.
        target: the folder to replace, if it exists.
        room: see `whole_folder`.

    Raises:
        OSError: the disk refuses; both folders are unchanged.
    """
    former = _beside(target, room)
    try:
        # A folder cannot replace a non-empty one: rename the former first, and back if this fails.
        if target.exists():
            os.replace(target, former)
        os.replace(new, target)
    finally:
        if former.exists() and not target.exists():
            os.replace(former, target)
    shutil.rmtree(former, ignore_errors=True)


def remove_unfinished(folder: Path, name: str = "") -> None:
    """Remove temporary files and folders left by a killed process; no other process may be writing them.

    Args:
        folder: the folder to clean up.
        name: only temporary versions of this file or folder; all of them by default.
    """
    pattern = glob.escape(name[:_KEPT_OF_NAME]) if name else "*"
    for partial in folder.glob(f".{pattern}.????????.tmp"):
        if partial.is_dir() and not partial.is_symlink():
            shutil.rmtree(partial, ignore_errors=True)
        else:
            partial.unlink(missing_ok=True)


def _beside(path: Path, room: Path | None = None) -> Path:
    # Random, so that two writers never share it; shortened, as `path` may already have the longest possible
    # name.
    return (room or path.parent) / f".{path.name[:_KEPT_OF_NAME]}.{secrets.token_hex(4)}.tmp"


# -- locks -------------------------------------------------------------------------------------------------


def lock(opened: IO[bytes]) -> bool:
    """Lock a file until this process closes it or ends.

    Returns:
        False if another process holds the lock. True without a lock where locks are not supported, as on some
        network shares.
    """
    from filelock import lock_descriptor

    try:
        return lock_descriptor(opened.fileno(), blocking=False)
    except OSError:
        return True


def is_locked(path: Path) -> bool:
    """Whether some process holds the lock of a file."""
    try:
        with path.open("rb+") as opened:
            return not lock(opened)
    except OSError:
        return False


# -- digests -----------------------------------------------------------------------------------------------


def sha256(content: str | bytes | Iterable[bytes]) -> str:
    """SHA-256 of a text in UTF-8, of bytes, or of concatenated bytes: 64 hexadecimal digits.

    Example:
        >>> sha256("ab") == sha256([b"a", b"b"])
        True
    """
    if isinstance(content, str):
        content = content.encode("utf-8", "surrogatepass")
    digest = hashlib.sha256()
    for part in [content] if isinstance(content, bytes) else content:
        digest.update(part)
    return digest.hexdigest()


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, like `sha256`.

    Raises:
        OSError: see `read_regular`.
    """
    return sha256(read_regular(path))
