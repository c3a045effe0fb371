"""A memory of normal patches, and how to keep it small."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn

_ABSENT = 1e12
"""Squared distance to a row that holds no patch: never the nearest, and no infinity in an exported graph."""
_ROWS_AT_ONCE = 1024
_CONVOLVED_AT_ONCE = 128
_AROUND = 5
"""Rows around a row that give its scale."""
_SCALES = 0.5, 2.0


class NearestNeighbours(nn.Module):
    """Distance of every patch to the nearest one in a memory, relative to how far normal patches lie there.

    The distance to a row is divided by the row's scale: its mean distance to the other rows around it, over
    the median of all rows, within [0.5, 2]. Where normal patches vary a lot, more is needed to be strange.

    Args:
        size: rows of the memory, at most; rows that are not filled are never the nearest.
        dimensions: D, of a patch vector.

    Attributes:
        weight: (size, D + 1): -2 m / s^2 and 1 / s^2 for each memorised patch m of scale s.
        offset: (size,): |m|^2 / s^2.
        as_convolution: take the products as 1 x 1 convolutions, which OpenVINO does faster and ONNX Runtime
            slower; the same distances.

    Reference:
        Roth et al., *Towards Total Recall in Industrial Anomaly Detection*, 2022: Eq. 6. The scale plays the
        role of Eq. 7's weight, for every patch instead of the highest alone.

    Example:
        >>> bank = NearestNeighbours(4, 2)
        >>> bank.fill(torch.tensor([[0.0, 0.0], [3.0, 4.0]]))
        >>> bank(torch.tensor([0.0, 1.0]).view(1, 2, 1, 1)).item()
        1.0
    """

    weight: Tensor
    offset: Tensor

    def __init__(self, size: int, dimensions: int) -> None:
        super().__init__()
        self.as_convolution = False
        self.register_buffer("weight", torch.zeros(size, dimensions + 1))
        self.register_buffer("offset", torch.full((size,), _ABSENT))

    def forward(self, patches: Tensor) -> Tensor:
        """(N, D, h, w) to distances (N, 1, h, w), at least 0."""
        n, _, h, w = patches.shape
        # |q - m|^2 / s^2 = (|q|^2 - 2 q m + |m|^2) / s^2 is linear in (q, |q|^2). By blocks, whose products
        # stay in the cache.
        queries = torch.cat((patches, patches.square().sum(1, keepdim=True)), dim=1)
        rows = _CONVOLVED_AT_ONCE if self.as_convolution else _ROWS_AT_ONCE
        blocks = zip(self.weight.split(rows), self.offset.split(rows), strict=True)
        if self.as_convolution:
            cells = [
                nn.functional.conv2d(queries, weight[:, :, None, None], offset).amin(1, keepdim=True)
                for weight, offset in blocks
            ]
            return torch.stack(cells).amin(0).clamp_min(0).sqrt()
        vectors = queries.flatten(2).transpose(1, 2)
        nearest = [nn.functional.linear(vectors, weight, offset).amin(2) for weight, offset in blocks]
        return torch.stack(nearest).amin(0).clamp_min(0).sqrt().view(n, 1, h, w)

    @torch.no_grad()
    def fill(self, patches: Tensor) -> None:
        """Memorise patches (P, D), in place.

        Raises:
            ValueError: there are none, or more than there are rows.
        """
        count = len(patches)
        if not 0 < count <= len(self.weight):
            raise ValueError(f"{count} patches for a memory of {len(self.weight)} rows")
        inverse = _scales(patches).square().reciprocal()
        self.weight.zero_()
        self.offset.fill_(_ABSENT)
        self.weight[:count] = torch.cat((-2 * patches * inverse[:, None], inverse[:, None]), dim=1)
        self.offset[:count] = patches.square().sum(1) * inverse


def _scales(patches: Tensor) -> Tensor:
    """Every row's mean distance to its nearest other rows, over the median of all, clamped: (P,)."""
    around = min(_AROUND, len(patches) - 1)
    if around < 1:
        return torch.ones_like(patches[:, 0])
    # The nearest row is the row itself.
    distances = torch.cat(
        [torch.cdist(block, patches).topk(around + 1, largest=False).values[:, 1:].mean(1)
         for block in patches.split(_ROWS_AT_ONCE)]
    )  # fmt: skip
    median = distances.median()
    return (distances / median).clamp(*_SCALES) if median > 0 else torch.ones_like(distances)


@contextmanager
def without_rows(banks: Sequence[nn.Module], lacking: Sequence[Tensor]) -> Iterator[None]:
    """Memories as if some of their rows had never been memorised, for as long as the context lasts.

    Args:
        banks: `NearestNeighbours`.
        lacking: (size,) bool for each of them, the rows that are missing.
    """
    offsets = [cast(NearestNeighbours, bank).offset for bank in banks]
    kept = [offset.clone() for offset in offsets]
    for offset, rows in zip(offsets, lacking, strict=True):
        offset[rows] = _ABSENT
    try:
        yield
    finally:
        for offset, values in zip(offsets, kept, strict=True):
            offset.copy_(values)


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
