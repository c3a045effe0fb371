"""A bare image gets a verdict at its own size; what cannot be inspected is never passed as good."""

from __future__ import annotations

import json
import math
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

import roinspect.inspection.inspector
from roinspect import Inspector, UserError
from roinspect.images.pixels import read_image, write_image
from roinspect.inspection.bundle import Bundle, Threshold
from roinspect.inspection.prediction import Prediction

SIZE = (8, 12)


def brightness(images: NDArray[np.uint8]) -> Prediction:
    """A model whose map is the brightness and whose score is its maximum."""
    assert images.shape[1:] == (*SIZE, 3) and images.dtype == np.uint8
    maps = images.mean(axis=3, dtype=np.float32) / np.float32(255)
    return Prediction(
        maps.max(axis=(1, 2)), maps, np.ones((len(maps), 1, 1), np.float32), np.zeros(len(maps), np.float32)
    )


def inspector(threshold: float = 0.5) -> Inspector:
    return Inspector(Bundle("test", {}, SIZE, Threshold(threshold, "chosen")), brightness)


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """A dark one, one that is no image, and a bright one."""
    for name, value in (("dark", 10), ("bright", 250)):
        write_image(tmp_path / f"{name}.png", np.full((30, 50, 3), value, np.uint8))
    (tmp_path / "none.png").write_bytes(b"no image")
    return [tmp_path / f"{name}.png" for name in ("dark", "none", "bright")]


def test_a_file_its_bytes_and_its_pixels_get_one_verdict(images: list[Path]) -> None:
    pixels = np.full((30, 50, 3), 250, np.uint8)
    verdicts = [inspector().inspect(given) for given in (images[2], images[2].read_bytes(), pixels)]
    assert {verdict.pred_score for verdict in verdicts} == {np.float32(250 / 255)}
    assert all(verdict.is_defect and verdict.error is None for verdict in verdicts)
    assert [verdict.image_path for verdict in verdicts] == [str(images[2]), "", ""]


def test_grey_pixels_and_pillow_images_are_read_like_their_file(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (30, 50, 3), np.uint8)
    grey = np.ascontiguousarray(colours[..., 1])
    for name, pixels in (("colours", colours), ("grey", grey)):
        file = tmp_path / f"{name}.png"
        write_image(file, pixels)
        expected = inspector().inspect(file)
        for given in (pixels, PIL.Image.fromarray(pixels)):
            verdict = inspector().inspect(given)
            assert verdict.pred_score == expected.pred_score
            assert verdict.image is not None and expected.image is not None
            assert np.array_equal(verdict.image, expected.image)
    for mode in ("RGBA", "P", "I;16"):
        with pytest.raises(UserError, match=f'of mode {mode} is not supported; pass it in mode "RGB"'):
            inspector().inspect(PIL.Image.new(mode, (50, 30)))


def test_a_verdict_describes_itself_in_one_line(images: list[Path]) -> None:
    dark, none, bright = inspector().inspect_many(images)
    assert repr(dark) == f"<Verdict on {images[0]}: good, score 0.03922, threshold 0.5, 0 regions>"
    assert repr(bright) == f"<Verdict on {images[2]}: defective, score 0.9804, threshold 0.5, 1 region>"
    assert repr(none).startswith(f"<Verdict on {images[1]}: ") and "\n" not in repr(none)
    assert json.loads(json.dumps(bright.to_dict()))["regions"][0]["box_xyxy"] == [0, 0, 50, 30]
    assert set(none.to_dict()) == {"image_path", "error"}


def test_a_notebook_shows_a_verdict_as_a_small_picture(
    images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, none, bright = inspector().inspect_many(images)
    shown = bright._repr_png_()
    assert shown is not None and np.array_equal(read_image(shown), bright.overlay())
    large = inspector().inspect(np.full((3000, 1500, 3), 250, np.uint8))._repr_png_()
    assert large is not None and read_image(large).shape == (1024, 512, 3)
    assert none._repr_png_() is None
    with pytest.raises(UserError, match="could not be inspected"):
        none.overlay()
    monkeypatch.setitem(sys.modules, "IPython.display", None)
    with pytest.raises(UserError, match=r"use Verdict\.overlay\(\) outside notebooks"):
        bright.show()


def test_the_map_has_the_images_own_size(images: list[Path]) -> None:
    verdict = inspector().inspect(images[0])
    assert verdict.anomaly_map is not None
    assert verdict.anomaly_map.shape == (30, 50) and verdict.anomaly_map.dtype == np.float32
    assert verdict.roi_map is not None and verdict.roi_map.shape == (1, 1)
    assert verdict.latency_ms > 0


def test_a_score_at_the_threshold_is_an_alarm() -> None:
    pixels = np.full((*SIZE, 3), 51, np.uint8)
    score = inspector().inspect(pixels).pred_score
    assert inspector(score).inspect(pixels).is_defect
    assert not inspector(math.nextafter(score, 1)).inspect(pixels).is_defect


def test_an_unreadable_file_is_told_and_the_rest_goes_on(images: list[Path]) -> None:
    dark, none, bright = inspector().inspect_many(images)
    assert (dark.is_defect, none.is_defect, bright.is_defect) == (False, None, True)
    assert none.error and str(images[1]) in none.error and math.isnan(none.pred_score)
    assert none.image is None and none.anomaly_map is None and none.regions == ()
    assert bright.image is not None and np.array_equal(bright.image, read_image(images[2]))
    with pytest.raises(UserError, match=r"none\.png"):
        inspector().inspect(images[1])


@pytest.mark.parametrize("error", [MemoryError(), cv2.error("Insufficient memory")])
@pytest.mark.parametrize("place", ["read_image", "find_regions"])
def test_an_image_too_large_for_the_memory_costs_its_own_row(
    images: list[Path], place: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, calls = getattr(roinspect.inspection.inspector, place), iter(range(9))

    def first_fails(*given: Any, **named: Any) -> Any:
        if next(calls) == 0:
            raise error
        return usual(*given, **named)

    monkeypatch.setattr(roinspect.inspection.inspector, place, first_fails)
    told, after = inspector().inspect_many([images[2], images[2]], workers=1)
    assert told.error == f"{images[2]}: does not fit into the memory that is left; save it smaller"
    assert told.is_defect is None and after.is_defect


def test_an_answer_that_is_no_number_is_no_verdict(images: list[Path]) -> None:
    def broken(batch: NDArray[np.uint8]) -> Prediction:
        found = brightness(batch)
        return found._replace(pred_score=found.pred_score * np.float32(np.nan))

    sick = Inspector(inspector().bundle, broken)
    with pytest.raises(UserError, match="NaN"):
        sick.inspect(images[0])
    assert [verdict.is_defect for verdict in sick.inspect_many(images)] == [None] * 3


def test_regions_lie_in_the_images_own_pixels(tmp_path: Path) -> None:
    pixels = np.zeros((80, 240, 3), np.uint8)  # ten times as high as the model's size, twenty times as wide
    pixels[20:40, 100:160] = 255
    verdict = inspector().inspect(pixels)
    (region,) = verdict.regions
    assert region.box_xyxy == (100, 20, 160, 40) and region.area == 60 * 20
    assert set(region.polygon_xy) == {(100, 20), (160, 20), (160, 40), (100, 40)}
    assert region.score == verdict.pred_score and verdict.map_level == 0.5
    assert verdict.image is pixels


def test_a_part_is_rejected_exactly_where_a_region_is_found() -> None:
    rng = np.random.default_rng(0)
    for size in (SIZE, (5, 7), (37, 41)):
        pixels = rng.integers(0, 255, (*size, 3), np.uint8)
        score = inspector().inspect(pixels).pred_score
        assert inspector(score).inspect(pixels).regions
        assert not inspector(math.nextafter(score, 1)).inspect(pixels).regions


def test_with_a_share_only_a_rejected_part_has_regions() -> None:
    pixels = np.full((*SIZE, 3), 20, np.uint8)
    pixels[2:4, 3:9] = 51
    score = inspector().inspect(pixels).pred_score

    def by_share(threshold: float) -> Inspector:
        return Inspector(Bundle("test", {}, SIZE, Threshold(threshold, "chosen"), map_share=0.5), brightness)

    passed, rejected = by_share(2 * score).inspect(pixels), by_share(score / 9).inspect(pixels)
    assert passed.regions == () and passed.map_level is None
    assert [region.box_xyxy for region in rejected.regions] == [(3, 2, 9, 4)]
    assert rejected.map_level == pytest.approx(score / 2)


@pytest.mark.parametrize(
    "pixels", [np.zeros((4, 4, 3)), np.zeros((4, 4, 1), np.uint8), np.zeros((0, 4, 3), np.uint8)]
)
def test_an_array_that_is_no_image_is_refused(pixels: NDArray[np.uint8]) -> None:
    with pytest.raises(UserError, match="pass uint8 pixels"):
        inspector().inspect(pixels)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 50])
def test_batches_change_neither_order_nor_verdicts(images: list[Path], batch_size: int) -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 20 * number + 9, (10, 14, 3)).astype(np.uint8) for number in range(12)]
    given: list[Path | bytes | NDArray[np.uint8]] = [*arrays, images[1], images[2].read_bytes(), images[0]]
    given += [np.zeros((3, 3)), b"", *arrays[:2]]  # type: ignore[list-item]
    found = list(inspector().inspect_many(given, batch_size=batch_size, workers=2))
    assert len(found) == len(given)
    for image, verdict in zip(given, found, strict=True):
        try:
            alone = inspector().inspect(image)
        except UserError as error:
            assert (verdict.error, verdict.is_defect) == (str(error), None)
        else:
            assert (verdict.pred_score, verdict.regions) == (alone.pred_score, alone.regions)


def test_the_network_sees_batches_without_what_could_not_be_read(images: list[Path]) -> None:
    seen = []

    def counted(batch: NDArray[np.uint8]) -> Prediction:
        seen.append(len(batch))
        return brightness(batch)

    counting = Inspector(inspector().bundle, counted)
    rows = list(counting.inspect_many([*images, *[images[1]] * 3, *images], batch_size=3))
    assert seen == [2, 2] and [row.is_defect for row in rows].count(None) == 5


@pytest.mark.parametrize("streams", [1, 3])
def test_any_number_of_images_fits_into_memory(streams: int) -> None:
    given = 0

    def camera() -> Iterator[NDArray[np.uint8]]:
        nonlocal given
        for given in range(1, 201):
            yield np.full((*SIZE, 3), given, np.uint8)

    used = 0
    several = Inspector(inspector().bundle, brightness, streams=streams)
    for used, verdict in enumerate(several.inspect_many(camera(), batch_size=4, workers=2), 1):
        assert verdict.pred_score == pytest.approx(used / 255)
        # Decoded, in the network or on the way to the caller.
        assert given - used <= 2 + (2 * streams + 3) * 4 + 2
    assert used == 200


def test_decoding_the_network_and_the_caller_work_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow_read(source: bytes, bits: int, **_: Any) -> NDArray[np.uint8]:
        time.sleep(0.02)
        return np.zeros((*SIZE, 3), np.uint8)

    def slow_network(batch: NDArray[np.uint8]) -> Prediction:
        time.sleep(0.02 * len(batch))
        return brightness(batch)

    monkeypatch.setattr("roinspect.inspection.inspector.read_image", slow_read)
    start = time.perf_counter()
    for _ in Inspector(inspector().bundle, slow_network).inspect_many([b""] * 30, workers=1):
        time.sleep(0.02)
    # One after the other is 1.8 s, the slowest alone 0.6 s.
    assert time.perf_counter() - start < 1.2


def test_streams_run_side_by_side_and_keep_the_order() -> None:
    both = threading.Barrier(2, timeout=10)

    def meeting(batch: NDArray[np.uint8]) -> Prediction:
        both.wait()
        return brightness(batch)

    given = [np.full((*SIZE, 3), value, np.uint8) for value in range(40)]
    pair = Inspector(inspector().bundle, meeting, streams=2)
    for batch_size in (1, 4):
        verdicts = pair.inspect_many(given, batch_size=batch_size)
        assert [verdict.pred_score for verdict in verdicts] == pytest.approx([v / 255 for v in range(40)])


def test_a_caller_that_leaves_early_leaves_no_thread() -> None:
    before = threading.active_count()
    rows = inspector().inspect_many([np.zeros((*SIZE, 3), np.uint8)] * 100, batch_size=2)
    assert next(rows).is_defect is False and threading.active_count() > before
    rows.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


@pytest.mark.parametrize("name", ["batch_size", "workers"])
def test_a_number_below_one_is_refused_at_once(name: str) -> None:
    with pytest.raises(UserError, match=f"{name}: must be at least 1"):
        inspector().inspect_many([], **{name: 0})


def test_a_trained_bundle_inspects(model: Path, zipper: Path) -> None:
    loaded = Inspector.load(model)
    paths = sorted((zipper / "test").rglob("*.png"))
    verdicts = list(loaded.inspect_many(paths))
    assert [verdict.image_path for verdict in verdicts] == [str(path) for path in paths]
    for verdict in verdicts:
        assert 0 <= verdict.pred_score <= 1 and verdict.anomaly_map is not None
        assert verdict.is_defect == (verdict.pred_score >= loaded.threshold)
