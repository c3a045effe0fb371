"""Inspectors' looks, from a CSV, matched to the parts of the test sets.

    part,inspector,look,verdict
    test/good/012.png,Anna,1,accept
    test/crack/003.png,Anna,1,reject

A part is the `group` of its photographs, a photograph's key with or without suffix, or its file name without
suffix where that is unique.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from roinspect.data.csv_rows import csv_rows
from roinspect.errors import UserError

COLUMNS = ("part", "inspector", "look", "verdict")
VERDICTS = {"accept": False, "reject": True}
MACHINE = "machine"
_NAMED = 3
"""Missing looks that a message names."""


@dataclass(frozen=True, slots=True)
class HumanLooks:
    """Looks of all inspectors at the same parts.

    Attributes:
        parts: as the file names them, in its order.
        rejected: by inspector, for each part its looks in order: true = rejected. All have as many looks.
    """

    parts: tuple[str, ...]
    rejected: Mapping[str, tuple[tuple[bool, ...], ...]]


def read_looks(path: Path) -> HumanLooks:
    """Read the CSV; a comma, semicolon or tab separates, columns may be in any order.

    Raises:
        UserError: it cannot be read, a column or a value is missing or unknown, a look stands twice, or an
            inspector did not look at every part as often as all others.
    """
    looks: dict[tuple[str, str], dict[int, bool]] = defaultdict(dict)
    parts, inspectors, numbers = dict[str, None](), dict[str, None](), set[int]()
    for line, row in csv_rows(path, COLUMNS):
        where = f"{path}, line {line}"
        part, inspector, number, rejected = _look(row, where)
        if number in looks[part, inspector]:
            raise UserError(
                f"look {number} of {inspector} at {part} stands twice",
                where=where,
                remedy="remove one of them",
            )
        looks[part, inspector][number] = rejected
        parts.setdefault(part)
        inspectors.setdefault(inspector)
        numbers.add(number)
    if not parts:
        raise UserError("holds no look", where=path, remedy=f"fill in the columns {', '.join(COLUMNS)}")
    missing = [
        f"look {number} of {inspector} at {part}"
        for part in parts
        for inspector in inspectors
        for number in sorted(numbers)
        if number not in looks[part, inspector]
    ]
    if missing:
        others = f" and {len(missing) - _NAMED:,} more" if len(missing) > _NAMED else ""
        raise UserError(
            f"{len(missing):,} looks are missing: {', '.join(missing[:_NAMED])}{others}",
            where=path,
            remedy="add them, or remove the part, the inspector or the look from all lines",
        )
    rejected_by = {
        inspector: tuple(
            tuple(looks[part, inspector][number] for number in sorted(numbers)) for part in parts
        )
        for inspector in inspectors
    }
    return HumanLooks(tuple(parts), rejected_by)


def _look(row: Mapping[str, str], where: str) -> tuple[str, str, int, bool]:
    for name in COLUMNS:
        if not row[name]:
            raise UserError(
                f"no {name}", where=where, remedy="fill it in; a look that was left out is missing"
            )
    if row["inspector"].lower() == MACHINE:
        raise UserError(
            f"an inspector cannot be called {MACHINE!r}",
            where=where,
            remedy="the machine's looks are taken here",
        )
    if not row["look"].isascii() or not row["look"].isdigit():
        raise UserError(f"look {row['look']!r} is no number", where=where, remedy="number them 1, 2, 3")
    verdict = row["verdict"].lower()
    if verdict not in VERDICTS:
        raise UserError(
            f"unknown verdict {row['verdict']!r}", where=where, remedy=f"use {' or '.join(VERDICTS)}"
        )
    part = row["part"].replace("\\", "/").removeprefix("./")
    return part, row["inspector"], int(row["look"]), VERDICTS[verdict]


def photographs_of(parts: Sequence[str], names: Sequence[tuple[str, str]], path: Path) -> list[list[int]]:
    """Which photographs show each part.

    Args:
        parts: as the looks name them.
        names: for each photograph its group, "" for none, and its key.
        path: of the looks, for errors.

    Returns:
        For each part the indices of its photographs, at least one.

    Raises:
        UserError: no photograph, or photographs of several parts, are so called; or two parts are the same.
    """
    by_name: dict[str, set[int]] = defaultdict(set)
    stems: dict[str, set[int]] = defaultdict(set)
    for index, (group, key) in enumerate(names):
        whole = PurePosixPath(key)
        for name in {group or key, key, whole.with_suffix("").as_posix()}:
            by_name[name].add(index)
        stems[whole.stem].add(index)
    found = [sorted(by_name.get(part) or stems.get(part) or ()) for part in parts]
    shown: dict[int, str] = {}
    for part, photographs in zip(parts, found, strict=True):
        if not photographs:
            raise UserError(
                f"{part} is no part of the test sets",
                where=path,
                remedy="name it by its photograph, such as test/good/012.png, or by its group",
            )
        if part not in by_name and len(photographs) > 1:
            raise UserError(
                f"{part} could be {' or '.join(names[index][1] for index in photographs[:2])}",
                where=path,
                remedy="name its folder too",
            )
        for index in photographs:
            if (other := shown.setdefault(index, part)) != part:
                raise UserError(
                    f"{part} and {other} are the same part", where=path, remedy="name each part in one way"
                )
    return found
