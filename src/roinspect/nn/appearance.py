"""Distance of a whole image to the training images, independent of the method."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

_CELLS, _EDGE_CELLS, _OCTAVES = 8, 4, 4
DIMENSIONS = 3 * _CELLS**2 + _OCTAVES * _EDGE_CELLS**2
"""Length of the description of an image."""
MEMORY = 256
"""Number of memorised images."""

_CLIP = 30.0
_EDGE_FLOOR = 0.005
# Smallest spread of brightness and colour, in [0, 1], and of the logarithms of edge strength.
_LEAST_SPREAD = [0.02] * _CELLS**2 + [0.01] * 2 * _CELLS**2 + [0.1] * _OCTAVES * _EDGE_CELLS**2


def describe(image: Tensor) -> Tensor:
    """Describe images by 256 numbers each.

    Args:
        image: (N, 3, H, W) in [0, 1].

    Returns:
        (N, 256): brightness, red minus green and blue minus green in 8 x 8 cells, and the logarithm of the
        mean edge strength of four octaves in 4 x 4 cells. Images out of focus lack the finest edges.

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
        # At the border, average only over pixels inside the image.
        grey = F.avg_pool2d(grey[:, None], 2, ceil_mode=True, count_include_pad=False)[:, 0]
    return torch.cat([part.flatten(1) for part in (colours, *edges)], 1)


class Appearance(nn.Module):
    """Distance of the description of an image to the nearest memorised one; 0 before `remember`.

    Attributes:
        memory: (256, 256) descriptions of training images, times `weights`.
        weights: (256,) inverse spread of each number among them.
    """

    memory: Tensor
    weights: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("memory", torch.zeros(MEMORY, DIMENSIONS))
        # Weights of 0: every distance is 0 before `remember`.
        self.register_buffer("weights", torch.zeros(DIMENSIONS))

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] to the novelty (N,) >= 0, in units of the spread."""
        return self.novelty(describe(image))

    def novelty(self, described: Tensor) -> Tensor:
        """The novelty (N,) of descriptions (N, 256)."""
        return _nearest(described * self.weights, self.memory)

    @torch.no_grad()
    def remember(self, described: Tensor, groups: Tensor) -> Tensor:
        """Memorise the descriptions of normal images.

        Args:
            described: (N, 256), at least one.
            groups: (N,), equal for near-duplicates.

        Returns:
            The novelty (N,) of each image with respect to the other groups, or to the other images if
            there is only one group; 0 for a single image.
        """
        deviation = (described - described.median(0).values).abs().median(0).values * 1.4826
        self.weights.copy_(1 / deviation.maximum(torch.tensor(_LEAST_SPREAD, device=described.device)))
        scaled = described * self.weights
        # Evenly spaced, with repetitions if there are fewer images than rows.
        rows = torch.linspace(0, len(described) - 1, MEMORY, device=described.device).round().long()
        self.memory.copy_(scaled[rows])
        if len(groups.unique()) == 1:
            groups = torch.arange(len(described), device=described.device)
        novelty = [
            _nearest(scaled[row : row + 1], scaled[groups != groups[row]])
            if (groups != groups[row]).any()
            else described.new_zeros(1)
            for row in range(len(described))
        ]
        return torch.cat(novelty)


def _nearest(scaled: Tensor, memory: Tensor) -> Tensor:
    """The distance (N,) of descriptions (N, D) to the nearest row of a memory (M, D), both weighted."""
    apart = scaled[:, None] - memory[None]
    return apart.clamp(-_CLIP, _CLIP).square().mean(2).amin(1).sqrt()


def _averaged(layers: Tensor, cells: int) -> Tensor:
    """Means (N, C, cells, cells) of layers (N, C, H, W) over equal cells, which may split pixels."""
    # As matrix products, which every exporter supports, for any image size.
    down = torch.from_numpy(_averaging(int(layers.shape[2]), cells)).to(layers)
    right = torch.from_numpy(_averaging(int(layers.shape[3]), cells)).to(layers)
    return down @ layers @ right.mT


@lru_cache(maxsize=64)
def _averaging(size: int, cells: int) -> NDArray[np.float32]:
    """(cells, size), rows that sum to 1: the share of each pixel in each cell."""
    edges, pixels = np.arange(cells + 1) * size / cells, np.arange(size)
    low, high = np.maximum(edges[:-1, None], pixels), np.minimum(edges[1:, None], pixels + 1)
    return np.asarray(np.maximum(high - low, 0) * cells / size, np.float32)
