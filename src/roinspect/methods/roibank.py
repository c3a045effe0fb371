"""roibank: memories of normal patches inside the ROI, a defect head, and a head that learns where the ROI is.

Frozen pretrained features, as PatchCore and PaDiM use them, are computed once. Every feature level has a
memory of normal patches, and a small head learns to tell synthetic defects from normal patches; their fused,
calibrated strangeness, gated by the predicted ROI, is the anomaly map. Only the heads have gradients:
training takes seconds.
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
from torch.utils.data import Subset

from roinspect.data.augment import random_conditions, random_rotation
from roinspect.data.dataset import DecodedCache
from roinspect.data.loader import Batch, InspectionDataset
from roinspect.errors import UserError
from roinspect.inspection.bundle import Threshold
from roinspect.inspection.calibration import LeftOut
from roinspect.methods.course import Course
from roinspect.methods.method import Method, predict
from roinspect.methods.roibank_graph import DEFECT_LEVELS, ROI_LEVELS, RoiBankGraph
from roinspect.methods.roibank_settings import RoiBankSettings
from roinspect.nn.backbone import Backbone, choose, load_pretrained
from roinspect.nn.defect_head import DefectHead
from roinspect.nn.distributed import here, share_values
from roinspect.nn.iou import region_iou
from roinspect.nn.memory import NearestNeighbours, Reservoir, greedy_coreset
from roinspect.nn.patches import PatchFeatures, Whitening, stacked
from roinspect.nn.perlin import perturb
from roinspect.nn.roi_head import RoiHead, roi_head_loss, swap_patches
from roinspect.nn.synthetic_defects import put_defects

log = logging.getLogger(__name__)

_AT_ONCE = 8
_FOR_WHITENING = 20_000
"""Patches inside the ROI from which a whitening is learned."""
_FOR_HEAD, _FROM_ONE = 60_000, 300
"""Normal patches from which the defect head learns, in all and of one image."""
_MOST_SYNTHETIC = 500
"""Images with synthetic defects: more of them teach nothing new."""
FOLDS = 4
"""Defect heads, each trained without a share of the images."""
_DEFECTS = 3
"""Synthetic defects in one image for the defect head."""
_CLEAR = 8
"""Pixels between the ROI and synthetic damage outside it."""
_STRICTNESS, _DOUBT = 4, 5
"""Exponent of a part's weight, and the number of held-out parts that halves what they say of it."""
_MARKED = 0.1
"""Least share of a cell that a defect must cover to mark it."""
_SMALLEST_SPAN = 1e-3
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
        # The defect head is trained before the first step.
        self.graph.requires_grad_(False)
        if self.graph.roi_head is not None:
            self.graph.roi_head.requires_grad_(True)
        # Which training image each row of each memory comes from: kept with a checkpoint, and not shipped.
        self.register_buffer("sources", torch.full((len(settings.strides), settings.memory_size), -1))
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
        features = PatchFeatures(Backbone(settings.backbone, settings.strides))
        defect_head = DefectHead(sum(features.channels[:DEFECT_LEVELS])) if settings.defect_head else None
        roi_head = None
        if settings.roi_head:
            pooling = max(1, _HEAD_STRIDE // settings.strides[0])
            roi_head = RoiHead(sum(features.channels[:ROI_LEVELS]), pooling=pooling)
        return RoiBankGraph(
            features, settings.memory_size, defect_head, roi_head, settings.smoothing, settings.border
        )

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
        """Scale every part by held-out good parts, and let what lies beside the ROI count as they allow."""
        super().on_train_end()
        # A resumed run may end before it has validated, and has no held-out parts at hand until then.
        self.trainer.fit_loop.epoch_loop.val_loop.setup_data()
        checks = self.trainer.val_dataloaders
        chosen = getattr(checks, "dataset", None)
        if not isinstance(chosen, Subset) or not isinstance(chosen.dataset, InspectionDataset):
            raise TypeError("roibank is checked on a Subset of an InspectionDataset")
        data = chosen.dataset
        self.graph.eval()
        good = np.flatnonzero(data.cache.labels == 0).tolist()
        self.scale_by(data, good)
        self._weigh_border(data, good)

    @torch.no_grad()
    def scale_by(self, data: InspectionDataset, good: Sequence[int]) -> None:
        """Scale and weigh the parts of the map by held-out good images.

        0 becomes a normal cell's strangeness, 1 that of the strangest cell of the median good part. A part
        counts the more, the better it tells synthetic defects inside the ROI from good parts and from
        synthetic damage outside it: which scale shows a product's defects is not known in advance.

        Args:
            data: held-out images; all processes see all of them.
            good: rows of good ones, at least one.
        """
        graph, generator = self.graph, torch.Generator().manual_seed(self.seed)
        sums, counts = list[Tensor](), list[Tensor]()
        highest, damaged, beside = list[Tensor](), list[Tensor](), list[Tensor]()
        for batch in _batches(data, good):
            roi = batch.roi_mask.to(self.device)
            image = batch.image.to(self.device).float().div_(255)
            parts, inside = self._inspected(image, roi)
            sums.append((parts * inside).double().sum((0, 2, 3)))
            counts.append(inside.sum())
            highest.append(torch.where(inside, parts, -torch.inf).flatten(2).amax(2))
            for _ in range(_DEFECTS):
                for where, tops in ((roi, damaged), (_outside(roi), beside)):
                    changed, mask = put_defects(image, where, generator=generator)
                    parts, _ = self._inspected(changed, roi)
                    top = torch.where(inside, parts, -torch.inf).flatten(2).amax(2)
                    tops.append(top[mask.flatten(1).any(1)])
        usual = (torch.stack(sums).sum(0) / torch.stack(counts).sum()).float()
        graph.usual.copy_(usual)
        good_scores, damaged_scores = torch.cat(highest), torch.cat(damaged)
        # Where nothing is stranger than anything else, as on constant images, rounding must not be blown up.
        least = _SMALLEST_SPAN * usual.abs().clamp_min(1)
        graph.span.copy_((good_scores.quantile(0.5, dim=0) - usual).maximum(least))
        graph.weight.copy_(part_weights(good_scores, damaged_scores, torch.cat(beside)))
        shares = ", ".join(f"{float(weight):.2f}" for weight in graph.weight)
        log.info(
            f"weights of strides {', '.join(map(str, self.settings.strides))} and the defect head: {shares}"
        )

    def _inspected(self, image: Tensor, roi: Tensor) -> tuple[Tensor, Tensor]:
        """The parts (N, K, h, w) of images, and which cells (N, 1, h, w) lie in the drawn ROI."""
        levels = self.graph.features(self.graph.cropped(image))
        parts = torch.cat(self.graph.parts(levels), dim=1)
        inside = _at_least_one(self._grid(roi, parts)) > 0.5
        return parts, inside | ~inside.flatten(1).any(1)[:, None, None, None]

    def _weigh_border(self, data: InspectionDataset, good: Sequence[int]) -> None:
        """Where product and table meet every part is a little strange, and a border is off by a cell."""
        roi_head = self.graph.roi_head
        if roi_head is None or not self.graph.border or not roi_head.beside:
            return
        allowed, highest = float(roi_head.beside), list[float]()
        for beside in (0.0, 1.0):
            roi_head.beside.fill_(beside)
            scores = [
                self.graph(batch.image.to(self.device).float().div_(255))[0].amax()
                for batch in _batches(data, good)
            ]
            highest.append(float(torch.stack(scores).amax()))
        plain, bordered = highest
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

        Of several processes the first one learns whitenings, memories and the defect head from all images,
        and the others receive them. For the ROI head each has a share of the images.

        Args:
            data: the training images.
            is_new: False only computes what the ROI head learns from; the rest is there.

        Raises:
            UserError: no patch lies inside an ROI, or none on a known defect.
        """
        s, graph = self.settings, self.graph
        if is_new and s.crop_margin is not None:
            graph.crop_to(_box(data.cache.roi_masks, s.crop_margin))
        good = np.flatnonzero(data.cache.labels == 0)
        places = np.linspace(0, len(good) - 1, self._how_many(data, len(good))).round().astype(int)
        rows = good[places].tolist()
        rank, count = here()
        share = slice(rank % len(rows), None, count)
        makes_memory = is_new and rank == 0
        raw = self._gathered(data, rows if makes_memory else rows[share])
        if makes_memory:
            self._learn_normal(data, raw, rows, sorted(set(good.tolist()) - set(rows)))
            raw = [level[share] for level in raw]
        # The defect head's weights too, which no step changes.
        share_values(graph.state_dict().values())
        if graph.roi_head is None:
            return
        if is_new:
            # Of all images, so that all processes begin alike.
            top, left, bottom, right = graph.box.tolist() if any(graph.box) else (0, 0, *self.size_hw)
            masks = data.cache.roi_masks
            shares = [float((masks[row, top:bottom, left:right] > 0).mean()) for row in rows]
            graph.roi_head.begin_at(sum(shares) / len(shares))
        rows = rows[share]
        seen = [self._shown(data, rows, raw)]
        del raw
        if s.pasted:
            spread = np.linspace(0, len(rows) - 1, max(1, round(s.pasted * len(rows)))).round().astype(int)
            seen.append(self._pasted(data, [rows[place] for place in spread]))
        self._seen = _Patches(*(torch.cat(parts) for parts in zip(*seen, strict=True)))

    def _how_many(self, data: InspectionDataset, count: int) -> int:
        """Of so many images, those whose features fit into the room for them."""
        one = sum(level.numel() for level in self.graph.features.backbone.levels(self._image(data[0])))
        return max(1, min(count, int(self.settings.feature_memory_gb * 2**30 / (4 * one))))

    def _gathered(self, data: InspectionDataset, rows: Sequence[int]) -> list[Tensor]:
        """Raw features of every level, (n, C, h, w) in half precision."""
        raw = list[Tensor]()
        done = 0
        for batch in _batches(data, rows):
            levels = self.graph.features.backbone.levels(self._image(batch))
            if not raw:
                raw = [
                    level.new_empty((len(rows), *level.shape[1:]), dtype=torch.float16) for level in levels
                ]
            for kept, level in zip(raw, levels, strict=True):
                kept[done : done + len(level)] = level
            done += len(batch.label)
        return raw

    def _learn_normal(
        self, data: InspectionDataset, raw: list[Tensor], rows: Sequence[int], others: Sequence[int]
    ) -> None:
        """Whitenings, memories and the defect head.

        Args:
            data: the training images.
            raw: features of the good images `rows`.
            rows: good images.
            others: further good images, whose features are not kept.
        """
        s, graph, generator = self.settings, self.graph, torch.Generator().manual_seed(self.seed)
        if graph.roi_head is not None:
            cells = _at_least_one(self._cells(data, rows, raw[0]))
            inside = cells > 0.5
            more = (graph.widened(cells) > 0.5).sum() - inside.sum()
            graph.roi_head.beside.fill_(border_weight(float(more / inside.sum().clamp_min(1))))
        for whitening, level in zip(graph.features.whitenings, raw, strict=True):
            patches = self._normal(level, self._cells(data, rows, level), generator)
            assert isinstance(whitening, Whitening)
            whitening.fit(patches, s.shrinkage)
        samples = [
            Reservoir(s.candidates, channels + 1, generator=generator) for channels in graph.features.channels
        ]
        normal = Reservoir(_FOR_HEAD, sum(graph.features.channels[:DEFECT_LEVELS]) + 1, generator=generator)
        blocks = zip(zip(*(level.split(_AT_ONCE) for level in raw), strict=True), _batched(rows), strict=True)
        for block, images in blocks:
            levels = graph.features.whitened([level.float() for level in block])
            self._take(data, images, levels, samples, normal, generator)
        again = [*rows, *others] if s.light else []
        for images, is_changed in (
            *((images, False) for images in _batched(others)),
            *((images, True) for images in _batched(again)),
        ):
            batch = data.__getitems__(images)
            image = batch.image.to(self.device).float().div_(255)
            if is_changed:
                image = random_conditions(image, amount=s.light, generator=generator)
                # What lies outside the ROI is no defect, though coarse cells inside show it as well.
                image, _ = _damaged(image, _outside(batch.roi_mask.to(self.device)), generator)
            image = graph.cropped(image)
            self._take(data, images, graph.features(image), samples, normal, generator)
        for number, (bank, sample) in enumerate(zip(graph.banks, samples, strict=True)):
            assert isinstance(bank, NearestNeighbours)
            self._memorise(number, bank, sample, generator)
        if graph.defect_head is not None:
            self._learn_defects(data, normal.patches, [*rows, *others], generator)

    def _normal(self, level: Tensor, cells: Tensor, generator: torch.Generator) -> Tensor:
        """A sample (P, C) of a level's raw patches in the ROI."""
        inside = (cells[:, 0] > 0.5).nonzero()
        if not len(inside):
            # A coarse cell may be larger than the ROI: the cell that shows most of it stands for it.
            top = cells.flatten(1).argmax(1)
            shown = cells.flatten(1).amax(1) > 0
            width = cells.shape[3]
            inside = torch.stack((torch.arange(len(top)).to(top), top // width, top % width), 1)[shown]
        if not len(inside):
            raise UserError(
                "no cell of the features lies inside a region of interest",
                where="roibank",
                remedy="check the masks, or use finer method.strides or a larger --size",
            )
        order = torch.randperm(len(inside), generator=generator)[:_FOR_WHITENING].to(inside.device)
        image, row, column = inside[order].unbind(1)
        return level[image, :, row, column].float()

    def _take(
        self,
        data: InspectionDataset,
        images: Sequence[int],
        levels: Sequence[Tensor],
        samples: Sequence[Reservoir],
        normal: Reservoir,
        generator: torch.Generator,
    ) -> None:
        """Offer good images' whitened patches in the ROI, each followed by the number of its image."""
        numbers = torch.tensor(images)
        for sample, level in zip(samples, levels, strict=True):
            sample.add(_numbered(level, self._remembered(self._cells(data, images, level)), numbers))
        if self.graph.defect_head is not None:
            cells = _at_least_one(self._cells(data, images, levels[0]))
            patches = _numbered(stacked(list(levels[:DEFECT_LEVELS])), cells, numbers)
            some = torch.randperm(len(patches), generator=generator)[: _FROM_ONE * len(images)]
            normal.add(patches[some.to(patches.device)])

    def _remembered(self, cells: Tensor) -> Tensor:
        """Shares of ROI, and in the border's cells those of the ROI beside them, where they count.

        Where the border counts it must be known too: otherwise every good part would be strange there, and
        the threshold higher.
        """
        cells, roi_head = _at_least_one(cells), self.graph.roi_head
        return cells if roi_head is None or not roi_head.beside else self.graph.widened(cells)

    def _memorise(
        self, number: int, bank: NearestNeighbours, sample: Reservoir, generator: torch.Generator
    ) -> None:
        patches = sample.patches[:, :-1].to(self.device)
        chosen = greedy_coreset(patches, len(bank.weight), generator=generator)
        bank.fill(patches[chosen])
        self.sources[number, : len(chosen)] = sample.patches[chosen.cpu(), -1].long()
        log.info(
            f"stride {self.settings.strides[number]}: the memory holds {len(chosen):,} of {sample.seen:,} "
            f"normal patches in the region, chosen from a sample of {len(patches):,}"
        )

    def _learn_defects(
        self, data: InspectionDataset, normal: Tensor, good: Sequence[int], generator: torch.Generator
    ) -> None:
        """Train the defect head on synthetic defects, noise, and known defects where they are to be used."""
        graph, s = self.graph, self.settings
        head = graph.defect_head
        assert head is not None
        defective = list[Tensor]()
        count = round(s.synthetic * min(len(good), _MOST_SYNTHETIC))
        spread = [good[place] for place in np.linspace(0, len(good) - 1, count).round().astype(int)]
        for images in _batched(spread):
            batch = data.__getitems__(images)
            image, roi = batch.image.to(self.device).float().div_(255), batch.roi_mask.to(self.device)
            image, mask = _damaged(image, roi, generator)
            levels = graph.features(graph.cropped(image))
            cells = self._grid(mask, levels[0])
            defective.append(
                _numbered(stacked(levels[:DEFECT_LEVELS]), _most_defective(cells), torch.tensor(images))
            )
        if s.known_defects:
            known = self._known(data)
            # As many as there are synthetic ones: few real defects must not drown.
            times = max(1, sum(map(len, defective)) // len(known))
            defective += [known] * times
        marked = torch.cat(defective) if defective else normal[:0]
        folds = self._folds(data)
        head.fit(
            normal[:, :-1].to(self.device),
            marked[:, :-1].to(self.device),
            folds[normal[:, -1].long()],
            folds[marked[:, -1].long().cpu()],
            generator=generator,
        )
        log.info(
            f"the defect head has learned from {len(normal):,} normal and {len(marked):,} defective patches"
        )

    def _known(self, data: InspectionDataset) -> Tensor:
        """Whitened patches on known defects, each followed by the number of its image."""
        graph, defects, rows = self.graph, list[Tensor](), np.flatnonzero(data.cache.labels == 1).tolist()
        for images in _batched(rows):
            batch = data.__getitems__(images)
            levels = graph.features(self._image(batch))
            cells = self._grid(batch.gt_mask * batch.roi_mask, levels[0])
            defects.append(
                _numbered(stacked(levels[:DEFECT_LEVELS]), _most_defective(cells), torch.tensor(images))
            )
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

    def _folds(self, data: InspectionDataset) -> Tensor:
        """The fold of every training image (N,): near-duplicates share one."""
        numbers: dict[str | int, int] = {}
        folds = [
            numbers.setdefault(record.group or row, len(numbers)) % FOLDS
            for row, record in enumerate(data.cache.records)
        ]
        return torch.tensor(folds)

    def left_out_scores(self, fitted: DecodedCache, groups: Sequence[str]) -> LeftOut | None:
        """Good images scored as if they and their group had not been trained on.

        Their rows are left out of the memories, and the defect head that has not seen them answers alone.
        For the memories, the whole one holds all rows of each such memory, and more of them never make a
        distance greater: the quantile is that of the jackknife-minmax (Barber et al., *Predictive inference
        with the jackknife+*, 2021, Theorem 3). What the bound leaves aside: one defect head answers instead
        of the mean of all, and the directions, which rows were chosen and the ROI head have seen all images.
        One more pass of the backbone; nothing is trained again.

        Args:
            fitted: the images that were trained on, decoded.
            groups: their groups' names, "" for none.

        Returns:
            None where all rows of a memory come from one group.
        """
        graph = self.graph.eval()
        folds = self._folds(InspectionDataset(fitted))
        good = np.flatnonzero(fitted.labels == 0).tolist()
        if graph.defect_head is not None and len(folds[good].unique()) < FOLDS:
            return None
        members: dict[str | int, list[int]] = {}
        for image in good:
            members.setdefault(groups[image] or image, []).append(image)
        scores, names = list[NDArray[np.float32]](), list[str]()
        for group, images in members.items():
            lacking = torch.isin(self.sources, torch.tensor(images, device=self.sources.device))
            if any(rows[of >= 0].all() for rows, of in zip(lacking, self.sources, strict=True)):
                return None
            with graph.as_if_unseen(list(lacking), int(folds[images[0]])):
                for block in _batched(images):
                    scores.append(predict(graph, fitted.images[block]).pred_score)
            names += [group if isinstance(group, str) else ""] * len(images)
        return LeftOut(np.concatenate(scores), names)

    def _shown(self, data: InspectionDataset, rows: Sequence[int], raw: Sequence[Tensor]) -> _Patches:
        """What the ROI head sees of raw features, and what it is to answer; by blocks, in half precision."""
        features, shown = self.graph.features, list[Tensor]()
        for block in zip(*(level.split(_AT_ONCE) for level in raw[:ROI_LEVELS]), strict=True):
            levels = [
                whitening(level.float()) for whitening, level in zip(features.whitenings, block, strict=False)
            ]
            shown.append(stacked(levels).half())
        return _Patches(torch.cat(shown), self._cells(data, rows, raw[0]))

    def _pasted(self, data: InspectionDataset, rows: Sequence[int]) -> _Patches:
        """The same of images that are turned, moved, and have synthetic defects anywhere."""
        s = self.settings
        # Of its own seed: a resumed run has drawn no other numbers, and must paste the same.
        pasting = torch.Generator().manual_seed(self.seed + 1)
        shown, cells = list[Tensor](), list[Tensor]()
        for batch in _batches(data, rows):
            image, roi_mask = random_rotation(
                batch.image.to(self.device).float().div_(255),
                batch.roi_mask.to(self.device).float(),
                degrees=s.rotation,
                shift=s.shift,
                generator=pasting,
            )
            image, _ = perturb(image, generator=pasting, clean_share=0.0, visible=_VISIBLE)
            levels = self.graph.features(self.graph.cropped(image))[:ROI_LEVELS]
            shown.append(stacked(levels).half())
            cells.append(self._grid(roi_mask, levels[0]))
        return _Patches(torch.cat(shown), torch.cat(cells))

    def _cells(self, data: InspectionDataset, rows: Sequence[int], level: Tensor) -> Tensor:
        """Share of ROI of every cell of a level, for these images: (n, 1, h, w)."""
        masks = data.cache.roi_masks
        return torch.cat(
            [self._grid(torch.from_numpy(masks[block])[:, None], level) for block in _batched(rows)]
        )

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
        levels = self.graph.features(image)
        loss = roi_head_loss(roi_head(stacked(levels[:ROI_LEVELS])), self._grid(batch.roi_mask, levels[0]))
        roi = self.graph.roi_of(levels, batch.image)
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


def _batched(rows: Sequence[int]) -> Iterator[list[int]]:
    for first in range(0, len(rows), _AT_ONCE):
        yield list(rows[first : first + _AT_ONCE])


def _damaged(image: Tensor, where: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Images with several synthetic defects in a mask (N, 1, H, W), and the mask of these."""
    mask = torch.zeros_like(where, dtype=image.dtype)
    for _ in range(_DEFECTS):
        image, more = put_defects(image, where, generator=generator)
        mask = torch.maximum(mask, more)
    return image, mask


def _outside(roi: Tensor) -> Tensor:
    """Where damage cannot touch the ROI (N, 1, H, W)."""
    return 1 - F.max_pool2d((roi > 0).float(), 2 * _CLEAR + 1, stride=1, padding=_CLEAR)


def _most_defective(cells: Tensor) -> Tensor:
    """1 in the cells (N, 1, h, w) that show a defect: half covered, or as much as any cell of the image."""
    top = cells.amax((1, 2, 3), keepdim=True).clamp_max(0.5)
    return ((cells >= top) & (cells >= _MARKED)).float()


def _at_least_one(cells: Tensor) -> Tensor:
    """Shares of ROI (N, 1, h, w); an ROI that fills half of no cell has 1 in those that it fills most."""
    top = cells.amax((1, 2, 3), keepdim=True)
    return torch.where((top <= 0.5) & (top > 0) & (cells == top), 1.0, cells)


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
