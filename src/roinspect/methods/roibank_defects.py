"""What roibank's defect head learns before the first step: synthetic defects, and known ones."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from roinspect.data.loader import InspectionDataset
from roinspect.errors import UserError
from roinspect.methods.roibank_cells import batched, damaged, grid, looked_at, most_defective, numbered
from roinspect.methods.roibank_graph import DEFECT_LEVELS, RoiBankGraph
from roinspect.methods.roibank_settings import RoiBankSettings
from roinspect.nn.defect_head import FOLDS
from roinspect.nn.patches import stacked

log = logging.getLogger(__name__)

_MOST_SYNTHETIC = 500
"""Images with synthetic defects: more of them teach nothing new."""


def folds_of(data: InspectionDataset) -> Tensor:
    """The fold of every training image (N,), see `defect_head.sees`: near-duplicates share one."""
    numbers: dict[str | int, int] = {}
    of = [
        numbers.setdefault(record.group or row, len(numbers)) for row, record in enumerate(data.cache.records)
    ]
    # Few groups lie far apart, so that every head sees one of them.
    apart = max(1, FOLDS // max(1, len(numbers)))
    return torch.tensor(of) * apart % FOLDS


def learn_defects(
    graph: RoiBankGraph,
    settings: RoiBankSettings,
    data: InspectionDataset,
    normal: Tensor,
    good: Sequence[int],
    generator: torch.Generator,
) -> None:
    """Train the defect head on synthetic defects, noise, and known defects where they are to be used.

    Args:
        graph: with a defect head; whitenings are learned.
        settings: see `RoiBankSettings`.
        data: the training images.
        normal: (P, D + 1), normal patches, each followed by its image.
        good: the good images.
        generator: source of randomness, on the CPU.

    Raises:
        UserError: known defects are to be used, and none is marked.
    """
    head, device = graph.defect_head, graph.usual.device
    assert head is not None
    defective = list[Tensor]()
    count = round(settings.synthetic * min(len(good), _MOST_SYNTHETIC))
    spread = [good[place] for place in np.linspace(0, len(good) - 1, count).round().astype(int)]
    for images in batched(spread):
        batch = data.__getitems__(images)
        image, roi = batch.image.to(device).float().div_(255), batch.roi_mask.to(device)
        image, mask = damaged(image, roi, generator)
        defective.append(_marked(graph, graph.cropped(image), mask, images))
    if settings.known_defects:
        known = _known(graph, data)
        # As many as there are synthetic ones: few real defects must not drown.
        times = max(1, sum(map(len, defective)) // len(known))
        defective += [known] * times
    marked = torch.cat(defective) if defective else normal[:0]
    folds = folds_of(data)
    head.fit(
        normal[:, :-1].to(device),
        marked[:, :-1].to(device),
        folds[normal[:, -1].long()],
        folds[marked[:, -1].long().cpu()],
        generator=generator,
    )
    log.info(f"the defect head has learned from {len(normal):,} normal and {len(marked):,} defective patches")


def _marked(graph: RoiBankGraph, image: Tensor, mask: Tensor, images: Sequence[int]) -> Tensor:
    """Whitened patches of cropped images on defects (N, 1, H, W), each followed by its image: (P, D + 1)."""
    levels = graph.features(image)
    cells = most_defective(grid(graph, mask, levels[0]))
    return numbered(stacked(levels[:DEFECT_LEVELS]), cells, images)


def _known(graph: RoiBankGraph, data: InspectionDataset) -> Tensor:
    """Whitened patches on known defects, each followed by the number of its image."""
    defects, rows = list[Tensor](), np.flatnonzero(data.cache.labels == 1).tolist()
    for images in batched(rows):
        batch = data.__getitems__(images)
        defects.append(_marked(graph, looked_at(graph, batch), batch.gt_mask * batch.roi_mask, images))
    known = torch.cat(defects)
    if not len(known):
        raise UserError(
            "no defective training photograph has a mask that marks a defect inside the region",
            where="method.known_defects",
            remedy="add masks, or switch it off",
        )
    used = len(known[:, -1].unique())
    log.info(f"{len(known):,} patches on {used} known defects train the defect head")
    if used < len(rows):
        log.warning(
            f"{len(rows) - used} of {len(rows)} defective training photographs do not train the "
            "defect head: no mask marks their defect inside the region"
        )
    return known
