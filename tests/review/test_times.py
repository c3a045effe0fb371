"""Dates, periods and clocks."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from roinspect.errors import UserError
from roinspect.review.times import Period, backward, parse_time, period_of


def at(day: int, hour: int = 0) -> datetime:
    return datetime(2026, 11, day, hour, tzinfo=UTC)


def test_a_period_holds_its_first_and_its_last_day() -> None:
    period = period_of("2026-11-03", "2026-11-05")
    assert [period.holds(at(day, hour)) for day, hour in ((2, 23), (3, 0), (5, 23), (6, 0))] == [
        False,
        True,
        True,
        False,
    ]
    assert not period.holds(None) and Period().holds(None) and Period().holds(at(1))


def test_a_time_of_another_zone_is_a_limit_too() -> None:
    period = period_of("2026-11-03T06:00+01:00", None)
    assert not period.holds(at(3, 4)) and period.holds(at(3, 5))
    assert parse_time("2026-11-03T06:00") == at(3, 6)


@pytest.mark.parametrize(
    ("since", "until", "words"),
    [
        ("monday", None, "--since: 'monday' is no date; write 2026-11-28"),
        (None, "2026-02-30", "--until: '2026-02-30' is no date"),
        ("2026-11-05", "2026-11-04", "--since: 2026-11-05 is not before --until 2026-11-04"),
        ("", None, "--since: '' is no date"),
        (None, "9999-12-31", "--until: '9999-12-31' is the last day there is; leave out --until"),
        ("0001-01-01T00:00+14:00", None, "--since: '0001-01-01T00:00+14:00' is no date"),
        (None, "9999-12-31T23:00-05:00", "--until: '9999-12-31T23:00-05:00' is no date"),
    ],
)
def test_a_date_that_is_none_is_refused(since: str | None, until: str | None, words: str) -> None:
    with pytest.raises(UserError) as error:
        period_of(since, until)
    assert words in str(error.value)


def test_a_clock_that_runs_backwards_is_found_at_its_lines() -> None:
    assert backward([(1, at(1)), (2, None), (3, at(3)), (4, at(2)), (5, at(3)), (6, at(1))]) == [4, 6]
    assert backward([]) == backward([(1, at(1)), (2, at(1))]) == []
