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
        queue: requests in progress or waiting; further ones are answered 429.
        deadline_s: seconds until a request is answered 504, or 408 if its body is late.
        max_body_mb: megabytes of a request's body; a larger one is answered 413.
        max_megapixels: megapixels of an image, read from its header before decoding.
        workers: threads per model that decode and inspect; one decodes while another runs the network.
        batch: images per run of the network; more than 1 helps on GPUs only.
        batch_wait_ms: milliseconds that the first image of a batch waits for others.
        poll_s: seconds between two checks of the bundles; a changed one is loaded once it is stable.
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
        """Limit of a body in bytes."""
        return int(self.max_body_mb * 1e6)

    @property
    def max_pixels(self) -> int:
        """Limit of an image in pixels."""
        return int(self.max_megapixels * 1e6)
