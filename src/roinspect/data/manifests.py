"""Write manifests: the CSV that lists a data set, with labels and masks."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from roinspect.data.names import is_good
from roinspect.data.records import COLUMNS, Record
from roinspect.files import write_whole


def write_manifest(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Write a manifest with the columns that are used, completely or not at all.

    Raises:
        UserError: it cannot be written.
    """
    columns = [name for name in COLUMNS if any(row.get(name) for row in rows)] or ["image_path"]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, text.getvalue())


def label_of(label: int | None, category: str) -> str:
    """A label as a manifest names it, so that it is read again as this one with the usual names.

    Args:
        label: 0 good, 1 defective, None unknown.
        category: folder name or label text.

    Example:
        >>> label_of(0, "Gut"), label_of(1, "scratch"), label_of(1, "ok"), label_of(None, "?")
        ('good', 'scratch', 'defect', '')
    """
    if label is None:
        return ""
    return "good" if label == 0 else "defect" if not category or is_good(category) else category


def row_of(record: Record, home: Path) -> dict[str, str]:
    """A record's row without its masks.

    Args:
        record: the record.
        home: folder of the manifest.
    """
    return {
        "image_path": named(record.image_path, home),
        "split": record.split,
        "label": label_of(record.label, record.category),
        "group": record.group,
    }


def named(path: Path, home: Path) -> str:
    """A file as a manifest names it: relative below the manifest's folder, else absolute."""
    whole, root = (Path(os.path.normpath(one.absolute())) for one in (path, home))
    return whole.relative_to(root).as_posix() if whole.is_relative_to(root) else str(whole)
