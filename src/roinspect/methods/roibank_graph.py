"""roibank's inspection graph: features once, distances to a memory, gated by the predicted ROI."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from roinspect.methods.method import InspectionGraph, Look
from roinspect.nn.memory import Gaussian, NearestNeighbours
from roinspect.nn.patches import PatchFeatures
from roinspect.nn.roi_head import RoiHead


class RoiBankGraph(InspectionGraph):
    """A bare image to distances from what is normal, where it matters.

    Args:
        features: image to whitened patch vectors.
        bank: scaled patch vectors to distances.
        roi_head: whitened patch vectors to ROI logits; None scores all of the image.
        smoothing: deviation of the Gaussian that smooths the map, in cells.
        border: cells beside the ROI that count as it does.

    Attributes:
        scale: (1, D, 1, 1), how much each direction counts in a distance.
        box: (4,) top, left, bottom, right of what is looked at, in pixels; zeros: all of the image. It is
            part of the weights, as it comes from the training images.
    """

    kernel: Tensor
    scale: Tensor
    box: Tensor

    def __init__(
        self,
        features: PatchFeatures,
        bank: NearestNeighbours | Gaussian,
        roi_head: RoiHead | None,
        smoothing: float,
        border: int = 0,
    ) -> None:
        super().__init__()
        self.border = border
        self.features, self.bank, self.roi_head = features, bank, roi_head
        reach = math.ceil(3 * smoothing)
        offsets = torch.arange(-reach, reach + 1).float()
        kernel = torch.exp(-0.5 * (offsets / max(smoothing, 1e-6)).square())
        self.register_buffer("kernel", kernel / kernel.sum(), persistent=False)
        self.register_buffer("scale", torch.ones(1, len(features.weight), 1, 1))
        self.register_buffer("box", torch.zeros(4, dtype=torch.int64))
        # As numbers, which an exported graph has fixed.
        self._crop: list[int] = []
        self.register_load_state_dict_post_hook(_read_box)  # type: ignore[no-untyped-call]

    def look(self, image: Tensor) -> Look:
        """(N, 3, H, W) in [0, 1] to the score (N,) and the map (N, 1, H, W), both at least 0, and the ROI."""
        patches = self.features(self.cropped(image))
        scaled = patches * self.scale
        cells = self.bank(scaled)
        roi_map = torch.ones_like(cells)
        if self.roi_head is not None:
            roi_map = self.roi_head(patches).sigmoid()
            cells = cells * self.gate(roi_map)
        cells = self._smoothed(cells)
        anomaly_map = self._enlarged(cells, image)
        pred_score = anomaly_map.amax((1, 2, 3))
        if isinstance(self.bank, NearestNeighbours) and self.bank.neighbours.shape[1]:
            # PatchCore's weight of the patch that the score comes from; the map keeps its own scale.
            top = cells.flatten(1).argmax(1)[:, None, None].expand(-1, patches.shape[1], 1)
            pred_score = pred_score * self.bank.certainty(scaled.flatten(2).gather(2, top)[:, :, 0])
        return Look(pred_score, anomaly_map, roi_map)

    def predict_roi(self, image: Tensor) -> Tensor | None:
        """(N, 3, H, W) in [0, 1] to the probability that a place belongs to the ROI, (N, 1, H, W).

        As it is drawn, without the border that also counts.
        """
        return self.roi_of(self.features(self.cropped(image)), image)

    def roi_of(self, patches: Tensor, image: Tensor) -> Tensor | None:
        """The same from the patches (N, D, h, w) of these images."""
        return None if self.roi_head is None else self._enlarged(self.roi_head(patches).sigmoid(), image)

    def crop_to(self, box: list[int]) -> None:
        """Look at this part of the image only: top, left, bottom, right, in pixels."""
        self.box.copy_(torch.tensor(box))
        self._crop = box

    def cropped(self, image: Tensor) -> Tensor:
        """What is looked at of images or masks (N, C, H, W)."""
        if not self._crop:
            return image
        top, left, bottom, right = self._crop
        return image[:, :, top:bottom, left:right]

    def gate(self, roi: Tensor) -> Tensor:
        """What a distance counts, (N, 1, h, w) in [0, 1]: beside the ROI a share of what it does inside.

        A defect that touches the ROI may have most of its cells outside; and a cell that the ROI's border
        cuts is half sure at the most, though what lies there counts as much as anything.
        """
        if self.roi_head is None or not self.border:
            return roi
        return torch.maximum(roi, self.roi_head.beside * self.widened(roi))

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
