"""Made-up images are the same ones every time, and show a network different things."""

from __future__ import annotations

import numpy as np
import pytest

from roinspect.exports.samples import synthetic_images


@pytest.mark.parametrize("size_hw", [(64, 96), (1, 7), (75, 33)])
def test_synthetic_images(size_hw: tuple[int, int]) -> None:
    images, again = list(synthetic_images(size_hw)), list(synthetic_images(size_hw))
    assert len(images) == 8
    for image, repeated in zip(images, again, strict=True):
        assert image.shape == (*size_hw, 3) and image.dtype == np.uint8
        assert np.array_equal(image, repeated)
    assert len({image.tobytes() for image in images}) == 8


def test_they_are_fine_and_coarse_dark_and_light() -> None:
    images = list(synthetic_images((64, 64)))
    steps = [np.abs(np.diff(image.astype(float), axis=0)).mean() for image in images]
    assert steps[0] == 0 and steps[1] > 3 * steps[4] > 0
    stack = np.stack(images)
    assert stack.min() < 20 and stack.max() > 235
