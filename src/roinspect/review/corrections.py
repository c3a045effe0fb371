"""What people say about parts, kept with who and when: an append-only file of JSON lines.

    {"part": "in/0042.png", "truth": "good", "by": "Anna", "time": "2026-11-28T13:05:00.000+00:00", ...}

Nothing is ever changed or removed: the last line about a part counts, and "unknown" withdraws the ones
before. The order is that of the lines, whatever the clock said.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeAlias, cast, get_args

from roinspect.audit.recording import recorded
from roinspect.data.names import is_good
from roinspect.errors import UserError
from roinspect.files import sha256
from roinspect.production.journal import Journal, read_rows
from roinspect.review.times import now, parse_moment, parse_time

Truth: TypeAlias = Literal["good", "defective", "unknown"]
"""What a part really is; "unknown" withdraws what was said before."""

WAIT_S = 5.0
"""Seconds to wait for another process that is writing corrections."""


@dataclass(frozen=True, slots=True)
class Correction:
    """What a person says about one part.

    Attributes:
        part: the photograph, as its result names it.
        truth: what the part really is.
        by: who says so.
        time: when, ISO 8601.
        kind: of defect, "" if not given.
        remark: in the person's words.
        drawn: how the part was chosen by chance, such as the seed; "" if it was not.
        state: bytes and modification time of the photograph's file, if its result has them.
        source: where it was read from, "" if it was entered by hand.
    """

    part: str
    truth: Truth
    by: str
    time: str
    kind: str = ""
    remark: str = ""
    drawn: str = ""
    state: tuple[int, int] | None = None
    source: str = ""

    @property
    def photograph(self) -> tuple[str, tuple[int, int] | None]:
        """What identifies the photograph, as `Row.photograph`."""
        return self.part, self.state

    @property
    def says(self) -> tuple[str, ...]:
        """What it says, without who, when and where from."""
        return self.truth, self.kind, self.remark, self.drawn


def store_of(results: Path) -> Path:
    """The file of corrections beside a results file."""
    return results.with_name(f"{results.name}.corrections.jsonl")


def correction(
    part: str,
    truth: str,
    by: str,
    *,
    time: str = "",
    kind: str = "",
    remark: str = "",
    drawn: str = "",
    state: tuple[int, int] | None = None,
    source: str = "",
    where: object = "",
) -> Correction:
    """A checked correction.

    Args:
        part: see `Correction`, as all but the following.
        truth: in upper or lower case.
        by: not empty.
        time: with or without a time zone; a date alone means the end of that day; "" for now.
        kind: of a defective part only.
        remark: any text.
        drawn: any text.
        state: of the file.
        source: any text.
        where: of the input, for errors.

    Raises:
        UserError: the truth is unknown, a name is missing, the time is none, or the kind does not fit.
    """
    truth, by = truth.strip().lower(), " ".join(by.split())
    if truth not in get_args(Truth):
        raise UserError(
            f"unknown truth {truth!r}",
            where=where or part,
            remedy="write good or defective, or unknown to withdraw what was said before",
        )
    if not by:
        raise UserError(
            "who says so is missing", where=where or part, remedy="fill in the column by, or pass --by NAME"
        )
    if kind and (truth != "defective" or is_good(kind)):
        raise UserError(
            f"{kind!r} is no kind of defect of a part that is {truth}",
            where=where or part,
            remedy="name the kind of defective parts only",
        )
    try:
        moment = parse_moment(time).isoformat(timespec="milliseconds") if time else now()
    except ValueError:
        raise UserError(
            f"{time!r} is no time", where=where or part, remedy="write it as 2026-11-28T06:00+01:00"
        ) from None
    return Correction(part, cast(Truth, truth), by, moment, kind, remark, drawn, state, source)


class Corrections:
    """A file of corrections, open for adding; one process at a time, others wait a moment.

    Args:
        path: the file; it is created if missing.

    Attributes:
        entries: all of them, oldest line first.

    Raises:
        UserError: the file cannot be written or is not a file of corrections, or another process keeps it.
    """

    def __init__(self, path: Path) -> None:
        self.entries: list[Correction] = []
        self._journal = Journal(
            path,
            lambda offset, row: self.entries.append(_entry(row, f"{path}, byte {offset}")),
            wait_s=WAIT_S,
        )

    def __enter__(self) -> Corrections:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._journal.close()

    def add(self, entries: Iterable[Correction]) -> None:
        """Append; they are on the disk when this returns.

        Raises:
            UserError: the file cannot be written; what was added before is kept.
        """
        new = list(entries)
        rows = [{name: value for name, value in dataclasses.asdict(one).items() if value} for one in new]
        if not rows:
            return
        facts = {
            "corrections": len(rows),
            "by": sorted({one.by for one in new}),
            "sha256": sha256("".join(f"{json.dumps(row)}\n" for row in rows)),
        }
        with recorded("corrected", self._journal.path, facts):
            for entry, row in zip(new, rows, strict=True):
                self._journal.add(row)
                self.entries.append(entry)
            self._journal.sync()


def add_corrections(path: Path, *entries: Correction) -> None:
    """Append to a file of corrections; see `Corrections`."""
    with Corrections(path) as store:
        store.add(entries)


def read_corrections(path: Path) -> list[Correction]:
    """All corrections of a file, oldest line first; none if there is no such file.

    Raises:
        UserError: it cannot be read, or is not a file of corrections.
    """
    if not path.exists():
        return []
    return [_entry(row, f"{path}, line {line}") for line, row in read_rows(path)]


def latest(entries: Iterable[Correction]) -> dict[tuple[str, tuple[int, int] | None], Correction]:
    """What counts for each photograph, without those that were withdrawn.

    A photograph that was drawn by chance stays so, whatever is said of it later: the sample would otherwise
    lose just the parts on which somebody changed their mind.
    """
    last: dict[tuple[str, tuple[int, int] | None], Correction] = {}
    for entry in entries:
        before = last.get(entry.photograph)
        if before is not None and before.truth != "unknown" and not entry.drawn:
            entry = dataclasses.replace(entry, drawn=before.drawn)
        last[entry.photograph] = entry
    return {photograph: entry for photograph, entry in last.items() if entry.truth != "unknown"}


def disputed(entries: Iterable[Correction]) -> list[tuple[str, tuple[int, int] | None]]:
    """The photographs of which people say different things; what was withdrawn says nothing."""
    words: dict[tuple[str, tuple[int, int] | None], dict[str, Truth]] = {}
    for entry in entries:
        if entry.truth == "unknown":
            words.pop(entry.photograph, None)
        else:
            words.setdefault(entry.photograph, {})[entry.by] = entry.truth
    return [photograph for photograph, said in words.items() if len(set(said.values())) > 1]


def _entry(row: Mapping[str, Any], where: str) -> Correction:
    values: dict[str, Any] = {
        field.name: row.get(field.name) or "" for field in dataclasses.fields(Correction)
    }
    state = values.pop("state") or None
    try:
        parse_time(str(values["time"]))
        has_time = True
    except ValueError:
        has_time = False
    texts = has_time and all(isinstance(value, str) for value in values.values())
    if (
        not texts
        or values["truth"] not in get_args(Truth)
        or not (values["part"] and values["by"])
        or not (
            state is None
            or (isinstance(state, list) and len(state) == 2 and all(isinstance(one, int) for one in state))
        )
    ):
        raise UserError("is not a correction", where=where, remedy="move the file away, or mend the line")
    return Correction(**values, state=None if state is None else (state[0], state[1]))
