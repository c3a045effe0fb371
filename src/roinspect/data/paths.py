"""Check a path given by the user, and find files below a folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

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
    """Every file of some suffixes below a folder as it is now, as `Listing.files`."""
    return Listing().files(folder, suffixes)


class _Entry(NamedTuple):
    name: str
    is_folder: bool
    is_link: bool


class Listing:
    """What lies in folders; each folder is listed once, when it is first asked for."""

    def __init__(self) -> None:
        self._entries: dict[str, list[_Entry]] = {}

    def folders(self, folder: Path) -> list[Path]:
        """The folders in a folder, sorted; hidden ones are passed over."""
        listed = self._list(folder)
        return [folder / name for name in sorted(e.name for e in listed if e.is_folder and e.name[0] != ".")]

    def own_files(self, folder: Path) -> list[Path]:
        """The files in a folder itself, sorted; hidden ones are passed over."""
        listed = self._list(folder)
        return [
            folder / name for name in sorted(e.name for e in listed if not e.is_folder and e.name[0] != ".")
        ]

    def files(self, folder: Path, suffixes: Collection[str]) -> list[Path]:
        """Every file of some suffixes below a folder, sorted; hidden files and folders are passed over.

        Args:
            folder: where to begin, as `walk`.
            suffixes: in lower case, with their dot; case does not matter in the files' names.
        """
        return sorted(path for path in self.walk(folder) if path.suffix.lower() in suffixes)

    def walk(self, folder: Path, *, hidden: bool = False) -> Iterator[Path]:
        """Every file below a folder, in no order; folders that cannot be listed are passed over.

        Args:
            folder: where to begin; links are followed, but not to a folder that they lie in.
            hidden: whether hidden files count, and those in hidden folders.
        """
        # Of every folder to come: where it really is, and where those really are that it lies in.
        real = folder.resolve()
        ahead = [(folder, real, frozenset({real}))]
        while ahead:
            parent, real, around = ahead.pop()
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
                if inner_real not in around:
                    ahead.append((path, inner_real, around | {inner_real}))

    def _list(self, folder: Path) -> list[_Entry]:
        # Not resolved, which would ask the disk: a link to a folder is listed under its own name.
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
