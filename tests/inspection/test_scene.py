"""What a picture shows, and the limits that good parts set."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from roinspect.inspection.plain import from_plain
from roinspect.inspection.scene import Scene, SceneLimits, fault_of, limits_of, measure, outcome

GOOD = Scene(roi_area=0.2, pieces=3, certainty=0.9, place_xy=(0.5, 0.4), novelty=1.0)


def region(*boxes: tuple[int, int, int, int], value: float = 0.9) -> np.ndarray:
    found = np.full((20, 40), 0.05, np.float32)
    for top, left, bottom, right in boxes:
        found[top:bottom, left:right] = value
    return found


def test_a_region_is_measured() -> None:
    scene = measure(region((0, 0, 10, 10), (10, 30, 20, 40)), 1.5)
    assert scene.roi_area == pytest.approx(200 / 800) and scene.pieces == 2
    assert scene.certainty == pytest.approx(0.9) and scene.place_xy == pytest.approx((0.5, 0.5))
    assert scene.novelty == 1.5


def test_no_region_is_a_scene_as_well() -> None:
    assert measure(region(), 1.0) == Scene(0.0, 0, 0.0, (0.5, 0.5), 1.0)


def test_crumbs_are_no_pieces() -> None:
    assert measure(region((0, 0, 10, 10), (15, 30, 17, 32)), 0).pieces == 1
    assert measure(region((0, 0, 10, 10), (15, 30, 19, 33)), 0).pieces == 2


def test_the_whole_picture_is_one_piece() -> None:
    scene = measure(np.ones((1, 1), np.float32), 0)
    assert scene == Scene(1.0, 1, 1.0, (0.5, 0.5), 0.0)
    assert fault_of(scene, limits_of([scene])) is None


def test_those_who_set_the_limits_are_within_them() -> None:
    rng = np.random.default_rng(0)
    scenes = [
        Scene(float(a), int(p), float(c), (float(x), float(y)), float(n))
        for a, p, c, x, y, n in rng.uniform((0, 1, 0.5, 0, 0, 0), (1, 5, 1, 1, 1, 9), (50, 6))
    ]
    limits = limits_of(scenes)
    assert [fault_of(scene, limits) for scene in scenes] == [None] * 50


def test_an_empty_region_is_never_within_whatever_the_good_parts_showed() -> None:
    nothing = Scene(0.0, 0, 0.0, (0.5, 0.5), 1.0)
    for scenes in ([GOOD, nothing], [nothing, nothing]):
        limits = limits_of(scenes)
        assert fault_of(nothing, limits) == "no region of interest was found" and limits.roi_area[0] > 0


def test_good_parts_on_which_no_region_was_found_widen_no_limit() -> None:
    nothing = Scene(0.0, 0, 0.0, (0.5, 0.5), 1.0)
    assert limits_of([GOOD, nothing]) == dataclasses.replace(
        limits_of([GOOD]), origin="the range of 2 good parts, with room"
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"roi_area": 0.0, "pieces": 0, "certainty": 0.0}, "no region of interest was found"),
        ({"roi_area": 0.16}, "covers 16.0% of the picture, 17.0% to 23.0% on good parts"),
        ({"roi_area": 0.24}, "covers 24.0%"),
        ({"pieces": 2}, "has 2 pieces, 3 on good parts"),
        ({"pieces": 4}, "has 4 pieces"),
        ({"certainty": 0.7}, "is uncertain (0.70"),
        ({"place_xy": (0.65, 0.4)}, "lies elsewhere"),
        ({"place_xy": (0.5, 0.2)}, "lies elsewhere"),
        ({"novelty": 1.3}, "looks unlike the training images (1.30, at most 1.25"),
        ({"novelty": float("nan")}, "is not a number"),
    ],
)
def test_each_limit_holds_by_itself(changes: dict[str, object], words: str) -> None:
    told = fault_of(dataclasses.replace(GOOD, **changes), limits_of([GOOD]))  # type: ignore[arg-type]
    assert told is not None and words in told


@pytest.mark.parametrize(
    "changes",
    [
        {"roi_area": 0.18},
        {"certainty": 0.8},
        {"certainty": 1.0},
        {"novelty": 0.0},
        {"place_xy": (0.55, 0.35)},
    ],
)
def test_a_little_more_or_less_is_within(changes: dict[str, object]) -> None:
    assert fault_of(dataclasses.replace(GOOD, **changes), limits_of([GOOD])) is None  # type: ignore[arg-type]


def test_limits_come_back_from_json() -> None:
    limits = limits_of([GOOD])
    assert from_plain(SceneLimits, json.loads(json.dumps(dataclasses.asdict(limits)))) == limits


def test_no_good_part_sets_no_limits() -> None:
    with pytest.raises(ValueError, match="at least one good part"):
        limits_of([])


@pytest.mark.parametrize(
    ("score", "reason", "expected"),
    [
        (0.1, None, "good"),
        (0.1, "", "good"),
        (0.5, None, "defective"),
        (0.9, "no region", "defective"),
        (0.1, "no region", "not inspectable"),
    ],
)
def test_what_was_not_seen_is_never_good(score: float, reason: str | None, expected: str) -> None:
    assert outcome(score, 0.5, reason) == expected
