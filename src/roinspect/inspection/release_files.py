"""The files of a released bundle: all that lie in its folder, identified by one digest."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from roinspect.errors import UserError
from roinspect.files import open_regular, read_file, sha256, writing

_OF_FOLDER_VIEWS = ("thumbs.db", "desktop.ini")
"""Files that Windows puts into folders that it shows."""


def digest_of(bundle: Path) -> str:
    """SHA-256 of the names and contents of all files of a bundle, including exports, but no hidden ones.

    Raises:
        UserError: a file cannot be read, or there is a link to a folder.
    """
    listed = (f"{sha256(read_file(bundle / name))}  {name.as_posix()}\n" for name in files_of(bundle))
    return sha256("".join(listed))


def files_of(bundle: Path) -> list[Path]:
    """The files in a folder at any depth, relative to it and sorted; hidden ones are left out.

    Raises:
        UserError: there is a link to a folder, or a folder cannot be listed.
    """
    files, pending = list[Path](), [bundle]
    while pending:
        folder = pending.pop()
        with writing(folder, fault="cannot be read", remedy="check its permissions"):
            entries = [*folder.iterdir()]
        for entry in entries:
            if entry.name[0] == "." or entry.name.lower() in _OF_FOLDER_VIEWS:
                continue
            if not entry.is_dir():
                files.append(entry.relative_to(bundle))
            elif entry.is_symlink():
                raise UserError(
                    "is a link to a folder", where=entry, remedy="replace it by a copy of the folder"
                )
            else:
                pending.append(entry)
    return sorted(files, key=Path.as_posix)


def copy_files(bundle: Path, target: Path, digest: str) -> None:
    """Copy a bundle's files, and check the copy on the disk.

    Args:
        bundle: to copy.
        target: the folder of the copy.
        digest: the `digest_of` that the copy must have.

    Raises:
        OSError: the disk refuses.
        UserError: the copy has another digest.
    """
    for name in files_of(bundle):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        with open_regular(bundle / name) as source, (target / name).open("xb") as copy:
            shutil.copyfileobj(source, copy)
            copy.flush()
            # Or the name could be on the disk before the content, when the power fails.
            os.fsync(copy.fileno())
    if digest_of(target) != digest:
        raise UserError(
            "was changed while it was copied", where=bundle, remedy="wait until it is complete, and try again"
        )
