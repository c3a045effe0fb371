"""The server's limits, each an option of `roinspect serve`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Ge, Gt, Lt

from roinspect.inspection.drift import PARTS_BETWEEN
from roinspect.inspection.threads import cores
from roinspect.settings import Count, check

_Positive = Annotated[float, Gt(0), Lt(math.inf)]


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """The server's limits; the metadata of each field explains it."""

    queue: Count = field(
        default=64, metadata={"help": "requests in progress or waiting; further ones are answered 429"}
    )
    deadline_s: _Positive = field(
        default=10.0, metadata={"help": "seconds until a request is answered 504, or 408 if its body is late"}
    )
    max_body_mb: _Positive = field(
        default=32.0, metadata={"help": "most megabytes of a request's body; a larger one is answered 413"}
    )
    max_megapixels: _Positive = field(
        default=50.0, metadata={"help": "most megapixels of an image, read from its header before decoding"}
    )
    decoded_megapixels: _Positive = field(
        default=max(64.0, 8.0 * cores()),
        metadata={"help": "most megapixels that are decoded at once, in all images and models together"},
    )
    workers: Count = field(
        default=max(2, cores() // 2),
        metadata={
            "help": "threads per model that decode and inspect; half of the cores by default, at least 2"
        },
    )
    batch: Count = field(
        default=1, metadata={"help": "images per run of the network; more than 1 helps on GPUs only"}
    )
    batch_wait_ms: Annotated[float, Ge(0), Lt(math.inf)] = field(
        default=2.0, metadata={"help": "milliseconds that the first image of a batch waits for others"}
    )
    poll_s: _Positive = field(
        default=1.0,
        metadata={
            "help": "seconds between two checks of the bundles; a changed one is loaded once it is stable"
        },
    )
    load_s: _Positive = field(
        default=120.0,
        metadata={"help": "seconds that a new bundle may take to load and to run once"},
    )
    load_gb: _Positive = field(
        default=4.0, metadata={"help": "gigabytes of memory that it may take for this"}
    )

    self_test_s: Annotated[float, Ge(0), Lt(math.inf)] = field(
        default=0.0,
        metadata={"help": "seconds after which the self-test is repeated; 0 for only when a model is loaded"},
    )

    drift_parts: Annotated[int, Ge(0)] = field(
        default=PARTS_BETWEEN,
        metadata={"help": "warn of drift, with one false alarm in so many parts; 0 does not look for it"},
    )

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

    @property
    def decoded_pixels(self) -> int:
        """Limit of all images in progress, in pixels."""
        return int(self.decoded_megapixels * 1e6)
