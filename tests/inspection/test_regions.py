"""A region's polygon holds all of its pixels and little else; what is cold has no region."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from numpy.typing import NDArray

from roinspect.inspection.regions import Region, find_regions, hottest_level, hottest_regions

FLOATS = st.floats(0, 1, width=32)
MAPS = st_numpy.arrays(
    np.float32, st_numpy.array_shapes(min_dims=2, max_dims=2, max_side=14), elements=FLOATS
)
# Many pixels of few values make large, ragged regions with holes.
RAGGED = st_numpy.arrays(
    np.float32,
    st_numpy.array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=20),
    elements=st.sampled_from([0.0, 0.5, 1.0]),
)


def filled(region: Region, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The pixels whose centres lie in the polygon."""
    corners = (2 * np.array(region.polygon_xy) - 1).round().astype(np.int32)
    drawn = np.zeros(shape, np.uint8)
    # OpenCV counts from the centre of the first pixel; `shift` says that the numbers are halves.
    cv2.fillPoly(drawn, [corners], 1, shift=1)
    return drawn.astype(bool)


@given(anomaly_map=MAPS | RAGGED, level=st.floats(0.01, 1))
def test_the_polygons_hold_every_pixel_that_reaches_the_level(
    anomaly_map: NDArray[np.float32], level: float
) -> None:
    reached = anomaly_map >= np.float64(level)
    regions = find_regions(anomaly_map, level)
    assert sum(region.area for region in regions) == reached.sum()
    held = np.zeros(anomaly_map.shape, bool)
    for region in regions:
        held |= filled(region, anomaly_map.shape)
    assert held[reached].all()
    polygons = [np.array(region.polygon_xy, np.float32) for region in regions]
    for y, x in np.argwhere(reached).tolist():
        assert any(cv2.pointPolygonTest(polygon, (x + 0.5, y + 0.5), False) > 0 for polygon in polygons)


@given(anomaly_map=MAPS | RAGGED, level=st.floats(0.01, 1))
def test_no_region_lies_below_the_level_and_none_grows_far(
    anomaly_map: NDArray[np.float32], level: float
) -> None:
    values = {float(value) for value in anomaly_map.ravel()}
    reached = (anomaly_map >= np.float64(level)).astype(np.uint8)
    outlines, _ = cv2.findContours(reached, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    without_holes = cv2.drawContours(np.zeros_like(reached), outlines, -1, 1, -1)
    # A dent of hardly more than a pixel may be filled.
    near = cv2.dilate(without_holes, np.ones((5, 5), np.uint8)) > 0
    for region in find_regions(anomaly_map, level):
        assert region.score >= level and region.score in values
        drawn = filled(region, anomaly_map.shape)
        assert anomaly_map[drawn].max() >= level and near[drawn].all()


@given(anomaly_map=MAPS | RAGGED, level=st.floats(0.01, 1))
def test_boxes_bound_pixels_and_polygon(anomaly_map: NDArray[np.float32], level: float) -> None:
    height, width = anomaly_map.shape
    for region in find_regions(anomaly_map, level):
        left, top, right, bottom = region.box_xyxy
        assert 0 <= left < right <= width and 0 <= top < bottom <= height
        x, y = np.array(region.polygon_xy).T
        assert (x.min(), y.min(), x.max(), y.max()) == region.box_xyxy
        assert 1 <= region.area <= (right - left) * (bottom - top)


@given(anomaly_map=MAPS, level=st.floats(0.01, 1), min_area=st.integers(1, 9))
def test_the_hottest_comes_first_and_specks_may_be_left_out(
    anomaly_map: NDArray[np.float32], level: float, min_area: int
) -> None:
    regions = find_regions(anomaly_map, level)
    assert [region.score for region in regions] == sorted((r.score for r in regions), reverse=True)
    large = [region for region in regions if region.area >= min_area]
    assert find_regions(anomaly_map, level, min_area=min_area) == large


def test_a_single_pixel_is_a_square() -> None:
    spot = np.zeros((5, 7), np.float32)
    spot[4, 2] = 0.5
    (region,) = find_regions(spot, 0.5)
    assert set(region.polygon_xy) == {(2, 4), (3, 4), (3, 5), (2, 5)}
    assert (region.box_xyxy, region.area, region.score) == ((2, 4, 3, 5), 1, 0.5)


def test_a_map_that_is_hot_all_over_is_one_rectangle() -> None:
    (region,) = find_regions(np.ones((5, 7)), 1)
    assert set(region.polygon_xy) == {(0, 0), (7, 0), (7, 5), (0, 5)} and region.area == 35


@pytest.mark.parametrize("anomaly_map", [np.zeros((4, 4)), np.full((4, 4), np.nan), np.full((4, 4), 0.4)])
def test_where_nothing_reaches_the_level_there_is_no_region(anomaly_map: NDArray[np.float64]) -> None:
    assert find_regions(anomaly_map, 0.5) == []


def test_a_level_between_two_single_precision_numbers_is_not_rounded() -> None:
    value = np.float32(0.1)
    above = float(np.nextafter(np.float64(value), 1))
    assert find_regions(np.full((2, 2), value), float(value))
    assert not find_regions(np.full((2, 2), value), above)


def test_an_outline_is_simple() -> None:
    y, x = np.mgrid[:200, :200]
    (disc,) = find_regions(((x - 100) ** 2 + (y - 100) ** 2 < 80**2).astype(np.float32), 0.5)
    assert len(disc.polygon_xy) < 80  # of 452 border pixels
    assert cv2.contourArea(np.array(disc.polygon_xy, np.float32)) == pytest.approx(disc.area, rel=0.02)


def test_parts_that_touch_by_a_corner_are_one_region() -> None:
    assert len(find_regions(np.eye(4), 1)) == 1
    assert len(find_regions(np.array([[1, 0, 1]]), 1)) == 2


@given(region_map=MAPS, factors=st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)))
def test_a_scaled_region_is_where_the_scaled_image_shows_it(
    region_map: NDArray[np.float32], factors: tuple[float, float]
) -> None:
    for region in find_regions(region_map, 0.5):
        scaled = region.scaled(*factors)
        assert np.allclose(np.array(scaled.polygon_xy), np.array(region.polygon_xy) * factors)
        assert np.allclose(scaled.box_xyxy, np.array(region.box_xyxy) * (*factors, *factors))
        assert scaled.area == pytest.approx(region.area * factors[0] * factors[1])
        assert scaled.score == region.score
        assert set(scaled.to_dict()) == {"polygon_xy", "box_xyxy", "area", "score"}


@given(heatmap=MAPS, power=st.integers(-20, 20), share=st.floats(0.1, 1))
def test_the_hottest_pixels_do_not_depend_on_the_scale(
    heatmap: NDArray[np.float32], power: int, share: float
) -> None:
    def places(heat: NDArray[np.float64]) -> set[tuple[tuple[float, float], ...]]:
        return {region.polygon_xy for region in hottest_regions(heat, share)}

    heat = heatmap.astype(np.float64)
    assert places(heat) == places(heat * 2.0**power)


@given(heatmap=MAPS)
def test_the_hottest_pixel_is_always_among_them(heatmap: NDArray[np.float32]) -> None:
    regions = hottest_regions(heatmap)
    assert bool(regions) == bool(heatmap.any())
    if regions:
        assert regions[0].score == heatmap.max()
        assert sum(region.area for region in regions) == (heatmap >= 0.5 * np.float64(heatmap.max())).sum()


@pytest.mark.parametrize("heatmap", [np.zeros((3, 3)), -np.ones((3, 3)), np.zeros((0, 3))])
def test_an_empty_heatmap_has_no_hottest_pixels(heatmap: NDArray[np.float64]) -> None:
    assert hottest_regions(heatmap) == [] and hottest_level(heatmap) is None


@pytest.mark.parametrize("share", [0, -0.5, 1.01, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="share"):
        hottest_regions(np.ones((3, 3)), share)
