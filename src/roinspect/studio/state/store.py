"""Small JSON files that are whole or not there: all that the studio knows lies on the disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from roinspect.errors import UserError
from roinspect.files import write_whole


def read_json(path: Path) -> Any:
    """What a file holds; None where it is missing or damaged, as after a power cut on another disk."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def write_json(path: Path, value: Any) -> None:
    """Write a file at once or not at all; folders that are missing are made.

    Raises:
        UserError: the disk refuses.
    """
    write_bytes(path, json.dumps(value, separators=(",", ":")).encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file at once or not at all; folders that are missing are made.

    Raises:
        UserError: the disk refuses.
    """
    write_whole(path, content)


def refused(path: Path, error: OSError) -> UserError:
    """What to say where the disk refuses."""
    return UserError(
        f"cannot be written ({error.strerror or error})",
        where=path,
        remedy="free some space or make the folder writable, then try again",
    )
