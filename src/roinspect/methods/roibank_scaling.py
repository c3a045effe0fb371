"""What roibank measures after the last step: scale and weight of each part of its map, left-out scores."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from roinspect.data.dataset import DecodedCache
from roinspect.data.loader import InspectionDataset
from roinspect.inspection.calibration import LeftOut
from roinspect.methods.method import predict
from roinspect.methods.roibank_cells import at_least_one, batched, batches, grid, outside
from roinspect.methods.roibank_defects import COUNTS_AS, FOLDS, folds_of
from roinspect.methods.roibank_graph import RoiBankGraph
from roinspect.nn.synthetic_defects import put_defects

log = logging.getLogger(__name__)

_TIMES = 3
"""Times that each held-out part is scored with a synthetic defect inside the ROI, and outside it."""
_STRICTNESS, _DOUBT = 4, 5
"""Exponent of a part's weight, and the number of held-out parts that halves what they say of it."""
_SMALLEST_SPAN = 1e-3


@torch.no_grad()
def scale_by(
    graph: RoiBankGraph,
    data: InspectionDataset,
    good: Sequence[int],
    generator: torch.Generator,
    known: Tensor | None = None,
) -> None:
    """Scale and weigh the parts of the map by held-out good images.

    0 becomes a normal cell's strangeness, 1 that of the strangest cell of the median good part. A part
    counts the more, the better it tells synthetic defects inside the ROI from good parts and from
    synthetic damage outside it: which scale shows a product's defects is not known in advance. Known defects
    say so too, each as much as several synthetic ones.

    Args:
        graph: in evaluation mode.
        data: held-out images.
        good: rows of good ones, at least one.
        generator: source of randomness, on the CPU.
        known: see `known_scores`; None for none.
    """
    device = graph.usual.device
    sums, counts = list[Tensor](), list[Tensor]()
    highest, damaged, beside = list[Tensor](), list[Tensor](), list[Tensor]()
    for batch in batches(data, good):
        roi = batch.roi_mask.to(device)
        image = batch.image.to(device).float().div_(255)
        parts, inside = _inspected(graph, image, roi)
        sums.append((parts * inside).double().sum((0, 2, 3)))
        counts.append(inside.sum())
        highest.append(_tops(parts, inside))
        for _ in range(_TIMES):
            for where, tops in ((roi, damaged), (outside(roi), beside)):
                changed, mask = put_defects(image, where, generator=generator)
                parts, _ = _inspected(graph, changed, roi)
                tops.append(_tops(parts, inside)[mask.flatten(1).any(1)])
    usual = (torch.stack(sums).sum(0) / torch.stack(counts).sum()).float()
    graph.usual.copy_(usual)
    if known is not None:
        damaged += [known] * COUNTS_AS
    good_scores, damaged_scores = torch.cat(highest), torch.cat(damaged)
    # Where nothing is stranger than anything else, as on constant images, rounding must not be blown up.
    least = _SMALLEST_SPAN * usual.abs().clamp_min(1)
    graph.span.copy_((good_scores.quantile(0.5, dim=0) - usual).maximum(least))
    graph.weight.copy_(part_weights(good_scores, damaged_scores, torch.cat(beside)))


@torch.no_grad()
def known_scores(graph: RoiBankGraph, data: InspectionDataset, rows: Sequence[int]) -> Tensor:
    """The highest value in the ROI of each part of the map, (n, K), of training images with known defects.

    Each is scored by the defect head that has not seen it; the memories have seen none.

    Args:
        graph: in evaluation mode.
        data: the training images.
        rows: those with known defects.
    """
    device, folds = graph.usual.device, folds_of(data)
    no_row = [torch.empty(0, dtype=torch.int64, device=device)] * len(graph.banks)
    tops = [torch.empty(0, len(graph.weight), device=device)]
    for fold in range(FOLDS):
        with graph.as_if_unseen(no_row, fold):
            for batch in batches(data, [row for row in rows if folds[row] == fold]):
                image = batch.image.to(device).float().div_(255)
                tops.append(_tops(*_inspected(graph, image, batch.roi_mask.to(device))))
    return torch.cat(tops)


def _inspected(graph: RoiBankGraph, image: Tensor, roi: Tensor) -> tuple[Tensor, Tensor]:
    """The parts (N, K, h, w) of images, and which cells (N, 1, h, w) lie in the drawn ROI."""
    parts = torch.cat(graph.parts(graph.features(graph.cropped(image))), dim=1)
    inside = at_least_one(grid(graph, roi, parts)) > 0.5
    return parts, inside | ~inside.flatten(1).any(1)[:, None, None, None]


def _tops(parts: Tensor, inside: Tensor) -> Tensor:
    """The highest value (N, K) of each part inside."""
    return torch.where(inside, parts, -torch.inf).flatten(2).amax(2)


def part_weights(good: Tensor, damaged: Tensor, outside: Tensor | None = None) -> Tensor:
    """How much each part of the map counts, by how well it tells synthetic defects from good parts.

    The fourth power of 2 AUROC - 1, so that parts that see little hardly count. With few images the AUROCs
    are drawn towards their mean.

    Args:
        good: (G, K), the highest value of each part of the map in each good image.
        damaged: (D, K), the same with synthetic defects; D may be 0.
        outside: (O, K), the same with synthetic damage outside the ROI, which is to pass as good.

    Returns:
        (K,), at least 0; the sum is 1.

    Example:
        >>> good = torch.tensor([[0.0, 0.5], [1.0, 0.6]])
        >>> weights = part_weights(good, good + torch.tensor([3.0, 0.0]))  # the first part sees the defects
        >>> bool(weights[0] > weights[1])
        True
    """
    if not len(damaged):
        return torch.full_like(good[0], 1 / good.shape[1])
    passing = good if outside is None else torch.cat((good, outside))
    above = (damaged[:, None] > passing).float() + 0.5 * (damaged[:, None] == passing).float()
    auroc = above.mean((0, 1))
    trust = len(good) / (len(good) + _DOUBT)
    separation = (2 * (trust * auroc + (1 - trust) * auroc.mean()) - 1).clamp_min(1e-2)
    weights = separation.pow(_STRICTNESS)
    return weights / weights.sum()


@torch.no_grad()
def weigh_border(graph: RoiBankGraph, data: InspectionDataset, good: Sequence[int]) -> None:
    """Let cells beside the ROI count as held-out good images allow, for a border is off by a cell.

    Where product and table meet every part is a little strange.
    """
    roi_head = graph.roi_head
    if roi_head is None or not graph.border or not roi_head.beside:
        return
    allowed, highest = float(roi_head.beside), list[float]()
    for beside in (0.0, 1.0):
        roi_head.beside.fill_(beside)
        scores = [
            graph(batch.image.to(graph.usual.device).float().div_(255))[0].amax()
            for batch in batches(data, good)
        ]
        highest.append(float(torch.stack(scores).amax()))
    plain, bordered = highest
    roi_head.beside.fill_(min(allowed, plain / bordered) if bordered > 0 else allowed)
    log.info(f"beside the region a distance counts {float(roi_head.beside):.2f} of what it does inside")


def left_out_scores(
    graph: RoiBankGraph, sources: Tensor, fitted: DecodedCache, groups: Sequence[str]
) -> LeftOut | None:
    """Good images scored as if they and their group had not been trained on.

    Their rows are left out of the memories, and the defect head that has not seen them answers alone.
    For the memories, the whole one holds all rows of each such memory, and more of them never make a
    distance greater: the quantile is that of the jackknife-minmax (Barber et al., *Predictive inference
    with the jackknife+*, 2021, Theorem 3). What the bound leaves aside: one defect head answers instead
    of the mean of all, and the directions, which rows were chosen and the ROI head have seen all images.
    One more pass of the backbone; nothing is trained again.

    Args:
        graph: in evaluation mode.
        sources: (K, memory_size) int64, the training image of each row of each memory, -1 for none.
        fitted: the images that were trained on, decoded.
        groups: their groups' names, "" for none.

    Returns:
        None where all rows of a memory come from one group.
    """
    folds = folds_of(InspectionDataset(fitted))
    good = np.flatnonzero(fitted.labels == 0).tolist()
    if graph.defect_head is not None and len(folds[good].unique()) < FOLDS:
        return None
    members: dict[str | int, list[int]] = {}
    for image in good:
        members.setdefault(groups[image] or image, []).append(image)
    scores, names = list[NDArray[np.float32]](), list[str]()
    for group, images in members.items():
        lacking = torch.isin(sources, torch.tensor(images, device=sources.device))
        if any(rows[of >= 0].all() for rows, of in zip(lacking, sources, strict=True)):
            return None
        with graph.as_if_unseen(list(lacking), int(folds[images[0]])):
            for block in batched(images):
                scores.append(predict(graph, fitted.images[block]).pred_score)
        names += [group if isinstance(group, str) else ""] * len(images)
    return LeftOut(np.concatenate(scores), names)
