"""What roibank's defect head learns before the first step: synthetic defects, and known ones if they help."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from roinspect.data.loader import InspectionDataset
from roinspect.methods.roibank_cells import batched, damaged, grid, most_defective, numbered
from roinspect.methods.roibank_graph import DEFECT_LEVELS, RoiBankGraph
from roinspect.nn.defect_head import FOLDS, DefectHead
from roinspect.nn.patches import stacked

log = logging.getLogger(__name__)

_MOST_SYNTHETIC = 500
"""Images with synthetic defects: more of them teach nothing new."""
COUNTS_AS = 5
"""A known defect counts as much as so many synthetic ones."""


def folds_of(data: InspectionDataset) -> Tensor:
    """The fold of every training image (N,), see `defect_head.sees`: near-duplicates share one.

    Good images come first, so that theirs do not depend on defective ones.
    """
    numbers: dict[str | int, int] = {}
    of, good_groups = torch.empty(len(data), dtype=torch.int64), 1
    for row in np.argsort(data.cache.labels != 0, kind="stable").tolist():
        of[row] = numbers.setdefault(data.cache.records[row].group or row, len(numbers))
        if data.cache.labels[row] == 0:
            good_groups = len(numbers)
    # Few groups lie far apart, so that every head sees one of them.
    return of * max(1, FOLDS // good_groups) % FOLDS


class _Patches(NamedTuple):
    """Whitened patches, the images that they come from, and the folds of these."""

    vectors: Tensor
    """(P, D)."""
    images: Tensor
    """(P,) int64."""
    folds: Tensor
    """(P,) int64."""


def synthetic_patches(
    graph: RoiBankGraph,
    data: InspectionDataset,
    good: Sequence[int],
    share: float,
    generator: torch.Generator,
) -> Tensor:
    """Whitened patches on synthetic defects in the ROI of good images, each followed by its image.

    Args:
        graph: whitenings are learned.
        data: the training images.
        good: the good images.
        share: of the good images that get synthetic defects, in [0, 1].
        generator: source of randomness, on the CPU.

    Returns:
        (P, D + 1) of the finest levels; P may be 0.
    """
    device = graph.usual.device
    found = [torch.empty(0, sum(graph.features.channels[:DEFECT_LEVELS]) + 1, device=device)]
    count = round(share * min(len(good), _MOST_SYNTHETIC))
    spread = [good[place] for place in np.linspace(0, len(good) - 1, count).round().astype(int)]
    for images in batched(spread):
        batch = data.__getitems__(images)
        image, roi = batch.image.to(device).float().div_(255), batch.roi_mask.to(device)
        image, mask = damaged(image, roi, generator)
        levels = graph.features(image)
        cells = most_defective(grid(mask, levels[0]))
        found.append(numbered(stacked(levels[:DEFECT_LEVELS]), cells, images))
    return torch.cat(found)


def learn_defects(
    head: DefectHead,
    normal: Tensor,
    synthetic: Tensor,
    known: Tensor,
    folds: Tensor,
    generator: torch.Generator,
) -> bool:
    """Train the defect head on synthetic defects and noise, and on known defects too if it is better for it.

    With known defects two are trained, from the same random numbers. That which separates both kinds of
    defect better from good images, where it has seen neither, stays.

    Args:
        head: trained in place.
        normal: (P, D + 1), normal patches, each followed by its image.
        synthetic: (Q, D + 1), patches on synthetic defects, likewise.
        known: (R, D + 1), patches on known defects, likewise; R may be 0.
        folds: (N,) int64, the fold of every image.
        generator: source of randomness, on the CPU.

    Returns:
        Whether known defects have trained it.
    """
    device = head.share.device
    clean, pasted, real = (
        _Patches(patches[:, :-1].to(device), images, folds[images])
        for patches in (normal, synthetic, known)
        for images in (patches[:, -1].long().cpu(),)
    )

    def train(vectors: Tensor, of: Tensor) -> None:
        head.fit(clean.vectors, vectors, clean.folds, of, generator=generator)
        count = f"{len(normal):,} normal and {len(vectors):,} defective"
        log.info(f"the defect head has learned from {count} patches")

    begin = generator.get_state()
    train(pasted.vectors, pasted.folds)
    if not len(known):
        return False
    without = {name: value.clone() for name, value in head.state_dict().items()}
    photographs, images = len(real.images.unique()), len(pasted.images.unique())
    # Few real defects neither drown among synthetic ones nor outweigh them.
    share = min(1.0, COUNTS_AS * photographs / images) if images else 1.0
    times = max(1, round(share * len(synthetic) / len(known)))
    plain = _separation(head, clean, pasted, real)
    both = [pasted, *[real] * times]
    generator.set_state(begin)
    train(torch.cat([each.vectors for each in both]), torch.cat([each.folds for each in both]))
    informed = _separation(head, clean, pasted, real)
    is_better = informed > plain
    if not is_better:
        head.load_state_dict(without)
    log.info(
        f"{photographs} known defects are {'' if is_better else 'not '}used: unseen defects are separated to "
        f"{informed:.1%} by a head that has learned from them, and to {plain:.1%} by one that has not"
    )
    return is_better


def _separation(head: DefectHead, clean: _Patches, pasted: _Patches, real: _Patches) -> float:
    """Share of good images of which no patch has as much evidence as a patch of a defect: a mean.

    It is taken over the patches of a defect, then over the defects of a kind, then over synthetic and known
    ones. The AUROC of images would be near 1 with and without known defects. Every patch is scored by the
    head that has not seen its image.
    """
    highest = _by_image(head.unseen_evidence(clean.vectors, clean.folds), clean.images, "amax").sort().values

    def outlined(patches: _Patches) -> Tensor:
        evidence = head.unseen_evidence(patches.vectors, patches.folds)
        share = torch.searchsorted(highest, evidence) / len(highest)
        return _by_image(share, patches.images, "mean")

    kinds = [outlined(patches).mean() for patches in (pasted, real) if len(patches.images)]
    return float(torch.stack(kinds).mean())


def _by_image(values: Tensor, images: Tensor, how: str) -> Tensor:
    """Maximum ("amax") or "mean" of the values (P,) of each image, (n,)."""
    numbers, place = images.to(values.device).unique(return_inverse=True)
    out = values.new_zeros(len(numbers))
    return out.scatter_reduce(0, place, values, how, include_self=False)
