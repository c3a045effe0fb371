"""The server's limits and timeouts."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from roinspect.settings import Count, NotNegative, Positive, check


def _half_of_the_cores() -> int:
    return max(2, (os.cpu_count() or 1) // 2)


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """The server's limits.

    Args:
        queue: requests that are read, wait or are worked on at once; one more is answered 429.
        deadline_s: seconds until a request is answered 504, or 408 where its body is late.
        max_body_mb: megabytes of a request's body; more is answered 413.
        max_megapixels: of an image, told from its header before it is decoded.
        workers: threads a model that decode and inspect; one decodes while another is in the network.
        batch: images that the network sees at once. More than one pays on GPUs, not on CPUs.
        batch_wait_ms: how long the first image of a batch waits for others.
        poll_s: seconds between two looks at the bundles; one that has changed and rests is loaded again.
    """

    queue: Count = 64
    deadline_s: Positive = 10.0
    max_body_mb: Positive = 32.0
    max_megapixels: Positive = 50.0
    workers: Count = field(default_factory=_half_of_the_cores)
    batch: Count = 1
    batch_wait_ms: NotNegative = 2.0
    poll_s: Positive = 1.0

    def __post_init__(self) -> None:
        check(self, "--")

    @property
    def max_body(self) -> int:
        """In bytes."""
        return int(self.max_body_mb * 1e6)

    @property
    def max_pixels(self) -> int:
        """Of an image."""
        return int(self.max_megapixels * 1e6)
