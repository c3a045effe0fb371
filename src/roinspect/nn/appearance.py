"""Distance of a whole image to the training images: one number, whatever the method."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

_CELLS, _EDGE_CELLS, _OCTAVES = 8, 4, 4
DIMENSIONS = 3 * _CELLS**2 + _OCTAVES * _EDGE_CELLS**2
"""Numbers that describe a picture."""
MEMORY = 256
"""Pictures that are remembered."""

_CLIP = 30.0
_EDGE_FLOOR = 0.005
# Brightness and colour in [0, 1], edges as logarithms: what differs by less is not unlike.
_LEAST_SPREAD = [0.02] * _CELLS**2 + [0.01] * 2 * _CELLS**2 + [0.1] * _OCTAVES * _EDGE_CELLS**2


def describe(image: Tensor) -> Tensor:
    """A picture in 256 numbers.

    Args:
        image: (N, 3, H, W) in [0, 1].

    Returns:
        (N, 256): brightness, red less green and blue less green in 8 x 8 cells, and for edges of four octaves
        the logarithm of their mean strength in 4 x 4 cells. What is out of focus lacks the finest of them.

    Example:
        >>> describe(torch.rand(2, 3, 64, 96)).shape
        torch.Size([2, 256])
    """
    red, green, blue = image.float().unbind(1)
    grey = (red + green + blue) / 3
    colours = _averaged(torch.stack((grey, red - green, blue - green), 1), _CELLS)
    edges = []
    for _ in range(_OCTAVES):
        right, down = (grey[:, :, 1:] - grey[:, :, :-1]).abs(), (grey[:, 1:] - grey[:, :-1]).abs()
        strength = _averaged(right[:, None], _EDGE_CELLS) + _averaged(down[:, None], _EDGE_CELLS)
        edges.append((strength + _EDGE_FLOOR).log())
        # At the border the mean is over what lies inside the picture.
        grey = F.avg_pool2d(grey[:, None], 2, ceil_mode=True, count_include_pad=False)[:, 0]
    return torch.cat([part.flatten(1) for part in (colours, *edges)], 1)


class Appearance(nn.Module):
    """The distance of a picture's description to the nearest one remembered; 0 before `remember`.

    Attributes:
        memory: (256, 256) descriptions of training pictures, times `weights`.
        weights: (256,) one over how much each number varies among them.
    """

    memory: Tensor
    weights: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("memory", torch.zeros(MEMORY, DIMENSIONS))
        # Before anything is remembered every picture is at distance 0.
        self.register_buffer("weights", torch.zeros(DIMENSIONS))

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] to the novelty (N,), at least 0: spreads of a number, on average."""
        return self.novelty(describe(image))

    def novelty(self, described: Tensor) -> Tensor:
        """The novelty (N,) of descriptions (N, 256)."""
        return _nearest(described * self.weights, self.memory)

    @torch.no_grad()
    def remember(self, described: Tensor, groups: Tensor) -> Tensor:
        """Take over the descriptions of normal pictures.

        Args:
            described: (N, 256), at least one.
            groups: (N,), equal numbers for near-duplicates of each other.

        Returns:
            The novelty (N,) of each among those of other groups; of a single group, among all other pictures.
            0 for a single picture.
        """
        deviation = (described - described.median(0).values).abs().median(0).values * 1.4826
        self.weights.copy_(1 / deviation.maximum(torch.tensor(_LEAST_SPREAD, device=described.device)))
        scaled = described * self.weights
        # Evenly spaced, and repeated where there are fewer than there is room for.
        rows = torch.linspace(0, len(described) - 1, MEMORY, device=described.device).round().long()
        self.memory.copy_(scaled[rows])
        if len(groups.unique()) == 1:
            groups = torch.arange(len(described), device=described.device)
        found = [
            _nearest(scaled[row : row + 1], scaled[groups != groups[row]])
            if (groups != groups[row]).any()
            else described.new_zeros(1)
            for row in range(len(described))
        ]
        return torch.cat(found)


def _nearest(scaled: Tensor, memory: Tensor) -> Tensor:
    """The distance (N,) of descriptions (N, D) to the nearest of a memory (M, D), both weighed."""
    apart = scaled[:, None] - memory[None]
    return apart.clamp(-_CLIP, _CLIP).square().mean(2).amin(1).sqrt()


def _averaged(layers: Tensor, cells: int) -> Tensor:
    """Means (N, C, cells, cells) of layers (N, C, H, W) over equal cells, which may cut through pixels."""
    # As matrices, which every exporter knows, at any size of the picture.
    down = torch.from_numpy(_averaging(int(layers.shape[2]), cells)).to(layers)
    right = torch.from_numpy(_averaging(int(layers.shape[3]), cells)).to(layers)
    return down @ layers @ right.mT


@lru_cache(maxsize=64)
def _averaging(size: int, cells: int) -> NDArray[np.float32]:
    """(cells, size), rows that sum to 1: the share of each pixel in each cell."""
    edges, pixels = np.arange(cells + 1) * size / cells, np.arange(size)
    low, high = np.maximum(edges[:-1, None], pixels), np.minimum(edges[1:, None], pixels + 1)
    return np.asarray(np.maximum(high - low, 0) * cells / size, np.float32)
