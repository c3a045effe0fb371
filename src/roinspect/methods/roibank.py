"""roibank: a memory of normal patches inside the ROI, and a head that learned where the ROI is.

Frozen pretrained features, as PatchCore and PaDiM take them, are passed through once. From them a small head
predicts the ROI of a bare image, and the distance of every patch to a memory of normal ones says how strange
it is; the product of both is the anomaly map. Only the head has a gradient to follow: training takes seconds.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.lr_scheduler import OneCycleLR

from roinspect.data.augment import random_rotation
from roinspect.data.loader import Batch, InspectionDataset
from roinspect.errors import UserError
from roinspect.methods.method import InspectionGraph, Method
from roinspect.methods.roibank_settings import RoiBankSettings
from roinspect.nn.backbone import Backbone, choose, load_pretrained
from roinspect.nn.memory import Gaussian, NearestNeighbours, Reservoir, greedy_coreset
from roinspect.nn.patches import PatchFeatures
from roinspect.nn.perlin import perturb
from roinspect.nn.roi_head import RoiHead, swap_patches

log = logging.getLogger(__name__)

_AT_ONCE = 8
_FOR_WHITENING = 100_000
"""Patches inside the ROI from which the directions of the whitening come."""
_VISIBLE = 0.05
"""Pasted content must change a pixel by this much, or nobody could see it."""


class RoiBankGraph(InspectionGraph):
    """A bare image to distances from what is normal, where it matters.

    Args:
        features: image to whitened patch vectors.
        bank: patch vectors to distances.
        roi_head: patch vectors to ROI logits; None scores all of the image.
        smoothing: deviation of the Gaussian that smooths the map, in cells.
    """

    kernel: Tensor

    def __init__(
        self,
        features: PatchFeatures,
        bank: NearestNeighbours | Gaussian,
        roi_head: RoiHead | None,
        smoothing: float,
    ) -> None:
        super().__init__()
        self.features, self.bank, self.roi_head = features, bank, roi_head
        reach = math.ceil(3 * smoothing)
        offsets = torch.arange(-reach, reach + 1).float()
        kernel = torch.exp(-0.5 * (offsets / max(smoothing, 1e-6)).square())
        self.register_buffer("kernel", kernel / kernel.sum(), persistent=False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, H, W) in [0, 1] to the score (N,) and the map (N, 1, H, W), both at least 0."""
        patches = self.features(image)
        cells = self.bank(patches)
        if self.roi_head is not None:
            cells = cells * self.roi_head(patches).sigmoid()
        cells = self._smoothed(cells)
        anomaly_map = F.interpolate(cells, image.shape[2:], mode="bilinear", align_corners=False)
        pred_score = anomaly_map.amax((1, 2, 3))
        if isinstance(self.bank, NearestNeighbours) and self.bank.neighbours.shape[1]:
            # PatchCore's weight of the patch that the score comes from; the map keeps its own scale.
            top = cells.flatten(1).argmax(1)[:, None, None].expand(-1, patches.shape[1], 1)
            pred_score = pred_score * self.bank.certainty(patches.flatten(2).gather(2, top)[:, :, 0])
        return pred_score, anomaly_map

    def predict_roi(self, image: Tensor) -> Tensor | None:
        """(N, 3, H, W) in [0, 1] to the probability that a defect there would matter, (N, 1, H, W)."""
        if self.roi_head is None:
            return None
        cells = self.roi_head(self.features(image)).sigmoid()
        return F.interpolate(cells, image.shape[2:], mode="bilinear", align_corners=False)

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


class RoiBank(Method):
    """roibank in training: all passes of the backbone come first, the steps are those of the ROI head.

    Args:
        settings: see `RoiBankSettings`; the backbone must be chosen, see `prepared`.
        size_hw: image height and width.
        seed: all randomness of a step is drawn from (seed, epoch, step), so a resumed run repeats it.
        epochs: length of the training, for the schedule.

    Raises:
        UserError: the backbone is unknown or has no features of these strides.
    """

    name: ClassVar[str] = "roibank"
    trains_on: ClassVar[Literal["good", "all"]] = "good"
    settings_class: ClassVar[type] = RoiBankSettings
    default_steps: ClassVar[int] = 300

    def __init__(
        self, settings: RoiBankSettings, size_hw: tuple[int, int], *, seed: int = 0, epochs: int = 1
    ) -> None:
        super().__init__(settings, size_hw, seed=seed, epochs=epochs)
        self.graph = self.build_graph(settings, size_hw)
        self.graph.features.requires_grad_(False)
        self.to(memory_format=torch.channels_last)
        self._patches = self._cells = torch.empty(0)
        self.train()

    @classmethod
    def prepared(cls, settings: RoiBankSettings) -> RoiBankSettings:
        """The settings with the backbone that "auto" stands for here and now.

        Raises:
            UserError: no pretrained weights are to be had.
        """
        return dataclasses.replace(settings, backbone=choose()) if settings.backbone == "auto" else settings

    @classmethod
    def build_graph(cls, settings: RoiBankSettings, size_hw: tuple[int, int]) -> RoiBankGraph:
        """The inspection graph with an empty memory; nothing is read or downloaded.

        Raises:
            UserError: the backbone is unknown or has no features of these strides.
        """
        backbone = Backbone(settings.backbone, settings.strides)
        dimensions = min(settings.dimensions, sum(backbone.level_channels))
        bank: NearestNeighbours | Gaussian = Gaussian()
        if settings.bank == "neighbours":
            bank = NearestNeighbours(settings.memory_size, dimensions, settings.reweight)
        features = PatchFeatures(backbone, dimensions, settings.neighbourhood)
        roi_head = RoiHead(dimensions) if settings.roi_head else None
        return RoiBankGraph(features, bank, roi_head, settings.smoothing)

    def inspection_graph(self) -> RoiBankGraph:
        """The graph that is shipped."""
        return self.graph

    def begin(self, labels: NDArray[np.int64]) -> Mapping[str, str]:
        """Load the backbone's weights.

        Raises:
            UserError: they are not to be had.
        """
        if self.settings.weights == "none":
            log.info(f"backbone {self.settings.backbone}: random weights")
            return {}
        return {"backbone": load_pretrained(self.graph.features.backbone, self.settings.weights)}

    def train(self, mode: bool = True) -> RoiBank:
        """Training mode for all but the backbone, whose batch norms keep their statistics."""
        super().train(mode)
        self.graph.features.eval()
        return self

    def configure_optimizers(self) -> Any:
        """AdamW, up and down in one cycle."""
        if self.graph.roi_head is None:
            return None
        optimizer = torch.optim.AdamW(
            self.graph.roi_head.parameters(), lr=self.settings.learning_rate, weight_decay=1e-3
        )
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = OneCycleLR(optimizer, self.settings.learning_rate, total_steps=max(steps, 2))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    # -- once, before the first step -----------------------------------------------------------------------

    def on_train_start(self) -> None:
        """Learn the whitening, fill the memory, and keep the features that the ROI head learns from.

        Memory: what `feature_memory_gb` allows for features, `candidates` patches, and a batch. A resumed run
        has whitening and memory from its checkpoint.
        """
        data = getattr(self.trainer.train_dataloader, "dataset", None)
        if not isinstance(data, InspectionDataset):
            raise TypeError("roibank is trained on an InspectionDataset")
        self.fit(data)

    @torch.no_grad()
    def fit(self, data: InspectionDataset) -> None:
        """All that needs passes of the backbone.

        Raises:
            UserError: no patch lies inside an ROI.
        """
        s, features = self.settings, self.graph.features
        generator = torch.Generator().manual_seed(self.seed)
        rows = np.linspace(0, len(data) - 1, self._how_many(data)).round().astype(int).tolist()
        raw, cells = self._gathered(data, rows, None)
        if self.global_step == 0:
            self._whiten(raw, cells, generator)
        kept = [_projected(features, raw)]
        del raw
        if self.global_step == 0 and isinstance(self.graph.bank, NearestNeighbours):
            others = sorted(set(range(len(data))) - set(rows))
            self._memorise(data, kept[0], cells, others, generator)
        if s.pasted and s.roi_head:
            chosen = rows[:: max(1, round(1 / s.pasted))]
            pasted, pasted_cells = self._gathered(data, chosen, generator)
            kept.append(_projected(features, pasted))
            cells = torch.cat((cells, pasted_cells))
        self._patches, self._cells = torch.cat(kept), cells

    def _how_many(self, data: InspectionDataset) -> int:
        """Images whose features fit into the room for them."""
        one = self.graph.features.stacked(self._image(data[0]))
        return max(1, min(len(data), int(self.settings.feature_memory_gb * 2**30 / (2 * one.numel()))))

    def _whiten(self, raw: Tensor, cells: Tensor, generator: torch.Generator) -> None:
        inside = (cells[:, 0] > 0.5).nonzero()
        if not len(inside):
            raise UserError(
                "no cell of the features lies inside a region of interest",
                where="roibank",
                remedy="check the masks, or use finer method.strides or a larger --size",
            )
        order = torch.randperm(len(inside), generator=generator)[:_FOR_WHITENING].to(inside.device)
        image, row, column = inside[order].unbind(1)
        share = self.graph.features.fit(raw[image, :, row, column].float())
        log.info(
            f"{len(self.graph.features.weight)} directions hold {share:.0%} of what varies between "
            f"{len(order):,} normal patches"
        )

    def _memorise(
        self,
        data: InspectionDataset,
        kept: Tensor,
        cells: Tensor,
        others: Sequence[int],
        generator: torch.Generator,
    ) -> None:
        bank = self.graph.bank
        assert isinstance(bank, NearestNeighbours)
        candidates = Reservoir(self.settings.candidates, kept.shape[1], generator=generator)
        for first in range(0, len(kept), _AT_ONCE):
            block = slice(first, first + _AT_ONCE)
            candidates.add(_inside(kept[block], cells[block]))
        for batch in _batches(data, others):
            patches = self.graph.features(self._image(batch))
            candidates.add(_inside(patches, _grid(batch.roi_mask, patches)))
        patches = candidates.patches.to(self.device)
        chosen = greedy_coreset(patches, len(bank.weight), generator=generator)
        bank.fill(patches[chosen])
        log.info(
            f"the memory holds {len(chosen):,} of {candidates.seen:,} normal patches inside the ROI "
            f"({len(patches):,} candidates)"
        )

    def _gathered(
        self, data: InspectionDataset, rows: Sequence[int], pasting: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Raw patches (n, C, h, w) in half precision, and their cells' shares of ROI (n, 1, h, w)."""
        s = self.settings
        raw = cells = torch.empty(0)
        done = 0
        for batch in _batches(data, rows):
            image, roi_mask = self._image(batch), batch.roi_mask.to(self.device).float()
            if pasting is not None:
                image, roi_mask = random_rotation(
                    image, roi_mask, degrees=s.rotation, shift=s.shift, generator=pasting
                )
                image, _ = perturb(image, generator=pasting, clean_share=0.0, visible=_VISIBLE)
            patches = self.graph.features.stacked(image)
            if not done:
                raw = patches.new_empty((len(rows), *patches.shape[1:]), dtype=torch.float16)
                cells = patches.new_empty((len(rows), 1, *patches.shape[2:]))
            place = slice(done, done + len(patches))
            raw[place], cells[place] = patches, _grid(roi_mask, patches)
            done += len(patches)
        return raw, cells

    def _image(self, batch: Batch) -> Tensor:
        return batch.image.to(self.device).float().div_(255)

    # -- a step of the ROI head ------------------------------------------------------------------------------

    def training_step(self, batch: Batch, batch_index: int) -> Tensor | None:
        """Predict the ROI of damaged images.

        The batch only says how many: which images have their features kept does not depend on the loader.
        """
        roi_head = self.graph.roi_head
        if roi_head is None:
            return None
        random = self.random(self.current_epoch, batch_index)
        rows = torch.randint(
            len(self._patches), (len(batch.label),), generator=random, device=random.device
        ).to(self._patches.device)
        patches = swap_patches(self._patches[rows].float(), share=self.settings.swapped, generator=random)
        loss = F.binary_cross_entropy_with_logits(roi_head(patches), self._cells[rows])
        self.note("train", {"roi_head": loss}, len(batch.label))
        return loss

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """The same on held-out parts as they are."""
        roi_head = self.graph.roi_head
        if roi_head is None:
            return
        patches = self.graph.features(self._image(batch))
        cells = _grid(batch.roi_mask.float(), patches)
        loss = F.binary_cross_entropy_with_logits(roi_head(patches), cells)
        self.note("held-out", {"roi_head": loss}, len(batch.label))


def _batches(data: InspectionDataset, rows: Sequence[int]) -> Iterator[Batch]:
    for first in range(0, len(rows), _AT_ONCE):
        yield data.__getitems__(list(rows[first : first + _AT_ONCE]))


def _grid(roi_mask: Tensor, patches: Tensor) -> Tensor:
    """Every cell's share of ROI, (N, 1, h, w) in [0, 1]."""
    return F.adaptive_avg_pool2d(roi_mask.to(patches.device).float(), (patches.shape[2], patches.shape[3]))


def _inside(patches: Tensor, cells: Tensor) -> Tensor:
    """Patches (P, D) of the cells that lie mostly inside the ROI."""
    return patches.permute(0, 2, 3, 1)[cells[:, 0] > 0.5].float()


def _projected(features: PatchFeatures, raw: Tensor) -> Tensor:
    """Raw patches (n, C, h, w) to vectors (n, D, h, w), by blocks, in half precision."""
    blocks = [F.conv2d(block.float(), features.weight) + features.bias for block in raw.split(_AT_ONCE)]
    return torch.cat([block.half() for block in blocks])
