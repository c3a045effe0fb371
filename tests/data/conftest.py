"""What the tests of reading share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType

import pytest


@pytest.fixture
def calls() -> Callable[[Callable[[], object]], int]:
    """How many Python functions some work calls: what it costs, whatever else the machine does."""

    def count(work: Callable[[], object]) -> int:
        found = 0

        def note(frame: FrameType, event: str, argument: object) -> None:
            nonlocal found
            found += event == "call"

        before = sys.getprofile()
        sys.setprofile(note)
        try:
            work()
        finally:
            sys.setprofile(before)
        return found

    return count
