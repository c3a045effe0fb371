"""What the names of folders say."""

from __future__ import annotations

import pytest

from roinspect.data.names import is_good, split_of_good, stems_of_mask


@pytest.mark.parametrize(
    "name",
    ["good", "Good", "OK", "normal", "normal_test", "test_good", "good-2", "ok 01", "good2", "0", "MT_Free"],
)
def test_names_of_good_parts(name: str) -> None:
    assert is_good(name)


@pytest.mark.parametrize(
    "name",
    ["abnormal", "not_good", "no good", "Ungood", "good_scratched", "NG", "bad", "goods", "1", "", "okra"],
)
def test_names_that_are_none(name: str) -> None:
    assert not is_good(name)


def test_own_names_replace_the_usual_ones() -> None:
    assert is_good("gut", ["Gut"]) and is_good("Gut_test", ["gut"]) and not is_good("good", ["gut"])


def test_the_split_in_a_name() -> None:
    assert [split_of_good(name) for name in ("normal", "normal_test", "good-valid")] == [
        "train",
        "test",
        "val",
    ]


@pytest.mark.parametrize(
    ("stem", "images"),
    [("a", ["a"]), ("a_mask", ["a_mask", "a"]), ("x/7_GT", ["x/7_GT", "x/7"]), ("x/_mask", ["x/_mask"])],
)
def test_images_of_masks(stem: str, images: list[str]) -> None:
    assert list(stems_of_mask(stem)) == images
