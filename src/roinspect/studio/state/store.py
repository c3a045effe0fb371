"""Read and write the small files of the studio's state."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from roinspect.files import write_whole, writing


def read_json(path: Path) -> Any:
    """The content of a JSON file; None if it is missing or damaged."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically; missing folders are created."""
    write_whole(path, json.dumps(value, separators=(",", ":")))


def write_csv(
    path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]], delimiter: str = ","
) -> None:
    """Write a CSV table atomically; fields without a column are left out."""
    text = io.StringIO()
    writer = csv.DictWriter(
        text, columns, extrasaction="ignore", delimiter=delimiter, lineterminator="\n", restval=""
    )
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, text.getvalue())


def move_file(old: Path, new: Path) -> None:
    """Move a file within the folder."""
    with writing(new):
        new.parent.mkdir(parents=True, exist_ok=True)
        os.replace(old, new)


def remove_file(path: Path) -> None:
    """Remove a file, if it exists."""
    with writing(path):
        path.unlink(missing_ok=True)
