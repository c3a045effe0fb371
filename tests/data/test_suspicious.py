"""Another product and defects among good photographs are named; photographs of one product are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from roinspect.data.check import check
from roinspect.data.records import read_records
from roinspect.data.suspicious import (
    FEWEST,
    MOST,
    backbone_at_hand,
    features_of,
    odd_ones,
    other_product,
)
from roinspect.images.pixels import write_image

CHANNELS, SIDE = 20, 6


def product(count: int, seed: int, kind: int = 0) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Features of photographs of one product that differ among each other, and an ROI of their middle."""
    rng, usual = np.random.default_rng(seed), np.random.default_rng(100 + kind).uniform(0.5, 3, CHANNELS)
    part = 0.1 * rng.normal(size=(count, 1, 1, CHANNELS))
    features = usual + part + 0.5 * rng.normal(size=(count, SIDE, SIDE, CHANNELS))
    inside = np.zeros((count, SIDE, SIDE), np.bool_)
    inside[:, 1:-1, 1:-1] = True
    return features.astype(np.float32), inside


def joined(
    *parts: tuple[NDArray[np.float32], NDArray[np.bool_]],
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    features, inside = zip(*parts, strict=True)
    return np.concatenate(features), np.concatenate(inside)


def test_of_one_product_next_to_none_is_named() -> None:
    odd = [odd_ones(*product(100, seed)).sum() for seed in range(20)]
    assert np.mean(odd) < 0.5
    assert not any(other_product(*product(100, seed)).any() for seed in range(20))


@pytest.mark.parametrize("count", [3, 10, 49])
def test_the_rarer_product_is_found_whole(count: int) -> None:
    rarer = other_product(*joined(product(100, 0), product(count, 1, kind=1)))
    assert np.flatnonzero(rarer).tolist() == list(range(100, 100 + count))


def test_what_lies_outside_the_region_does_not_count() -> None:
    features, inside = product(60, 0)
    features[:30][~inside[:30]] += 50
    assert not other_product(features, inside).any() and not odd_ones(features, inside).any()


def test_a_defect_in_a_few_cells_is_odd() -> None:
    features, inside = product(60, 0)
    features[7, 2, 2:4] += 6
    features[8, 0] += 6
    assert np.flatnonzero(odd_ones(features, inside)).tolist() == [7]


def test_equal_and_few_photographs_are_neither() -> None:
    features, inside = product(1, 0)
    equal = features.repeat(50, 0), inside.repeat(50, 0)
    assert not other_product(*equal).any() and not odd_ones(*equal).any()
    constant = np.zeros_like(equal[0]), equal[1]
    assert not other_product(*constant).any() and not odd_ones(*constant).any()
    few = joined(product(FEWEST - 4, 0), product(3, 1, kind=1))
    assert not other_product(*few).any() and not odd_ones(*few).any()


def test_a_region_smaller_than_a_cell_has_one() -> None:
    if (backbone := backbone_at_hand()) is None:
        pytest.skip("no weights on this machine")
    mask = np.zeros((192, 192), np.uint8)
    mask[50:53, 70:74] = 1
    features, inside = features_of([np.zeros((192, 192, 3), np.uint8)], [mask], backbone)
    assert features.shape == (1, 12, 12, 152) and inside.sum() == 1 and inside[0, 3, 4]


def test_check_names_a_second_product_and_a_defect(tmp_path: Path) -> None:
    if backbone_at_hand() is None:
        pytest.skip("no weights on this machine")
    rng = np.random.default_rng(0)
    for number in range(24):
        part = np.full((48, 48, 3), (60, 90, 120), np.uint8)
        part[10:38, 10:38] += rng.integers(0, 20, (28, 28, 3), np.uint8)
        write_image(tmp_path / f"good/{number:02}.png", part)
    for number in range(3):
        stripes = (np.arange(48) % 8 < 4)[None, :, None] * np.full((48, 48, 3), 200, np.uint8)
        write_image(tmp_path / f"good/other{number}.png", stripes + rng.integers(0, 9, (48, 48, 3), np.uint8))
    (warning,) = check(read_records(tmp_path)).warnings
    assert warning.startswith("good/other0.png, good/other1.png, good/other2.png: 3 of 27 good photographs")
    assert "another product than the others, such as good/00.png" in warning


def test_no_more_than_stated_are_compared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[int] = []
    monkeypatch.setattr("roinspect.data.check.backbone_at_hand", lambda: "any")
    monkeypatch.setattr("roinspect.data.check.MOST", 30)

    def features(images: list[NDArray[np.uint8]], *_: object) -> object:
        seen.append(len(images))
        return product(len(images), 0)

    monkeypatch.setattr("roinspect.data.check.features_of", features)
    for number in range(40):
        write_image(tmp_path / f"good/{number:02}.png", np.full((8, 8, 3), number, np.uint8))
    assert check(read_records(tmp_path)).problems == () and seen == [30] and MOST == 300
