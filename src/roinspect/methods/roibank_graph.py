"""roibank's inspection graph: one backbone pass, a memory per level, a defect head, a predicted ROI."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from roinspect.methods.method import InspectionGraph, Look
from roinspect.nn.defect_head import DefectHead
from roinspect.nn.memory import NearestNeighbours, without_rows
from roinspect.nn.patches import PatchFeatures, on_grid_of, stacked
from roinspect.nn.roi_head import RoiHead

ROI_LEVELS, DEFECT_LEVELS = 2, 3
"""The finest levels, which the ROI head and the defect head see: coarser ones blur what lies where."""


class RoiBankGraph(InspectionGraph):
    """A bare image to how strange it is, where it matters.

    Every level's memory and the defect head give a strangeness per cell. Each is scaled by held-out good
    parts: 0 is a normal patch's, 1 that of the strangest patch of an ordinary good part. The map is their
    mean, gated by the predicted ROI.

    Args:
        features: image to whitened patches of every level.
        memory_size: rows of every level's memory.
        defect_head: whitened patches of the finest levels to evidence; None: the memories alone.
        roi_head: whitened patches of the finest levels to ROI logits; None scores all of the image.
        smoothing: standard deviation of the Gaussian that smooths each level's distances, in cells.
        border: cells beside the ROI in which a distance still counts.

    Attributes:
        usual: (K,), what counts as 0 for every level and then the defect head.
        span: (K,), what is added to `usual` to make 1.
        weight: (K,), how much each counts; the sum is 1.
        box: (4,) top, left, bottom, right of the part of the image that is used, in pixels; zeros: all of it.
            It is part of the weights, as it comes from the training images.
    """

    kernel: Tensor
    usual: Tensor
    span: Tensor
    weight: Tensor
    box: Tensor

    def __init__(
        self,
        features: PatchFeatures,
        memory_size: int,
        defect_head: DefectHead | None,
        roi_head: RoiHead | None,
        smoothing: float,
        border: int = 0,
    ) -> None:
        super().__init__()
        self.border = border
        self.features, self.defect_head, self.roi_head = features, defect_head, roi_head
        self.banks = nn.ModuleList(NearestNeighbours(memory_size, count) for count in features.channels)
        reach = math.ceil(3 * smoothing)
        offsets = torch.arange(-reach, reach + 1).float()
        kernel = torch.exp(-0.5 * (offsets / max(smoothing, 1e-6)).square())
        self.register_buffer("kernel", kernel / kernel.sum(), persistent=False)
        parts = len(features.channels) + (defect_head is not None)
        self.register_buffer("usual", torch.zeros(parts))
        self.register_buffer("span", torch.ones(parts))
        self.register_buffer("weight", torch.full((parts,), 1 / parts))
        self.register_buffer("box", torch.zeros(4, dtype=torch.int64))
        # As numbers, which an exported graph has fixed.
        self._crop: list[int] = []
        self.register_load_state_dict_post_hook(_read_box)  # type: ignore[no-untyped-call]

    def look(self, image: Tensor) -> Look:
        """(N, 3, H, W) in [0, 1] to the score (N,) and the map (N, 1, H, W), both at least 0, and the ROI."""
        levels = self.features(self.cropped(image))
        parts = torch.cat(self.parts(levels), dim=1)
        cells = self._fused(parts, self.weight)
        roi_map = torch.ones_like(cells)
        if self.roi_head is not None:
            roi_map = self.roi_head(stacked(levels[:ROI_LEVELS])).sigmoid()
            cells = cells * roi_map
            if self.border:
                # Coarse cells beside the ROI show what lies far outside it: the fine ones decide there.
                beside = self.roi_head.beside * self.widened(roi_map)
                cells = torch.maximum(cells, beside * self._fused(parts, self._fine()))
        anomaly_map = self._enlarged(cells, image)
        return Look(anomaly_map.amax((1, 2, 3)), anomaly_map, roi_map)

    def parts(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """What is fused: every level's distances, smoothed, and the defect head's evidence.

        Args:
            levels: whitened patches of every level.

        Returns:
            K maps (N, 1, h, w) on the finest grid, unscaled.
        """
        finest = levels[0]
        parts = [
            on_grid_of(finest, self._smoothed(bank(level)))
            for bank, level in zip(self.banks, levels, strict=True)
        ]
        if self.defect_head is not None:
            parts.append(self._smoothed(self.defect_head(stacked(list(levels[:DEFECT_LEVELS])))))
        return parts

    def predict_roi(self, image: Tensor) -> Tensor | None:
        """(N, 3, H, W) in [0, 1] to the probability that a pixel belongs to the ROI, (N, 1, H, W).

        As it is drawn, without the border that also counts.
        """
        return self.roi_of(self.features(self.cropped(image)), image)

    def roi_of(self, levels: Sequence[Tensor], image: Tensor) -> Tensor | None:
        """The same from these images' whitened patches of every level."""
        if self.roi_head is None:
            return None
        return self._enlarged(self.roi_head(stacked(list(levels[:ROI_LEVELS]))).sigmoid(), image)

    @contextmanager
    def as_if_unseen(self, lacking: Sequence[Tensor], fold: int | None) -> Iterator[None]:
        """The graph as if some images had not been trained on, for as long as the context lasts.

        Args:
            lacking: of every level, the memory's rows that came from these images: (memory_size,) bool or
                indices.
            fold: the defect head that has not seen them; None keeps all.
        """
        head = self.defect_head
        kept = None if head is None else head.share.clone()
        if head is not None and fold is not None:
            head.share.zero_()
            head.share[fold] = 1
        with without_rows(list(self.banks), lacking):
            try:
                yield
            finally:
                if head is not None and kept is not None:
                    head.share.copy_(kept)

    def crop_to(self, box: list[int]) -> None:
        """Use this part of the image only: top, left, bottom, right, in pixels."""
        self.box.copy_(torch.tensor(box))
        self._crop = box

    def cropped(self, image: Tensor) -> Tensor:
        """The part that is used of images or masks (N, C, H, W)."""
        if not self._crop:
            return image
        top, left, bottom, right = self._crop
        return image[:, :, top:bottom, left:right]

    def _fused(self, parts: Tensor, weight: Tensor) -> Tensor:
        """The weighted mean of the scaled parts (N, K, h, w), at least 0: (N, 1, h, w)."""
        # What is scaled is linear: one convolution.
        share = weight / self.span
        cells = F.conv2d(parts, share.view(1, -1, 1, 1))
        return (cells - (share * self.usual).sum()).clamp_min(0)

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
        height, width = image.shape[2:]
        top, left, bottom, right = self._crop or (0, 0, height, width)
        size_hw = (bottom - top, right - left)
        looked_at = F.interpolate(cells, size_hw, mode="bilinear", align_corners=False)
        if not self._crop:
            return looked_at
        return F.pad(looked_at, (left, width - right, top, height - bottom))

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


def _read_box(graph: Any, _: Any) -> None:
    box = graph.box.tolist()
    graph._crop = box if any(box) else []
