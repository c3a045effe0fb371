"""Errors the user can fix: one line, exit code 2, no traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """An error that the user can fix.

    Args:
        what: what is wrong, in plain words.
        where: the file, folder or setting that caused it.
        remedy: what the user can do about it.

    Example:
        >>> str(UserError("no images found", where="parts/", remedy="point at a folder with photographs"))
        'parts/: no images found; point at a folder with photographs'
    """

    def __init__(self, what: str, *, where: object = "", remedy: str = "") -> None:
        self.what = what
        self.where = str(where)
        self.remedy = remedy
        head = f"{self.where}: " if self.where else ""
        tail = f"; {remedy}" if remedy else ""
        super().__init__(f"{head}{what}{tail}".replace("\n", " "))


def nearest(name: str, known: Iterable[str]) -> str:
    """A suggestion of the known names closest to `name`, such as ", did you mean x?"; "" if none is close."""
    matches = difflib.get_close_matches(name, list(known), n=2, cutoff=0.6)
    return f", did you mean {' or '.join(matches)}?" if matches else ""
