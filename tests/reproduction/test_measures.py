"""The papers' measures agree with scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest

from roinspect.reproduction.catalogue import PAPERS
from roinspect.reproduction.measures import curve_values, decisions, head


@pytest.mark.parametrize("seed", range(5))
def test_decisions_against_scikit_learn(seed: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(seed)
    labels, scores = rng.integers(0, 2, 40), rng.random(40).round(2).astype(np.float32)
    found = decisions(scores, labels)
    rejected = scores >= 0.5
    assert found["accuracy_half"] == pytest.approx(metrics.accuracy_score(labels, rejected))
    assert found["decision_auroc"] == pytest.approx(metrics.roc_auc_score(labels, rejected))
    best = max(metrics.accuracy_score(labels, scores >= cut) for cut in [*scores, 2])
    assert found["accuracy_best"] == pytest.approx(best)
    # Images without a label count nowhere.
    assert decisions(np.append(scores, np.float32(1)), np.append(labels, -1)) == found


def test_what_is_undefined_is_none() -> None:
    assert decisions(np.zeros(2, np.float32), np.zeros(2, np.int64))["decision_auroc"] is None
    assert set(decisions(np.zeros(1, np.float32), np.array([-1])).values()) == {None}


def test_values_of_a_curve() -> None:
    curves = {"train/distance": [(10, 4.0), (20, 2.0)], "train/loss": []}
    assert curve_values(curves, omega=0.5) == {
        "train/distance@half": 4.0,
        "train/distance@end": 2.0,
        "train/weighted_distance@half": 2.0,
        "train/weighted_distance@end": 1.0,
    }
    assert "train/weighted_distance@end" not in curve_values(curves, omega=0.0)


def test_every_measure_of_a_table_has_a_name() -> None:
    for table in PAPERS.values():
        for cell in table.cells:
            assert head(cell.measure) and cell.entry in {entry.name for entry in table.entries}
