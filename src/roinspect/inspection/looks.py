"""One look at a photograph, or two: coarsely everywhere, and closely where the region of interest is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from roinspect.errors import UserError
from roinspect.images.pixels import resize_image
from roinspect.inspection.bundle import Bundle
from roinspect.inspection.prediction import Predict, Prediction, checked
from roinspect.inspection.scene import INSIDE
from roinspect.inspection.tiles import (
    MOST_TILES,
    Positions,
    Tiling,
    cover,
    cut,
    fullest,
    gated,
    stitched,
    widened,
)

_AT_ONCE = 8
"""Tiles in one call of the network: enough to keep the cores busy, and few enough to bound memory."""


_ROUNDING = 1e-3


class Looked(NamedTuple):
    """What the networks say of one photograph."""

    pred_score: float
    """Higher = more anomalous."""
    anomaly_map: NDArray[np.float32]
    """(h, w), higher = more anomalous; of the bundle's size, or of the scaled photograph."""
    roi_map: NDArray[np.float32]
    """(h, w), probability of the region of interest, on its own grid."""
    novelty: float
    """Distance of the whole image to the training images."""
    unseen: str = ""
    """Why a part of the region was not looked at, in words; "" if all was."""


class Looks:
    """The networks of a bundle, as one function from photographs to scores and maps; thread-safe.

    Args:
        bundle: the manifest.
        whole: the network for whole photographs, at the bundle's size.
        close: the network for tiles; None for a bundle without `tiles`.
    """

    def __init__(self, bundle: Bundle, whole: Predict, close: Predict | None = None) -> None:
        self.bundle = bundle
        self._whole, self._close = whole, close

    def __call__(
        self, photographs: Sequence[NDArray[np.uint8]], resized: Sequence[NDArray[np.uint8]] | None = None
    ) -> list[Looked]:
        """Look at some photographs; tiles of several go through the network together.

        Args:
            photographs: (H, W, 3) uint8 RGB each, as decoded.
            resized: the same at the bundle's size; None resizes them here.
        """
        if resized is None:
            resized = [resize_image(pixels, self.bundle.size_hw) for pixels in photographs]
        if not resized:
            return []
        found = self._coarsely(resized)
        tiling = self.bundle.tiles
        return found if tiling is None else self._closely(photographs, found, tiling)

    def warm_up(self) -> None:
        """Run both networks once, on black images.

        Raises:
            UserError: an output has a wrong shape or type, or values that no network has.
        """
        _refuse_impossible(self._run_whole(np.zeros((1, *self.bundle.size_hw, 3), np.uint8)))
        if self._close is not None and self.bundle.tiles is not None:
            side = self.bundle.tiles.side
            _refuse_impossible(self._run_close(np.zeros((1, side, side, 3), np.uint8)))

    def tiles(self, photograph: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The tiles (T, side, side, 3) at which the close look looks in a photograph (H, W, 3)."""
        assert self.bundle.tiles is not None
        coarse = self._coarsely([resize_image(photograph, self.bundle.size_hw)])
        return _Plan.of(photograph, coarse[0], self.bundle.tiles).tiles

    def _run_whole(self, images: NDArray[np.uint8]) -> Prediction:
        return checked(self._whole(images), len(images), None if self._close else self.bundle.size_hw)

    def _run_close(self, tiles: NDArray[np.uint8]) -> Prediction:
        assert self._close is not None
        return checked(self._close(tiles), len(tiles), (tiles.shape[1], tiles.shape[2]))

    def _coarsely(self, resized: Sequence[NDArray[np.uint8]]) -> list[Looked]:
        return [
            Looked(float(score), anomaly_map, roi_map, float(novelty))
            for score, anomaly_map, roi_map, novelty in zip(*self._run_whole(np.stack(resized)), strict=True)
        ]

    def _closely(
        self, photographs: Sequence[NDArray[np.uint8]], coarse: Sequence[Looked], tiling: Tiling
    ) -> list[Looked]:
        plans = [_Plan.of(pixels, one, tiling) for pixels, one in zip(photographs, coarse, strict=True)]
        scores, maps = list[NDArray[np.float32]](), list[NDArray[np.float32]]()
        tiles = np.concatenate([plan.tiles for plan in plans])
        for first in range(0, len(tiles), _AT_ONCE):
            prediction = self._run_close(tiles[first : first + _AT_ONCE])
            scores.append(prediction.pred_score)
            maps.append(prediction.anomaly_map)
        found, first = list[Looked](), 0
        all_scores = np.concatenate(scores) if scores else np.zeros(0, np.float32)
        all_maps = np.concatenate(maps) if maps else np.zeros((0, tiling.side, tiling.side), np.float32)
        for one, plan in zip(coarse, plans, strict=True):
            of = slice(first, first + len(plan.tiles))
            first = of.stop
            whole = stitched(
                gated(all_maps[of], plan.positions, plan.region, plan.size_hw), plan.positions, plan.size_hw
            )
            if self.bundle.map_share is None:
                score = float(whole.max())
            else:
                score = float(all_scores[of].max()) if len(plan.tiles) else 0.0
            if not np.isfinite(all_scores[of]).all():
                # Which a maximum may hide.
                score = math.nan
            found.append(one._replace(pred_score=score, anomaly_map=whole, unseen=plan.unseen))
        return found


def _refuse_impossible(found: Prediction) -> None:
    fault = ""
    if not all(np.isfinite(values).all() for values in found):
        fault = "its outputs are not finite numbers"
    elif found.roi_map.min() < -_ROUNDING or found.roi_map.max() > 1 + _ROUNDING:
        fault = "its roi_map is no probability"
    elif found.novelty.min() < -_ROUNDING:
        fault = "its novelty is negative"
    if fault:
        raise UserError(fault, where="graph", remedy="export it again")


class _Plan(NamedTuple):
    """Where to look closely at a photograph."""

    tiles: NDArray[np.uint8]
    positions: Positions
    region: NDArray[np.float32]
    size_hw: tuple[int, int]
    unseen: str

    @classmethod
    def of(cls, pixels: NDArray[np.uint8], coarse: Looked, tiling: Tiling) -> _Plan:
        scaled = tiling.scaled(pixels)
        size_hw = (scaled.shape[0], scaled.shape[1])
        region = widened(np.ascontiguousarray(coarse.roi_map, np.float32))
        needed = cover(region >= INSIDE, size_hw, tiling.side)
        positions = fullest(needed, region, size_hw, tiling.side)
        unseen = ""
        if not len(needed):
            unseen = "no region of interest was found"
        elif len(positions) < len(needed):
            unseen = f"its region needs {len(needed):,} tiles, and only {MOST_TILES} were looked at"
        return cls(cut(scaled, positions, tiling.side), positions, region, size_hw, unseen)
