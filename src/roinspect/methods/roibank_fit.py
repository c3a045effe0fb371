"""What roibank learns of good parts before the first step: whitenings, memories, what the ROI head sees."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from roinspect.data.augment import random_conditions, random_rotation
from roinspect.data.loader import InspectionDataset
from roinspect.errors import UserError
from roinspect.methods.roibank_cells import (
    AT_ONCE,
    at_least_one,
    batched,
    batches,
    damaged,
    grid,
    looked_at,
    numbered,
    outside,
    roi_cells,
)
from roinspect.methods.roibank_defects import folds_of
from roinspect.methods.roibank_graph import DEFECT_LEVELS, ROI_LEVELS, RoiBankGraph, place_level
from roinspect.methods.roibank_settings import RoiBankSettings
from roinspect.nn.memory import NearestNeighbours, Reservoir, greedy_coreset
from roinspect.nn.patches import Whitening, stacked
from roinspect.nn.perlin import perturb
from roinspect.nn.places import PlaceSums

log = logging.getLogger(__name__)

_MOST = 20_000
"""Good images, evenly spread, of which patches are offered to the memories: more have none in a sample."""
_FOR_WHITENING = 20_000
"""Patches inside the ROI from which a whitening is learned."""
_FOR_HEAD, _FROM_ONE = 60_000, 300
"""Normal patches from which the defect head learns, in all and of one image."""
_FEW_BESIDE = 0.25, 0.5
"""Cells beside the ROI for one inside: up to the first they may count in full, from the second not at all."""
_LARGEST_OUTSIDE = 0.1
"""Radius of synthetic damage outside the ROI, as a share of the image's shorter side."""
_VISIBLE = 0.05
"""Pasted content must change a pixel by this much, or nobody could see it."""


class Shown(NamedTuple):
    """What the ROI head sees of n images, and what it is to answer."""

    patches: Tensor
    """(n, C, h, w) of the finest levels, whitened, in half precision."""
    cells: Tensor
    """(n, 1, h, w) in [0, 1], shares of ROI."""


class GoodParts:
    """Good training images, and what a graph learns of them.

    Args:
        graph: its whitenings and memories are filled.
        settings: see `RoiBankSettings`.
        data: the training images.
    """

    def __init__(self, graph: RoiBankGraph, settings: RoiBankSettings, data: InspectionDataset) -> None:
        self.graph, self.settings, self.data = graph, settings, data
        self.device, self.folds = graph.usual.device, folds_of(data)
        good = np.flatnonzero(data.cache.labels == 0)
        if len(good) > _MOST:
            log.info(f"the memories see {_MOST:,} of {len(good):,} good photographs, evenly spread")
            good = good[np.linspace(0, len(good) - 1, _MOST).round().astype(int)]
        places = np.linspace(0, len(good) - 1, self._how_many(len(good))).round().astype(int)
        self.rows: list[int] = good[places].tolist()
        """Images whose features are kept."""
        self.others = sorted(set(good.tolist()) - set(self.rows))
        """Further good images."""

    def _how_many(self, count: int) -> int:
        """Of so many images, those whose features fit into the room for them."""
        levels = self.graph.features.backbone.levels(looked_at(self.graph, self.data[0]))
        one = sum(level.numel() for level in levels)
        return max(1, min(count, int(self.settings.feature_memory_gb * 2**30 / (4 * one))))

    def gathered(self, rows: Sequence[int]) -> list[Tensor]:
        """Raw features of every level, (n, C, h, w) in half precision."""
        raw = list[Tensor]()
        done = 0
        for batch in batches(self.data, rows):
            levels = self.graph.features.backbone.levels(looked_at(self.graph, batch))
            if not raw:
                raw = [
                    level.new_empty((len(rows), *level.shape[1:]), dtype=torch.float16) for level in levels
                ]
            for kept, level in zip(raw, levels, strict=True):
                kept[done : done + len(level)] = level
            done += len(batch.label)
        return raw

    # -- whitenings and memories -----------------------------------------------------------------------------

    def learn(
        self, raw: Sequence[Tensor], sources: Tensor, sums: PlaceSums | None, generator: torch.Generator
    ) -> Tensor:
        """Whitenings, memories and the places' means.

        Args:
            raw: features of the images `rows`.
            sources: (levels, memory_size) int64; receives the training image of each row of each memory.
            sums: receives what the places' means are from.
            generator: source of randomness, on the CPU.

        Returns:
            (P, D + 1): normal patches from which the defect head learns, each followed by its image.

        Raises:
            UserError: no patch lies inside an ROI.
        """
        s, graph, rows = self.settings, self.graph, self.rows
        if graph.roi_head is not None:
            cells = at_least_one(self._cells(rows, raw[0]))
            inside = cells > 0.5
            more = (graph.widened(cells) > 0.5).sum() - inside.sum()
            graph.roi_head.beside.fill_(border_weight(float(more / inside.sum().clamp_min(1))))
        for whitening, level in zip(graph.features.whitenings, raw, strict=True):
            patches = _normal(level, self._cells(rows, level), generator)
            assert isinstance(whitening, Whitening)
            whitening.fit(patches, s.shrinkage)
        samples = [
            Reservoir(s.candidates, channels + 1, generator=generator) for channels in graph.features.channels
        ]
        normal = Reservoir(_FOR_HEAD, sum(graph.features.channels[:DEFECT_LEVELS]) + 1, generator=generator)
        blocks = zip(zip(*(level.split(AT_ONCE) for level in raw), strict=True), batched(rows), strict=True)
        for block, images in blocks:
            levels = graph.features.whitened([level.float() for level in block])
            self._take(images, levels, samples, normal, sums, generator)
        again = [*rows, *self.others] if s.light else []
        for images, is_changed in (
            *((images, False) for images in batched(self.others)),
            *((images, True) for images in batched(again)),
        ):
            batch = self.data.__getitems__(images)
            image = batch.image.to(self.device).float().div_(255)
            if is_changed:
                image = random_conditions(image, amount=s.light, generator=generator)
                # What lies outside the ROI is no defect, though coarse cells inside show it as well. Small
                # damage only: the memory would take large damage for normal, inside too.
                beside = outside(batch.roi_mask.to(self.device))
                image, _ = damaged(image, beside, generator, largest=_LARGEST_OUTSIDE)
            self._take(images, graph.features(image), samples, normal, sums, generator)
        for stride, bank, sample, of in zip(s.strides, graph.banks, samples, sources, strict=True):
            assert isinstance(bank, NearestNeighbours)
            patches = sample.patches[:, :-1].to(self.device)
            chosen = greedy_coreset(patches, len(bank.weight), generator=generator)
            bank.fill(patches[chosen])
            of[: len(chosen)] = sample.patches[chosen.cpu(), -1].long()
            log.info(
                f"stride {stride}: the memory holds {len(chosen):,} of {sample.seen:,} normal patches in the "
                f"region, chosen from a sample of {len(patches):,}"
            )
        if graph.places is not None and sums is not None:
            graph.places.fill(sums)
        return normal.patches

    def _take(
        self,
        images: Sequence[int],
        levels: Sequence[Tensor],
        samples: Sequence[Reservoir],
        normal: Reservoir,
        sums: PlaceSums | None,
        generator: torch.Generator,
    ) -> None:
        """Offer good images' whitened patches in the ROI, each followed by the number of its image."""
        for sample, level in zip(samples, levels, strict=True):
            sample.add(numbered(level, self._remembered(self._cells(images, level)), images))
        if self.graph.defect_head is not None:
            cells = at_least_one(self._cells(images, levels[0]))
            patches = numbered(stacked(list(levels[:DEFECT_LEVELS])), cells, images)
            some = torch.randperm(len(patches), generator=generator)[: _FROM_ONE * len(images)]
            normal.add(patches[some.to(patches.device)])
        if sums is not None:
            sums.add(levels[place_level(len(levels))], self.folds[images])

    def _remembered(self, cells: Tensor) -> Tensor:
        """Shares of ROI, and in the border's cells those of the ROI beside them, where they count.

        Where the border counts it must be known too: otherwise every good part would be strange there, and
        the threshold higher.
        """
        cells, roi_head = at_least_one(cells), self.graph.roi_head
        return cells if roi_head is None or not roi_head.beside else self.graph.widened(cells)

    def _cells(self, rows: Sequence[int], level: Tensor) -> Tensor:
        return roi_cells(self.data, rows, level)

    # -- what the ROI head sees ------------------------------------------------------------------------------

    def roi_share(self) -> float:
        """Mean share of ROI of the images, in [0, 1]."""
        masks = self.data.cache.roi_masks
        shares = [float((masks[row] > 0).mean()) for row in self.rows]
        return sum(shares) / len(shares)

    def shown(self, rows: Sequence[int], raw: Sequence[Tensor]) -> Shown:
        """What the ROI head sees of the raw features of these images; by blocks."""
        features, seen = self.graph.features, list[Tensor]()
        for block in zip(*(level.split(AT_ONCE) for level in raw[:ROI_LEVELS]), strict=True):
            levels = [
                whitening(level.float()) for whitening, level in zip(features.whitenings, block, strict=False)
            ]
            seen.append(stacked(levels).half())
        return Shown(torch.cat(seen), self._cells(rows, raw[0]))

    def pasted(self, rows: Sequence[int], seed: int) -> Shown:
        """The same of images that are turned, moved, and have synthetic defects anywhere."""
        s = self.settings
        # Of its own seed: a resumed run has drawn no other numbers, and must paste the same.
        pasting = torch.Generator().manual_seed(seed + 1)
        seen, cells = list[Tensor](), list[Tensor]()
        for batch in batches(self.data, rows):
            image, roi_mask = random_rotation(
                batch.image.to(self.device).float().div_(255),
                batch.roi_mask.to(self.device).float(),
                degrees=s.rotation,
                shift=s.shift,
                generator=pasting,
            )
            image, _ = perturb(image, generator=pasting, clean_share=0.0, visible=_VISIBLE)
            levels = self.graph.features(image)[:ROI_LEVELS]
            seen.append(stacked(levels).half())
            cells.append(grid(roi_mask, levels[0]))
        return Shown(torch.cat(seen), torch.cat(cells))


def _normal(level: Tensor, cells: Tensor, generator: torch.Generator) -> Tensor:
    """A sample (P, C) of a level's raw patches in the ROI."""
    inside = (cells[:, 0] > 0.5).nonzero()
    if not len(inside):
        # A coarse cell may be larger than the ROI: the cell that shows most of it stands for it.
        top = cells.flatten(1).argmax(1)
        has_roi = cells.flatten(1).amax(1) > 0
        width = cells.shape[3]
        inside = torch.stack((torch.arange(len(top)).to(top), top // width, top % width), 1)[has_roi]
    if not len(inside):
        raise UserError(
            "no cell of the features lies inside a region of interest",
            where="roibank",
            remedy="check the masks, or use finer method.strides or a larger --size",
        )
    order = torch.randperm(len(inside), generator=generator)[:_FOR_WHITENING].to(inside.device)
    image, row, column = inside[order].unbind(1)
    return level[image, :, row, column].float()


def border_weight(ratio: float) -> float:
    """What cells beside the ROI may count, in [0, 1], by how many there are for one inside.

    1 up to a quarter, 0 from a half on: of a small ROI the border is half of all there is, and would set the
    threshold, while no defect lies far from it.

    Example:
        >>> border_weight(0.1), border_weight(0.375), border_weight(0.8)
        (1.0, 0.5, 0.0)
    """
    low, high = _FEW_BESIDE
    return min(1.0, max(0.0, (high - ratio) / (high - low)))
