"""Intervals and differences of the headline, and what its last parts change."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
pytest.importorskip("torch")

import certainty
import headline
from results import NotMeasuredError, Results

from roinspect.evaluation.intervals import auroc_interval

KINDS = "d" * 20 + "o" * 10 + "g" * 30


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Results:
    results = Results("headline", tmp_path)
    monkeypatch.setattr(headline, "RESULTS", results)
    return results


def scores(shift: float, seed: int = 0) -> list[float]:
    """Of parts whose defective ones lie higher by `shift`."""
    values = np.random.default_rng(seed).normal(size=len(KINDS))
    return (values + shift * (np.array(list(KINDS)) == "d")).tolist()


def add(results: Results, shift: float, rival_shift: float) -> None:
    """roibank and PaDiM on every set."""
    is_alarm, kinds = np.array(scores(shift)) >= 1.0, np.array(list(KINDS))
    named = {"caught": "d", "outside_alarms": "o", "rejected": "g"}
    alarms = {name: int(is_alarm[kinds == kind].sum()) for name, kind in named.items()}
    for name in headline.SETS:
        for candidate in headline.CANDIDATES:
            measures = {
                **dict.fromkeys(headline.QUALITY, 0.9), headline.OUTSIDE: 0.1, "scores": scores(shift),
                "kinds": KINDS, "threshold": 1.0, "defective": 20, "outside": 10, "good": 30, **alarms,
            }  # fmt: skip
            results.append({"verb": "ours", "set": name, "candidate": candidate}, measures, seed=0)
        arm = {"pixel_auroc": 0.9, "scores": scores(rival_shift, 1), "image_auroc": 0.8}
        rival = {"arms": {"plain": arm, "roi-at-test": arm}, "kinds": KINDS}
        results.append(headline.rival_settings(name, "padim"), rival, seed=0)


def rows(table: str, text: str) -> list[list[str]]:
    lines = [line for line in table.splitlines() if text in line]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_intervals_are_of_the_parts_and_not_given_for_a_single_position(results: Results) -> None:
    with pytest.raises(NotMeasuredError):
        certainty.intervals_table()
    add(results, 2.0, 1.0)
    table = certainty.intervals_table()
    (auroc, outside) = rows(table, "magnetic_tile")
    assert auroc[:4] == ["magnetic_tile", "20", "10", "30"]
    low, high = map(float, auroc[5].split(" to "))
    assert 0.7 < low < high <= 1.0
    # 20 defective parts cannot say where 95 % of all are caught.
    assert outside[5].endswith("to 1.00")
    assert all(row[5:] == ["–", "–"] for row in rows(table, "ball screw"))
    (own,) = rows(certainty.thresholds_table(), "magnetic_tile")
    for counts, interval in (own[1:3], own[3:5], own[5:7]):
        part, whole = map(int, counts.split(" of "))
        low, high = map(float, interval.split(" to "))
        assert low < part / whole < high


def test_a_difference_is_bold_where_its_interval_excludes_zero(results: Results) -> None:
    add(results, 2.0, 0.2)
    found = rows(certainty.differences_table(), "magnetic_tile")
    assert [row[1] for row in found] == ["plain", "roi-at-test"]
    assert all(row[2].startswith("**+0.") for row in found)
    # The ball screw has a difference, but no interval.
    assert all(
        "to" not in row[2] and row[2].startswith("+0.")
        for row in rows(certainty.differences_table(), "screw")
    )


def test_no_difference_is_none() -> None:
    kinds = np.array(list(KINDS))
    same = {0: np.array(scores(1.0))}
    mean, interval = certainty.paired_difference(same, same, kinds) or pytest.fail("both are imperfect")
    assert mean == interval.low == interval.high == 0
    perfect = {0: np.where(kinds == "d", 1.0, 0.0)}
    assert certainty.paired_difference(perfect, perfect, kinds) is None
    assert certainty.paired_difference(same, {1: same[0]}, kinds) is None


def test_the_bootstrap_agrees_with_the_interval_of_an_auroc() -> None:
    """Against a rival that ties everywhere, the difference is the AUROC minus a half."""
    kinds = np.array(list(KINDS))
    tied = {0: np.zeros(len(kinds))}
    mean, interval = certainty.paired_difference({0: np.array(scores(1.0))}, tied, kinds) or pytest.fail(
        "differ"
    )
    exact = auroc_interval(mean + 0.5, 20, 40)
    assert interval.low + 0.5 == pytest.approx(exact.low, abs=0.05)
    assert interval.high + 0.5 == pytest.approx(exact.high, abs=0.05)


def test_the_last_defects_may_change_all_alarms(results: Results) -> None:
    kinds = np.array(list("dddoooo"))
    found = certainty.outside_alarms(np.array([0.1, 0.6, 0.9, 0.2, 0.3, 0.7, 0.0]), kinds, 2)
    assert found == [0.75, 0.25, 0.0]
    add(results, 2.0, 1.0)
    found_rows = rows(certainty.last_table(), "seed")
    assert [row[1] for row in found_rows] == ["own", "plain", "roi-at-test"]
    for row in found_rows:
        alarms = [float(cell) for cell in row[2:]]
        assert alarms == sorted(alarms) and len(alarms) == certainty.LAST + 1
