"""Tiles cover the region and nothing that is far from it, and come together without a seam."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from roinspect.errors import UserError
from roinspect.inspection import tiles as module
from roinspect.inspection.bundle import Bundle, Threshold
from roinspect.inspection.inspector import Inspector
from roinspect.inspection.looks import Looks
from roinspect.inspection.prediction import Prediction
from roinspect.inspection.tiles import Tiling, cover, cut, fullest, gated, scaled_hw, stitched

SIDE = 64
LAYOUTS = [((300, 400), (40, 50)), ((64, 64), (16, 16)), ((50, 200), (16, 16)), ((333, 127), (20, 31))]


def blobs(grid_hw: tuple[int, int], seed: int) -> NDArray[np.bool_]:
    rng = np.random.default_rng(seed)
    region = np.zeros(grid_hw, np.bool_)
    for _ in range(int(rng.integers(1, 4))):
        top, left = (int(rng.integers(side)) for side in grid_hw)
        region[top : top + int(rng.integers(1, 15)), left : left + int(rng.integers(1, 15))] = True
    return region


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("size_hw", "grid_hw"), LAYOUTS)
def test_every_part_of_the_region_lies_in_a_tile_and_every_tile_in_the_photograph(
    size_hw: tuple[int, int], grid_hw: tuple[int, int], seed: int
) -> None:
    region = blobs(grid_hw, seed)
    positions = cover(region, size_hw, SIDE)
    seen = np.zeros(size_hw, np.bool_)
    for top, left in positions.tolist():
        assert 0 <= top <= max(0, size_hw[0] - SIDE) and 0 <= left <= max(0, size_hw[1] - SIDE)
        seen[top : top + SIDE, left : left + SIDE] = True
    rows = (np.arange(size_hw[0]) * grid_hw[0]) // size_hw[0]
    columns = (np.arange(size_hw[1]) * grid_hw[1]) // size_hw[1]
    assert seen[region[np.ix_(rows, columns)]].all()
    assert len(np.unique(positions, axis=0)) == len(positions)


def test_tiles_are_as_many_as_the_region_needs_not_the_photograph() -> None:
    region = np.zeros((100, 100), np.bool_)
    assert len(cover(region, (4000, 4000), 256)) == 0
    region[40:44, 40:44] = True
    assert len(cover(region, (4000, 4000), 256)) == 1
    region[40:44] = True
    assert 16 <= len(cover(region, (4000, 4000), 256)) <= 20
    region[:] = True
    assert 18**2 <= len(cover(region, (4000, 4000), 256)) <= 19**2


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("size_hw", "grid_hw"), LAYOUTS)
def test_tiles_of_a_picture_come_together_to_the_picture(
    size_hw: tuple[int, int], grid_hw: tuple[int, int], seed: int
) -> None:
    picture = np.random.default_rng(seed).integers(0, 255, (*size_hw, 3)).astype(np.uint8)
    positions = cover(blobs(grid_hw, seed), size_hw, SIDE)
    pieces = cut(picture, positions, SIDE)
    assert pieces.shape == (len(positions), SIDE, SIDE, 3)
    whole = stitched(pieces[..., 0].astype(np.float32), positions, size_hw)
    covered = stitched(np.ones((len(positions), SIDE, SIDE), np.float32), positions, size_hw) > 0
    assert np.abs(whole - picture[..., 0])[covered].max() < 1e-3
    assert not whole[~covered].any()


def test_where_neighbours_differ_their_map_changes_step_by_step() -> None:
    maps = np.stack([np.zeros((SIDE, SIDE)), np.ones((SIDE, SIDE))]).astype(np.float32)
    whole = stitched(maps, np.array([[0, 0], [0, SIDE - 8]]), (SIDE, 2 * SIDE - 8))
    assert np.diff(whole[20]).min() >= 0 and np.diff(whole[20]).max() < 0.2


def test_a_map_counts_as_much_as_the_region_at_its_place() -> None:
    region = np.zeros((10, 20), np.float32)
    region[:, 10:] = 1
    maps = np.ones((2, 40, 40), np.float32)
    left, right = gated(maps, np.array([[0, 0], [0, 160]]), region, (100, 200))
    assert not left[:, :30].any() and (right == 1).all()
    (across,) = gated(np.ones((1, 40, 40), np.float32), np.array([[30, 80]]), region, (100, 200))
    assert np.diff(across[0]).min() >= 0 and across[0, 0] == 0 and across[0, -1] == 1
    assert across[0, 19] == pytest.approx(0.5, abs=0.1)


def test_of_too_many_tiles_those_that_show_most_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_TILES", 2)
    region = np.zeros((10, 30), np.float32)
    region[:, 10:] = 1
    positions = np.array([[0, 0], [0, 100], [0, 200]])
    assert fullest(positions, region, (100, 300), 100).tolist() == [[0, 100], [0, 200]]
    assert fullest(positions[:2], region, (100, 300), 100).tolist() == positions[:2].tolist()


# -- two looks -----------------------------------------------------------------------------------------------

NATIVE = (320, 480)


def tiling(**changes: object) -> Tiling:
    values: dict[str, object] = {
        "side": SIDE, "scale": 1.0, "smallest_hw": NATIVE, "largest_hw": NATIVE, "backbone": "",
    }  # fmt: skip
    return Tiling(**{**values, **changes})  # type: ignore[arg-type]


def coarse(images: NDArray[np.uint8]) -> Prediction:
    """The region is what is not black."""
    region = (images[..., 1].astype(np.float32) > 0)[:, ::4, ::4].astype(np.float32)
    count = len(images)
    return Prediction(np.zeros(count, np.float32), region, region, np.zeros(count, np.float32))


def brightest(images: NDArray[np.uint8]) -> Prediction:
    maps = images[..., 0].astype(np.float32) / 255
    count = len(images)
    return Prediction(maps.max((1, 2)), maps, np.ones_like(maps), np.zeros(count, np.float32))


def inspector(threshold: float = 0.5, **changes: object) -> Inspector:
    bundle = Bundle("test", {}, (80, 120), Threshold(threshold, "chosen"), tiles=tiling(**changes))
    return Inspector(bundle, coarse, close=brightest)


def photograph() -> NDArray[np.uint8]:
    """A part on black ground, with a defect of one pixel, and a brighter one beside the part."""
    pixels = np.zeros((*NATIVE, 3), np.uint8)
    pixels[100:200, 200:300] = (20, 60, 20)
    pixels[150, 250, 0] = 200
    pixels[20, 20, 0] = 250
    return pixels


def test_a_defect_of_one_pixel_is_found_where_it_is_and_damage_elsewhere_is_not() -> None:
    verdict = inspector().inspect(photograph())
    assert verdict.verdict == "defective" and verdict.pred_score == pytest.approx(200 / 255)
    assert verdict.anomaly_map is not None and verdict.anomaly_map.shape == NATIVE
    (region,) = verdict.regions
    assert region.box_xyxy == (250, 150, 251, 151)


def test_a_smaller_scale_keeps_the_places() -> None:
    pixels = photograph()
    pixels[150:154, 250:254, 0] = 200
    verdict = inspector(scale=0.5).inspect(pixels)
    (region,) = verdict.regions
    assert abs(region.box_xyxy[0] - 250) <= 2 and abs(region.box_xyxy[1] - 150) <= 2
    assert verdict.anomaly_map is not None and verdict.anomaly_map.shape == NATIVE


def test_photographs_looked_at_together_get_the_verdicts_of_each_alone() -> None:
    many = [photograph() for _ in range(5)]
    for number, pixels in enumerate(many):
        pixels[100:200, 200 : 220 + 40 * number] = (20, 60, 20)
        pixels[120, 210] = (50 * number, 60, 0)
    alone = [inspector().inspect(pixels).pred_score for pixels in many]
    assert [one.pred_score for one in inspector().inspect_many(many, batch_size=5)] == alone


def test_without_a_region_nothing_is_good() -> None:
    verdict = inspector().inspect(np.zeros((*NATIVE, 3), np.uint8))
    assert verdict.verdict == "not inspectable" and verdict.is_inspectable is False
    assert verdict.reason == "no region of interest was found"


def test_a_region_of_too_many_tiles_is_not_good_but_may_be_defective(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_TILES", 3)
    pixels = np.full((*NATIVE, 3), 60, np.uint8)
    verdict = inspector().inspect(pixels)
    assert verdict.verdict == "not inspectable" and "tiles" in str(verdict.reason)
    pixels[:] = 255
    assert inspector().inspect(pixels).verdict == "defective"


@pytest.mark.parametrize("size_hw", [(150, 480), (320, 700), (2000, 3000)])
def test_a_photograph_of_another_size_is_refused(size_hw: tuple[int, int]) -> None:
    with pytest.raises(UserError, match=rf"is {size_hw[0]}x{size_hw[1]} pixels .* photographs of 320x480"):
        inspector().inspect(np.zeros((*size_hw, 3), np.uint8))
    (verdict,) = inspector().inspect_many([np.zeros((*size_hw, 3), np.uint8)])
    assert verdict.verdict is None and verdict.error is not None


def test_a_scan_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    content = cv2.imencode(".png", np.zeros((2000, 3000, 3), np.uint8))[1].tobytes()
    monkeypatch.setattr("roinspect.inspection.inspector.read_image", lambda *_, **__: pytest.fail("decoded"))
    with pytest.raises(UserError, match="is 2000x3000 pixels"):
        inspector().inspect(content)


def test_a_score_that_is_no_number_is_never_good() -> None:
    def sick(images: NDArray[np.uint8]) -> Prediction:
        found = brightest(images)
        found.pred_score[0] = np.nan
        found.anomaly_map[0, 0, 0] = np.nan
        return found

    bundle = Bundle("test", {}, (80, 120), Threshold(0.5, "chosen"), tiles=tiling())
    with pytest.raises(UserError, match="NaN"):
        Inspector(bundle, coarse, close=sick).inspect(photograph())


def test_tiles_of_any_number_go_through_the_network_in_small_batches() -> None:
    sizes = []

    def counted(images: NDArray[np.uint8]) -> Prediction:
        sizes.append(len(images))
        return brightest(images)

    bundle = Bundle("test", {}, (80, 120), Threshold(0.5, "chosen"), tiles=tiling())
    looks = Looks(bundle, coarse, counted)
    found = looks([np.full((*NATIVE, 3), 9, np.uint8)] * 3)
    assert (
        len(found) == 3
        and max(sizes) <= 8
        and sum(sizes) == 3 * len(looks.tiles(np.full((*NATIVE, 3), 9, np.uint8)))
    )
    assert looks([]) == []


def test_sizes_are_scaled() -> None:
    assert scaled_hw((100, 333), 0.5) == (50, 166) and scaled_hw((1, 1), 0.1) == (1, 1)
