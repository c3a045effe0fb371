"""Polygons mark the pixels whose centres they hold, masks and outlines turn into each other without loss."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from roinspect.data.annotations import rle
from roinspect.data.annotations.polygons import (
    ImageShapes,
    Painted,
    Polygon,
    Shape,
    bridged,
    ellipse,
    fits,
    rasterise,
    rectangle,
    simplified,
    to_ring,
    trace,
    turned,
)

quick = settings(max_examples=60, deadline=None)
Mask = NDArray[np.uint8]
SIDES = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=14)
masks = arrays(np.uint8, SIDES, elements=st.sampled_from([0, 1]))
coordinates = st.integers(-160, 320).map(lambda eighths: eighths / 8)
rings = st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=8).map(to_ring)


def drawn(*shapes: Shape, size: tuple[int, int]) -> ImageShapes:
    return ImageShapes("x.png", size, shapes)


def filled(*outlines: tuple[tuple[float, float], ...], size: tuple[int, int] = (20, 24)) -> Mask:
    return rasterise(drawn(Polygon("", outlines), size=size), size)


def inside(ring: tuple[tuple[float, float], ...], x: float, y: float) -> bool:
    """Even-odd, by the book and without rounding: how often a ray to the left crosses the outline."""
    found = False
    for (x0, y0), (x1, y1) in zip(ring, ring[1:] + ring[:1], strict=True):
        if (y0 <= y) != (y1 <= y) and Fraction(x0) + Fraction(y - y0) / Fraction(y1 - y0) * Fraction(
            x1 - x0
        ) <= x:
            found = not found
    return found


# -- run lengths ---------------------------------------------------------------------------------------------


@quick
@given(mask=masks)
def test_run_lengths_are_those_of_pycocotools(mask: Mask) -> None:
    counts = rle.encode(mask)
    size_hw = mask.shape[0], mask.shape[1]
    reference = coco_mask.encode(np.asfortranarray(mask))
    assert rle.pack(counts) == reference["counts"].decode()
    assert rle.unpack(reference["counts"].decode()) == counts
    assert np.array_equal(rle.decode(counts, size_hw), mask)
    plain = coco_mask.frPyObjects({"size": list(size_hw), "counts": list(counts)}, *size_hw)
    assert np.array_equal(coco_mask.decode(plain), mask)


@quick
@given(counts=st.lists(st.integers(0, 1 << 28), max_size=9).map(tuple))
def test_packing_is_undone_by_unpacking(counts: tuple[int, ...]) -> None:
    assert rle.unpack(rle.pack(counts)) == counts


@quick
@given(text=st.text(max_size=12) | st.text(st.characters(min_codepoint=48, max_codepoint=111), max_size=40))
def test_any_text_is_unpacked_or_refused(text: str) -> None:
    try:
        counts = rle.unpack(text)
    except ValueError:
        return
    assert all(isinstance(count, int) for count in counts)


@pytest.mark.parametrize("counts", [(), (3,), (5, 2), (-1, 7), (2**70,)])
def test_counts_that_do_not_add_up_are_refused(counts: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="add up"):
        rle.decode(counts, (2, 3))


@quick
@given(mask=masks, top=st.integers(-16, 16), left=st.integers(-16, 16))
def test_a_part_lies_where_it_should_and_is_cut_at_the_border(mask: Mask, top: int, left: int) -> None:
    expected = np.zeros((10, 12), np.uint8)
    for row, column in np.argwhere(mask):
        if 0 <= row + top < 10 and 0 <= column + left < 12:
            expected[row + top, column + left] = 1
    counts = rle.encode_part(mask, top, left, (10, 12))
    assert np.array_equal(rle.decode(counts, (10, 12)), expected)
    part, part_top, part_left = rle.decode_part(counts, (10, 12))
    assert rle.encode_part(part, part_top, part_left, (10, 12)) == counts
    assert (part[[0, -1]].any(axis=1).all() and part[:, [0, -1]].any(axis=0).all()) or not expected.any()


# -- filling -------------------------------------------------------------------------------------------------


# The second edges go through the centres of pixels, where a rounded quotient falls to either side.
@quick
@given(ring=rings)
@example(ring=((0.0, 0.0), (-13.375, 36.375), (36.375, -13.375)))
@example(ring=((0.0, 0.0), (-0.375, 36.375), (36.375, -0.375)))
def test_a_pixel_is_marked_where_its_centre_lies_inside(ring: tuple[tuple[float, float], ...]) -> None:
    expected = [[inside(ring, column + 0.5, row + 0.5) for column in range(24)] for row in range(20)]
    if np.any(expected):
        assert np.array_equal(filled(ring), np.array(expected, np.uint8))


@quick
@given(heights=st.lists(st.integers(16, 144).map(lambda eighths: eighths / 8), min_size=3, max_size=9))
def test_two_sides_of_a_line_share_no_pixel_and_miss_none(heights: list[float]) -> None:
    line = list(zip(np.linspace(-3, 27, len(heights)).tolist(), heights, strict=True))
    above = filled(to_ring([(-3, -9), *line, (27, -9)]))
    below = filled(to_ring([(27, 40), *line[::-1], (-3, 40)]))
    assert np.array_equal(above, 1 - below)


@quick
@given(ring=rings, by_x=st.integers(-5, 5), by_y=st.integers(-5, 5))
def test_a_shift_by_whole_pixels_shifts_the_mask(
    ring: tuple[tuple[float, float], ...], by_x: int, by_y: int
) -> None:
    here = filled(to_ring((x + 50, y + 50) for x, y in ring), size=(120, 120))
    there = filled(to_ring((x + 50 + by_x, y + 50 + by_y) for x, y in ring), size=(120, 120))
    assert np.array_equal(np.roll(here, (by_y, by_x), (0, 1)), there)


def test_filling_agrees_with_pycocotools_but_for_the_outline() -> None:
    # pycocotools rounds outlines to a fifth of a pixel.
    rng = np.random.default_rng(0)
    for _ in range(30):
        points = rng.random((6, 2)) * 60
        ours = filled(to_ring(points.tolist()), size=(60, 60))
        theirs = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects([points.ravel().tolist()], 60, 60)))
        length = np.linalg.norm(points - np.roll(points, 1, axis=0), axis=1).sum()
        assert (ours != theirs).sum() < 0.25 * length


def test_what_an_outline_goes_round_twice_is_left_out() -> None:
    angles = np.pi * (np.arange(5) * 4 / 5 - 0.5)
    star = to_ring(zip(20 + 18 * np.cos(angles), 20 + 18 * np.sin(angles), strict=True))
    mask = filled(star, size=(40, 40))
    assert mask[5, 20] == 1 and mask[20, 20] == 0
    bow_tie = filled(((0, 0), (20, 20), (20, 0), (0, 20)), size=(20, 20))
    assert bow_tie[10, 2] == bow_tie[10, 17] == 1 and bow_tie[2, 10] == bow_tie[17, 10] == 0


def test_a_ring_within_a_ring_is_a_hole() -> None:
    mask = filled(rectangle(2, 2, 12, 12), rectangle(5, 5, 9, 9))
    assert mask.sum() == 100 - 16 and not mask[5:9, 5:9].any()


def test_shapes_are_united_and_labels_chosen() -> None:
    one, other = (Polygon(name, (rectangle(x, 0, x + 4, 4),)) for name, x in (("a", 0), ("b", 2)))
    drawing = drawn(one, other, Painted("c", (0, 1, 479)), size=(20, 24))
    assert rasterise(drawing, (20, 24)).sum() == 24
    assert rasterise(drawing, (20, 24), {"b"}).sum() == 16
    assert rasterise(drawing, (20, 24), {"c"}).sum() == 1
    assert not rasterise(drawing, (20, 24), set()).any()


def test_what_lies_outside_is_cut_off() -> None:
    assert filled(rectangle(-1e6, -1e6, 1e6, 1e6)).all()
    assert not filled(rectangle(30, 30, 40, 40)).any()
    assert not filled(rectangle(-1e6, -9, 1e6, -8)).any()
    assert filled(rectangle(-5, -5, 3, 2)).sum() == 6


@pytest.mark.parametrize(
    "ring", [((3.2, 4.1), (9.4, 4.3), (9.4, 4.2)), ((3.2, 4.1),) * 3, ((3.2, 4.1), (3.2, 16.0), (3.2, 16.0))]
)
def test_a_scratch_thinner_than_a_pixel_is_not_lost(ring: tuple[tuple[float, float], ...]) -> None:
    mask = filled(ring)
    assert mask[4, 3] == 1 and mask.sum() <= 14


# -- sizes ---------------------------------------------------------------------------------------------------


@quick
@given(
    height=st.integers(10, 400), width=st.integers(10, 400), scale=st.floats(0.2, 5), off=st.integers(-1, 1)
)
def test_another_scale_fits_and_another_aspect_does_not(
    height: int, width: int, scale: float, off: int
) -> None:
    other = max(1, round(height * scale)), max(1, round(width * scale))
    assert fits((height, width), other) and fits(other, (height, width))
    assert fits((height, width), (height, width + off))
    assert not fits((height, width), (height, 2 * width + 2 + height))


def test_a_drawing_is_scaled_with_its_image() -> None:
    half = drawn(
        Polygon("", (rectangle(2, 1, 6, 5),)), Painted("", rle.encode(_spot((10, 12)))), size=(10, 12)
    )
    mask = rasterise(half, (20, 24))
    expected = filled(rectangle(4, 2, 12, 10)) | _spot((10, 12)).repeat(2, axis=0).repeat(2, axis=1)
    assert np.array_equal(mask, expected)
    with pytest.raises(ValueError, match="aspect"):
        rasterise(half, (20, 20))


def test_fractions_fit_any_size() -> None:
    drawing = ImageShapes("x", None, (Polygon("", (rectangle(0.25, 0.5, 0.75, 1),)),))
    for size_hw in ((8, 16), (40, 12), (4, 4)):
        height, width = size_hw
        expected = np.zeros(size_hw, np.uint8)
        expected[height // 2 :, width // 4 : width * 3 // 4] = 1
        assert np.array_equal(rasterise(drawing, size_hw), expected)


def _spot(size_hw: tuple[int, int]) -> Mask:
    mask = np.zeros(size_hw, np.uint8)
    mask[-3:, -2:] = 1
    return mask


# -- from masks to outlines ----------------------------------------------------------------------------------


@quick
@given(mask=masks)
def test_tracing_is_undone_by_filling(mask: Mask) -> None:
    size_hw = mask.shape[0], mask.shape[1]
    pieces = trace(mask, "a")
    assert np.array_equal(rasterise(ImageShapes("", size_hw, pieces), size_hw), mask)
    joined = tuple(Polygon("a", (bridged(piece),)) for piece in pieces)
    assert np.array_equal(rasterise(ImageShapes("", size_hw, joined), size_hw), mask)
    assert sum(_area(ring) for piece in pieces for ring in piece.rings[:1]) >= mask.sum()


def _area(ring: tuple[tuple[float, float], ...]) -> float:
    x, y = np.array(ring).T
    return abs(float(x @ np.roll(y, 1) - y @ np.roll(x, 1))) / 2


def test_a_traced_square_has_four_corners() -> None:
    mask = np.zeros((9, 9), np.uint8)
    mask[2:6, 3:8] = 1
    (piece,) = trace(mask, "a")
    assert set(piece.rings[0]) == {(3, 2), (8, 2), (8, 6), (3, 6)} and len(piece.rings[0]) == 4


def test_fewer_points_keep_the_shape_nearly() -> None:
    disc = filled(ellipse(60, 60, 45, 30), size=(120, 120))
    (piece,) = trace(disc, "a")
    fewer = simplified(piece, 1.0)
    mask = rasterise(drawn(fewer, size=(120, 120)), (120, 120))
    assert len(fewer.rings[0]) < len(piece.rings[0]) / 2
    assert (mask & disc).sum() / (mask | disc).sum() > 0.95


def test_ellipses_and_turns() -> None:
    assert abs(filled(ellipse(50, 50, 40, 20), size=(100, 100)).sum() - np.pi * 800) < 12
    square = filled(turned(rectangle(4, 4, 12, 8), (8, 6), 90))
    assert np.array_equal(square, filled(rectangle(6, 2, 10, 10)))
    assert turned([(2, 0)], (0, 0), 90) == ((0, 2),)


def test_the_values_need_no_torch() -> None:
    modules = "roinspect.data.roi, roinspect.data.annotations.conversion"
    program = f"import sys; sys.modules['torch'] = None; import {modules}"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
