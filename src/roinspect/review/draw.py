"""Parts drawn by chance for people to look at."""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Sequence
from pathlib import Path

from roinspect.errors import UserError
from roinspect.files import write_whole
from roinspect.review.rows import Row
from roinspect.review.truths import COLUMNS, Parts


def draw(rows: Sequence[Row], count: int, seed: int) -> list[Row]:
    """So many of the rows, all equally likely, in the order of their lines; all if there are no more.

    Example:
        >>> rows = [Row(line, f"{line}.png", "good", 0.1, 0.5) for line in range(1, 9)]
        >>> [row.line for row in draw(rows, 3, seed=0)] == [row.line for row in draw(rows, 3, seed=0)]
        True
    """
    chosen = random.Random(seed).sample(rows, min(count, len(rows)))
    return sorted(chosen, key=lambda row: row.line)


def name_of(row: Row, parts: Parts) -> str:
    """How a correction names the row: by its photograph, or by its id if that was overwritten since."""
    return row.part if parts.is_last(row) else row.id or row.part


def write_drawn(path: Path, names: Sequence[str], seed: int) -> None:
    """Write a CSV to fill in, which `read_truths` reads.

    Raises:
        UserError: the file exists or cannot be written, or a name is not UTF-8.
    """
    if path.exists():
        raise UserError("exists already", where=path, remedy="name another file, or move it away")
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise UserError(
                f"cannot be written: the file name {name!a} is not UTF-8",
                where=path,
                remedy="rename the photograph, and inspect it again",
            ) from None
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([name, *[""] * (len(COLUMNS) - 2), f"seed {seed}"] for name in names)
    write_whole(path, text.getvalue())
