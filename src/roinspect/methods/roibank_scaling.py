"""What roibank measures after the last step: scale and weight of each part of its map, left-out scores."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from roinspect.data.dataset import DecodedCache
from roinspect.data.loader import InspectionDataset
from roinspect.inspection.calibration import LeftOut, by_group
from roinspect.methods.method import predict
from roinspect.methods.roibank_cells import at_least_one, batched, batches, grid, outside
from roinspect.methods.roibank_defects import COUNTS_AS, folds_of
from roinspect.methods.roibank_graph import RoiBankGraph
from roinspect.nn.defect_head import FOLDS
from roinspect.nn.places import PlaceSums
from roinspect.nn.synthetic_defects import put_defects

log = logging.getLogger(__name__)

_TIMES = 3
"""Times that each of them is scored with a synthetic defect inside the ROI, and outside it."""
_DOUBT = 5
"""Number of held-out parts that halves what they say of a part's weight."""
_CEILING = 0.3
"""In units of `RoiBankGraph.scaled`, what raises a photograph's own level at most."""
_CALM_EDGE = 0.75
"""Share of held-out parts that are no stranger beside the image's edge than an ordinary part elsewhere."""
_BESIDE = 0.6
"""What a value beside the ROI counts at most, of what it does inside: damage that comes near is to pass."""
_MOST_EDGE = 2.0
"""By what values beside the image's edge are divided at most, so that defects there are still seen."""
_SMALLEST_SPAN = 1e-3


@torch.no_grad()
def scale(graph: RoiBankGraph, data: InspectionDataset, good: Sequence[int]) -> None:
    """Set what is 0 and what is 1 of every part of the map, see `RoiBankGraph.scaled`.

    0 becomes a normal cell's strangeness, 1 that of the strangest cell of the median good part.

    Args:
        graph: in evaluation mode.
        data: held-out images.
        good: rows of good ones, at least one.
    """
    kept = [
        _inspected(graph, batch.image.to(graph.usual.device).float().div_(255), batch.roi_mask)
        for batch in batches(data, good)
    ]
    seen = _Inspected(*(torch.cat(tensors) for tensors in zip(*kept, strict=True)))
    inside = seen.inside
    zero, one = torch.zeros_like(graph.usual), torch.ones_like(graph.usual)

    def spread(values: Tensor) -> tuple[Tensor, Tensor]:
        """Mean of all cells, and from there to the highest one of the median part: (K,) each."""
        mean = ((values * inside).double().sum((0, 2, 3)) / inside.sum()).float()
        # Where nothing is stranger than anything else, as on constant images, rounding must not be blown up.
        return mean, (_median_top(values, inside) - mean).maximum(_SMALLEST_SPAN * mean.abs().clamp_min(1))

    mean, span = spread(seen.parts)
    graph.ceiling.copy_(mean + _CEILING * span)
    values = seen.parts - graph.own_level(seen.parts, seen.roi)
    graph.usual.copy_(spread(values)[0])
    graph.span.copy_(one)
    is_edge = graph.at_edge(values, zero.view(1, -1, 1, 1)) == 0
    at_edge = inside & is_edge
    has_edge = at_edge[:, :1].flatten(1).any(1)
    graph.edge.copy_(one)
    if has_edge.float().mean() > 0.5:
        values = seen.scaled(graph)
        edge = _tops(values[has_edge], at_edge[has_edge]).quantile(_CALM_EDGE, dim=0)
        elsewhere = _median_top(values, inside & ~is_edge)
        graph.edge.copy_(torch.where(elsewhere > 0, edge / elsewhere, one).clamp(1, _MOST_EDGE))
    graph.span.copy_(
        _median_top(seen.scaled(graph), inside).maximum(_SMALLEST_SPAN * mean.abs().clamp_min(1))
    )


@torch.no_grad()
def weigh(
    graph: RoiBankGraph,
    data: InspectionDataset,
    good: Sequence[int],
    strictness: float,
    generator: torch.Generator,
    known: Tensor | None = None,
) -> None:
    """Weigh the parts of the map by what synthetic defects say of them, see `part_weights`.

    Which scale shows a product's defects is not known in advance. Known defects say so too, each as much as
    several synthetic ones.

    Args:
        graph: in evaluation mode; its parts are scaled.
        data: held-out images.
        good: rows of good ones, at least one.
        strictness: see `part_weights`.
        generator: source of randomness, on the CPU.
        known: see `known_scores`; None for none.
    """
    highest, damaged, beside = list[Tensor](), list[Tensor](), list[Tensor]()
    for batch in batches(data, good):
        roi = batch.roi_mask.to(graph.usual.device)
        image = batch.image.to(graph.usual.device).float().div_(255)
        inspected = _inspected(graph, image, roi)
        highest.append(_tops(inspected.scaled(graph), inspected.inside))
        for _ in range(_TIMES):
            for where, tops in ((roi, damaged), (outside(roi), beside)):
                changed, mask = put_defects(image, where, generator=generator)
                scaled = _inspected(graph, changed, roi).scaled(graph)
                tops.append(_tops(scaled, inspected.inside)[mask.flatten(1).any(1)])
    if known is not None:
        damaged += [known] * COUNTS_AS
    graph.weight.copy_(
        part_weights(torch.cat(highest), torch.cat(damaged), torch.cat(beside), strictness=strictness)
    )


@torch.no_grad()
def known_scores(graph: RoiBankGraph, data: InspectionDataset, rows: Sequence[int]) -> Tensor:
    """The highest value in the ROI of each part of the map, (n, K), of training images with known defects.

    Each is scored by the defect heads that have not seen it; the memories have seen none.

    Args:
        graph: in evaluation mode; its parts are scaled.
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
                inspected = _inspected(graph, image, batch.roi_mask.to(device))
                tops.append(_tops(inspected.scaled(graph), inspected.inside))
    return torch.cat(tops)


class _Inspected(NamedTuple):
    """What the graph sees of n images."""

    parts: Tensor
    """(n, K, h, w), not scaled."""
    roi: Tensor
    """(n, 1, h, w) in [0, 1], as predicted."""
    inside: Tensor
    """(n, 1, h, w) bool, cells of the ROI as drawn; all of them where it has none."""

    def scaled(self, graph: RoiBankGraph) -> Tensor:
        """See `RoiBankGraph.scaled`."""
        return graph.scaled(self.parts, self.roi)


def _inspected(graph: RoiBankGraph, image: Tensor, roi: Tensor) -> _Inspected:
    levels = graph.features(image)
    parts = torch.cat(graph.parts(levels), dim=1)
    inside = at_least_one(grid(roi, parts)) > 0.5
    return _Inspected(parts, graph.roi_cells(levels), inside | ~inside.flatten(1).any(1)[:, None, None, None])


def _tops(values: Tensor, inside: Tensor) -> Tensor:
    """The highest value (n, K) of each part inside; minus infinity where no cell is."""
    return torch.where(inside, values, -torch.inf).flatten(2).amax(2)


def _median_top(values: Tensor, inside: Tensor) -> Tensor:
    tops = _tops(values, inside)
    return tops[inside.flatten(1).any(1)].quantile(0.5, dim=0)


def part_weights(
    good: Tensor, damaged: Tensor, outside: Tensor | None = None, *, strictness: float = 4.0
) -> Tensor:
    """How much each part of the map counts, by how well it tells synthetic defects from good parts.

    A power of 2 AUROC - 1, so that parts that see little hardly count. With few images the AUROCs are drawn
    towards their mean.

    Args:
        good: (G, K), the highest value of each part of the map in each good image.
        damaged: (D, K), the same with synthetic defects; D may be 0.
        outside: (O, K), the same with synthetic damage outside the ROI, which is to pass as good.
        strictness: the exponent; 0 gives all parts the same weight.

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
    weights = separation.pow(strictness)
    return weights / weights.sum()


@torch.no_grad()
def weigh_border(
    graph: RoiBankGraph, data: InspectionDataset, good: Sequence[int], generator: torch.Generator
) -> None:
    """Let cells beside the ROI count as far as they raise no score of held-out good parts.

    Where product and table meet every part is a little strange, a border is off by a cell, and damage clear
    of the ROI is to pass.

    Args:
        graph: in evaluation mode.
        data: held-out images.
        good: rows of good ones; each is scored as it is, and with synthetic damage outside the ROI.
        generator: source of randomness, on the CPU.
    """
    roi_head = graph.roi_head
    if roi_head is None or not graph.border or not roi_head.beside:
        return
    allowed, scores = min(_BESIDE, float(roi_head.beside)), list[list[Tensor]]([[], []])
    for batch in batches(data, good):
        image = batch.image.to(graph.usual.device).float().div_(255)
        damaged, _ = put_defects(image, outside(batch.roi_mask.to(image.device)), generator=generator)
        for beside, highest in enumerate(scores):
            roi_head.beside.fill_(beside)
            highest += [graph(shown)[0].amax() for shown in (image, damaged)]
    plain, bordered = (float(torch.stack(highest).amax()) for highest in scores)
    roi_head.beside.fill_(min(allowed, plain / bordered) if bordered > 0 else allowed)
    log.info(f"beside the region a distance counts {float(roi_head.beside):.2f} of what it does inside")


@torch.no_grad()
def left_out_scores(
    graph: RoiBankGraph,
    sources: Tensor,
    sums: PlaceSums | None,
    fitted: DecodedCache,
    groups: Sequence[str],
) -> LeftOut | None:
    """Good images scored as if they and their group had not been trained on.

    Their rows are left out of the memories and their fold out of the places' means, and only those defect
    heads answer that have not seen them.
    For the memories, the whole one holds all rows of each such memory, and more of them never make a
    distance greater: the quantile is that of the jackknife-minmax (Barber et al., *Predictive inference
    with the jackknife+*, 2021, Theorem 3). What the bound leaves aside: half of the defect heads answer, and
    the directions, which rows were chosen and the ROI head have seen all images.
    One more pass of the backbone; nothing is trained again.

    Args:
        graph: in evaluation mode.
        sources: (levels, memory_size) int64, the training image of each row of each memory, -1 for none.
        sums: what the places' means are from.
        fitted: the images that were trained on, decoded.
        groups: their groups' names, "" for none.

    Returns:
        None where all rows of a memory come from one group.
    """
    folds = folds_of(InspectionDataset(fitted))
    good = np.flatnonzero(fitted.labels == 0).tolist()
    if graph.defect_head is not None and len(folds[good].unique()) < 2:
        return None
    scores, names = list[NDArray[np.float32]](), list[str]()
    for images in by_group(fitted.labels, groups):
        lacking = torch.isin(sources, torch.tensor(images, device=sources.device))
        if any(rows[of >= 0].all() for rows, of in zip(lacking, sources, strict=True)):
            return None
        with graph.as_if_unseen(list(lacking), int(folds[images[0]]), sums):
            for block in batched(images):
                scores.append(predict(graph, fitted.images[block]).pred_score)
        names += [groups[image] for image in images]
    return LeftOut(np.concatenate(scores), names)
