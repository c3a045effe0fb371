"""Batches for torch: whole, uint8 until on the device, in an order that seed and epoch alone decide."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from roinspect.data.dataset import DecodedCache  # noqa: E402
from roinspect.data.loader import Batch, EpochSampler, InspectionDataset, collate, train_loader  # noqa: E402
from roinspect.data.records import Record  # noqa: E402
from roinspect.images.pixels import write_image  # noqa: E402

SIZE = (12, 20)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> DecodedCache:
    root = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    records = []
    for i in range(10):
        write_image(root / f"{i}.png", rng.integers(0, 256, (*SIZE, 3), np.uint8))
        write_image(root / f"gt{i}.png", rng.integers(0, 2, SIZE, np.uint8))
        write_image(root / f"roi{i}.png", rng.integers(0, 2, SIZE, np.uint8))
        records.append(
            Record(root / f"{i}.png", "train", i % 2, "", root / f"gt{i}.png", root / f"roi{i}.png")
        )
    return DecodedCache(records, SIZE)


def orders(cache: DecodedCache, seed: int, epochs: list[int], **how: bool) -> list[list[int]]:
    loader = train_loader(InspectionDataset(cache), 3, seed, **how)
    found = []
    for epoch in epochs:
        if isinstance(loader.sampler, EpochSampler):
            loader.sampler.set_epoch(epoch)
        found.append([index for batch in loader for index in batch.index.tolist()])
    return found


def test_a_batch_holds_the_rows_of_the_cache(cache: DecodedCache) -> None:
    batch = collate(cache, [7, 0, 7])
    assert batch.image.shape == (3, 3, *SIZE) and batch.roi_mask.shape == batch.gt_mask.shape == (3, 1, *SIZE)
    assert batch.image.dtype == batch.roi_mask.dtype == batch.gt_mask.dtype == torch.uint8
    assert batch.label.dtype == batch.index.dtype == torch.int64 and batch.index.tolist() == [7, 0, 7]
    assert np.array_equal(batch.image.numpy(), cache.images[[7, 0, 7]].transpose(0, 3, 1, 2))
    assert np.array_equal(batch.roi_mask.numpy()[:, 0], cache.roi_masks[[7, 0, 7]])
    assert np.array_equal(batch.gt_mask.numpy()[:, 0], cache.gt_masks[[7, 0, 7]])
    assert batch.label.tolist() == cache.labels[[7, 0, 7]].tolist()


def test_floats_lie_between_zero_and_one_channels_last(cache: DecodedCache) -> None:
    stored = collate(cache, range(10))
    batch = stored.to_float()
    assert batch.image.dtype == batch.roi_mask.dtype == batch.gt_mask.dtype == torch.float32
    assert batch.image.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(batch.image, stored.image.float() / 255)
    assert batch.roi_mask.unique().tolist() == batch.gt_mask.unique().tolist() == [0, 1]
    assert stored.image.dtype == torch.uint8 and torch.equal(stored.label, batch.label)


def test_a_batch_may_be_changed_without_touching_the_cache(cache: DecodedCache) -> None:
    before = cache.images.copy()
    batch = collate(cache, [1, 2])
    for tensor in batch:
        tensor.zero_()
    assert np.array_equal(cache.images, before)


def test_an_item_is_a_batch_of_one(cache: DecodedCache) -> None:
    items = InspectionDataset(cache)
    assert len(items) == 10 and items[4].index.tolist() == [4]
    assert all(torch.equal(a, b) for a, b in zip(items[4], collate(cache, [4]), strict=True))


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32), epoch=st.integers(0, 1000))
def test_the_order_depends_on_seed_and_epoch_alone(cache: DecodedCache, seed: int, epoch: int) -> None:
    torch.manual_seed(epoch)
    (first,) = orders(cache, seed, [epoch], drop_last=False)
    _, again = orders(cache, seed, [epoch + 1, epoch], drop_last=False)
    assert first == again and sorted(first) == list(range(10))


def test_epochs_and_seeds_differ(cache: DecodedCache) -> None:
    found = orders(cache, 0, [0, 1, 2, 3]) + orders(cache, 1, [0, 1, 2, 3])
    assert len({tuple(order) for order in found}) == 8


def test_a_shuffled_epoch_drops_the_small_batch_and_a_plain_one_keeps_all(cache: DecodedCache) -> None:
    assert [len(order) for order in orders(cache, 0, [0, 1])] == [9, 9]
    assert orders(cache, 0, [0], shuffle=False) == [list(range(10))]
    assert orders(cache, 0, [0], shuffle=False, drop_last=True) == [list(range(9))]
    left_out = Counter(i for order in orders(cache, 0, list(range(40))) for i in order)
    assert set(left_out) == set(range(10))


def test_fewer_samples_than_a_batch_give_one_batch(cache: DecodedCache) -> None:
    (batch,) = train_loader(InspectionDataset(cache), 64, 0)
    assert sorted(batch.index.tolist()) == list(range(10))


def test_lightning_moves_a_batch_and_sets_the_epoch(cache: DecodedCache) -> None:
    lightning = pytest.importorskip("lightning")
    seen: list[list[int]] = []

    class Watch(lightning.LightningModule):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(()))

        def training_step(self, batch: Batch, _: int) -> torch.Tensor:
            assert isinstance(batch, Batch) and batch.image.dtype == torch.uint8
            seen.append(batch.index.tolist())
            return batch.to_float().image.mean() * self.weight

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), 0.1)

    trainer = lightning.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Watch(), train_loader(InspectionDataset(cache), 3, seed=5))
    expected = orders(cache, 5, [0, 1])
    assert [list(chain(*seen[:3])), list(chain(*seen[3:]))] == expected


def test_a_cache_on_disk_gives_the_same_batches(cache: DecodedCache, tmp_path: Path) -> None:
    with DecodedCache(cache.records, SIZE, memory_bytes=0, folder=tmp_path) as on_disk:
        for a, b in zip(collate(cache, [3, 1]), collate(on_disk, [3, 1]), strict=True):
            assert torch.equal(a, b)
