"""Find files below a folder."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path


def find_files(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """Every file of some suffixes below a folder, sorted; hidden files and folders are passed over.

    Args:
        folder: where to begin; links are followed.
        suffixes: in lower case, with their dot; case does not matter in the files' names.
    """
    found: list[Path] = []
    for place, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            Path(place, name)
            for name in files
            if Path(name).suffix.lower() in suffixes and not name.startswith(".")
        ]
    return sorted(found)
