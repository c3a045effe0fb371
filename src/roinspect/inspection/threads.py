"""Decode ahead in threads while the caller computes; decoding releases the GIL, so threads suffice."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

In = TypeVar("In")
Out = TypeVar("Out")


def cores() -> int:
    """Cores that this process may use; a container or `taskset` may allow fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def in_threads(work: Callable[[In], Out], items: Iterable[In], *, workers: int, ahead: int) -> Iterator[Out]:
    """`map` in threads, in order, with at most `ahead` results waiting; closing the iterator drops the rest.

    Example:
        >>> list(in_threads(str.upper, "abc", workers=2, ahead=4))
        ['A', 'B', 'C']
    """
    waiting: deque[Future[Out]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="roinspect-decode")
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
