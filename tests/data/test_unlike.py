"""Odd photographs are named, whether single or many; of those that are alike next to none is."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from roinspect.data.records import read_records
from roinspect.data.unlike import FEWEST, MOST, appearance, sampled, unlike
from roinspect.images.pixels import read_image

DATA = Path(os.environ.get("ROINSPECT_DATA", Path(__file__).parents[2] / "../shared/data"))


def made_up(count: int, seed: int, tail: str = "normal") -> NDArray[np.float32]:
    """Photographs that differ in twenty ways, one of which is how far."""
    rng = np.random.default_rng(seed)
    shape = (count, 20)
    drawn = rng.standard_t(5, shape) if tail == "t" else rng.normal(size=shape)
    return (drawn @ rng.normal(size=(20, 256)) * 0.02).astype(np.float32)


@pytest.mark.parametrize("tail", ["normal", "t"])
def test_of_like_photographs_under_one_in_a_hundred_is_named(tail: str) -> None:
    named = [unlike(made_up(150, seed, tail)).mean() for seed in range(40)]
    assert np.mean(named) < 0.01


@pytest.mark.parametrize("others", [1, 3, 15, 30])
def test_another_product_is_named_whole_and_alone(others: int) -> None:
    parts = np.concatenate([made_up(150, 0), 1.5 + made_up(others, 1)])
    named = unlike(parts)
    assert named[150:].all() and named[:150].mean() < 0.02


def test_equal_and_few_photographs_are_not_odd() -> None:
    assert not unlike(np.zeros((50, 256), np.float32)).any()
    few = made_up(FEWEST - 1, 0)
    few[0] += 9
    assert not unlike(few).any()


def test_appearance_is_of_the_picture_not_of_its_size() -> None:
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (64, 64, 3), np.uint8)
    large = small.repeat(3, axis=0).repeat(2, axis=1)
    assert appearance(small).shape == (256,) and np.allclose(appearance(small), appearance(large))


def test_so_many_are_compared_and_no_more() -> None:
    assert list(sampled(0)) == [] and list(sampled(5)) == [0, 1, 2, 3, 4]
    many = sampled(230_000)
    assert len(many) == MOST and many[0] == 0 and many[-1] == 229_999


def looks(folder: Path) -> NDArray[np.float32]:
    records = [record for record in read_records(folder) if record.label == 0]
    return np.stack([appearance(read_image(record.image_path)) for record in records])


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no photographs at {DATA} (ROINSPECT_DATA)")
@pytest.mark.parametrize(
    ("name", "most"), [("bottle", 0.01), ("hazelnut_toy", 0.0), ("magnetic_tile", 0.0), ("ballscrew", 0.03)]
)
def test_of_real_good_photographs_few_are_named(name: str, most: float) -> None:
    assert unlike(looks(DATA / name)).mean() <= most


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no photographs at {DATA} (ROINSPECT_DATA)")
@pytest.mark.parametrize(("mixed", "among"), [("hazelnut_toy", "bottle"), ("bottle", "hazelnut_toy")])
def test_real_products_mixed_are_named(mixed: str, among: str) -> None:
    own = looks(DATA / among)
    parts = np.concatenate([own, looks(DATA / mixed)[:5]])
    assert unlike(parts)[len(own) :].all()
