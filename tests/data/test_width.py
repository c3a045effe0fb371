"""How wide a drawn shape is."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from roinspect.data.width import defect_width, size_for, tile_cost, tile_scale, tiled_share

ALL = np.ones((200, 300), np.uint8)
FROM_MIDDLE = np.hypot(*(np.mgrid[:200, :300] - np.array([100, 150])[:, None, None]))


def blank() -> NDArray[np.uint8]:
    return np.zeros((200, 300), np.uint8)


@pytest.mark.parametrize("stroke", [1, 2, 3, 8, 25])
def test_a_straight_stroke_is_as_wide_as_drawn(stroke: int) -> None:
    mask = blank()
    mask[50 : 50 + stroke, 20:280] = 1
    assert defect_width(mask, ALL) == stroke
    assert defect_width(np.ascontiguousarray(mask.T), ALL.T) == stroke


def test_a_disc_is_as_wide_as_its_diameter() -> None:
    # Corners of pixels reach into the disc, by up to a pixel on each side.
    assert abs(defect_width((FROM_MIDDLE < 20.5).astype(np.uint8), ALL) - 41) < 2.5


def test_a_bent_scratch_is_as_wide_as_its_stroke() -> None:
    ring = (abs(FROM_MIDDLE - 70) < 3).astype(np.uint8)
    assert abs(defect_width(ring, ALL) - 6) < 1


def test_a_slanted_scratch_is_as_wide_as_its_stroke() -> None:
    mask = cv2.line(blank(), (20, 20), (260, 170), 1, 9).astype(np.uint8)
    assert abs(defect_width(mask, ALL) - 9) < 2


def test_the_widest_defect_counts_and_only_in_the_region() -> None:
    mask, roi = blank(), blank()
    mask[10:14, 10:100], mask[100:160, 200:280], mask[60, 60] = 1, 1, 1
    assert defect_width(mask, ALL) == 60
    roi[:80] = 1
    assert defect_width(mask, roi) == 4
    # A defect that only reaches into the region counts whole.
    roi[:101] = 1
    assert defect_width(mask, roi) == 60
    assert defect_width(mask, blank()) == defect_width(blank(), ALL) == 0


def test_at_another_size_and_aspect() -> None:
    mask = blank()
    mask[50:60, 20:280] = 1
    assert defect_width(mask, ALL, (100, 150)) == 5
    assert defect_width(mask, ALL, (100, 300)) == 5
    assert abs(defect_width(mask, ALL, (200, 150)) - 10) < 0.6
    mask = blank()
    mask[20:180, 100:110] = 1
    assert abs(defect_width(mask, ALL, (100, 300)) - 10) < 0.6
    assert defect_width(mask, ALL, (200, 150)) == 5


@pytest.mark.parametrize(("width", "expected"), [(5.0, (256, 640)), (2.5, (512, 1280)), (4.9, (288, 672))])
def test_the_size_that_would_do(width: float, expected: tuple[int, int]) -> None:
    assert size_for(width, (256, 640)) == expected


@pytest.mark.parametrize(("width", "scale"), [(40, 0.25), (20, 0.25), (19.9, 0.5), (5, 1), (4.9, None)])
def test_tiles_are_as_coarse_as_the_defect_allows(width: float, scale: float | None) -> None:
    assert tile_scale(width) == scale


def test_tiles_cover_the_region_and_half_a_tile_around_it() -> None:
    roi = np.zeros((2000, 2400), np.uint8)
    roi[:, 1100:1300] = 1
    assert abs(tiled_share(roi, 1) - 456 / 2400) < 0.03
    assert abs(tiled_share(roi, 0.5) - 712 / 2400) < 0.03
    assert tiled_share(np.zeros_like(roi), 1) == 0
    assert tiled_share(np.ones_like(roi), 0.25) == 1


def test_the_cost_of_tiles_counts_the_coarse_look() -> None:
    assert tile_cost(0, 1, (256, 256)) == 1
    assert tile_cost(2048 * 2048, 1, (256, 256)) == 65
    assert tile_cost(2048 * 2048, 0.25, (256, 256)) == 5
