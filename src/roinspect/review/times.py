"""Times of rows and corrections, the period under review, and clocks that ran backwards."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from roinspect.errors import UserError

END_OF_DAY = time(23, 59, 59, 999_000)
"""The time of a date alone."""


def parse_time(text: str) -> datetime:
    """An ISO 8601 time, with a time zone; UTC if it names none.

    Raises:
        ValueError: it is none, or beyond the years 1 to 9999 in UTC.

    Example:
        >>> parse_time("2026-11-28T14:05+01:00").isoformat()
        '2026-11-28T13:05:00+00:00'
    """
    moment = datetime.fromisoformat(text)
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("beyond the years 1 to 9999 in UTC") from None


def parse_moment(text: str) -> datetime:
    """As `parse_time`, but a date alone means the end of that day: what was said of it was said after it.

    Raises:
        ValueError: see `parse_time`.

    Example:
        >>> parse_moment("2026-11-28").isoformat(timespec="milliseconds")
        '2026-11-28T23:59:59.999+00:00'
    """
    try:
        return datetime.combine(date.fromisoformat(text), END_OF_DAY, UTC)
    except ValueError:
        return parse_time(text)


def is_day(moment: datetime) -> bool:
    """Whether a moment, UTC, stands for a day without a time."""
    return moment.time() == END_OF_DAY


def is_future(moment: datetime) -> bool:
    """Whether a moment, UTC, or the day that it stands for, has not begun yet."""
    return (datetime.combine(moment.date(), time.min, UTC) if is_day(moment) else moment) > datetime.now(UTC)


def now() -> str:
    """The time, UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True, slots=True)
class Period:
    """From when to when rows are looked at, UTC.

    Attributes:
        since: the first moment; None for no limit.
        until: the first moment after it; None for no limit.
    """

    since: datetime | None = None
    until: datetime | None = None

    @property
    def is_limited(self) -> bool:
        """Whether there is a limit."""
        return self.since is not None or self.until is not None

    def holds(self, moment: datetime | None) -> bool:
        """Whether a moment lies in the period; an unknown one only if there is no limit."""
        if moment is None:
            return not self.is_limited
        return (self.since is None or moment >= self.since) and (self.until is None or moment < self.until)


def period_of(since: str | None, until: str | None) -> Period:
    """The period between two dates, both included, or times.

    Raises:
        UserError: one is neither date nor time, or they are in the wrong order.

    Example:
        >>> period_of(None, "2026-11-28").until.isoformat()
        '2026-11-29T00:00:00+00:00'
    """
    period = Period(
        None if since is None else _moment(since, "--since"),
        None if until is None else _moment(until, "--until", is_end=True),
    )
    if period.since is not None and period.until is not None and period.since >= period.until:
        raise UserError(f"{since} is not before --until {until}", where="--since", remedy="exchange them")
    return period


def _moment(text: str, option: str, *, is_end: bool = False) -> datetime:
    try:
        return datetime.combine(date.fromisoformat(text), time.min, UTC) + timedelta(days=int(is_end))
    except ValueError:
        pass
    except OverflowError:
        raise UserError(
            f"{text!r} is the last day there is", where=option, remedy=f"leave out {option}, or name another"
        ) from None
    try:
        return parse_time(text)
    except ValueError:
        raise UserError(
            f"{text!r} is no date", where=option, remedy="write 2026-11-28 or 2026-11-28T06:00+01:00"
        ) from None


def backward(moments: Iterable[tuple[int, datetime | None]]) -> list[int]:
    """The lines whose time is before that of the line before.

    Args:
        moments: line number and time, in the order of the lines.
    """
    found: list[int] = []
    last: datetime | None = None
    for line, moment in moments:
        if moment is None:
            continue
        if last is not None and moment < last:
            found.append(line)
        last = moment
    return found


def said_backward(lines: list[int], where: object) -> list[str]:
    """One sentence about `backward` lines; none if there are none."""
    if not lines:
        return []
    times = "once" if len(lines) == 1 else f"{len(lines):,} times"
    what = f"the clock ran backwards {times}, first at line {lines[0]}"
    return [f"{where}: {what}; what counts is the order of the lines"]
