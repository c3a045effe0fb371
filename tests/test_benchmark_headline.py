"""The headline's tables: the choice by leave-one-set-out, recall and overlap at equal false rejects."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
pytest.importorskip("torch")

import headline
from headline import SETS, chosen, recall
from results import NotMeasuredError, Results
from roibank import pixel_overlaps

from roinspect.comparison.contender import Cost, Scored
from roinspect.data.dataset import DecodedCache

OURS = {
    "image_auroc": 0.9, "pixel_auroc": 0.9, "aupro": 0.9, headline.OUTSIDE: 0.1,
    "pixel_f1": 0.5, "pixel_iou": 0.3, "caught": 9, "defective": 10, "rejected": 1, "good": 20,
    "fit_seconds": 30.0, "inference_ms": 40.0, "scores": [0.1, 0.5, 0.4, 0.6], "kinds": "ggdd",
}  # fmt: skip
PLAIN = {
    "image_auroc": 0.8, "pixel_auroc": 0.95, "aupro": 0.8, headline.OUTSIDE: 0.5,
    "pixel_f1": [0.4, 0.6], "pixel_iou": [0.25, 0.4], "scores": [0.1, 0.5, 0.4, 0.6],
}  # fmt: skip
COST = {"train_seconds": 20.0, "steps": 3, "inference_ms": 10.0}


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Results:
    results = Results("headline", tmp_path)
    monkeypatch.setattr(headline, "RESULTS", results)
    return results


def add_ours(results: Results, values: dict[str, tuple[float, float]], seeds: tuple[int, ...] = (0,)) -> None:
    """Image AUROC of the first two candidates by set."""
    for name, both in values.items():
        for candidate, value in zip(headline.CANDIDATES, both, strict=False):
            settings = {"verb": "ours", "set": name, "candidate": candidate}
            for seed in seeds:
                results.append(settings, {**OURS, "image_auroc": value}, seed=seed)


def add_rival(results: Results, name: str, method: str, arms: dict[str, Any], seed: int = 0) -> None:
    measures = {"kinds": "ggdd", "arms": arms, "cost": COST}
    results.append(headline.rival_settings(name, method), measures, seed=seed)


def test_a_set_has_no_say_in_its_own_candidate(results: Results) -> None:
    with pytest.raises(NotMeasuredError):
        chosen("tile")
    first, second, *_ = headline.CANDIDATES
    # The first is far better on the tiles, and a little worse everywhere else.
    add_ours(results, {name: (0.99, 0.5) if name == "tile" else (0.90, 0.91) for name in SETS})
    assert chosen("tile") == second
    assert chosen("bottle") == chosen(None) == first


def test_sets_of_the_same_photographs_are_left_out_together(results: Results) -> None:
    screws = ("right", "raceway")
    add_ours(results, {name: (0.99, 0.5) if name in screws else (0.90, 0.91) for name in SETS})
    assert chosen("right") == chosen("raceway") == list(headline.CANDIDATES)[1]


def test_the_best_is_bold_also_if_it_is_a_rival(results: Results) -> None:
    add_ours(results, dict.fromkeys(SETS, (0.9, 0.8)), seeds=(0, 1))
    for name in SETS:
        add_rival(results, name, "padim", {"plain": PLAIN, "roi-at-test": PLAIN})
        add_rival(results, name, "ganomaly", {"plain": {**PLAIN, "pixel_auroc": None, "aupro": None}})
    lines = headline.short_table().splitlines()
    (tile,) = [line for line in lines if "magnetic_tile" in line]
    assert tile.startswith("| magnetic_tile † | 2 / 0 / 2 |")
    cells = [cell.strip() for cell in tile.split("|")[3:-1]]
    assert cells[0] == "**0.900** / 0.900 / **0.900**"
    assert cells[1] == "0.800 / **0.950** / 0.800"
    # GANomaly is trained step by step, and only in the table of all arms; the others have not been measured.
    assert list(headline.columns()) == ["roibank", "padim"] and len(cells) == 2
    assert headline.heads() == ["roibank, 2 seeds", "PaDiM, 1 seed"]
    assert "GANomaly" not in headline.TABLES["headline-arms"]()
    unfinished = headline.TABLES["headline-unfinished"]()
    assert "| GANomaly | magnetic_tile | 128x128 | 20 | 3 | 10 |" in unfinished and "PaDiM" not in unfinished
    for kind in ("real", "synthetic"):
        assert (
            len([line for line in lines if line.startswith(f"| mean of the {kind} sets |  | **0.900**")]) == 1
        )
    outside = headline.TABLES["headline-outside"]()
    assert "| magnetic_tile † | plain | **0.100 ± 0.000** | 0.500 |" in outside


def test_what_all_do_equally_well_is_not_bold() -> None:
    assert headline.bold(["a", "b"], [0.9, 0.9004]) == ["a", "b"]
    assert headline.bold(["a", "b", "c"], [0.9, 0.8, None]) == ["**a**", "b", "c"]


def test_sets_of_the_same_photographs_count_once_in_the_mean(results: Results) -> None:
    values = {name: 0.9 if name == "right" else 0.7 if name == "raceway" else 0.5 for name in SETS}
    add_ours(results, {name: (value, 0.0) for name, value in values.items()})
    means = headline.set_means("image_auroc")
    assert means["mean of the synthetic sets"] == [0.5]
    # The two regions together are one of four: (0.8 + 0.5 + 0.5 + 0.5) / 4.
    assert means["mean of the real sets"] == [pytest.approx(0.575)]


def test_few_good_parts_and_single_positions_are_marked(results: Results) -> None:
    add_ours(results, dict.fromkeys(SETS, (0.9, 0.8)))
    assert headline.mark("tile") == " †" and headline.mark("right") == " ‡"
    assert 0 < headline.least_of_one() < 0.8


def test_rivals_are_compared_at_our_false_rejects(results: Results) -> None:
    add_ours(results, dict.fromkeys(SETS, (0.9, 0.8)))
    add_rival(results, "tile", "padim", {"plain": PLAIN, "roi-at-test": PLAIN})
    rows = [line for line in headline.threshold_table().splitlines() if "magnetic_tile † | 1 of 20" in line]
    # One good part is rejected: its score of 0.5 may be passed, so both defective parts are caught.
    assert [row.strip(" |").split(" | ")[2:5] for row in rows] == [
        ["recall", "0.900", "**1.000**"],
        ["pixel F1", "0.500", "**0.600**"],
        ["pixel IoU", "0.300", "**0.400**"],
    ]
    assert "| magnetic_tile † | PaDiM | roi-at-test | 256x256 | 0.800 | 0.950 |" in headline.arms_table()


def test_recall_at_a_number_of_rejected_parts() -> None:
    assert recall(PLAIN["scores"], "ggdd", 0) == 0.5
    assert recall(PLAIN["scores"], "ggdd", 1) == 1.0
    assert recall(PLAIN["scores"], "godd", 0) == 1.0
    # A tie with a good part that must pass is not caught.
    assert recall([0.5, 0.5], "gd", 0) == 0.0


def cache_of(rng: np.random.Generator, count: int, places: list[str]) -> DecodedCache:
    masks = {name: rng.integers(0, 2, (count, 6, 7)).astype(np.uint8) for name in ("gt_masks", "roi_masks")}
    labels = np.array([place == "inside" for place in places], np.int64)
    return cast(DecodedCache, SimpleNamespace(places=places, labels=labels, **masks))


def test_overlaps_count_pixels_inside_the_roi() -> None:
    rng = np.random.default_rng(0)
    cache = cache_of(rng, 4, ["none", "inside", "outside", "unknown"])
    maps = rng.integers(0, 5, (4, 6, 7)).astype(np.float32)
    thresholds = np.array([0, 2, 3.5, 9], np.float32)
    f1, iou = pixel_overlaps(maps, thresholds, cache)
    roi, truth = cache.roi_masks[:3] > 0, cache.gt_masks[:3] > 0
    for row, threshold in enumerate(thresholds):
        marked = (maps[:3] >= threshold) & roi
        both, either = (marked & truth).sum(), (marked | (truth & roi)).sum()
        assert iou[row] == both / either
        assert f1[row] == 2 * both / (both + either)


def test_map_thresholds_let_so_many_good_parts_be_marked() -> None:
    rng = np.random.default_rng(1)
    places = ["none"] * 8 + ["inside"] * 3
    cache, maps = cache_of(rng, 11, places), rng.random((11, 6, 7)).astype(np.float32)
    found = headline.overlaps_by_rejects(maps, maps.max((1, 2)), cache)
    peaks = np.sort(maps[:8].max((1, 2)))[::-1]
    above = [pixel_overlaps(maps, np.array([peak * (1 + 1e-6)], np.float32), cache) for peak in peaks[:3]]
    assert found["pixel_iou"] == [round(float(iou[0]), 4) for _, iou in above]
    assert found["pixel_f1"] == [round(float(f1[0]), 4) for f1, _ in above]


def test_maps_are_kept_so_that_nothing_is_trained_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainings = []

    def run(method: str, *_: Any, seed: int, **__: Any) -> Scored:
        trainings.append((method, seed))
        cost = Cost(1.0, 2, 3.0, 4, None)
        return Scored(np.float32([0, 1]), np.ones((2, 4, 4), np.float32), cost, {"weights": "some"})

    monkeypatch.setattr(headline, "run_peer", run)
    monkeypatch.setattr(headline, "read_data", lambda *_: SimpleNamespace(not_test=list, split=list))
    monkeypatch.setattr(headline, "hold_out", lambda *_: ([], []))
    monkeypatch.setattr(headline, "FOLDER", tmp_path)
    first, again = (headline.trained(name, "padim", 0) for name in ("right", "raceway"))
    assert trainings == [("padim", 0)]
    assert again.cost == first.cost == Cost(1.0, 2, 3.0, 4, None) and again.notes == {"weights": "some"}
    np.testing.assert_array_equal(again.anomaly_map, np.ones((2, 4, 4)))
