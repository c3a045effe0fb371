"""What the line decided: the results of `watch` or `predict`, one row for each photograph."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

from roinspect.errors import UserError
from roinspect.files import open_regular
from roinspect.inspection.scene import Outcome
from roinspect.production.delivery import delivery_id
from roinspect.production.journal import read_rows
from roinspect.review.times import parse_time

SUFFIXES = (".jsonl", ".csv")


@dataclass(frozen=True, slots=True)
class Row:
    """The result for one photograph.

    Attributes:
        line: number in the file, from 1.
        part: the photograph's path, as the row has it.
        verdict: None if it could not be inspected.
        score: higher = more anomalous; NaN without verdict.
        threshold: from which it was rejected; NaN without verdict.
        version: `bundle_version` of the model; "" where the row does not say.
        scores_version: of the model; "" where the row does not say.
        time: of the inspection; None where the row does not say.
        state: bytes and modification time of the file; None where the row does not say.
    """

    line: int
    part: str
    verdict: Outcome | None
    score: float
    threshold: float
    version: str = ""
    scores_version: str = ""
    time: datetime | None = None
    state: tuple[int, int] | None = None

    @property
    def photograph(self) -> tuple[str, tuple[int, int] | None]:
        """What identifies the photograph: an overwritten file is another one."""
        return self.part, self.state

    @property
    def id(self) -> str:
        """The id with which receivers got the row; "" if it cannot be known any more."""
        return delivery_id(self.part, self.state, self.version) if self.state and self.version else ""


def read_results(path: Path) -> list[Row]:
    """Every row of a results file, in the order of its lines.

    Args:
        path: `.jsonl` of `watch` or `predict`, also while it is written, or `.csv` of `predict`.

    Raises:
        UserError: the file cannot be read, is another kind of file, or a row has no photograph, no score or
            an unknown verdict; or there is no row.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(
            "is no results file that can be reviewed",
            where=path,
            remedy=f"name what `watch` or `predict --out` wrote, {' or '.join(SUFFIXES)}",
        )
    rows = [_row(row, line, path) for line, row in (_csv_rows(path) if suffix == ".csv" else read_rows(path))]
    if not rows:
        raise UserError("holds no results", where=path, remedy="inspect photographs first")
    return rows


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with open_regular(path) as file:
            lines = (line.decode("utf-8-sig") for line in file)
            reader = csv.DictReader(lines, strict=True)
            for cells in reader:
                yield reader.line_num, {name: text for name, text in cells.items() if name and text}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"cannot be read ({getattr(error, 'strerror', None) or error})",
            where=path,
            remedy="name what `predict --out` wrote",
        ) from None


def _row(row: Mapping[str, Any], line: int, path: Path) -> Row:
    where = f"{path}, line {line}"
    part = row.get("image_path")
    if not isinstance(part, str) or not part:
        raise UserError("has no image_path", where=where, remedy="name what `watch` or `predict` wrote")
    size, changed = row.get("bytes"), row.get("mtime_ns")
    state = (size, changed) if isinstance(size, int) and isinstance(changed, int) else None
    version, of_scores = str(row.get("model_version") or ""), str(row.get("scores_version") or "")
    moment = _time(row, where)
    if "error" in row:
        return Row(line, part, None, math.nan, math.nan, version, of_scores, moment, state)
    if row.get("verdict") not in get_args(Outcome):
        raise UserError(
            f"verdict {row.get('verdict')!r} is none of {', '.join(get_args(Outcome))}",
            where=where,
            remedy="name what `watch` or `predict` wrote",
        )
    score, threshold = (_number(row, name, where) for name in ("pred_score", "threshold"))
    return Row(line, part, row["verdict"], score, threshold, version, of_scores, moment, state)


def _number(row: Mapping[str, Any], name: str, where: str) -> float:
    try:
        number = float(row[name])
        if math.isfinite(number):
            return number
    except (KeyError, TypeError, ValueError):
        pass
    raise UserError(
        f"has no {name}",
        where=where,
        remedy="a review needs score and threshold of every part: name what `watch` or `predict` wrote",
    )


def _time(row: Mapping[str, Any], where: str) -> datetime | None:
    if row.get("time") is None:
        return None
    try:
        return parse_time(str(row["time"]))
    except ValueError:
        raise UserError(
            f"{row['time']!r} is no time", where=where, remedy="write it as 2026-11-28T06:00:00+00:00"
        ) from None
