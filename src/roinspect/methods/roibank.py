"""roibank: a memory of normal patches inside the ROI, and a head that learns where the ROI is.

Frozen pretrained features, as PatchCore and PaDiM take them, are passed through once. From them a small head
predicts the ROI of a bare image, and the distance of every patch to a memory of normal ones says how strange
it is; the product of both is the anomaly map. Only the head has a gradient to follow: training takes seconds.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from roinspect.data.augment import random_rotation
from roinspect.data.dataset import DecodedCache
from roinspect.data.loader import Batch, InspectionDataset
from roinspect.errors import UserError
from roinspect.inspection.bundle import Threshold
from roinspect.inspection.calibration import LeftOut
from roinspect.methods.course import Course
from roinspect.methods.method import Method, predict
from roinspect.methods.roibank_graph import RoiBankGraph
from roinspect.methods.roibank_settings import RoiBankSettings
from roinspect.nn.backbone import Backbone, choose, load_pretrained
from roinspect.nn.distributed import here, lowest, share_buffers
from roinspect.nn.iou import region_iou
from roinspect.nn.memory import Gaussian, NearestNeighbours, Reservoir, greedy_coreset, without_rows
from roinspect.nn.patches import PatchFeatures
from roinspect.nn.perlin import perturb
from roinspect.nn.roi_head import RoiHead, roi_head_loss, swap_patches
from roinspect.nn.weighting import defect_weights

log = logging.getLogger(__name__)

_AT_ONCE = 8
_FOR_WHITENING = 100_000
"""Patches inside the ROI from which the directions of the whitening come."""
_FOR_WEIGHTS = 20_000
"""Patches of either kind that weigh the directions."""
_FEW_BESIDE = 0.25, 0.5
"""Cells beside the ROI for one inside: up to the first they may count in full, from the second not at all."""
_HEAD_STRIDE = 8
"""Pixels per cell of the ROI head's coarse grid, at least."""
_RASTER = 32
"""Pixels: the sides of a cropped image are multiples of it, as every stride divides it."""
_VISIBLE = 0.05
"""Pasted content must change a pixel by this much, or nobody could see it."""
POOR_IOU = 0.5
"""Of predicted and drawn ROIs of held-out parts: below it defects escape in the places that are not seen."""
LOST_IOU = 0.1
"""Of one part: its ROI was as good as not found."""


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

    sources: Tensor

    name: ClassVar[str] = "roibank"
    trains_on: ClassVar[Literal["good", "all"]] = "good"
    settings_class: ClassVar[type] = RoiBankSettings
    default_steps: ClassVar[int] = 300
    most_steps: ClassVar[int | None] = 900
    fills_budget: ClassVar[bool] = False

    def __init__(
        self, settings: RoiBankSettings, size_hw: tuple[int, int], *, seed: int = 0, epochs: int = 1
    ) -> None:
        super().__init__(settings, size_hw, seed=seed, epochs=epochs)
        self.graph = self.build_graph(settings, size_hw)
        self.graph.features.requires_grad_(False)
        # Which training image each row of the memory comes from: kept with a checkpoint, and not shipped.
        self.register_buffer("sources", torch.full((settings.memory_size,), -1))
        self.to(memory_format=torch.channels_last)
        self._seen = _Patches(torch.empty(0), torch.empty(0))
        self.course = Course(epochs, epochs, good_enough=POOR_IOU)
        self.train()

    @classmethod
    def learns_from(cls, settings: RoiBankSettings) -> Literal["good", "all"]:
        """Good images only, unless known defects are to be used."""
        return "all" if settings.known_defects else "good"

    @classmethod
    def prepared(cls, settings: RoiBankSettings) -> RoiBankSettings:
        """The settings with the backbone that "auto" stands for here and now.

        Raises:
            UserError: no pretrained weights are available.
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
        roi_head = None
        if settings.roi_head:
            roi_head = RoiHead(dimensions, pooling=max(1, _HEAD_STRIDE // settings.strides[0]))
        return RoiBankGraph(features, bank, roi_head, settings.smoothing, settings.border)

    def inspection_graph(self) -> RoiBankGraph:
        """The graph that is shipped."""
        return self.graph

    def begin(self, labels: NDArray[np.int64]) -> Mapping[str, str]:
        """Load the backbone's weights.

        Raises:
            UserError: they are not available, there is no good image, or none with a known defect where such
                are to be used.
        """
        if not (labels == 0).any():
            raise UserError(
                "none of the training photographs is good", where="roibank", remedy="see `roinspect check`"
            )
        if self.settings.known_defects and not (labels == 1).any():
            raise UserError(
                "none of the training photographs has a defect inside the region",
                where="method.known_defects",
                remedy="add some to the train split, with masks, or switch it off",
            )
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
        """AdamW, at a rate that follows the `Course`."""
        self.course.most = self.most_epochs
        if self.graph.roi_head is None:
            return None
        optimizer = torch.optim.AdamW(
            self.graph.roi_head.parameters(), lr=self.settings.learning_rate, weight_decay=1e-3
        )
        steps = max(1, int(self.trainer.estimated_stepping_batches) // self.most_epochs)
        schedule = LambdaLR(optimizer, lambda step: self.course.rate(step, steps))
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
        self.fit(data, is_new=self.global_step == 0)
        self._look_ahead(self.current_epoch)

    def on_train_epoch_end(self) -> None:
        """Look at the losses, then whether to go on."""
        super().on_train_epoch_end()
        self._look_ahead(self.current_epoch + 1)

    def _look_ahead(self, done: int) -> None:
        if self.course.is_over(done):
            self.trainer.should_stop = True

    @torch.no_grad()
    def on_train_end(self) -> None:
        """Let what lies beside the ROI count no more than held-out good parts allow.

        Where product and table meet every part is a little strange, and a predicted border is off by a cell.
        """
        super().on_train_end()
        # A resumed run may end before it has validated, and has no held-out parts at hand until then.
        self.trainer.fit_loop.epoch_loop.val_loop.setup_data()
        roi_head, checks = self.graph.roi_head, self.trainer.val_dataloaders
        if roi_head is None or not self.graph.border or checks is None or not roi_head.beside:
            return
        self.graph.eval()
        allowed = float(roi_head.beside)
        highest = []
        for beside in (0.0, 1.0):
            roi_head.beside.fill_(beside)
            scores = [self.graph(batch.image.to(self.device).float().div_(255))[0].amax() for batch in checks]
            highest.append(torch.stack(scores).amax() if scores else roi_head.beside.new_zeros(()))
        # Each process has looked at its share of them.
        plain, bordered = (-float(value) for value in lowest([-value for value in highest]))
        roi_head.beside.fill_(min(allowed, plain / bordered) if bordered > 0 else allowed)
        log.info(f"beside the region a distance counts {float(roi_head.beside):.2f} of what it does inside")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep how far the course has come."""
        checkpoint["course"] = self.course.state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with it."""
        self.course = Course(**checkpoint["course"])

    @torch.no_grad()
    def fit(self, data: InspectionDataset, *, is_new: bool = True) -> None:
        """All that needs passes of the backbone.

        Of several processes the first one learns the whitening and fills the memory, from all images: both
        are what one process alone makes of them, and the others are given them. For the ROI head each has a
        share of the images.

        Args:
            data: the training images.
            is_new: False only looks at what the ROI head learns from; the rest is there.

        Raises:
            UserError: no patch lies inside an ROI, or none on a known defect.
        """
        s, graph = self.settings, self.graph
        generator = torch.Generator().manual_seed(self.seed)
        if is_new and s.crop_margin is not None:
            graph.crop_to(_box(data.cache.roi_masks, s.crop_margin))
        good = np.flatnonzero(data.cache.labels == 0)
        places = np.linspace(0, len(good) - 1, self._how_many(data, len(good))).round().astype(int)
        rows = good[places].tolist()
        rank, count = here()
        share = slice(rank % len(rows), None, count)
        makes_memory = is_new and rank == 0
        raw, cells = self._gathered(data, rows if makes_memory else rows[share], None)
        # Raw and whitened features lie side by side for a moment.
        features, sample = 2 * raw.numel() * raw.element_size(), 4 * s.candidates * graph.scale.numel()
        log.info(
            f"memory: {features / 2**20:,.0f} MB for features of {len(rows):,} of {len(good):,} photographs, "
            f"{sample / 2**20:,.0f} MB for candidates"
        )
        if makes_memory:
            self._whiten(raw, cells, generator)
            if graph.roi_head is not None:
                inside = cells > 0.5
                more = (graph.widened(cells) > 0.5).sum() - inside.sum()
                graph.roi_head.beside.fill_(border_weight(float(more / inside.sum())))
            others = sorted(set(good.tolist()) - set(rows))
            candidates = self._candidates(data, raw, cells, rows, others, generator)
            if isinstance(graph.bank, NearestNeighbours):
                self._memorise(candidates, generator)
            if s.known_defects:
                self._weigh(data, candidates.patches[:, :-1], generator)
            raw, cells = raw[share], cells[share]
        share_buffers(graph)
        if graph.roi_head is None:
            return
        if is_new:
            # Of all images, so that all processes begin alike.
            top, left, bottom, right = graph.box.tolist() if any(graph.box) else (0, 0, *self.size_hw)
            masks = data.cache.roi_masks
            shares = [float((masks[row, top:bottom, left:right] > 0).mean()) for row in rows]
            graph.roi_head.begin_at(sum(shares) / len(shares))
        rows = rows[share]
        seen = [self._shown(raw, cells)]
        del raw
        if s.pasted:
            spread = np.linspace(0, len(rows) - 1, max(1, round(s.pasted * len(rows)))).round().astype(int)
            # Of its own seed: a resumed run has drawn no other numbers, and must paste the same.
            pasting = torch.Generator().manual_seed(self.seed + 1)
            seen.append(self._shown(*self._gathered(data, [rows[place] for place in spread], pasting)))
        self._seen = _Patches(*(torch.cat(parts) for parts in zip(*seen, strict=True)))

    def _how_many(self, data: InspectionDataset, count: int) -> int:
        """Of so many images, those whose features fit into the room for them, raw and whitened."""
        one = self.graph.features.stacked(self._image(data[0])).numel()
        return max(1, min(count, int(self.settings.feature_memory_gb * 2**30 / (4 * one))))

    def _gathered(
        self, data: InspectionDataset, rows: Sequence[int], pasting: torch.Generator | None
    ) -> _Patches:
        """Raw patches in half precision, and their cells' shares of ROI; with defects pasted in, if asked."""
        s = self.settings
        raw = cells = torch.empty(0)
        done = 0
        for batch in _batches(data, rows):
            image, roi_mask = batch.image.to(self.device).float().div_(255), batch.roi_mask.to(self.device)
            if pasting is not None:
                image, roi_mask = random_rotation(
                    image, roi_mask.float(), degrees=s.rotation, shift=s.shift, generator=pasting
                )
                image, _ = perturb(image, generator=pasting, clean_share=0.0, visible=_VISIBLE)
            patches = self.graph.features.stacked(self.graph.cropped(image))
            if not done:
                raw = patches.new_empty((len(rows), *patches.shape[1:]), dtype=torch.float16)
                cells = patches.new_empty((len(rows), 1, *patches.shape[2:]))
            place = slice(done, done + len(patches))
            raw[place], cells[place] = patches, self._grid(roi_mask, patches)
            done += len(patches)
        return _Patches(raw, cells)

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
        graph = self.graph
        variance, share = graph.features.fit(raw[image, :, row, column].float())
        # Scaled so that normal patches keep the mean length that whitened vectors have.
        counts = variance.clamp_min(1e-6).pow(1 - self.settings.whitening)
        graph.scale.copy_((counts / counts.mean()).sqrt().view_as(graph.scale))
        log.info(
            f"{len(variance)} directions hold {share:.0%} of the variance of {len(order):,} normal patches"
        )

    def _candidates(
        self,
        data: InspectionDataset,
        raw: Tensor,
        cells: Tensor,
        rows: Sequence[int],
        others: Sequence[int],
        generator: torch.Generator,
    ) -> Reservoir:
        """A sample of all scaled patches in the ROI and its border, each followed by the number of its image.

        Of the images at hand, `rows`, and of the others. Where the border counts it must be known too:
        otherwise every good part would be strange there, and the threshold higher.
        """
        features, scale = self.graph.features, self.graph.scale
        found = Reservoir(self.settings.candidates, scale.shape[1] + 1, generator=generator)
        numbers = torch.tensor(rows).split(_AT_ONCE)
        for block, share, images in zip(raw.split(_AT_ONCE), cells.split(_AT_ONCE), numbers, strict=True):
            found.add(_numbered(features.project(block.float()) * scale, self._remembered(share), images))
        for batch, images in zip(_batches(data, others), torch.tensor(others).split(_AT_ONCE), strict=False):
            patches = features(self._image(batch)) * scale
            found.add(_numbered(patches, self._remembered(self._grid(batch.roi_mask, patches)), images))
        return found

    def _remembered(self, cells: Tensor) -> Tensor:
        """Shares of ROI, and in the border's cells those of the ROI beside them, where they count."""
        roi_head = self.graph.roi_head
        return cells if roi_head is None or not roi_head.beside else self.graph.widened(cells)

    def _memorise(self, candidates: Reservoir, generator: torch.Generator) -> None:
        bank = self.graph.bank
        assert isinstance(bank, NearestNeighbours)
        patches = candidates.patches[:, :-1].to(self.device)
        chosen = greedy_coreset(patches, len(bank.weight), generator=generator)
        bank.fill(patches[chosen])
        self.sources[: len(chosen)] = candidates.patches[chosen.cpu(), -1].long()
        log.info(
            f"the memory holds {len(chosen):,} of {candidates.seen:,} normal patches in the region, "
            f"chosen from a sample of {len(patches):,}"
        )

    def left_out_scores(self, fitted: DecodedCache, groups: Sequence[str]) -> LeftOut | None:
        """Good images scored with a memory that lacks what came from them and their group.

        The whole memory holds all rows of each such memory, and more of them never make a distance greater:
        a part not seen yet scores no higher than any of these memories would have it, so that the quantile is
        that of the jackknife-minmax (Barber et al., *Predictive inference with the jackknife+*, 2021,
        Theorem 3). What the bound leaves aside: the directions, which rows were chosen and the ROI head
        have seen all images. One more pass of the backbone; nothing is trained again.

        Args:
            fitted: the images that were trained on, decoded.
            groups: their groups' names, "" for none.

        Returns:
            None for one Gaussian, and where all rows come from one group.
        """
        graph, bank = self.graph.eval(), self.graph.bank
        if not isinstance(bank, NearestNeighbours):
            return None
        members: dict[str | int, list[int]] = {}
        for image in np.flatnonzero(fitted.labels == 0).tolist():
            members.setdefault(groups[image] or image, []).append(image)
        scores, names = list[NDArray[np.float32]](), list[str]()
        for group, images in members.items():
            lacking = torch.isin(self.sources, torch.tensor(images, device=self.sources.device))
            if lacking[self.sources >= 0].all():
                return None
            with without_rows(bank, lacking):
                for first in range(0, len(images), _AT_ONCE):
                    scores.append(predict(graph, fitted.images[images[first : first + _AT_ONCE]]).pred_score)
            names += [group if isinstance(group, str) else ""] * len(images)
        return LeftOut(np.concatenate(scores), names)

    def _weigh(self, data: InspectionDataset, normal: Tensor, generator: torch.Generator) -> None:
        """Let the directions that set known defects apart count more; the memory follows."""
        graph = self.graph
        defects = list[Tensor]()
        for batch in _batches(data, np.flatnonzero(data.cache.labels == 1).tolist()):
            patches = graph.features(self._image(batch)) * graph.scale
            # A cell of which a quarter is damaged shows the damage.
            defects.append(_inside(patches, 2 * self._grid(batch.gt_mask * batch.roi_mask, patches)))
        defective = torch.cat(defects)
        if not len(defective):
            raise UserError(
                "no known defect fills a quarter of a cell of the features",
                where="method.known_defects",
                remedy="use finer method.strides or a larger --size, or switch it off",
            )
        order, some = (
            torch.randperm(len(kind), generator=generator)[:_FOR_WEIGHTS] for kind in (normal, defective)
        )
        weights = defect_weights(
            graph.bank.differences(normal[order].to(self.device)),
            graph.bank.differences(defective[some]),
        ).sqrt()
        graph.scale.mul_(weights.view_as(graph.scale))
        if isinstance(graph.bank, NearestNeighbours):
            graph.bank.rescale(weights)
        log.info(f"{len(defective):,} patches on known defects have weighed the directions")

    def _shown(self, raw: Tensor, cells: Tensor) -> _Patches:
        """What the ROI head sees of raw patches, and what it is to answer; by blocks, in half precision."""
        project = self.graph.features.project
        return _Patches(torch.cat([project(block.float()).half() for block in raw.split(_AT_ONCE)]), cells)

    # -- a step of the ROI head ------------------------------------------------------------------------------

    def training_step(self, batch: Batch, batch_index: int) -> Tensor | None:
        """Predict the ROI of damaged images.

        The batch only says how many: which images have their features kept does not depend on the loader.
        """
        roi_head, (patches, cells) = self.graph.roi_head, self._seen
        if roi_head is None:
            return None
        random = self.random(self.current_epoch, batch_index)
        rows = torch.randint(len(patches), (len(batch.label),), generator=random, device=random.device)
        rows = rows.to(patches.device)
        shown = swap_patches(patches[rows].float(), share=self.settings.swapped, generator=random)
        loss = roi_head_loss(roi_head(shown), cells[rows])
        self.note("train", {"roi_head": loss}, len(batch.label))
        return loss

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """The same on held-out parts as they are, and the IoU of predicted and drawn ROIs."""
        roi_head, image = self.graph.roi_head, self._image(batch)
        if roi_head is None:
            return
        patches = self.graph.features(image)
        loss = roi_head_loss(roi_head(patches), self._grid(batch.roi_mask, patches))
        roi = self.graph.roi_of(patches, batch.image)
        assert roi is not None
        iou = region_iou(roi >= 0.5, batch.roi_mask.to(roi.device)).mean()
        self.note("held-out", {"roi_head": loss, "roi_iou": iou}, len(batch.label))

    def on_validation_epoch_end(self) -> None:
        """Let the course hear how well the ROI is found."""
        iou = self.trainer.callback_metrics.get("held-out/roi_iou")
        if iou is not None and not self.trainer.sanity_checking:
            self.course.hear(float(iou))

    def judge(
        self,
        scores: NDArray[np.float32],
        kept: DecodedCache,
        groups: Sequence[str],
        false_reject: float | None,
        left_out: LeftOut | None = None,
    ) -> tuple[Threshold, Mapping[str, Any]]:
        """The threshold, and how well the ROI is found; warned of where that is poor."""
        threshold, measured = super().judge(scores, kept, groups, false_reject, left_out)
        if self.graph.roi_head is None:
            return threshold, measured
        ious = self._ious(kept)
        mean, lost = float(ious.mean()), int((ious < LOST_IOU).sum())
        found = {
            "roi_iou": round(mean, 4),
            "roi_lowest_iou": round(float(ious.min()), 4),
            "roi_parts": len(ious),
        }
        warning = roi_warning(mean, lost, len(ious))
        told = "; ".join(filter(None, (threshold.warning, warning)))
        return dataclasses.replace(threshold, warning=told), {**measured, **found}

    @torch.no_grad()
    def _ious(self, kept: DecodedCache) -> NDArray[np.float64]:
        """Of the predicted and the drawn ROI of every image, (N,)."""
        graph, ious = self.graph.eval(), list[Tensor]()
        for first in range(0, len(kept), _AT_ONCE):
            rows = slice(first, first + _AT_ONCE)
            images = torch.from_numpy(kept.images[rows]).to(self.device).permute(0, 3, 1, 2).float().div_(255)
            roi = graph.predict_roi(images)
            assert roi is not None
            # One mask for all is held once, and is not to be written to.
            ious.append(region_iou(roi.cpu() >= 0.5, torch.from_numpy(kept.roi_masks[rows].copy())[:, None]))
        return torch.cat(ious).double().numpy()

    def _image(self, batch: Batch) -> Tensor:
        """What the graph looks at, (N, 3, h, w) in [0, 1]."""
        return self.graph.cropped(batch.image.to(self.device)).float().div_(255)

    def _grid(self, mask: Tensor, patches: Tensor) -> Tensor:
        """Every cell's share of a mask (N, 1, H, W), or of what the graph looks at of it: (N, 1, h, w)."""
        looked_at = self.graph.cropped(mask.to(patches.device)).float()
        return F.adaptive_avg_pool2d(looked_at, (patches.shape[2], patches.shape[3]))


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


def roi_warning(mean: float, lost: int, parts: int) -> str:
    """What to say of the mean IoU of held-out parts, of which some have a lost ROI; "" where all is well.

    Example:
        >>> roi_warning(0.8, 0, 20)
        ''
    """
    if mean >= POOR_IOU and not lost:
        return ""
    told = f"the region of interest is found with an IoU of {mean:.2f} on {parts} held-out parts"
    if mean < POOR_IOU:
        told += f", below {POOR_IOU}"
    if lost:
        told += f", and as good as not at all on {lost} of them"
    return (
        f"{told}: defects in it will pass as good; train longer (--training.steps), with a larger --size or "
        "finer method.strides, or with more photographs and masks"
    )


class _Patches(NamedTuple):
    """Patches of n images, and their cells' shares of ROI."""

    patches: Tensor
    """(n, C, h, w)."""
    cells: Tensor
    """(n, 1, h, w) in [0, 1]."""


def _batches(data: InspectionDataset, rows: Sequence[int]) -> Iterator[Batch]:
    for first in range(0, len(rows), _AT_ONCE):
        yield data.__getitems__(list(rows[first : first + _AT_ONCE]))


def _inside(patches: Tensor, cells: Tensor) -> Tensor:
    """Patches (P, D) of the cells that lie mostly inside a mask."""
    return patches.permute(0, 2, 3, 1)[cells[:, 0] > 0.5].float()


def _numbered(patches: Tensor, cells: Tensor, images: Tensor) -> Tensor:
    """As `_inside`, and after each patch the number of its image: (P, D + 1)."""
    numbers = images.to(patches.device)[:, None, None, None].expand(-1, 1, *patches.shape[2:])
    return _inside(torch.cat((patches, numbers), dim=1), cells)


def _box(roi_masks: NDArray[np.uint8], margin: int) -> list[int]:
    """Top, left, bottom, right of all ROIs (N, H, W) with a margin, on a raster that every stride divides."""
    height, width = roi_masks.shape[1:]
    somewhere = np.zeros((height, width), bool)
    for mask in roi_masks:
        somewhere |= mask > 0
    low, high = list[int](), list[int]()
    for axis, side in ((1, height), (0, width)):
        hit = np.flatnonzero(somewhere.any(axis))
        first, last = (int(hit[0]) - margin, int(hit[-1]) + 1 + margin) if len(hit) else (0, side)
        low.append(max(0, first // _RASTER * _RASTER))
        high.append(min(side, -(-last // _RASTER) * _RASTER))
    return [*low, *high]
