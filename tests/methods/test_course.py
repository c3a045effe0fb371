"""A training's course: of the length asked for, or until nothing gets better, and resumed to the same end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roinspect.methods.course import Course


def run(course: Course, measures: Iterable[float], *, start: int = 0) -> int:
    """Epochs until it is over, with a measure after each epoch."""
    done = start
    heard = iter(measures)
    while not course.is_over(done):
        done += 1
        course.hear(next(heard))
    return done


def rising(until: int, rest: float = 0.9) -> list[float]:
    """Rises by 0.025 for so many epochs, then no more."""
    return [rest - 0.025 * max(0, until - epoch) for epoch in range(1, 1000)]


@given(length=st.integers(1, 40), measures=st.lists(st.floats(0, 1), min_size=40, max_size=40))
def test_a_length_that_was_asked_for_is_kept(length: int, measures: list[float]) -> None:
    assert run(Course(length, length, good_enough=0.5), measures) == length


@given(
    least=st.integers(1, 20),
    more=st.integers(0, 30),
    measures=st.lists(st.floats(0, 1), min_size=50, max_size=50),
)
def test_no_course_is_shorter_or_longer_than_may_be(least: int, more: int, measures: list[float]) -> None:
    assert least <= run(Course(least, least + more, good_enough=0.5), measures) <= least + more


def test_it_ends_when_nothing_rises_any_more() -> None:
    """Three looks without a rise, and a third of the least length at a falling rate."""
    assert run(Course(9, 90), rising(0)) == 9
    assert run(Course(9, 90), rising(20)) == 20 + 3 + 3
    assert run(Course(9, 90), rising(500)) == 90
    # A hundredth is no rise, a peak is not forgotten.
    assert run(Course(9, 90), [0.8 + 0.001 * (epoch % 10) for epoch in range(99)]) == 9
    assert run(Course(9, 90), [0.9, *rising(20, 0.8)]) == 9


def test_what_is_poor_goes_on_being_improved() -> None:
    flat = [0.3] * 99
    assert run(Course(9, 30), flat) == 9
    assert run(Course(9, 30, good_enough=0.5), flat) == 30
    assert run(Course(9, 30, good_enough=0.5), [0.3] * 12 + [0.7] * 60) < 25


def test_with_nothing_held_out_it_is_as_short_as_may_be() -> None:
    course, done = Course(9, 90, good_enough=0.5), 0
    while not course.is_over(done):
        done += 1
    assert done == 9


@pytest.mark.parametrize("steps_per_epoch", [1, 7, 400])
@pytest.mark.parametrize(("least", "most"), [(1, 1), (2, 2), (9, 9), (9, 30)])
def test_the_rate_rises_stays_and_falls_to_nothing(least: int, most: int, steps_per_epoch: int) -> None:
    course, rates, done = Course(least, most), list[float](), 0
    measures = iter(rising(12))
    while not course.is_over(done):
        rates += [
            course.rate(done * steps_per_epoch + step, steps_per_epoch) for step in range(steps_per_epoch)
        ]
        done += 1
        course.hear(next(measures))
    assert all(0 < rate <= 1 for rate in rates)
    top = rates.index(max(rates))
    assert rates[:top] == sorted(rates[:top]) and rates[top:] == sorted(rates[top:], reverse=True)
    if len(rates) > 20:
        assert rates[top] > 0.8 and rates[0] < 0.6 and rates[-1] < 0.4
    assert course.rate(len(rates), steps_per_epoch) == 0


@pytest.mark.parametrize("stop", range(1, 26))
def test_a_resumed_course_ends_as_if_it_had_not_been_stopped(stop: int) -> None:
    measures: Sequence[float] = rising(20)
    whole = Course(9, 90)
    assert run(whole, measures) == 26
    first = Course(9, 90)
    for done, measure in enumerate(measures[:stop]):
        assert not first.is_over(done)
        first.hear(measure)
    first.is_over(stop)
    resumed = Course(**first.state())
    assert run(resumed, measures[stop:], start=stop) == 26 and resumed == whole
