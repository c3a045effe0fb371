"""A full queue estimates when there will be room."""

from __future__ import annotations

import pytest

from roinspect.server.waiting import WaitEstimator


class Clock:
    """A clock that stands until it is moved."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def work(pace: WaitEstimator, clock: Clock, *, requests: int, seconds_each: float) -> None:
    """A full queue, from which one request after the other leaves and makes room for the next."""
    for _ in range(requests):
        clock.now += seconds_each
        pace.leave()
        pace.enter()


@pytest.mark.parametrize(("seconds_each", "wait"), [(0.01, 1), (0.25, 5), (0.5, 10), (0.7, 14), (5, 30)])
def test_the_wait_is_the_queue_over_the_rate(clock: Clock, seconds_each: float, wait: int) -> None:
    pace = WaitEstimator(30, clock)
    for _ in range(20):
        pace.enter()
    work(pace, clock, requests=40, seconds_each=seconds_each)
    assert pace.inside == 20 and pace.wait_s() == pytest.approx(wait, abs=1)


def test_without_a_rate_it_is_the_deadline(clock: Clock) -> None:
    pace = WaitEstimator(7.5, clock)
    pace.enter()
    assert pace.wait_s() == 8
    clock.now += 60
    assert pace.wait_s() == 8


def test_idle_hours_do_not_count(clock: Clock) -> None:
    pace = WaitEstimator(30, clock)
    for _ in range(2):
        pace.enter()
        clock.now += 0.1
        pace.leave()
        clock.now += 3600
    for _ in range(10):
        pace.enter()
    work(pace, clock, requests=5, seconds_each=0.1)
    assert pace.wait_s() <= 2
