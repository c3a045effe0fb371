"""A model of normal patches: a memory of examples or one Gaussian, and how to keep a memory small."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

_ABSENT = 1e12
"""Squared distance to a row that holds no patch: never the nearest, and no infinity in an exported graph."""
_ROWS_AT_ONCE = 1024
_CONVOLVED_AT_ONCE = 128
_SAME = 1e-5
"""Squared distance, as a share of the squared length, that rounding makes of none at all."""


class NearestNeighbours(nn.Module):
    """Distance of every patch to the nearest one in a memory, as products of matrices.

    Args:
        size: rows of the memory, at most; rows that are not filled are never the nearest.
        dimensions: of a patch vector.
        reweight: neighbours of PatchCore's re-weighting; 0 is none.

    Attributes:
        weight: (size, dimensions), -2 m for each memorised patch m.
        offset: (size,), its squared length.
        neighbours: (size, reweight), the rows nearest to each row, itself first.
        as_convolution: take the products as 1 x 1 convolutions, which OpenVINO does faster and ONNX Runtime
            slower; the same distances.

    Reference:
        Roth et al., *Towards Total Recall in Industrial Anomaly Detection*, 2022: Eq. 6 and 7.
    """

    weight: Tensor
    offset: Tensor
    neighbours: Tensor

    def __init__(self, size: int, dimensions: int, reweight: int = 0) -> None:
        super().__init__()
        self.as_convolution = False
        self.register_buffer("weight", torch.zeros(size, dimensions))
        self.register_buffer("offset", torch.full((size,), _ABSENT))
        self.register_buffer("neighbours", torch.zeros(size, reweight, dtype=torch.int64))

    def forward(self, patches: Tensor) -> Tensor:
        """(N, D, h, w) to distances (N, 1, h, w)."""
        n, _, h, w = patches.shape
        # |q - m|^2 = |q|^2 + (|m|^2 - 2 q m): a linear layer. By blocks, whose products stay in the cache.
        rows = _CONVOLVED_AT_ONCE if self.as_convolution else _ROWS_AT_ONCE
        blocks = zip(self.weight.split(rows), self.offset.split(rows), strict=True)
        if self.as_convolution:
            cells = [
                nn.functional.conv2d(patches, weight[:, :, None, None], offset).amin(1, keepdim=True)
                for weight, offset in blocks
            ]
            squared = patches.square().sum(1, keepdim=True) + torch.stack(cells).amin(0)
            return squared.clamp_min(0).sqrt()
        queries = patches.flatten(2).transpose(1, 2)
        nearest = [nn.functional.linear(queries, weight, offset).amin(2) for weight, offset in blocks]
        squared = queries.square().sum(2) + torch.stack(nearest).amin(0)
        return squared.clamp_min(0).sqrt().view(n, 1, h, w)

    def differences(self, patches: Tensor) -> Tensor:
        """Squared differences of patches (P, D) to their nearest memorised one, by dimension: (P, D).

        A patch that is memorised itself is compared with the next one: it says nothing about others.
        """
        found = []
        for block in patches.split(_ROWS_AT_ONCE):
            length = block.square().sum(1, keepdim=True)
            squared = length + nn.functional.linear(block, self.weight, self.offset)
            nearest = squared.topk(min(2, len(self.weight)), dim=1, largest=False)
            is_itself = nearest.values[:, :1] <= _SAME * length
            row = torch.where(is_itself, nearest.indices[:, -1:], nearest.indices[:, :1])[:, 0]
            is_filled = self.offset[row, None] < _ABSENT
            found.append(torch.where(is_filled, block + self.weight[row] / 2, 0).square())
        return torch.cat(found)

    @torch.no_grad()
    def rescale(self, factors: Tensor) -> None:
        """Multiply each dimension of what is memorised by a factor (D,), in place."""
        is_filled = self.offset < _ABSENT
        # Which ones are neighbours depends on the scale.
        self.fill(self.weight[is_filled] / -2 * factors)

    def certainty(self, patch: Tensor) -> Tensor:
        """PatchCore's weight of patches (N, D): 1 - softmax of the distances to the neighbours (Eq. 7).

        A patch far from a memory row that has many rows about it is stranger than one far from a lonely row.

        Returns:
            (N,) in [0, 1].
        """
        squared = patch.square().sum(1, keepdim=True) + nn.functional.linear(patch, self.weight, self.offset)
        rows = self.neighbours[squared.argmin(1)]
        distances = squared.gather(1, rows).clamp_min(0).sqrt()
        return 1 - distances.softmax(1)[:, 0]

    @torch.no_grad()
    def fill(self, patches: Tensor) -> None:
        """Memorise patches (P, D), in place.

        Raises:
            ValueError: more than there are rows.
        """
        count, reweight = len(patches), self.neighbours.shape[1]
        if not 0 < count <= len(self.weight):
            raise ValueError(f"{count} patches for a memory of {len(self.weight)} rows")
        self.weight.zero_()
        self.offset.fill_(_ABSENT)
        self.weight[:count] = -2 * patches
        self.offset[:count] = patches.square().sum(1)
        if reweight:
            order = [
                torch.cdist(block, patches).topk(min(reweight, count), largest=False).indices
                for block in patches.split(_ROWS_AT_ONCE)
            ]
            nearest = torch.cat(order)
            # Fewer rows than neighbours: the last one stands for those that are missing.
            lacking = nearest[:, -1:].expand(-1, reweight - nearest.shape[1])
            self.neighbours[:count] = torch.cat((nearest, lacking), dim=1)


@contextmanager
def without_rows(bank: NearestNeighbours, lacking: Tensor) -> Iterator[None]:
    """A memory as if these rows (size,) had never been memorised, for as long as the context lasts."""
    offset = bank.offset.clone()
    bank.offset[lacking] = _ABSENT
    try:
        yield
    finally:
        bank.offset.copy_(offset)


class Gaussian(nn.Module):
    """Length of whitened patch vectors: Mahalanobis distance to one Gaussian of low rank; nothing is kept.

    Reference:
        Defard et al., *PaDiM*, 2021, section III-C, with one Gaussian for all places, which also holds for a
        product that moves.

    Example:
        >>> Gaussian()(torch.tensor([3.0, 4.0]).view(1, 2, 1, 1)).item()
        5.0
    """

    def forward(self, patches: Tensor) -> Tensor:
        """(N, D, h, w) to distances (N, 1, h, w)."""
        return patches.square().sum(1, keepdim=True).sqrt()

    def differences(self, patches: Tensor) -> Tensor:
        """Squared differences of patches (P, D) to the mean, by dimension: (P, D)."""
        return patches.square()


@torch.no_grad()
def greedy_coreset(patches: Tensor, count: int, *, generator: torch.Generator | None = None) -> Tensor:
    """Patches that lie close to all others: each next is the farthest from those chosen (k-centre greedy).

    Args:
        patches: (P, D).
        count: how many to choose; all where there are no more.
        generator: chooses the first.

    Returns:
        (min(count, P),) indices, int64, in the order in which they were chosen.

    Raises:
        ValueError: a count below 1.

    Reference:
        Sener and Savarese, *Active Learning for Convolutional Neural Networks: A Core-Set Approach*, 2018; as
        PatchCore uses it (Alg. 1).

    Example:
        >>> line = torch.tensor([[0.0], [0.1], [5.0], [10.0]])
        >>> sorted(greedy_coreset(line, 3, generator=torch.Generator().manual_seed(0)).tolist())[-2:]
        [2, 3]
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, not {count}")
    if len(patches) <= count:
        return torch.arange(len(patches), device=patches.device)
    source = generator.device if generator is not None else patches.device
    chosen = torch.empty(count, dtype=torch.int64, device=patches.device)
    chosen[0] = torch.randint(len(patches), (1,), generator=generator, device=source).to(patches.device)
    squared = patches.square().sum(1)
    distance = torch.full_like(squared, torch.inf)
    for place in range(1, count):
        # Kept on the device: the index is never read here, so a GPU is not held up.
        last = chosen[place - 1 : place]
        centre = patches.index_select(0, last)[0]
        new = torch.addmv(squared, patches, centre, alpha=-2).add_(squared.index_select(0, last))
        distance = torch.minimum(distance, new, out=distance)
        distance.index_fill_(0, last, -torch.inf)
        chosen[place] = distance.argmax()
    return chosen


class Reservoir:
    """A uniform sample of a stream of patches, in bounded memory (Vitter's algorithm R, by batches).

    Args:
        size: rows kept.
        dimensions: of a patch vector.
        generator: source of randomness, on the CPU.

    Attributes:
        seen: patches offered so far.

    Example:
        >>> sample = Reservoir(10, 2)
        >>> for _ in range(5):
        ...     sample.add(torch.rand(40, 2))
        >>> sample.seen
        200
    """

    def __init__(self, size: int, dimensions: int, *, generator: torch.Generator | None = None) -> None:
        self._rows = torch.empty(size, dimensions)
        self._generator = generator
        self.seen = 0

    @property
    def patches(self) -> Tensor:
        """(min(seen, size), D), of those offered."""
        return self._rows[: self.seen]

    def add(self, patches: Tensor) -> None:
        """Offer patches (P, D)."""
        size, count = len(self._rows), len(patches)
        free = max(0, min(size - self.seen, count))
        self._rows[self.seen : self.seen + free] = patches[:free].cpu()
        # The i-th patch of the stream takes one of i places; beyond the last row it is let go.
        number = torch.arange(self.seen + free, self.seen + count)
        place = (
            torch.rand(len(number), generator=self._generator, dtype=torch.float64) * (number + 1)
        ).long()
        wanted = (place < size).nonzero()[:, 0]
        # In NumPy the last of several patches for one place takes it, always.
        self._rows.numpy()[place[wanted].numpy()] = patches[free + wanted].cpu().float().numpy()
        self.seen += count
