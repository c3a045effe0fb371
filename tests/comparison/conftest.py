"""What the tests of a comparison share: a test set in memory, and trainings that take no time."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from roinspect.comparison.contender import Scored
    from roinspect.comparison.job import ComparisonJob
    from roinspect.data.dataset import DecodedCache

HW = (64, 64)


@pytest.fixture(scope="session")
def test_set(zipper: Path) -> DecodedCache:
    """The zipper's test split: 2 good parts, 4 defective inside the region, 2 outside only."""
    pytest.importorskip("torch")
    from roinspect.comparison.job import records_to_test
    from roinspect.data.dataset import DecodedCache
    from roinspect.data.reading import read_data

    return DecodedCache(records_to_test(read_data(zipper)), HW)


class MadeUp:
    """Stands in for the processes: every training takes no time and finds the truth; ceod's fails.

    roibank predicts the true region, everybody's maps are the true defects.
    """

    def __init__(self, test_set: DecodedCache) -> None:
        self.test_set = test_set
        self.stop_after = 99
        self.broken = {"ceod"}
        self.asked: list[str] = []

    def run_all(
        self, jobs: Sequence[ComparisonJob], **_: Any
    ) -> Generator[tuple[ComparisonJob, Scored | str], None, None]:
        for job in jobs:
            if len(self.asked) == self.stop_after:
                raise KeyboardInterrupt
            self.asked.append(job.name)
            yield job, f"{job.method}: broke down" if job.method in self.broken else self.scored(job.method)

    def scored(self, method: str) -> Scored:
        from roinspect.comparison.contender import Cost, Scored

        maps = self.test_set.gt_masks.astype(np.float32)
        cost = Cost(train_seconds=10.0, steps=5, inference_ms=20.0, model_bytes=10**6, peak_bytes=10**9)
        roi = self.test_set.roi_masks.astype(np.float32) if method == "roibank" else None
        return Scored(maps.max((1, 2)), maps, cost, {"learns from": "good parts"}, roi)


@pytest.fixture
def made_up(test_set: DecodedCache, monkeypatch: pytest.MonkeyPatch) -> Callable[[], MadeUp]:
    """A function that puts a fresh `MadeUp` in the place of the processes."""
    from roinspect.comparison import compare

    def put() -> MadeUp:
        run = MadeUp(test_set)
        monkeypatch.setattr(compare, "run_all", run.run_all)
        return run

    return put
