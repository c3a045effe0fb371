"""Decoding happens once, in memory or on disk alike, and a bad file harms only itself."""

from __future__ import annotations

import gc
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from roinspect.data import dataset as dataset_module
from roinspect.data.dataset import DecodedCache, load_sample, stream
from roinspect.data.records import Record
from roinspect.errors import UserError
from roinspect.images import pixels
from roinspect.images.pixels import read_image, resize_image, resize_mask, write_image

quick = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
SIZE = (24, 36)


def made(root: Path, count: int = 6, *, size: tuple[int, int] = (40, 50)) -> list[Record]:
    """Even pictures are good; odd ones have a defect inside the ROI (the left half) or outside, in turn."""
    rng = np.random.default_rng(0)
    roi = np.zeros(size, np.uint8)
    roi[:, : size[1] // 2] = 255
    records = []
    for i in range(count):
        defect = np.zeros(size, np.uint8)
        column = 5 if i % 4 == 1 else size[1] - 9
        defect[10:16, column : column + 4] = 255
        write_image(root / f"{i}.png", rng.integers(0, 256, (*size, 3), np.uint8))
        write_image(root / f"roi/{i}.png", roi)
        write_image(root / f"gt/{i}.png", defect)
        records.append(
            Record(root / f"{i}.png", "train", i % 2, "pit" if i % 2 else "good",
                   root / f"gt/{i}.png" if i % 2 else None, root / f"roi/{i}.png", key=f"{i}.png")
        )  # fmt: skip
    return records


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file has been decoded."""
    counter: Counter[str] = Counter()
    lock = threading.Lock()
    decode = pixels._decode

    def counted(data: bytes, where: str, *bits: int) -> tuple[pixels.Pixels, bool, int]:
        with lock:
            counter[where] += 1
        return decode(data, where, *bits)

    monkeypatch.setattr(pixels, "_decode", counted)
    return counter


def test_a_sample_and_its_label(tmp_path: Path) -> None:
    samples = [load_sample(record, SIZE) for record in made(tmp_path)]
    assert [(s.label, s.place) for s in samples[:4]] == [
        (0, "none"),
        (1, "inside"),
        (0, "none"),
        (0, "outside"),
    ]
    for i, sample in enumerate(samples):
        assert sample.image.shape == (*SIZE, 3) and sample.image.dtype == np.uint8
        assert sample.roi_mask.shape == sample.gt_mask.shape == SIZE
        assert sample.gt_mask.any() == i % 2
        assert np.array_equal(sample.image, resize_image(read_image(tmp_path / f"{i}.png"), SIZE))


def test_labels_without_a_mask_or_against_it(tmp_path: Path) -> None:
    good, inside, _, outside = made(tmp_path, 4)
    assert load_sample(replace(inside, mask_path=None), SIZE).label == 1
    assert load_sample(replace(inside, mask_path=None), SIZE).place == "unknown"
    assert load_sample(replace(good, label=None), SIZE).label == -1
    assert load_sample(replace(inside, label=None), SIZE).label == 1
    assert load_sample(replace(outside, label=None), SIZE).label == 0
    assert load_sample(replace(inside, label=0), SIZE).label == 0
    assert load_sample(replace(outside, roi_path=None), SIZE).label == 1


@pytest.mark.parametrize(("min_pixels", "label"), [(1, 1), (24, 1), (25, 0)])
def test_the_rule_counts_stored_pixels(tmp_path: Path, min_pixels: int, label: int) -> None:
    inside = made(tmp_path, 2)[1]
    assert load_sample(inside, (3, 4), min_pixels=min_pixels).label == label
    with DecodedCache([inside], (3, 4), min_pixels=min_pixels) as cache:
        assert cache.labels.tolist() == [label]


@pytest.mark.parametrize("what", ["roi", "gt"])
def test_a_mask_of_another_size_is_named(tmp_path: Path, what: str) -> None:
    record = made(tmp_path, 2)[1]
    write_image(tmp_path / f"{what}/1.png", np.full((40, 51), 255, np.uint8))
    with pytest.raises(UserError, match=r"40x51 .* 1\.png is 40x50") as caught:
        load_sample(record, SIZE)
    assert caught.value.where == str(tmp_path / f"{what}/1.png")


@quick
@given(
    count=st.integers(1, 9), height=st.integers(1, 60), width=st.integers(1, 60), workers=st.integers(1, 4)
)
def test_the_cache_equals_its_samples_in_memory_and_on_disk(
    count: int, height: int, width: int, workers: int, tmp_path: Path
) -> None:
    records = made(tmp_path, count)
    samples = [load_sample(record, (height, width)) for record in records]
    folder = tmp_path / "cache"
    for limit in (4 << 30, 0):
        with DecodedCache(
            records, (height, width), memory_bytes=limit, folder=folder, workers=workers
        ) as cache:
            assert cache.on_disk == (limit == 0) and len(cache) == count
            assert np.array_equal(cache.images, np.stack([s.image for s in samples]))
            assert np.array_equal(cache.roi_masks, np.stack([s.roi_mask for s in samples]))
            assert np.array_equal(cache.gt_masks, np.stack([s.gt_mask for s in samples]))
            assert cache.labels.tolist() == [s.label for s in samples]
            assert cache.places == [s.place for s in samples]
            assert cache.images.dtype == cache.roi_masks.dtype == cache.gt_masks.dtype == np.uint8
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("limit", [4 << 30, 0])
@pytest.mark.parametrize("workers", [1, 4])
def test_each_file_is_decoded_once(tmp_path: Path, decoded: Counter[str], limit: int, workers: int) -> None:
    records = made(tmp_path)
    shared = [
        replace(r, roi_path=tmp_path / "roi/0.png", mask_path=tmp_path / "gt/1.png") for r in records[:3]
    ]
    with DecodedCache(shared + records[3:], SIZE, memory_bytes=limit, workers=workers) as cache:
        for _ in range(3):
            cache.images[[0, 2, 1]].sum()
    expected = {str(p) for r in shared + records[3:] for p in (r.image_path, r.mask_path, r.roi_path) if p}
    assert set(decoded) == expected and set(decoded.values()) == {1}


def test_what_all_records_share_is_held_once(tmp_path: Path) -> None:
    records = [replace(r, roi_path=tmp_path / "roi/0.png", mask_path=None) for r in made(tmp_path)]
    needed = 6 * 24 * 36 * 3 + 2 * 24 * 36
    with DecodedCache(records, SIZE, memory_bytes=needed) as cache:
        assert not cache.on_disk
        assert cache.roi_masks.shape == cache.gt_masks.shape == (6, *SIZE)
        assert np.array_equal(cache.roi_masks[5], load_sample(records[5], SIZE).roi_mask)
        assert not cache.gt_masks.any()
    with DecodedCache(records, SIZE, memory_bytes=needed - 1, folder=tmp_path / "cache") as cache:
        assert cache.on_disk and np.array_equal(cache.roi_masks[5], cache.roi_masks[0])


def test_images_of_many_sizes(tmp_path: Path) -> None:
    records = made(tmp_path / "a", 2) + made(tmp_path / "b", 2, size=(20, 90))
    bare = [replace(record, roi_path=None) for record in records]
    with DecodedCache(bare, SIZE) as cache:
        assert cache.roi_masks.all() and cache.images.shape == (4, *SIZE, 3)


def test_bad_files_are_counted_and_the_first_named(tmp_path: Path) -> None:
    records = made(tmp_path, 8)
    for i in (2, 5, 6):
        whole = (tmp_path / f"{i}.png").read_bytes()
        (tmp_path / f"{i}.png").write_bytes(whole[:-30])
    for limit in (0, 1 << 30):
        with pytest.raises(UserError, match="3 of 8 photographs") as caught:
            DecodedCache(records, SIZE, memory_bytes=limit, folder=tmp_path / "cache")
        assert caught.value.where == str(tmp_path / "2.png") and "5.png" in str(caught.value)
    assert list((tmp_path / "cache").iterdir()) == []


def test_one_bad_shared_mask_is_read_once(tmp_path: Path, decoded: Counter[str]) -> None:
    (tmp_path / "roi.png").write_bytes(b"junk")
    records = [replace(r, roi_path=tmp_path / "roi.png") for r in made(tmp_path, 4)]
    with pytest.raises(UserError, match="4 of 4"):
        DecodedCache(records, SIZE)
    assert decoded[str(tmp_path / "roi.png")] == 1


def test_no_records_and_no_room_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="no photographs"):
        DecodedCache([], SIZE)
    records = made(tmp_path, 2)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="no cache can be made"):
        DecodedCache(records, SIZE, memory_bytes=0, folder=tmp_path / "file")
    monkeypatch.setattr(dataset_module.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10})())
    with pytest.raises(UserError, match="free space"):
        DecodedCache(records, SIZE, memory_bytes=0, folder=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_forgotten_cache_leaves_no_files(tmp_path: Path) -> None:
    cache = DecodedCache(made(tmp_path, 2), SIZE, memory_bytes=0, folder=tmp_path / "cache")
    assert len(list((tmp_path / "cache").rglob("*"))) == 4
    del cache
    gc.collect()
    assert list((tmp_path / "cache").iterdir()) == []


@quick
@given(
    count=st.integers(0, 9),
    batch_size=st.integers(1, 5),
    workers=st.integers(1, 3),
    bad=st.sets(st.integers(0, 8)),
)
def test_a_stream_keeps_order_and_survives_bad_files(
    count: int, batch_size: int, workers: int, bad: set[int], tmp_path: Path
) -> None:
    records = made(tmp_path, count)
    for i in bad:
        (tmp_path / f"{i}.png").write_bytes(b"junk")
    batches = list(stream(records, SIZE, batch_size, workers=workers))
    loaded = [one for batch in batches for one in batch]
    assert [one.record for one in loaded] == records
    assert all(len(batch) == batch_size for batch in batches[:-1])
    for i, one in enumerate(loaded):
        assert (one.sample is None) == (one.error is not None) == (i in bad)
        if one.sample is not None:
            assert np.array_equal(one.sample.image, load_sample(one.record, SIZE).image)


def test_a_stream_at_the_images_own_size(tmp_path: Path) -> None:
    ((one,),) = stream(made(tmp_path, 1), None, 4)
    assert one.sample is not None and one.sample.image.shape == (40, 50, 3)


def test_a_stream_decodes_ahead_but_not_far(tmp_path: Path, decoded: Counter[str]) -> None:
    records = [replace(r, roi_path=None, mask_path=None) for r in made(tmp_path, 30)]
    batches = stream(records, SIZE, 3, workers=2)
    next(batches)
    time.sleep(0.2)
    assert 3 <= decoded.total() <= 3 + 2 * 3
    batches.close()  # type: ignore[attr-defined]
    time.sleep(0.1)
    assert decoded.total() <= 3 + 2 * 3


def test_masks_shrink_by_the_one_rule(tmp_path: Path) -> None:
    record = made(tmp_path, 2)[1]
    stored: NDArray[np.uint8] = pixels.read_mask(tmp_path / "gt/1.png")
    assert np.array_equal(load_sample(record, (3, 4)).gt_mask, resize_mask(stored, (3, 4)))
