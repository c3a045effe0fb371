"""Small JSON files that are whole or not there: all that the studio knows lies on the disk."""

from __future__ import annotations

import csv
import io
import json
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from roinspect.errors import UserError


def read_json(path: Path) -> Any:
    """What a file holds; None where it is missing or damaged, as after a power cut on another disk."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def write_json(path: Path, value: Any) -> None:
    """Write a file at once or not at all; folders that are missing are made."""
    write_bytes(path, json.dumps(value, separators=(",", ":")).encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file at once or not at all; folders that are missing are made."""
    partial = path.with_name(f".{secrets.token_hex(6)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        os.replace(partial, path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise refused(path, error) from None


def refused(path: Path, error: OSError) -> UserError:
    """What to say where the disk refuses."""
    return UserError(
        f"cannot be written ({error.strerror or error})",
        where=path,
        remedy="free some space or make the folder writable, then try again",
    )


def write_csv(
    path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]], delimiter: str = ","
) -> None:
    """Write a table; fields without a column are left out."""
    text = io.StringIO()
    writer = csv.DictWriter(
        text, columns, extrasaction="ignore", delimiter=delimiter, lineterminator="\n", restval=""
    )
    writer.writeheader()
    writer.writerows(rows)
    write_bytes(path, text.getvalue().encode())


def move_file(old: Path, new: Path) -> None:
    """Move a file within the folder."""
    try:
        new.parent.mkdir(parents=True, exist_ok=True)
        os.replace(old, new)
    except OSError as error:
        raise refused(new, error) from None


def remove_file(path: Path) -> None:
    """Remove a file, if it exists."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise refused(path, error) from None
