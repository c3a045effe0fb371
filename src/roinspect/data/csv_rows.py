"""Rows of a CSV that a person fills in: any usual separator, columns in any order, faults by line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from roinspect.errors import UserError
from roinspect.files import read_file


def csv_rows(
    path: Path, needed: Sequence[str], *, names: Mapping[str, str] | None = None
) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and cells, by column in lower case, of every line that is not empty.

    Args:
        path: UTF-8 text, with or without a byte order mark; a comma, semicolon or tab separates.
        needed: columns that must be there; others are returned as well.
        names: the file's own name for a column: {"part": "serial"}.

    Raises:
        UserError: the file cannot be read, a column is missing or stands twice, a line has another number of
            fields than the header, or a quote is not closed.
    """
    try:
        text = read_file(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError("is not UTF-8 text", where=path, remedy="save it as UTF-8 CSV") from None
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    own = {theirs.strip().lower(): name for name, theirs in (names or {}).items()}
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        if missing := [theirs for theirs in own if theirs not in header]:
            raise UserError(
                f"has no column {missing[0]!r}",
                where=path,
                remedy=f"it has {', '.join(header) or 'no header'}",
            )
        columns = [own.get(name, "" if name in own.values() else name) for name in header]
        if missing := [name for name in needed if name not in columns]:
            raise UserError(
                f"has no column {missing[0]!r}", where=path, remedy=f"it needs {', '.join(needed)}"
            )
        if len(set(columns) - {""}) < len(columns) - columns.count(""):
            raise UserError("has two columns of one name", where=path, remedy="rename one of them")
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                raise UserError(
                    f"the line has {len(cells)} fields, the header {len(header)}",
                    where=f"{path}, line {reader.line_num}",
                    remedy="mend the line",
                )
            yield reader.line_num, dict(zip(columns, (cell.strip() for cell in cells), strict=True))
    except csv.Error as error:
        raise UserError(
            f"is not valid CSV ({error})", where=f"{path}, line {reader.line_num}", remedy="mend the line"
        ) from None
