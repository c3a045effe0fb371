"""Photographs without a region are named with the recipe, which is followed here from end to end."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from roinspect.data.reading import read_data
from roinspect.errors import UserError
from roinspect.reproduction.regions import TO_DRAW, to_draw, with_regions


def test_a_product_without_regions(mvtec: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(UserError) as raised:
        with_regions(read_data(mvtec / "hazelnut", "none"), out)
    line = str(raised.value)
    assert "hazelnut: 20 of 20 photographs have no ROI mask" in line and "train/good 12" in line
    assert f"draw those of {out / 'hazelnut-to-draw.txt'} into {mvtec / 'hazelnut/roi'}" in line
    assert "\n" not in line and "docs/reproduce.md" in line
    listed = (out / "hazelnut-to-draw.txt").read_text().splitlines()
    # Twelve are all there are.
    assert listed == [f"train/good/{number:03d}.png" for number in range(12)]


def test_twenty_photographs_are_drawn_evenly_spread(tmp_path: Path, zipper: Path) -> None:
    one = next((zipper / "train/good").iterdir())
    (tmp_path / "train/good").mkdir(parents=True)
    for number in range(240):
        (tmp_path / f"train/good/{number:03d}.png").symlink_to(one)
    keys = to_draw(read_data(tmp_path, "none"))
    # Those that the page names for the 240 good zippers of MVTec AD.
    assert keys == [f"train/good/{number:03d}.png" for number in range(0, 240, 12)] and len(keys) == TO_DRAW


def test_the_recipe_ends_with_a_region_for_every_photograph(mvtec: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from roinspect.cli import main

    product, out = mvtec / "zipper", tmp_path / "out"
    shutil.move(product / "roi", tmp_path / "all")
    (product / "roi").mkdir()
    drawn = to_draw(read_data(product, "none"))[:6]
    for key in drawn:
        (product / "roi" / key).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tmp_path / "all" / key, product / "roi" / key)
    with pytest.raises(UserError, match=r"14 of 20 photographs .*train/good 6") as raised:
        with_regions(read_data(product, "none"), out)
    commands = re.findall(r"roinspect ((?:train|roi) .*?)(?= && |; )", raised.value.remedy + "; ")
    assert len(commands) == 2
    short = ["--size", "64", "--training.steps", "20", "--method.backbone", "tf_efficientnet_lite0"]
    assert main([*shlex.split(commands[0]), *short]) == 0
    assert main(shlex.split(commands[1])) == 0
    data = with_regions(read_data(product, "none"), out)
    assert data.roi == "auto"


def test_one_mask_for_all_is_enough(mvtec: Path, tmp_path: Path) -> None:
    product = mvtec / "zipper"
    shutil.copy(next((product / "roi/train/good").iterdir()), product / "roi.png")
    shutil.rmtree(product / "roi")
    assert with_regions(read_data(product, "none"), tmp_path).roi == "auto"
