"""Silence Lightning's warnings about choices that are deliberate."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_REMARKS = (
    r".*Checkpoint directory .* exists and is not empty",
    r".*isinstance\(treespec, LeafSpec\)",
    r".*number of training batches \(\d+\) is smaller than the logging interval",
    r".*does not have many workers",
    r".*GPU available but not used",
    r".*module\(s\) in eval mode at the start of training",
    r".*`broadcast_buffers` is deprecated",
    r".*this fit will run with no optimizer",
)


@contextmanager
def without_remarks() -> Iterator[None]:
    """Suppress Lightning's warnings about deliberate choices; other warnings are kept."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for remark in _REMARKS:
                warnings.filterwarnings("ignore", remark)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
