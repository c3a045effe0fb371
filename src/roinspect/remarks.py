"""Lightning without its remarks on what is meant to be so."""

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
)


@contextmanager
def without_remarks() -> Iterator[None]:
    """Keep Lightning from remarking on what is meant to be so; its other warnings stay."""
    chatter = logging.getLogger("lightning.pytorch")
    level = chatter.level
    chatter.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for remark in _REMARKS:
                warnings.filterwarnings("ignore", remark)
            yield
    finally:
        chatter.setLevel(level)
