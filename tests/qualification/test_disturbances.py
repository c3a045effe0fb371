"""Each disturbance does what its strength says."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from roinspect.qualification.disturbances import KINDS, disturbed, foreign_pictures


@pytest.fixture(scope="module")
def image() -> NDArray[np.uint8]:
    generator = np.random.default_rng(0)
    smooth = np.kron(generator.integers(60, 180, (8, 12, 3)), np.ones((10, 10, 1)))
    return smooth.astype(np.uint8)


def pictures(image: NDArray[np.uint8], kind: str, strength: float) -> list[NDArray[np.float64]]:
    return [picture.astype(float) for picture in disturbed(image, kind, strength, "a.png")]


@pytest.mark.parametrize("kind", KINDS)
def test_size_and_type_stay_and_the_photograph_is_not_changed(image: NDArray[np.uint8], kind: str) -> None:
    before = image.copy()
    for picture in disturbed(
        image, kind, 0.3 if kind in ("brightness", "contrast", "shift") else 10, "a.png"
    ):
        assert picture.shape == image.shape
        assert picture.dtype == np.uint8
        assert (picture != image).any()
    assert (image == before).all()


@pytest.mark.parametrize("kind", KINDS)
def test_more_strength_changes_more(image: NDArray[np.uint8], kind: str) -> None:
    # A shift by more than the image's squares of a tenth changes no more.
    scale = {"brightness": 1, "contrast": 1, "shift": 0.2}.get(kind, 50)
    changes = [
        [np.abs(picture - image).mean() for picture in pictures(image, kind, scale * share)]
        for share in (0.05, 0.15, 0.45)
    ]
    assert all(list(of_direction) == sorted(of_direction) for of_direction in zip(*changes, strict=True))


def test_brightness_is_a_factor(image: NDArray[np.uint8]) -> None:
    darker, brighter = pictures(image, "brightness", 0.2)
    assert darker == pytest.approx(0.8 * image, abs=0.51)
    assert brighter == pytest.approx(np.minimum(1.2 * image, 255), abs=0.51)


def test_contrast_keeps_the_mean_and_scales_the_spread(image: NDArray[np.uint8]) -> None:
    less, more = pictures(image, "contrast", 0.3)
    assert less.mean() == pytest.approx(image.mean(), abs=0.5)
    assert less.std() == pytest.approx(0.7 * image.std(), rel=0.01)
    assert more.std() == pytest.approx(1.3 * image.std(), rel=0.01)


def test_a_shift_moves_by_shares_of_the_sides(image: NDArray[np.uint8]) -> None:
    there, back = pictures(image, "shift", 0.1)
    assert (there[8:, 12:] == image[:-8, :-12]).all()
    assert (back[:-8, :-12] == image[8:, 12:]).all()


def test_half_a_turn_is_both_ways_the_same(image: NDArray[np.uint8]) -> None:
    left, right = pictures(image, "rotation", 180)
    assert left == pytest.approx(image[::-1, ::-1], abs=1)
    assert right == pytest.approx(left, abs=1)


def test_noise_has_the_deviation_and_is_the_same_for_the_same_photograph(image: NDArray[np.uint8]) -> None:
    (noisy,) = pictures(image, "noise", 8)
    assert (noisy - image).std() == pytest.approx(8, rel=0.03)
    assert (noisy == pictures(image, "noise", 8)[0]).all()
    (other,) = disturbed(image, "noise", 8, "b.png")
    assert (noisy != other).any()


def test_a_blur_keeps_an_even_area_to_its_border() -> None:
    even = np.full((40, 60, 3), 90, np.uint8)
    assert all((picture == even).all() for picture in disturbed(even, "blur", 4, "a.png"))


def test_foreign_pictures_have_the_size_and_differ() -> None:
    found = dict(foreign_pictures((48, 64)))
    assert {picture.shape for picture in found.values()} == {(48, 64, 3)}
    assert len({picture.tobytes() for picture in found.values()}) == len(found) >= 5
