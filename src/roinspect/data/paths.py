"""Check paths given by the user, and find files below a folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

Kind: TypeAlias = Literal["file", "folder", "other", "none"]


def kind(path: Path | str) -> Kind:
    """What exists at a path; links are followed.

    An impossible path counts as missing, although `Path.exists` raises OSError for a name that is too long
    and `Path.stat` raises ValueError for a zero byte.

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
    """`Listing.files` of a fresh listing."""
    return Listing().files(folder, suffixes)


class _Entry(NamedTuple):
    name: str
    is_folder: bool
    is_link: bool


class Listing:
    """Contents of folders; each folder is listed once, when first needed."""

    def __init__(self) -> None:
        self._entries: dict[str, list[_Entry]] = {}

    def folders(self, folder: Path) -> list[Path]:
        """The folders directly in a folder, sorted; hidden ones are skipped."""
        entries = self._list(folder)
        return [folder / name for name in sorted(e.name for e in entries if e.is_folder and e.name[0] != ".")]

    def own_files(self, folder: Path) -> list[Path]:
        """The files directly in a folder, sorted; hidden ones are skipped."""
        entries = self._list(folder)
        return [
            folder / name for name in sorted(e.name for e in entries if not e.is_folder and e.name[0] != ".")
        ]

    def files(self, folder: Path, suffixes: Collection[str]) -> list[Path]:
        """Every file with one of the suffixes below a folder, sorted; hidden files and folders are skipped.

        Args:
            folder: where to start; same as for `walk`.
            suffixes: in lower case, with the dot; file names match in any case.
        """
        return sorted(path for path in self.walk(folder) if path.suffix.lower() in suffixes)

    def walk(self, folder: Path, *, hidden: bool = False) -> Iterator[Path]:
        """Every file below a folder, in no particular order; folders that cannot be listed are skipped.

        Args:
            folder: where to start; links are followed, except to a folder that contains them.
            hidden: whether to include hidden files and hidden folders.
        """
        # For each pending folder: its path, its resolved path, and the resolved paths of it and its parents.
        real = folder.resolve()
        pending = [(folder, real, frozenset({real}))]
        while pending:
            parent, real, ancestors = pending.pop()
            try:
                entries = self._list(parent)
            except OSError:
                continue
            for entry in entries:
                if entry.name[0] == "." and not hidden:
                    continue
                path = parent / entry.name
                if not entry.is_folder:
                    yield path
                    continue
                inner_real = path.resolve() if entry.is_link else real / entry.name
                if inner_real not in ancestors:
                    pending.append((path, inner_real, ancestors | {inner_real}))

    def _list(self, folder: Path) -> list[_Entry]:
        # Not resolved, to save disk access: a link to a folder is listed under its own name.
        key = os.path.abspath(folder)  # noqa: PTH100
        if key not in self._entries:
            with os.scandir(folder) as entries:
                self._entries[key] = [_Entry(e.name, _is_folder(e), e.is_symlink()) for e in entries]
        return self._entries[key]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False
