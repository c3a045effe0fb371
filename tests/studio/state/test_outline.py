"""One gesture outlines a part."""

from __future__ import annotations

import numpy as np
import pytest

from roinspect.errors import UserError
from roinspect.studio.state.drawing import render
from roinspect.studio.state.outline import outline


@pytest.mark.parametrize("size_hw", [(240, 320), (1200, 1601)])
@pytest.mark.parametrize("is_box", [True, False])
def test_a_part_is_outlined_by_a_box_or_a_point(size_hw: tuple[int, int], is_box: bool) -> None:
    rng = np.random.default_rng(1)
    height, width = size_hw
    rows, columns = np.mgrid[:height, :width]
    disc = np.hypot(rows / height - 0.5, columns / height - 0.6) < 0.25
    image = np.where(disc[..., None], (190, 120, 60), (60, 70, 80)) + rng.integers(-9, 9, (*size_hw, 3))
    points = ((0.3, 0.2), (0.9, 0.8)) if is_box else ((0.6, 0.5),)
    drawing = outline(image.astype(np.uint8), tuple((x * height, y * height) for x, y in points))
    found = render(drawing) > 0
    assert found.shape == size_hw and (found & disc).sum() / (found | disc).sum() > 0.93
    # Few corners, so that each can be moved.
    assert sum(len(shape.points_xy) for shape in drawing.shapes) < 40


def test_a_box_of_no_size_says_what_to_do() -> None:
    with pytest.raises(UserError, match="polygon or brush"):
        outline(np.zeros((50, 60, 3), np.uint8), ((5.0, 5.0), (6.0, 6.0)))
