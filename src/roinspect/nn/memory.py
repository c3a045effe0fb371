"""Models of normal patches: a memory of examples or one Gaussian; and sampling for a small memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

_ABSENT = 1e12
"""Squared distance to an empty row: never the nearest, and no infinity in an exported graph."""
_ROWS_AT_ONCE = 1024
_CONVOLVED_AT_ONCE = 128
_SAME = 1e-5
"""Squared distance of identical patches after rounding, as a share of the squared length."""


class NearestNeighbours(nn.Module):
    """Distance of each patch to the nearest one in a memory, by matrix products.

    Args:
        size: rows of the memory; empty rows are never the nearest.
        dimensions: of a patch vector.
        reweight: number of neighbours in PatchCore's re-weighting; 0 disables it.

    Attributes:
        weight: (size, dimensions), -2 m for each memorised patch m.
        offset: (size,), its squared length.
        neighbours: (size, reweight), the rows nearest to each row, itself first.
        as_convolution: compute the products as 1 x 1 convolutions, which is faster in OpenVINO and slower in
            ONNX Runtime; the distances are the same.

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
        # |q - m|^2 = |q|^2 + (|m|^2 - 2 q m): a linear layer. In blocks whose products fit the cache.
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
        """Squared differences, per dimension, of patches (P, D) to their nearest memorised one: (P, D).

        A memorised patch is compared with its nearest neighbour, not with itself.
        """
        differences = []
        for block in patches.split(_ROWS_AT_ONCE):
            length = block.square().sum(1, keepdim=True)
            squared = length + nn.functional.linear(block, self.weight, self.offset)
            nearest = squared.topk(min(2, len(self.weight)), dim=1, largest=False)
            is_itself = nearest.values[:, :1] <= _SAME * length
            row = torch.where(is_itself, nearest.indices[:, -1:], nearest.indices[:, :1])[:, 0]
            is_filled = self.offset[row, None] < _ABSENT
            differences.append(torch.where(is_filled, block + self.weight[row] / 2, 0).square())
        return torch.cat(differences)

    @torch.no_grad()
    def rescale(self, factors: Tensor) -> None:
        """Multiply each dimension of the memory by a factor (D,), in place."""
        is_filled = self.offset < _ABSENT
        # The neighbours depend on the scale.
        self.fill(self.weight[is_filled] / -2 * factors)

    def certainty(self, patch: Tensor) -> Tensor:
        """PatchCore's weight of patches (N, D): 1 - softmax of the distances to the neighbours (Eq. 7).

        The weight is larger if the nearest memorised patch has many close neighbours.

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
            ValueError: there are no patches, or more than rows.
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
            # With fewer rows than neighbours, repeat the last one.
            missing = nearest[:, -1:].expand(-1, reweight - nearest.shape[1])
            self.neighbours[:count] = torch.cat((nearest, missing), dim=1)


@contextmanager
def without_rows(bank: NearestNeighbours, lacking: Tensor) -> Iterator[None]:
    """A context in which these rows (size,) of a memory, boolean or indices, count as empty."""
    offset = bank.offset.clone()
    bank.offset[lacking] = _ABSENT
    try:
        yield
    finally:
        bank.offset.copy_(offset)


class Gaussian(nn.Module):
    """Length of whitened patch vectors, the Mahalanobis distance to one Gaussian of low rank. Has no state.

    Reference:
        Defard et al., *PaDiM*, 2021, section III-C, with one Gaussian for all positions, so that the product
        may move.

    Example:
        >>> Gaussian()(torch.tensor([3.0, 4.0]).view(1, 2, 1, 1)).item()
        5.0
    """

    def forward(self, patches: Tensor) -> Tensor:
        """(N, D, h, w) to distances (N, 1, h, w)."""
        return patches.square().sum(1, keepdim=True).sqrt()

    def differences(self, patches: Tensor) -> Tensor:
        """Squared differences, per dimension, of patches (P, D) to the mean: (P, D)."""
        return patches.square()


@torch.no_grad()
def greedy_coreset(patches: Tensor, count: int, *, generator: torch.Generator | None = None) -> Tensor:
    """K-centre greedy selection: each next patch is the farthest from those selected.

    Args:
        patches: (P, D).
        count: number to select; all if there are fewer.
        generator: draws the first.

    Returns:
        (min(count, P),) indices, int64, in the order of selection.

    Raises:
        ValueError: count is below 1.

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
    for row in range(1, count):
        # The index stays on the device, so that a GPU is not synchronised.
        last = chosen[row - 1 : row]
        centre = patches.index_select(0, last)[0]
        new = torch.addmv(squared, patches, centre, alpha=-2).add_(squared.index_select(0, last))
        distance = torch.minimum(distance, new, out=distance)
        distance.index_fill_(0, last, -torch.inf)
        chosen[row] = distance.argmax()
    return chosen


class Reservoir:
    """A uniform sample of a stream of patches in bounded memory (Vitter's algorithm R, batched).

    Args:
        size: of the sample.
        dimensions: of a patch vector.
        generator: source of randomness, on the CPU.

    Attributes:
        seen: number of patches so far.

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
        """The sample, (min(seen, size), D)."""
        return self._rows[: self.seen]

    def add(self, patches: Tensor) -> None:
        """Add patches (P, D) of the stream."""
        size, count = len(self._rows), len(patches)
        free = max(0, min(size - self.seen, count))
        self._rows[self.seen : self.seen + free] = patches[:free].cpu()
        # The i-th patch of the stream draws one of i rows; it is dropped if that is beyond the last.
        number = torch.arange(self.seen + free, self.seen + count)
        row = (torch.rand(len(number), generator=self._generator, dtype=torch.float64) * (number + 1)).long()
        kept = (row < size).nonzero()[:, 0]
        # In NumPy the last of several assignments to a row wins, deterministically.
        self._rows.numpy()[row[kept].numpy()] = patches[free + kept].cpu().float().numpy()
        self.seen += count
