"""Estimate when a full queue will have room, for the Retry-After header."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable

_WINDOW_S = 10.0


class WaitEstimator:
    """Counts requests in and out. Used from one thread.

    Args:
        longest_s: deadline of a request, and so the longest wait.
        clock: in seconds.
    """

    def __init__(self, longest_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._longest, self._clock = longest_s, clock
        self._inside, self._busy_since = 0, 0.0
        self._left: deque[float] = deque()

    @property
    def inside(self) -> int:
        """Requests in progress."""
        return self._inside

    def enter(self) -> None:
        """Count a request in."""
        if not self._inside:
            # Idle time says nothing about the pace.
            self._busy_since = self._clock()
            self._left.clear()
        self._inside += 1

    def leave(self) -> None:
        """Count a request out."""
        self._inside -= 1
        self._left.append(self._clock())
        self._forget()

    def wait_s(self) -> int:
        """Seconds until all current requests will have left at the recent pace; at least 1."""
        self._forget()
        span = min(_WINDOW_S, self._clock() - self._busy_since)
        expected = self._inside * span / len(self._left) if self._left else self._longest
        return max(1, math.ceil(min(expected, self._longest)))

    def _forget(self) -> None:
        while self._left and self._left[0] < self._clock() - _WINDOW_S:
            self._left.popleft()
