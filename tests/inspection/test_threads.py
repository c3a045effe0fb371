"""Threads work ahead, but results come in order, and no further ahead than asked for."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roinspect.inspection.threads import in_threads


@settings(deadline=None, max_examples=40)
@given(count=st.integers(0, 40), workers=st.integers(1, 4), ahead=st.integers(1, 9))
def test_results_come_in_order(count: int, workers: int, ahead: int) -> None:
    squares = list(in_threads(lambda x: x * x, range(count), workers=workers, ahead=ahead))
    assert squares == [x * x for x in range(count)]


def test_no_more_than_asked_for_is_begun() -> None:
    begun: list[int] = []
    results = in_threads(lambda x: begun.append(x) or x, range(100), workers=2, ahead=5)
    assert next(results) == 0
    time.sleep(0.1)
    assert len(begun) <= 5
    results.close()  # type: ignore[attr-defined]
    time.sleep(0.1)
    assert len(begun) <= 5


def test_a_fault_reaches_the_caller_in_its_place() -> None:
    results = in_threads(lambda x: 10 // (2 - x), range(5), workers=2, ahead=3)
    assert [next(results), next(results)] == [5, 10]
    with pytest.raises(ZeroDivisionError):
        next(results)
