"""roibank's inspection graph: one backbone pass, a memory per level, a defect head, a predicted ROI."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from roinspect.methods.method import InspectionGraph, Look
from roinspect.nn.defect_head import DefectHead
from roinspect.nn.memory import NearestNeighbours, without_rows
from roinspect.nn.patches import PatchFeatures, on_grid_of, stacked
from roinspect.nn.places import PlaceDistance, PlaceSums
from roinspect.nn.roi_head import RoiHead

ROI_LEVELS, DEFECT_LEVELS = 2, 3
"""The finest levels, which the ROI head and the defect head see: coarser ones blur what lies where."""

_EDGE = 2
"""Cells beside the edge of the image, on the finest grid."""
_NO_ROI = 1e-3
"""Sum of the ROI's cells below which a photograph has none."""


class RoiBankGraph(InspectionGraph):
    """A bare image to how strange it is, where it matters.

    Every level's memory, the mean of each place and the defect head give a strangeness per cell. Each is
    scaled by held-out good parts: 0 is a normal patch's, 1 that of the strangest patch of an ordinary good
    part. The map is their geometric mean, gated by the predicted ROI.

    Args:
        features: image to whitened patches of every level.
        memory_size: rows of every level's memory.
        defect_head: whitened patches of the finest levels to evidence; None: the memories alone.
        places: whitened patches of one level, see `place_level`, to distances from their place's mean.
        roi_head: whitened patches of the finest levels to ROI logits; None scores all of the image.
        smoothing: standard deviation of the Gaussian that smooths each level's distances, in cells.
        border: cells beside the ROI in which a distance still counts.
        relative: subtract a photograph's own level of strangeness, see `scaled`.

    Attributes:
        usual: (K,), what counts as 0 for every level, then the places and the defect head.
        span: (K,), what is added to `usual` to make 1.
        weight: (K,), how much each counts; the sum is 1.
        ceiling: (K,), values above it do not raise a photograph's own level.
        edge: (K,), at least 1, by what the values beside the image's edge are divided.
    """

    in_int8 = "features.backbone"
    """Distances between whitened features need more than 8 bits."""
    kernel: Tensor
    usual: Tensor
    span: Tensor
    weight: Tensor
    is_relative: Tensor
    ceiling: Tensor
    edge: Tensor

    def __init__(
        self,
        features: PatchFeatures,
        memory_size: int,
        defect_head: DefectHead | None,
        places: PlaceDistance | None,
        roi_head: RoiHead | None,
        smoothing: float,
        border: int = 0,
        relative: bool = True,
    ) -> None:
        super().__init__()
        self.border = border
        self.features, self.defect_head, self.places = features, defect_head, places
        self.roi_head = roi_head
        self.banks = nn.ModuleList(NearestNeighbours(memory_size, count) for count in features.channels)
        reach = math.ceil(3 * smoothing)
        offsets = torch.arange(-reach, reach + 1).float()
        kernel = torch.exp(-0.5 * (offsets / max(smoothing, 1e-6)).square())
        self.register_buffer("kernel", kernel / kernel.sum(), persistent=False)
        parts = len(features.channels) + (places is not None) + (defect_head is not None)
        self.register_buffer("usual", torch.zeros(parts))
        self.register_buffer("span", torch.ones(parts))
        self.register_buffer("weight", torch.full((parts,), 1 / parts))
        # Of a coarse level the ROI has few cells, and one defect may cover most of them.
        is_fine = torch.arange(parts) < min(ROI_LEVELS, len(features.channels))
        is_fine[parts - 1] |= defect_head is not None
        self.register_buffer("is_relative", (is_fine & relative).float(), persistent=False)
        self.register_buffer("ceiling", torch.zeros(parts))
        self.register_buffer("edge", torch.ones(parts))

    def look(self, image: Tensor) -> Look:
        """(N, 3, H, W) in [0, 1] to the score (N,) and the map (N, 1, H, W), both at least 0, and the ROI."""
        levels = self.features(image)
        roi_map = self.roi_cells(levels)
        parts = self.scaled(torch.cat(self.parts(levels), dim=1), roi_map)
        cells = fused(parts, self.weight) * roi_map
        if self.roi_head is not None and self.border:
            # Coarse cells beside the ROI show what lies far outside it: the fine ones decide there, and only
            # there.
            beside = self.roi_head.beside * (self.widened(roi_map) - roi_map)
            cells = torch.maximum(cells, beside * fused(parts, self._fine()))
        anomaly_map = self._enlarged(cells, image)
        return Look(anomaly_map.amax((1, 2, 3)), anomaly_map, roi_map)

    def roi_cells(self, levels: Sequence[Tensor]) -> Tensor:
        """The ROI that whitened patches of every level predict, on the finest grid (N, 1, h, w) in [0, 1]."""
        if self.roi_head is None:
            return torch.ones_like(levels[0][:, :1])
        roi: Tensor = self.roi_head(stacked(list(levels[:ROI_LEVELS]))).sigmoid()
        return roi

    def parts(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """What is fused: every level's distances, those from the places' means, the defect head's evidence.

        Args:
            levels: whitened patches of every level.

        Returns:
            K maps (N, 1, h, w) on the finest grid, smoothed, not scaled.
        """
        finest = levels[0]
        parts = [
            on_grid_of(finest, self._smoothed(bank(level)))
            for bank, level in zip(self.banks, levels, strict=True)
        ]
        if self.places is not None:
            distances = self.places(levels[place_level(len(levels))])
            parts.append(on_grid_of(finest, self._smoothed(distances)))
        if self.defect_head is not None:
            parts.append(self._smoothed(self.defect_head(stacked(list(levels[:DEFECT_LEVELS])))))
        return parts

    def scaled(self, parts: Tensor, roi: Tensor) -> Tensor:
        """Parts (N, K, h, w) in units of held-out good parts, see the class.

        The values of the finest levels and of the defect head are relative to the photograph's own level, a
        mean over its ROI that no defect can raise much: a surface may be rougher or darker all over.
        Beside the image's edge, where a cell sees less, good parts are strange, and values are reduced.

        Args:
            parts: see `parts`.
            roi: (N, 1, h, w) in [0, 1].
        """
        column = (1, -1, 1, 1)
        parts = parts - self.usual.view(column) - self.own_level(parts, roi)
        return parts / (self.span.view(column) * self.at_edge(parts, self.edge.view(column)))

    def own_level(self, parts: Tensor, roi: Tensor) -> Tensor:
        """A photograph's mean of each part over its ROI, with a ceiling (N, K, 1, 1); 0 for coarse levels."""
        low = torch.minimum(parts, self.ceiling.view(1, -1, 1, 1))
        mean = (low * roi).sum((2, 3), keepdim=True) / roi.sum((2, 3), keepdim=True).clamp_min(_NO_ROI)
        return mean * self.is_relative.view(1, -1, 1, 1)

    def at_edge(self, cells: Tensor, value: Tensor) -> Tensor:
        """`value` (1, K, 1, 1) in the cells beside the edge of what is looked at, 1 in all others."""
        reach = min(_EDGE, (min(cells.shape[2:]) - 1) // 2)
        is_inner = F.pad(torch.ones_like(cells[:1, :1, 2 * reach :, 2 * reach :]), (reach,) * 4)
        return is_inner + (1 - is_inner) * value

    def predict_roi(self, image: Tensor) -> Tensor | None:
        """(N, 3, H, W) in [0, 1] to the probability that a pixel belongs to the ROI, (N, 1, H, W).

        As it is drawn, without the border that also counts.
        """
        return self.roi_of(self.features(image), image)

    def roi_of(self, levels: Sequence[Tensor], image: Tensor) -> Tensor | None:
        """The same from these images' whitened patches of every level."""
        return None if self.roi_head is None else self._enlarged(self.roi_cells(levels), image)

    @contextmanager
    def as_if_unseen(
        self, lacking: Sequence[Tensor], fold: int | None, sums: PlaceSums | None = None
    ) -> Iterator[None]:
        """The graph as if some images had not been trained on, for as long as the context lasts.

        Args:
            lacking: of every level, the memory's rows that came from these images: (memory_size,) bool or
                indices.
            fold: that of these images; the defect heads that have seen it do not answer, and the places'
                means are those of the other folds. None keeps all.
            sums: what the places' means are from; None keeps these.
        """
        head, places = self.defect_head, self.places
        kept = None if head is None else head.share.clone()
        if head is not None and fold is not None:
            head.answer_unseen(fold)
        if places is not None and sums is not None:
            places.fill(sums, without=fold)
        with without_rows(list(self.banks), lacking):
            try:
                yield
            finally:
                if head is not None and kept is not None:
                    head.share.copy_(kept)
                if places is not None and sums is not None:
                    places.fill(sums)

    def _fine(self) -> Tensor:
        """The weights (K,) of the finest levels alone."""
        count = min(ROI_LEVELS, len(self.banks))
        fine = self.weight[:count].clamp_min(1e-6)
        return F.pad(fine / fine.sum(), (0, len(self.weight) - count))

    def widened(self, cells: Tensor) -> Tensor:
        """The highest value of all cells (N, 1, h, w) at most `border` away."""
        reach = self.border
        return F.max_pool2d(cells, 2 * reach + 1, stride=1, padding=reach) if reach else cells

    def _enlarged(self, cells: Tensor, image: Tensor) -> Tensor:
        return F.interpolate(cells, image.shape[2:], mode="bilinear", align_corners=False)

    def _smoothed(self, cells: Tensor) -> Tensor:
        reach = len(self.kernel) // 2
        if not reach:
            return cells
        # At the border the weights are over what lies inside the image: a Gaussian of zeros around ones.
        column, row = self.kernel.view(1, 1, -1, 1), self.kernel.view(1, 1, 1, -1)
        inside = torch.ones_like(cells[:1])
        for weight, padding in ((column, (reach, 0)), (row, (0, reach))):
            cells = F.conv2d(cells, weight, padding=padding)
            inside = F.conv2d(inside, weight, padding=padding)
        return cells / inside


def place_level(levels: int) -> int:
    """The level, of so many, whose patches are compared with their places: stride 16 by default."""
    return min(DEFECT_LEVELS, levels) - 1


def fused(scaled: Tensor, weight: Tensor) -> Tensor:
    """The weighted geometric mean of 1 + p over all parts p, minus 1: (N, K, h, w) to (N, 1, h, w).

    1 where all parts are 1. One part alone, however large, counts for less than several that agree.

    Args:
        scaled: values below 0 count as 0.
        weight: (K,), with a sum of 1.

    Example:
        >>> parts = torch.tensor([1.0, 1.0]).view(1, 2, 1, 1)
        >>> round(fused(parts, torch.tensor([0.2, 0.8])).item(), 6)
        1.0
    """
    return F.conv2d(scaled.clamp_min(0).log1p(), weight.view(1, -1, 1, 1)).expm1()
