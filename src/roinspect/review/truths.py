"""Corrections from a CSV: part, truth and, as one likes, kind, by, time, remark and drawn.

    part,truth,kind,by
    in/0042.png,good,,Anna
    0043.png,defective,scratch,Anna

A part is named by the photograph's path as in the results, by its file name or the end of its path where that
is unique, or by the id with which receivers got the result.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from roinspect.data.csv_rows import csv_rows
from roinspect.errors import UserError, nearest
from roinspect.files import read_file, sha256
from roinspect.review.corrections import Correction, correction
from roinspect.review.rows import Row
from roinspect.review.times import is_future, parse_time

NEEDED = ("part", "truth")
COLUMNS = (*NEEDED, "kind", "by", "time", "remark", "drawn")
_ID = re.compile(r"[0-9a-f]{32}")
_MOST_COMPARED = 2000
"""Names among which the nearest is looked for."""


class Parts:
    """The rows of a results file, by the names of their photographs."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows: dict[str, list[Row]] = defaultdict(list)
        self._by_name: dict[str, list[str]] = defaultdict(list)
        self._ids: dict[str, Row] | None = None
        for row in rows:
            if row.part not in self._rows:
                self._by_name[_words(row.part)[-1]].append(row.part)
            self._rows[row.part].append(row)

    def find(self, name: str, time: datetime | None, where: str) -> tuple[Row, str]:
        """The row that a name means: of a file that was overwritten, the last before a time.

        Args:
            name: see above.
            time: None for the last of all.
            where: for errors.

        Returns:
            The row, and what is wrong with the clock, in words; "" if nothing is.

        Raises:
            UserError: there is no such part, or several.
        """
        if name not in self._rows and _ID.fullmatch(name):
            if self._ids is None:
                self._ids = {row.id: row for rows in self._rows.values() for row in rows if row.id}
            if name in self._ids:
                return self._ids[name], ""
        rows = self._rows[self._path(name, where)]
        before = [row for row in rows if time is None or row.time is None or row.time <= time]
        if before:
            return before[-1], ""
        return rows[
            -1
        ], f"{where}: its time is before that of the inspection (line {rows[-1].line}): a clock is wrong"

    def is_last(self, row: Row) -> bool:
        """Whether no later row is of the same file."""
        return self._rows[row.part][-1] is row

    def _path(self, name: str, where: str) -> str:
        if name in self._rows:
            return name
        words = _words(name)
        found = [path for path in self._by_name.get(words[-1], ()) if _words(path)[-len(words) :] == words]
        if len(found) == 1:
            return found[0]
        if found:
            raise UserError(
                f"{name} could be {' or '.join(found[:2])}", where=where, remedy="name its folder too"
            )
        known = list(self._by_name)[:_MOST_COMPARED]
        raise UserError(
            f"no part is called {name}{nearest(words[-1], known)}",
            where=where,
            remedy="name it by its photograph, as in the results",
        )


def _words(path: str) -> list[str]:
    """The folders and the file of a path, with forward or backward slashes."""
    return [word for word in path.replace("\\", "/").split("/") if word not in ("", ".")] or [path]


@dataclass(frozen=True, slots=True)
class Truths:
    """What a CSV says.

    Attributes:
        entries: one for each line with a truth.
        empty: lines without one.
        remarks: what is wrong with clocks, in words.
    """

    entries: list[Correction]
    empty: int
    remarks: list[str] = field(default_factory=list)


def read_truths(
    path: Path, parts: Parts, *, by: str = "", columns: Mapping[str, str] | None = None
) -> Truths:
    """Read a CSV; all of it is checked before anything is returned.

    Args:
        path: the CSV.
        parts: of the results.
        by: who says so, where the file does not say.
        columns: the file's own name for a column: {"part": "serial"}.

    Raises:
        UserError: it cannot be read; a line has an unknown part, truth or time, or no name; or two lines
            contradict each other.
    """
    if unknown := sorted(set(columns or {}) - set(COLUMNS)):
        raise UserError(
            f"unknown column {unknown[0]!r}", where="--columns", remedy=f"use {', '.join(COLUMNS)}"
        )
    digest = sha256(read_file(path))[:12]
    entries, empty, remarks, said = list[Correction](), 0, list[str](), _Said(path)
    for line, cells in csv_rows(path, NEEDED, names=columns):
        where = f"{path}, line {line}"
        if not cells["part"]:
            raise UserError("names no part", where=where, remedy="fill it in, or remove the line")
        if not cells["truth"]:
            empty += 1
            continue
        # Before the part is looked for: its time decides which photograph is meant.
        entry = correction(
            cells["part"],
            cells["truth"],
            cells.get("by") or by,
            time=cells.get("time", ""),
            kind=cells.get("kind", ""),
            remark=cells.get("remark", ""),
            drawn=cells.get("drawn", ""),
            where=where,
        )
        time = parse_time(entry.time) if cells.get("time") else None
        row, fault = parts.find(cells["part"], time, where)
        remarks += [fault] if fault else []
        if time is not None and is_future(time):
            remarks.append(f"{where}: its time is in the future: a clock is wrong")
        entries.append(_of(entry, row, f"{digest}:{line}"))
        said.check(entries[-1], line)
    return Truths(entries, empty, remarks)


def _of(entry: Correction, row: Row, source: str) -> Correction:
    return Correction(
        row.part, entry.truth, entry.by, entry.time, entry.kind, entry.remark, entry.drawn, row.state, source
    )


class _Said:
    """What the lines of a CSV have said so far of each photograph."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._truths: dict[tuple[str, tuple[int, int] | None], tuple[str, int]] = {}

    def check(self, entry: Correction, line: int) -> None:
        """Add a line, which must not contradict an earlier one, unless that was withdrawn between them."""
        truth, earlier = self._truths.get(entry.photograph, ("unknown", line))
        if "unknown" not in (truth, entry.truth) and truth != entry.truth:
            raise UserError(
                f"says that {entry.part} is {entry.truth}, and line {earlier} that it is {truth}",
                where=f"{self._path}, line {line}",
                remedy="keep one of the two lines",
            )
        self._truths[entry.photograph] = entry.truth, line


def not_known(entries: Sequence[Correction], known: Sequence[Correction]) -> list[Correction]:
    """Those that say something new.

    A line of the same CSV is known, and so is what repeats the last word on the part by the same person.
    Who repeats theirs after somebody else's says something new: it is the last word again.
    """
    sources = {(entry.source, entry.by) for entry in known if entry.source}
    last_words = {entry.photograph: (entry.by, entry.says) for entry in known}
    new = list[Correction]()
    for entry in entries:
        word = entry.by, entry.says
        if (entry.source, entry.by) not in sources and last_words.get(entry.photograph) != word:
            new.append(entry)
            last_words[entry.photograph] = word
    return new
