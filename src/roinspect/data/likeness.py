"""Detect undeclared groups of near-duplicate images from file names and capture times."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import PurePosixPath

from roinspect.data.records import Record

_LEAST = 3
"""Fewer groups than this are ignored."""
_MOSTLY = 0.8
"""Share of the photographs that must share their group with another one."""
_PAUSE = 10.0
"""Minimum ratio of the shortest pause between two bursts to the longest within one."""
_TICK = 1.0
"""Resolution of the times, in seconds."""
_HEADER = 65536
"""EXIF data is searched for in this many bytes at the start of a file."""
_TAKEN = re.compile(rb"(\d{4}:\d\d:\d\d \d\d:\d\d:\d\d)\x00")
_BETWEEN_WORDS = re.compile(r"[\s_.\-]+")
_LAST_WORD = re.compile(r"[\s_.\-]*(\(?\d+\)?|[A-Za-z])$")


def undeclared_groups(records: Sequence[Record], taken: Sequence[float | None]) -> str:
    """Describe the evidence for groups among photographs without declared groups; "" if there is no evidence.

    Names suggest groups if they differ only in a number or letter at the end (`part7_1`, `part7_2`,
    `part8_1`) or in one word (`0142_left`, `0143_left`, `0144_top`); times do if photographs were taken in
    bursts. Names that are only numbered, such as `000.png` to `099.png`, suggest nothing, even if every
    category and split has its own folder of them. Fewer than three groups are ignored.

    Args:
        records: with the same effective label, such as all good ones.
        taken: result of `time_taken` for each.

    Example:
        >>> from pathlib import Path
        >>> def named(name: str) -> Record:
        ...     return Record(Path(name), "train", 0, "good", key=name)
        >>> undeclared_groups([named(f"good/{number:03}.png") for number in range(100)], [None] * 100)
        ''
        >>> undeclared_groups([named(f"good/part{n // 3}_{n % 3}.png") for n in range(30)], [None] * 30)
        'their names suggest 10 groups of near-duplicates'
    """
    if any(record.group for record in records):
        return ""
    counts = (("names", max(map(_groups, _by_name(records)))), ("times", _groups(_by_time(records, taken))))
    return next(
        (f"their {what} suggest {count} groups of near-duplicates" for what, count in counts if count), ""
    )


def warning_of(records: Sequence[Record], taken: Sequence[float | None]) -> str:
    """Warning for the user: which groups are suspected, why they matter and how to declare them; or ""."""
    if not (sign := undeclared_groups(records, taken)):
        return ""
    return (
        f"{len(records)} good photographs: {sign}, but no group is declared; if so, fewer parts are known "
        "than it seems: name the groups in a manifest's column group (--columns group=COLUMN)"
    )


def _groups(keys: Sequence[Hashable]) -> int:
    """Number of groups; 0 if the keys do not form groups."""
    sizes = Counter(keys)
    with_fellow = sum(size for size in sizes.values() if size > 1)
    are_many = _LEAST <= len(sizes) <= len(keys) / 2
    return len(sizes) if are_many and with_fellow >= _MOSTLY * len(keys) else 0


def _by_name(records: Sequence[Record]) -> list[list[Hashable]]:
    """Group keys for each rule: the name without its last number or letter, or without one of its words."""
    stems = [PurePosixPath(record.key or record.image_path.as_posix()).with_suffix("") for record in records]
    ways: list[list[Hashable]] = [[(stem.parent, _LAST_WORD.sub("", stem.name)) for stem in stems]]
    words = [(stem.parent, _BETWEEN_WORDS.split(stem.name)) for stem in stems]
    counts = {len(parts) for _, parts in words}
    if len(counts) == 1:
        ways += [
            [(parent, *parts[:index], *parts[index + 1 :]) for parent, parts in words]
            for index in range(counts.pop())
        ]
    return [_without_numbering(records, keys) for keys in ways]


def _without_numbering(records: Sequence[Record], keys: Sequence[Hashable]) -> list[Hashable]:
    """Make keys unique in a category and split that has a single key: its names are only numbered."""
    classes = [(record.split, record.category) for record in records]
    keys_of_class = Counter(kind for kind, _ in set(zip(classes, keys, strict=True)))
    return [
        key if keys_of_class[kind] > 1 else row
        for row, (kind, key) in enumerate(zip(classes, keys, strict=True))
    ]


def _by_time(records: Sequence[Record], taken: Sequence[float | None]) -> list[Hashable]:
    """Number of the burst of each photograph, by the camera's clock, or by file times if any lacks it."""
    times = [_written(record) for record in records] if None in taken else taken
    known_times = [time for time in times if time is not None]
    if len(known_times) < len(records) or len(known_times) < 2:
        return []
    moments = sorted(known_times)
    gaps = sorted(max(late - early, _TICK) for early, late in pairwise(moments))
    # Pauses are long between bursts and short within: the largest jump in length separates the two.
    steps = [late / early for early, late in pairwise(gaps)]
    if not steps or max(steps) < _PAUSE:
        return []
    pause = gaps[steps.index(max(steps)) + 1]
    starts = [late for early, late in pairwise(moments) if late - early >= pause]
    return [sum(time >= start for start in starts) for time in known_times]


def time_taken(content: bytes) -> float | None:
    """Time in seconds at which a photograph was taken, from its EXIF data; None if missing."""
    start = content.find(b"Exif\x00\x00", 0, _HEADER)
    with suppress(ValueError):
        if start >= 0 and (match := _TAKEN.search(content, start, _HEADER)):
            text = match[1].decode("ascii")
            return datetime.strptime(text, "%Y:%m:%d %H:%M:%S").replace(tzinfo=UTC).timestamp()
    return None


def _written(record: Record) -> float | None:
    with suppress(OSError):
        return record.image_path.stat().st_mtime
    return None
