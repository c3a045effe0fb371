"""The coarse look: find the region of interest in a whole photograph, or know where it is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from roinspect.methods.method import InspectionGraph, Look
from roinspect.nn.backbone import Backbone
from roinspect.nn.patches import PatchFeatures, stacked
from roinspect.nn.roi_head import RoiHead

STRIDES, POOLING = (4, 8), 2
"""Levels that the ROI head sees, and patches along the side of a cell of its coarse grid."""


class RegionGraph(InspectionGraph):
    """A bare photograph to its region of interest, and to its distance from the training images.

    Score and map are the region's: it looks for no defects.

    Args:
        features: image to whitened patches of both levels.
        roi_head: these to ROI logits.
    """

    def __init__(self, features: PatchFeatures, roi_head: RoiHead) -> None:
        super().__init__()
        self.features, self.roi_head = features, roi_head

    def look(self, image: Tensor) -> Look:
        """(N, 3, H, W) in [0, 1] to the region (N, 1, h, w), as map and ROI, and its mean (N,)."""
        roi = self.roi_head(stacked(self.features(image))).sigmoid()
        return Look(roi.mean((1, 2, 3)), roi.clamp(0, 1), roi)


class StillRegion(InspectionGraph):
    """The region of a camera that stands still, the same in every photograph.

    Args:
        grid_hw: height and width of the region's grid.
    """

    region: Tensor

    def __init__(self, grid_hw: tuple[int, int]) -> None:
        super().__init__()
        self.register_buffer("region", torch.zeros(1, 1, *grid_hw))

    def look(self, image: Tensor) -> Look:
        """As `RegionGraph.look`."""
        roi = self.region * torch.ones_like(image[:, :1, :1, :1])
        return Look(roi.mean((1, 2, 3)), roi.clamp(0, 1), roi)


def region_graph(backbone: str, size_hw: tuple[int, int]) -> InspectionGraph:
    """The graph of the coarse look with fresh weights.

    Args:
        backbone: of timm; "" for a camera that stands still.
        size_hw: height and width of a whole photograph.

    Raises:
        UserError: the backbone is unknown or has no features of these strides.
    """
    if not backbone:
        return StillRegion(_grid(size_hw))
    features = PatchFeatures(Backbone(backbone, STRIDES))
    return RegionGraph(features, RoiHead(sum(features.channels), pooling=POOLING))


def still_region(mask: Tensor, size_hw: Sequence[int]) -> StillRegion:
    """The graph for one mask (H, W) in {0, 1}."""
    graph = StillRegion(_grid((size_hw[0], size_hw[1])))
    grid = (graph.region.shape[2], graph.region.shape[3])
    graph.region.copy_(torch.nn.functional.adaptive_max_pool2d(mask[None, None].float(), grid))
    return graph


def _grid(size_hw: tuple[int, int]) -> tuple[int, int]:
    return -(-size_hw[0] // STRIDES[0]), -(-size_hw[1] // STRIDES[0])
