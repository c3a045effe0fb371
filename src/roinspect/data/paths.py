"""What lies at a path that somebody typed."""

from __future__ import annotations

import stat
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
