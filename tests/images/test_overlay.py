"""A verdict's picture leaves what is normal a photograph, and draws what it is told."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from roinspect.images.overlay import FOUND_COLOUR, ROI_COLOUR, TRUTH_COLOUR, grey_map, overlay

IMAGE = np.random.default_rng(0).integers(60, 200, (48, 80, 3), np.uint8)
SPOT = np.zeros((48, 80), np.float32)
SPOT[20:30, 30:50] = 1


def shows(picture, colour):
    return bool((np.abs(picture.astype(int) - colour).max(-1) < 12).any())


def test_a_normal_part_stays_a_photograph():
    assert np.array_equal(overlay(IMAGE, np.zeros((48, 80)), None, None, level=0.5), IMAGE)


def test_the_image_given_is_left_as_it_is():
    before = IMAGE.copy()
    overlay(IMAGE, SPOT, SPOT, SPOT, level=0.5)
    assert np.array_equal(IMAGE, before)


def test_heat_changes_only_where_it_is():
    changed = (overlay(IMAGE, SPOT) != IMAGE).any(-1)
    assert np.array_equal(changed, SPOT > 0)


def test_each_outline_has_its_colour():
    assert shows(overlay(IMAGE, None, SPOT), ROI_COLOUR)
    assert shows(overlay(IMAGE, None, None, SPOT), TRUTH_COLOUR)
    assert shows(overlay(IMAGE, SPOT, level=0.5), FOUND_COLOUR)
    assert not shows(overlay(IMAGE, SPOT * 0.4, level=0.5), FOUND_COLOUR)


def test_an_roi_of_everything_draws_nothing():
    assert np.array_equal(overlay(IMAGE, None, np.ones((48, 80))), IMAGE)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("size", [(24, 40), (96, 160), (48, 80)])
def test_maps_and_masks_of_another_size_are_scaled(size, dtype):
    mask = np.zeros(size, bool)
    mask[: size[0] // 2] = True
    picture = overlay(IMAGE, mask.astype(dtype) * 3, mask, mask, level=0.5)
    assert picture.shape == IMAGE.shape and picture.dtype == np.uint8


def test_a_region_of_a_map_beyond_one_is_outlined_at_its_level():
    assert shows(overlay(IMAGE, SPOT * 9, level=5.0), FOUND_COLOUR)
    assert not shows(overlay(IMAGE, SPOT * 9, level=10.0), FOUND_COLOUR)


def test_distances_below_their_level_leave_the_photograph_visible():
    # Distances of good parts lie far beyond 1; only what passes the level may glow.
    good, found = np.full((48, 80), 4.0), np.where(SPOT > 0, 12.0, 4.0)
    shift = np.abs(overlay(IMAGE, good, level=8.0).astype(int) - IMAGE).mean()
    glow = np.abs(overlay(IMAGE, found, level=8.0).astype(int) - IMAGE)[22:28, 34:46].mean()
    assert shift < 40 < 60 < glow


@given(st_numpy.arrays(np.float32, (3, 4), elements=st.floats(-1, 50, width=32)))
def test_a_grey_map_leads_back_to_the_map(anomaly_map):
    grey, factor = grey_map(anomaly_map)
    assert grey.dtype == np.uint16
    assert np.abs(grey * factor - np.maximum(anomaly_map, 0)).max() <= 0.51 * factor
    assert factor == 1 / 65535 or anomaly_map.max() > 1


@pytest.mark.parametrize("level", [0.2, 1.0, 7.0])
def test_what_is_half_as_strange_as_a_defect_leaves_the_photograph_as_it_is(level: float) -> None:
    assert np.array_equal(overlay(IMAGE, SPOT * level / 2, level=level), IMAGE)
    assert (overlay(IMAGE, SPOT * level * 0.9, level=level) != IMAGE).any()
