"""Batches from a decoded cache: gathered as uint8, converted to float on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler, Sampler, Subset

from roinspect.data.dataset import DecodedCache
from roinspect.errors import UserError


class Batch(NamedTuple):
    """Tensors of N samples; a named tuple, so Lightning can move it to the device directly.

    Attributes:
        image: (N, 3, H, W), channels last in memory: uint8 in [0, 255] from the loader, float32 in [0, 1]
            after `to_float`.
        roi_mask: (N, 1, H, W) in {0, 1}, uint8 or float32 likewise, 1 = inspect.
        gt_mask: (N, 1, H, W) in {0, 1}, uint8 or float32 likewise, 1 = defect.
        label: (N,), int64: 0 good, 1 defective, -1 unknown.
        index: (N,), int64: rows of the cache.
    """

    image: Tensor
    roi_mask: Tensor
    gt_mask: Tensor
    label: Tensor
    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which a batch has no use for

    def to_float(self) -> Batch:
        """The same batch on its device, with float32 pixels in [0, 1] and masks in {0, 1}."""
        return self._replace(
            image=self.image.float().div_(255), roi_mask=self.roi_mask.float(), gt_mask=self.gt_mask.float()
        )


Augment: TypeAlias = Callable[[Batch], Batch]
"""Changes a batch of training photographs as the loader gives it: uint8 pixels and masks, on the CPU."""


def collate(cache: DecodedCache, indices: Sequence[int]) -> Batch:
    """Gather rows of the cache into a uint8 batch: one copy, no loop over samples."""
    rows = np.asarray(indices, np.int64)
    return Batch(
        image=torch.from_numpy(cache.images[rows]).permute(0, 3, 1, 2),
        roi_mask=torch.from_numpy(cache.roi_masks[rows]).unsqueeze(1),
        gt_mask=torch.from_numpy(cache.gt_masks[rows]).unsqueeze(1),
        label=torch.from_numpy(cache.labels[rows]),
        index=torch.from_numpy(rows),
    )


class InspectionDataset(Dataset[Batch]):
    """A decoded cache as a torch dataset: an item is a batch of one, and batches are gathered at once.

    Args:
        cache: the decoded samples.
        augment: applied to every batch.
    """

    def __init__(self, cache: DecodedCache, augment: Augment | None = None) -> None:
        self.cache = cache
        self.augment = augment

    def __len__(self) -> int:
        return len(self.cache)

    def __getitem__(self, index: int) -> Batch:
        return self.__getitems__([index])

    def __getitems__(self, indices: list[int]) -> Batch:
        """Several rows as one batch; called by the data loader.

        Raises:
            UserError: the augmentation returned something else.
        """
        batch = collate(self.cache, indices)
        if self.augment is None:
            return batch
        kinds = [(value.shape, value.dtype) for value in batch]
        changed = self.augment(batch)
        if not isinstance(changed, Batch) or [(value.shape, value.dtype) for value in changed] != kinds:
            raise UserError(
                "must return a Batch with the same shapes and types",
                where="augment",
                remedy="begin with `batch._replace(image=...)`",
            )
        return changed


class EpochSampler(Sampler[int]):
    """A permutation that depends only on the seed and the epoch, so a resumed run sees the same order.

    Lightning calls `set_epoch` before each epoch.

    Args:
        length: number of samples.
        seed: seed of the order.
        share: (rank, number of processes). Each of n processes takes every n-th sample of the same
            permutation, so their batches together equal those of one process with n times the batch size. A
            remainder is left out, which differs in each epoch.
    """

    def __init__(self, length: int, seed: int, share: tuple[int, int] = (0, 1)) -> None:
        self.length = length
        self.seed = seed
        self.share = share
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, counted from 0."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length // self.share[1]

    def __iter__(self) -> Iterator[int]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.length)
        rank, count = self.share
        return iter(order[rank : len(self) * count : count].tolist())


def train_loader(
    dataset: InspectionDataset | Subset[Batch],
    batch_size: int,
    seed: int,
    *,
    share: tuple[int, int] = (0, 1),
    shuffle: bool = True,
    drop_last: bool | None = None,
) -> DataLoader[Batch]:
    """Batches of `batch_size`, in an order that depends only on the seed and the epoch.

    Args:
        dataset: the decoded samples.
        batch_size: samples per batch; limited to the number of samples.
        seed: seed of the order.
        share: (rank, number of processes).
        shuffle: False keeps the cache's order and repeats the first samples at the end, so that all processes
            get equally many.
        drop_last: drop a smaller last batch; None drops it if shuffled, since then the dropped samples differ
            in each epoch.
    """
    rank, count = share
    sampler: EpochSampler | DistributedSampler[Batch] | None = None
    if shuffle:
        sampler = EpochSampler(len(dataset), seed, share)
    elif count > 1:
        sampler = DistributedSampler(dataset, count, rank, shuffle=False)
    return DataLoader(
        dataset,
        batch_size=min(batch_size, len(dataset if sampler is None else sampler)),
        sampler=sampler,
        drop_last=shuffle if drop_last is None else drop_last,
        collate_fn=_as_it_is,
    )


def _as_it_is(batch: Any) -> Batch:
    # `__getitems__` has already gathered the batch; torch's type hints assume lists of items.
    return cast(Batch, batch)
