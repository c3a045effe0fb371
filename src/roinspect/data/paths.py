"""What lies at a path that somebody typed, and the files below a folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["file", "folder", "other", "none"]


def kind(path: Path | str) -> Kind:
    """What lies at a path; links are followed.

    A path that no file system can hold names nothing, as a missing file's does: `Path.exists` and its like
    raise OSError where a name is too long, and `Path.stat` ValueError where it holds a zero byte.

    Example:
        >>> kind("."), kind("x" * 300)
        ('folder', 'none')
    """
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):
        return "none"
    return "folder" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else "other"


def find_files(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """Every file of some suffixes below a folder, sorted; hidden files and folders are passed over.

    Args:
        folder: where to begin; links are followed, but not to a folder that they lie in.
        suffixes: in lower case, with their dot; case does not matter in the files' names.
    """
    return sorted(path for path in walk(folder) if path.suffix.lower() in suffixes)


def walk(folder: Path, *, hidden: bool = False) -> Iterator[Path]:
    """Every file below a folder, in no order.

    Args:
        folder: as `find_files`.
        hidden: whether hidden files count, and those in hidden folders.
    """
    # For every folder to come: where it really is, and where those really are that it lies in.
    real = folder.resolve()
    ahead = {folder: (real, frozenset({real}))}
    for walked, folders, files in os.walk(folder, followlinks=True):
        place = Path(walked)
        real, around = ahead.pop(place)
        for inner in tuple(folders):
            path = place / inner
            inner_real = path.resolve() if path.is_symlink() else real / inner
            if (inner.startswith(".") and not hidden) or inner_real in around:
                folders.remove(inner)
            else:
                ahead[path] = inner_real, around | {inner_real}
        yield from (place / name for name in files if hidden or not name.startswith("."))
