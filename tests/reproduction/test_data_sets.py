"""A folder that is not the data set is refused in one line that says what it lacks."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from roinspect.errors import UserError
from roinspect.reproduction.data_sets import DATA_SETS, find_categories


def test_real_layouts_are_read(mvtec: Path, visa: Path, mvtec2: Path) -> None:
    for root, name, categories in (
        (mvtec, "mvtec", ("hazelnut", "zipper")),
        (visa, "visa", ("candle", "pcb1")),
        (mvtec2, "mvtec2", ("can", "vial")),
    ):
        found = find_categories(root, name, categories)  # type: ignore[arg-type]
        assert tuple(found) == categories
        for data in found.values():
            test = data.split("test")
            # The fakes have 12 good ones to train on, and 2 good and 6 defective ones to test on.
            assert [sum(record.label == label for record in test) for label in (0, 1)] == [2, 6]
            assert all(record.mask_path is not None for record in test if record.label)
            assert len(data.split("train")) + len(data.split("val")) == 12
            assert all(record.label == 0 for record in data.not_test())
    assert len(find_categories(mvtec2, "mvtec2", ["can"])["can"].split("val")) == 3


def test_every_category_of_a_data_set_is_known() -> None:
    counts = {name: len(data_set.categories) for name, data_set in DATA_SETS.items()}
    assert counts == {"mvtec": 15, "visa": 12, "mvtec2": 8}


def test_a_root_that_lacks_a_category(mvtec: Path) -> None:
    words = (
        r"mvtec: lacks metal_nut, pill of MVTec AD; it has hazelnut, zipper; add the others, or choose with "
    )
    with pytest.raises(UserError, match=words):
        find_categories(mvtec, "mvtec", ("hazelnut", "metal_nut", "pill"))
    (mvtec / "pill").mkdir()
    with pytest.raises(UserError, match=r"pill: has another layout .*MVTec AD's products hold train/good"):
        find_categories(mvtec, "mvtec", ("pill",))


def test_a_root_that_is_something_else(mvtec: Path, visa: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="missing: no such folder; name the folder that holds MVTec AD"):
        find_categories(tmp_path / "missing", "mvtec", ("zipper",))
    for product, name in ((mvtec / "zipper", "mvtec"), (visa / "candle", "visa")):
        with pytest.raises(UserError, match=f"is the folder of one product; .*: {product.parent}$"):
            find_categories(product, name, ("zipper",))  # type: ignore[arg-type]
    with pytest.raises(
        UserError, match="lacks zipper of MVTec AD; name the folder that holds MVTec AD, with"
    ):
        find_categories(tmp_path / "visa", "mvtec", ("zipper",))


def test_a_product_in_another_layout(mvtec: Path, visa: Path, mvtec2: Path) -> None:
    shutil.rmtree(mvtec / "zipper/test/good")
    with pytest.raises(
        UserError, match="zipper: has no good photographs to test on; MVTec AD's products hold"
    ):
        find_categories(mvtec, "mvtec", ("zipper",))
    (visa / "split_csv/1cls.csv").unlink()
    with pytest.raises(
        UserError, match=r"candle: has no good photographs to test on and no .*split_csv/1cls"
    ):
        find_categories(visa, "visa", ("candle",))
    shutil.rmtree(mvtec2 / "can/test_public")
    with pytest.raises(UserError, match=r"can: has no .*test_public/good"):
        find_categories(mvtec2, "mvtec2", ("can",))
    # What is wrong within the layout keeps its own words.
    shutil.copytree(mvtec / "hazelnut/test/good", mvtec / "hazelnut/test", dirs_exist_ok=True)
    with pytest.raises(UserError, match="photographs lie outside any category"):
        find_categories(mvtec, "mvtec", ("hazelnut",))
