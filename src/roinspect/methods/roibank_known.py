"""What roibank takes from photographs of known defects: patches that train the defect head.

Where a mask marks the defect, these are the patches that it marks. Of a photograph that is only labelled
defective some patch inside the ROI shows the defect, and nobody says which: those that the memories find
stranger than anything in good photographs (multiple-instance learning).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from roinspect.data.loader import InspectionDataset
from roinspect.methods.roibank_cells import (
    at_least_one,
    batched,
    batches,
    grid,
    looked_at,
    most_defective,
    numbered,
    roi_cells,
)
from roinspect.methods.roibank_graph import DEFECT_LEVELS, RoiBankGraph
from roinspect.nn.patches import stacked

log = logging.getLogger(__name__)

_GOOD_ONES = 64
"""Good photographs that say what is not strange."""
_RARELY = 0.95
"""Share of good photographs whose strangest patch is less strange than the limit of a level."""
_SMALLEST = 1e-3
"""Least limit: on constant photographs rounding is not strange."""
_FROM_ONE = 300
"""Patches of one defect, at most: a large one is not to outweigh all others."""


def known_patches(
    graph: RoiBankGraph,
    data: InspectionDataset,
    sources: Tensor,
    generator: torch.Generator,
    *,
    labels_alone: bool,
) -> Tensor:
    """Whitened patches on the defects of defective training photographs, each followed by its photograph.

    Args:
        graph: whitenings and memories are learned.
        data: the training images.
        sources: (K, memory_size) int64, the training image of each row of each memory, -1 for none.
        generator: source of randomness, on the CPU.
        labels_alone: also use photographs without masks.

    Returns:
        (P, D + 1) of the finest levels; P may be 0. What is not used is logged.
    """
    rows = np.flatnonzero(data.cache.labels == 1).tolist()
    drawn = [row for row in rows if data.cache.records[row].mask_path is not None]
    bare = sorted(set(rows) - set(drawn))
    if bare and not labels_alone:
        log.warning(
            f"{len(bare)} defective training photographs have no masks and are not used; draw the defects, "
            "or see method.labels_alone"
        )
        bare = []
    found = [torch.empty(0, sum(graph.features.channels[:DEFECT_LEVELS]) + 1, device=sources.device)]
    for images in batched(drawn):
        batch = data.__getitems__(images)
        levels = graph.features(looked_at(graph, batch))
        cells = most_defective(grid(batch.gt_mask * batch.roi_mask, levels[0]))
        found.append(numbered(stacked(levels[:DEFECT_LEVELS]), cells, images))
    limits = _limits(graph, data, sources) if bare else torch.empty(0)
    for images in batched(bare):
        levels = graph.features(looked_at(graph, data.__getitems__(images)))
        cells = _strange(graph, levels, roi_cells(data, images, levels[0]), limits)
        found.append(numbered(stacked(levels[:DEFECT_LEVELS]), cells, images))
    known = torch.cat(found)
    used = set(known[:, -1].long().tolist())
    for kind, reason in (
        (drawn, "with masks mark no defect inside the region and are not used"),
        (bare, "without masks show nothing strange in the region and are not used"),
    ):
        if unused := len(set(kind) - used):
            log.warning(f"{unused} of {len(kind)} defective training photographs {reason}")
    return _at_most(known, _FROM_ONE, generator)


def _limits(graph: RoiBankGraph, data: InspectionDataset, sources: Tensor) -> Tensor:
    """The distance of each of the finest levels that good photographs rarely show anywhere in the ROI, (L,).

    Each good photograph is looked at as if it and its group were not in the memories.
    """
    good = np.flatnonzero(data.cache.labels == 0).tolist()
    places = np.linspace(0, len(good) - 1, min(len(good), _GOOD_ONES)).round().astype(int)
    groups = [record.group for record in data.cache.records]
    highest = list[Tensor]()
    for row in (good[place] for place in places):
        alike = [other for other in good if other == row or (groups[row] and groups[other] == groups[row])]
        lacking = torch.isin(sources, torch.tensor(alike, device=sources.device))
        with graph.as_if_unseen(list(lacking), None):
            (batch,) = batches(data, [row])
            levels = graph.features(looked_at(graph, batch))
            distances = _distances(graph, levels)
        inside = at_least_one(roi_cells(data, [row], levels[0])) > 0.5
        highest.append(torch.where(inside, distances, 0.0).amax((0, 2, 3)))
    return torch.stack(highest).quantile(_RARELY, dim=0).clamp_min(_SMALLEST)


def _strange(graph: RoiBankGraph, levels: Sequence[Tensor], cells: Tensor, limits: Tensor) -> Tensor:
    """1 in the cells (N, 1, h, w) inside the ROI that are beyond the limit of any of the finest levels.

    Of an image's cells those nearer to the strangest one than to the limit: the others are often normal.
    """
    strangeness = (_distances(graph, levels) / limits.view(1, -1, 1, 1)).amax(1, keepdim=True)
    strangeness = torch.where(at_least_one(cells) > 0.5, strangeness, 0.0)
    strangest = strangeness.amax((1, 2, 3), keepdim=True)
    return ((strangest > 1) & (strangeness >= (1 + strangest) / 2)).float()


def _distances(graph: RoiBankGraph, levels: Sequence[Tensor]) -> Tensor:
    """The memories' distances at the finest levels on the finest grid, (N, L, h, w)."""
    return torch.cat(graph.parts(levels)[: min(DEFECT_LEVELS, len(graph.banks))], dim=1)


def _at_most(patches: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """At most so many patches (P, D + 1) of every photograph, chosen at random."""
    order = torch.randperm(len(patches), generator=generator).to(patches.device)
    patches = patches[order]
    _, photograph = patches[:, -1].unique(return_inverse=True)
    sorted_, order = photograph.sort(stable=True)
    first = torch.searchsorted(sorted_, sorted_)
    place = torch.arange(len(patches), device=patches.device) - first
    return patches[order[place < count]]
