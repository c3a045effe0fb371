"""Cells of roibank's feature grids: how much of a mask each shows, and the patches of those inside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from roinspect.data.loader import Batch, InspectionDataset
from roinspect.methods.roibank_graph import RoiBankGraph
from roinspect.nn.synthetic_defects import put_defects

AT_ONCE = 8
"""Images in a pass of the backbone."""
_DEFECTS = 3
"""Synthetic defects in one image."""
_CLEAR = 8
"""Pixels between the ROI and synthetic damage outside it."""
_MARKED = 0.1
"""Least share of a cell that a defect must cover to mark it."""


def batched(rows: Sequence[int]) -> Iterator[list[int]]:
    """Rows by blocks of one pass of the backbone."""
    for first in range(0, len(rows), AT_ONCE):
        yield list(rows[first : first + AT_ONCE])


def batches(data: InspectionDataset, rows: Sequence[int]) -> Iterator[Batch]:
    """The images of these rows by such blocks."""
    for block in batched(rows):
        yield data.__getitems__(block)


def looked_at(graph: RoiBankGraph, batch: Batch) -> Tensor:
    """A batch's images (N, 3, H, W) in [0, 1], on the graph's device."""
    return batch.image.to(graph.usual.device).float().div_(255)


def grid(mask: Tensor, level: Tensor) -> Tensor:
    """Every cell's share of a mask (N, 1, H, W): (N, 1, h, w)."""
    return F.adaptive_avg_pool2d(mask.to(level.device).float(), (level.shape[2], level.shape[3]))


def roi_cells(data: InspectionDataset, rows: Sequence[int], level: Tensor) -> Tensor:
    """Share of ROI of every cell of a level, for these images: (n, 1, h, w)."""
    masks = data.cache.roi_masks
    return torch.cat([grid(torch.from_numpy(masks[block])[:, None], level) for block in batched(rows)])


def at_least_one(cells: Tensor) -> Tensor:
    """Shares of ROI (N, 1, h, w); an ROI that fills half of no cell has 1 in those that it fills most."""
    top = cells.amax((1, 2, 3), keepdim=True)
    return torch.where((top <= 0.5) & (top > 0) & (cells == top), 1.0, cells)


def most_defective(cells: Tensor) -> Tensor:
    """1 in the cells (N, 1, h, w) that show a defect: half covered, or as much as any cell of the image."""
    top = cells.amax((1, 2, 3), keepdim=True).clamp_max(0.5)
    return ((cells >= top) & (cells >= _MARKED)).float()


def numbered(patches: Tensor, cells: Tensor, images: Sequence[int]) -> Tensor:
    """Patches (n, D, h, w) of the cells mostly inside a mask, each followed by its image: (P, D + 1)."""
    numbers = torch.tensor(images).to(patches.device)[:, None, None, None]
    vectors = torch.cat((patches, numbers.expand(-1, 1, *patches.shape[2:])), dim=1)
    return vectors.permute(0, 2, 3, 1)[cells[:, 0] > 0.5].float()


def damaged(
    images: Tensor, where: Tensor, generator: torch.Generator, *, largest: float = 0.25
) -> tuple[Tensor, Tensor]:
    """Images with several synthetic defects in a mask (N, 1, H, W), see `put_defects`, and their mask."""
    mask = torch.zeros_like(where, dtype=images.dtype)
    for _ in range(_DEFECTS):
        images, more = put_defects(images, where, largest=largest, generator=generator)
        mask = torch.maximum(mask, more)
    return images, mask


def outside(roi: Tensor) -> Tensor:
    """Where damage cannot touch the ROI (N, 1, H, W)."""
    return 1 - F.max_pool2d((roi > 0).float(), 2 * _CLEAR + 1, stride=1, padding=_CLEAR)
