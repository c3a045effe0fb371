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
"""Groups below which a pattern says little."""
_MOSTLY = 0.8
"""Share of the photographs that must have a fellow in their group."""
_PAUSE = 10.0
"""Times that the shortest pause between two bursts is as long as the longest within one."""
_TICK = 1.0
"""Seconds that times are exact to."""
_HEADER = 65536
"""Bytes of a file among which EXIF lies."""
_TAKEN = re.compile(rb"(\d{4}:\d\d:\d\d \d\d:\d\d:\d\d)\x00")
_BETWEEN_WORDS = re.compile(r"[\s_.\-]+")
_LAST_WORD = re.compile(r"[\s_.\-]*(\(?\d+\)?|[A-Za-z])$")


def undeclared_groups(records: Sequence[Record], taken: Sequence[float | None]) -> str:
    """What speaks for groups among photographs of which none has one; "" where nothing does.

    Names speak for groups where they are the same but for a number or a letter at the end (`part7_1`,
    `part7_2`, `part8_1`) or for one word (`0142_left`, `0143_left`, `0144_top`), times where photographs were
    taken in bursts. Names that only count, such as `000.png` to `099.png`, say nothing; nor do fewer than
    three groups.

    Args:
        records: of one kind, such as the good ones.
        taken: when each was taken, as `time_taken`.

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
    """The same for a person who may declare them: why it matters, and how; "" where nothing does."""
    if not (sign := undeclared_groups(records, taken)):
        return ""
    return (
        f"{len(records)} good photographs: {sign}, but no group is declared; if so, fewer parts are known "
        "than it seems: name the groups in a manifest's column group (--columns group=COLUMN)"
    )


def _groups(keys: Sequence[Hashable]) -> int:
    """How many groups; 0 where they are no groups."""
    sizes = Counter(keys)
    with_fellow = sum(size for size in sizes.values() if size > 1)
    are_many = _LEAST <= len(sizes) <= len(keys) / 2
    return len(sizes) if are_many and with_fellow >= _MOSTLY * len(keys) else 0


def _by_name(records: Sequence[Record]) -> list[list[Hashable]]:
    """Names without the number or letter at their end, or without one of their words: each way to do so."""
    stems = [PurePosixPath(record.key or record.image_path.as_posix()).with_suffix("") for record in records]
    ways: list[list[Hashable]] = [[(stem.parent, _LAST_WORD.sub("", stem.name)) for stem in stems]]
    words = [(stem.parent, _BETWEEN_WORDS.split(stem.name)) for stem in stems]
    counts = {len(parts) for _, parts in words}
    if len(counts) == 1:
        ways += [
            [(parent, *parts[:place], *parts[place + 1 :]) for parent, parts in words]
            for place in range(counts.pop())
        ]
    return ways


def _by_time(records: Sequence[Record], taken: Sequence[float | None]) -> list[Hashable]:
    """Number of the burst that each was taken in: by the camera's clock, or else the file's."""
    times = [_written(record) for record in records] if None in taken else taken
    known = [time for time in times if time is not None]
    if len(known) < len(records) or len(known) < 2:
        return []
    moments = sorted(known)
    gaps = sorted(max(late - early, _TICK) for early, late in pairwise(moments))
    # Between bursts the pauses are long, within them short: the widest step between both.
    steps = [late / early for early, late in pairwise(gaps)]
    if not steps or max(steps) < _PAUSE:
        return []
    pause = gaps[steps.index(max(steps)) + 1]
    starts = [late for early, late in pairwise(moments) if late - early >= pause]
    return [sum(time >= start for start in starts) for time in known]


def time_taken(content: bytes) -> float | None:
    """When a photograph was taken in seconds, as the EXIF data in its file say; None where they do not."""
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
