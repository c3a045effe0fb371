"""Looks again are compared with the first ones."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from roinspect.errors import UserError
from roinspect.qualification import repeatability
from roinspect.qualification.outcomes import Row
from roinspect.qualification.plan import Repeatability
from roinspect.qualification.repeatability import Repeat, evenly, other_runtimes

from .fakes import grey, inspector


def first_look(level: int, key: str) -> Row:
    verdict = inspector().inspect(grey(level))
    return Row(key, "", 0, pred_score=verdict.pred_score, verdict=verdict.verdict or "")


def repeated(factor: float, levels: list[int]) -> repeatability.Repeated:
    repeat = Repeat("other", inspector(factor=factor), looks=2)
    for number, level in enumerate(levels):
        repeat.add(first_look(level, f"{number}.png"), grey(level))
    return repeat.result()


def test_the_same_answers_differ_by_nothing() -> None:
    found = repeated(1.0, [50, 120, 200])
    assert (found.photographs, found.differing, found.such_as, found.difference) == (3, 0, "", 0.0)


def test_the_largest_difference_is_a_share_of_the_score() -> None:
    assert repeated(1.01, [50, 200]).difference == pytest.approx(0.01, rel=1e-3)


def test_a_low_score_counts_as_a_hundredth_of_the_threshold() -> None:
    repeat = Repeat("other", inspector())
    repeat.add(Row("a", "", 0, pred_score=0.0001, verdict="good"), grey(0))
    assert repeat.result().difference == pytest.approx(0.0001 / (0.01 * 0.5))


def test_another_verdict_is_named() -> None:
    # 126 / 255 lies just below the threshold.
    found = repeated(1.02, [50, 126, 200])
    assert (found.differing, found.such_as) == (1, "1.png")


def test_a_look_without_a_verdict_differs_without_bound() -> None:
    found = repeated(math.nan, [50])
    assert (found.differing, found.difference) == (1, math.inf)


def test_runtimes_that_cannot_run_are_named_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(bundle: Path, runtime: str) -> object:
        if runtime == "openvino":
            return inspector()
        raise UserError("no such export")

    monkeypatch.setattr(repeatability.Inspector, "load", load)
    found, missing = other_runtimes(Path("model"), "torch", Repeatability())
    assert [repeat.result().name for repeat in found] == ["openvino"]
    assert missing == {"onnxruntime": "no such export", "torchscript": "no such export"}
    assert other_runtimes(Path("model"), "torch", Repeatability(other_runtimes=False)) == ([], {})


@pytest.mark.parametrize("count", [0, 1, 5, 50, 997])
@pytest.mark.parametrize("most", [1, 5, 50])
def test_an_even_choice_has_no_index_twice(count: int, most: int) -> None:
    chosen = list(evenly(count, most))
    assert len(chosen) == min(count, most)
    assert sorted(set(chosen)) == chosen
    assert all(0 <= index < count for index in chosen)
    if count > most > 1:
        assert np.diff(chosen).max() - np.diff(chosen).min() <= 1
