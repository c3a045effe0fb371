"""Entries for the audit log that the environment names; without one nothing is recorded.

An action takes place only after its entry is on the disk: what cannot be recorded is not done.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from roinspect.audit.log import append, check, last
from roinspect.errors import UserError

VARIABLE = "ROINSPECT_AUDIT"
"""The environment variable with the log's path."""


def log_path() -> Path | None:
    """The log in use, if any.

    Raises:
        UserError: its path is relative, so that it would be another file in another folder.
    """
    named = os.environ.get(VARIABLE, "").strip()
    if named and not Path(named).is_absolute():
        raise UserError(
            f"{named} is no full path", where=VARIABLE, remedy=f"set it to {Path(named).absolute()}"
        )
    return Path(named) if named else None


def require_log() -> None:
    """Raise a UserError if a log is named that cannot be continued: before hours of work, not after."""
    path = log_path()
    if path is not None:
        check(path)


def head() -> str:
    """The last entry's number and hash, for `roinspect audit verify --known`; "" without a log.

    Raises:
        UserError: the log is missing or cannot be read.
    """
    path = log_path()
    entry = None if path is None else last(path)
    return "" if entry is None else f"{entry.number}:{entry.hash}"


def record(action: str, subject: Path | str, facts: Mapping[str, Any]) -> int:
    """Append an entry.

    Args:
        action: such as "loaded".
        subject: what it was done to; a path is made absolute.
        facts: values for JSON.

    Returns:
        The entry's number, 0 if there is no log.

    Raises:
        UserError: the log cannot be written.
    """
    path = log_path()
    if path is None:
        return 0
    where = str(subject.absolute() if isinstance(subject, Path) else subject)
    return append(path, account(), platform.node(), action, where, facts).number


@contextmanager
def recorded(action: str, subject: Path | str, facts: Mapping[str, Any]) -> Iterator[None]:
    """Append an entry, then run the block; if that fails, append that it did.

    Args:
        action: see `record`.
        subject: see `record`.
        facts: see `record`.

    Raises:
        UserError: the log cannot be written; the block did not run.
    """
    number = record(action, subject, facts)
    try:
        yield
    except BaseException as error:
        if number:
            record(f"not {action}", subject, {"entry": number, "error": str(error) or type(error).__name__})
        raise


def account() -> str:
    """The account of the operating system that runs this process.

    Not from the environment, as `getpass` has it, where anyone may write any name.
    """
    if os.name == "posix":
        import pwd

        try:
            return pwd.getpwuid(os.getuid()).pw_name
        except KeyError:
            return str(os.getuid())
    try:
        return os.getlogin()
    except OSError:
        return "unknown"
