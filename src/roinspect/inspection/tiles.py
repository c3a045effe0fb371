"""Where to look closely: tiles of a photograph at its own resolution, over the region of interest."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from roinspect.errors import UserError
from roinspect.images.pixels import resize_image

MOST_TILES = 400
"""Tiles of one photograph: 20 megapixels are covered by about as many of 256 x 256."""
OVERLAP = 1 / 8
"""Share of a tile's side by which neighbours overlap."""
ROOM = 0.2
"""How much smaller or larger than every photograph of the training one may be, on either side."""
MARGIN = 1
"""Cells of the coarse look about its region: its border is known to a cell."""

Positions = NDArray[np.int64]
"""(T, 2), top and left of each tile, in pixels of the scaled photograph."""


@dataclass(frozen=True, slots=True)
class Tiling:
    """How the close look covers a photograph.

    Attributes:
        side: of a square tile, in pixels.
        scale: factor in (0, 1] by which a photograph is reduced before it is cut.
        smallest_hw: lowest height and lowest width of the photographs trained on, in their own pixels.
        largest_hw: highest height and highest width.
        backbone: of the network that predicts the region; "" if the camera stands still, and the region is
            the same in every photograph.
    """

    side: int
    scale: float
    smallest_hw: tuple[int, int]
    largest_hw: tuple[int, int]
    backbone: str

    def __post_init__(self) -> None:
        if self.side < 1 or not 0 < self.scale <= 1:
            raise UserError(
                f"a side of {self.side} or a scale of {self.scale} is not possible", where="tiles"
            )

    def refuse_other_size(self, size_hw: tuple[int, int], where: object) -> None:
        """Raise a UserError if a photograph shows the part much larger or smaller than in training."""
        fits = (
            (1 - ROOM) * low <= side <= (1 + ROOM) * high
            for side, low, high in zip(size_hw, self.smallest_hw, self.largest_hw, strict=True)
        )
        if not all(fits):
            (least_h, least_w), (most_h, most_w) = self.smallest_hw, self.largest_hw
            usual = f"{least_h}x{least_w}"
            if self.smallest_hw != self.largest_hw:
                usual += f" to {most_h}x{most_w}"
            raise UserError(
                f"is {size_hw[0]}x{size_hw[1]} pixels (height x width), and the model looks closely at "
                f"photographs of {usual}",
                where=where,
                remedy="take it like those of the training, or train again with such photographs",
            )

    def scaled(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A photograph (H, W, 3), reduced by `scale`."""
        return resize_image(pixels, scaled_hw((pixels.shape[0], pixels.shape[1]), self.scale))


def scaled_hw(size_hw: tuple[int, int], scale: float) -> tuple[int, int]:
    """Height and width times a factor, at least 1."""
    return max(1, round(size_hw[0] * scale)), max(1, round(size_hw[1] * scale))


def cover(region: NDArray[np.bool_], size_hw: tuple[int, int], side: int) -> Positions:
    """Tiles that together show the region, in bands from top to bottom.

    Args:
        region: (h, w) on any grid.
        size_hw: height and width of the scaled photograph.
        side: of a tile. A photograph may be smaller than a tile.

    Returns:
        Positions, none for an empty region.

    Example:
        >>> region = np.zeros((4, 8), np.bool_)
        >>> region[1:3, :2] = True
        >>> cover(region, (400, 800), 256).tolist()
        [[72, 0]]
    """
    height, width = size_hw
    tiles = [
        (top, left)
        for top in _starts(np.asarray(region.any(axis=1)), height, side)
        for left in _starts(np.asarray(_band(region, top, top + side, height).any(axis=0)), width, side)
    ]
    return np.array(tiles, np.int64).reshape(-1, 2)


def _band(region: NDArray[np.bool_], top: int, bottom: int, height: int) -> NDArray[np.bool_]:
    rows = len(region)
    return region[top * rows // height : -(-bottom * rows // height)]


def _starts(marked: NDArray[np.bool_], length: int, side: int) -> list[int]:
    """Starts of intervals of `side` pixels that cover the marked cells of a line of `length` pixels."""
    edges = np.flatnonzero(np.diff(marked.astype(np.int8), prepend=0, append=0)).reshape(-1, 2)
    joined: list[tuple[int, int]] = []
    for cell, end in edges.tolist():
        first, last = cell * length // len(marked), -(-end * length // len(marked))
        # What fits into one tile with what lies before it needs no tile of its own.
        if joined and (first - joined[-1][1] < side / 2 or last - joined[-1][0] <= side):
            joined[-1] = joined[-1][0], last
        else:
            joined.append((first, last))
    overlap, starts = round(side * OVERLAP), set[int]()
    for first, last in joined:
        count = max(1, math.ceil((last - first - overlap) / (side - overlap)))
        low, high = (first, last - side) if count > 1 else ((first + last - side) // 2,) * 2
        starts |= {
            min(max(0, round(start)), max(0, length - side)) for start in np.linspace(low, high, count)
        }
    return sorted(starts)


def widened(region: NDArray[Any]) -> NDArray[Any]:
    """A region (h, w), or its probability, grown by `MARGIN` cells."""
    grown: NDArray[Any] = cv2.dilate(region, np.ones((2 * MARGIN + 1,) * 2, np.uint8))
    return grown


def fullest(
    positions: Positions, region: NDArray[np.float32], size_hw: tuple[int, int], side: int
) -> Positions:
    """The `MOST_TILES` tiles that show most of the region, in their order; all if there are no more."""
    if len(positions) <= MOST_TILES:
        return positions
    sums = cv2.integral(region.astype(np.float64))
    rows, columns = len(region) / size_hw[0], region.shape[1] / size_hw[1]
    top, left = (np.floor(positions * (rows, columns)).astype(int)).T
    bottom, right = np.minimum(np.ceil((positions + side) * (rows, columns)), region.shape).astype(int).T
    shown = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    kept = np.sort(np.argsort(-shown, kind="stable")[:MOST_TILES])
    return positions[kept]


def cut(pixels: NDArray[np.uint8], positions: Positions, side: int) -> NDArray[np.uint8]:
    """Tiles (T, side, side, ...) of a scaled photograph or mask, which is mirrored where it is too small."""
    below, beyond = (max(0, side - length) for length in pixels.shape[:2])
    if below or beyond:
        pixels = np.asarray(cv2.copyMakeBorder(pixels, 0, below, 0, beyond, cv2.BORDER_REFLECT), np.uint8)
    tiles = [pixels[top : top + side, left : left + side] for top, left in positions.tolist()]
    return np.stack(tiles) if tiles else np.zeros((0, side, side, *pixels.shape[2:]), np.uint8)


def gated(
    maps: NDArray[np.float32], positions: Positions, region: NDArray[np.float32], size_hw: tuple[int, int]
) -> NDArray[np.float32]:
    """Maps of tiles (T, side, side) times the region (h, w) at their places, in place."""
    if bool((region == 1).all()):
        return maps
    (height, width), (rows, columns), side = size_hw, region.shape, maps.shape[1]
    down, across = rows / height, columns / width
    for one, (top, left) in zip(maps, positions.tolist(), strict=True):
        # From a tile's pixel to the region's cell, both counted at their centres.
        place = np.array(
            [[across, 0, (left + 0.5) * across - 0.5], [0, down, (top + 0.5) * down - 0.5]], np.float32
        )
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        one *= cv2.warpAffine(region, place, (side, side), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return maps


def stitched(
    maps: NDArray[np.float32], positions: Positions, size_hw: tuple[int, int]
) -> NDArray[np.float32]:
    """The map of the scaled photograph (H, W) from those of its tiles (T, side, side); 0 where there is none.

    Where tiles overlap, each counts the less the nearer its own edge is, so that there is no seam.

    Example:
        >>> tiles = np.ones((2, 8, 8), np.float32)
        >>> stitched(tiles, np.array([[0, 0], [0, 5]]), (8, 13)).min()
        np.float32(1.0)
    """
    whole = np.zeros(size_hw, np.float32)
    if not len(positions):
        return whole
    side = maps.shape[1]
    ramp = np.minimum(np.arange(1, side + 1), np.arange(side, 0, -1)).clip(max=max(1, round(side * OVERLAP)))
    trust = np.outer(ramp, ramp).astype(np.float32)
    weight = np.zeros(size_hw, np.float32)
    for one, (top, left) in zip(maps, positions.tolist(), strict=True):
        place = np.s_[top : top + side, left : left + side]
        height, width = whole[place].shape
        whole[place] += one[:height, :width] * trust[:height, :width]
        weight[place] += trust[:height, :width]
    (top, left), (bottom, right) = positions.min(0), positions.max(0) + side
    covered = np.s_[top:bottom, left:right]
    np.divide(whole[covered], weight[covered], out=whole[covered], where=weight[covered] > 0)
    return whole
