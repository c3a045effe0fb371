"""Shapes and masks: one makes the other, exactly; what is no drawing is refused."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from roinspect.data.annotations import polygons
from roinspect.errors import UserError
from roinspect.studio.state.drawing import Drawing, Shape, from_mask, read_drawing, render, scaled


@settings(max_examples=60, deadline=None)
@given(arrays(np.uint8, st.tuples(st.integers(1, 14), st.integers(1, 14)), elements=st.integers(0, 1)))
def test_a_mask_becomes_shapes_that_make_it_again(mask: np.ndarray) -> None:
    drawing = from_mask(mask)
    assert np.array_equal(render(drawing), mask)
    assert read_drawing(json.loads(json.dumps(drawing.to_json())), drawing.size_hw) == drawing


POINTS = st.tuples(st.floats(-9, 50), st.floats(-9, 40))
PATHS = st.lists(POINTS, min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(st.lists(POINTS, min_size=3, max_size=8))
def test_a_polygon_is_the_same_region_as_in_an_annotation_file(points: list[tuple[float, float]]) -> None:
    drawn = render(Drawing((30, 40), (Shape("polygon", tuple(points)),)))
    annotated = polygons.ImageShapes("", (30, 40), (polygons.Polygon("roi", (tuple(points),)),))
    assert np.array_equal(drawn, polygons.rasterise(annotated, (30, 40)))


def test_a_square_of_ten_pixels_has_a_hundred() -> None:
    square = Shape("polygon", ((5, 5), (15, 5), (15, 15), (5, 15)))
    assert render(Drawing((30, 40), (square,))).sum() == 100


@settings(max_examples=60, deadline=None)
@given(PATHS, st.floats(1, 12))
def test_a_brush_covers_the_pixels_whose_centres_it_passes_over(
    path: list[tuple[float, float]], radius: float
) -> None:
    y, x = np.mgrid[:30, :40] + 0.5
    distance = np.full((30, 40), np.inf)
    for (x0, y0), (x1, y1) in pairwise([path[0], *path]):
        across, down = x1 - x0, y1 - y0
        along = ((x - x0) * across + (y - y0) * down) / max(across**2 + down**2, 1e-12)
        along = along.clip(0, 1)
        distance = np.minimum(distance, np.hypot(x - x0 - along * across, y - y0 - along * down))
    is_certain = np.abs(distance - radius) > 1e-6
    mask = render(Drawing((30, 40), (Shape("brush", tuple(path), radius),)))
    assert np.array_equal((mask == 1)[is_certain], (distance < radius)[is_certain])


@given(st.tuples(st.floats(0, 40), st.floats(0, 30)))
def test_the_least_brush_marks_a_pixel_wherever_it_is_set_down(point: tuple[float, float]) -> None:
    assert render(Drawing((30, 40), (Shape("brush", (point,), 0.0),))).any()


def test_later_shapes_take_away_and_add_again() -> None:
    outer = Shape("polygon", ((0, 0), (19, 0), (19, 19), (0, 19)))
    hole = Shape("brush", ((10, 10),), 4, erase=True)
    island = Shape("brush", ((10, 10),), 1)
    mask = render(Drawing((20, 20), (outer, hole, island)))
    assert mask[0, 0] == 1 and mask[10, 7] == 0 and mask[10, 10] == 1


def test_a_brush_is_as_wide_as_it_says() -> None:
    mask = render(Drawing((40, 60), (Shape("brush", ((10, 20), (50, 20)), 6),)))
    assert abs(int(mask[:, 30].sum()) - 12) <= 1


def test_a_polygon_that_is_not_closed_marks_nothing() -> None:
    assert not render(Drawing((9, 9), (), ((0, 0), (8, 0), (8, 8)))).any()


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"shapes": 3},
        {"shapes": [{"kind": "spiral", "points": [[0, 0]]}]},
        {"shapes": [{"kind": "brush", "points": [], "radius": 2}]},
        {"shapes": [{"kind": "brush", "points": [[0, math.nan]], "radius": 2}]},
        {"shapes": [{"kind": "brush", "points": [[0, 1e300]], "radius": 2}]},
        {"shapes": [{"kind": "brush", "points": [[0, 1]], "radius": -1}]},
        {"shapes": [{"kind": "polygon", "points": [["a", 1]]}]},
        {"shapes": [], "begun": [[1]]},
        {"shapes": [], "begun": [[1, 2]] * 400_001},
    ],
)
def test_what_is_no_drawing_is_refused(value: object) -> None:
    with pytest.raises(UserError):
        read_drawing(value, (9, 9))


def test_points_far_outside_the_photograph_do_no_harm() -> None:
    shape = Shape("polygon", ((-90_000, -90_000), (90_000, -90_000), (90_000, 90_000), (-90_000, 90_000)))
    assert render(Drawing((9, 9), (shape,))).all()


def test_a_drawing_is_carried_to_photographs_of_the_same_proportions_alone() -> None:
    drawing = Drawing((10, 20), (Shape("brush", ((4, 2),), 2),))
    assert scaled(drawing, (20, 40)).shapes[0].points_xy == ((8, 4),)
    with pytest.raises(UserError, match="draw it on that photograph"):
        scaled(drawing, (20, 20))
