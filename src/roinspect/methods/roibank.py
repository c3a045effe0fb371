"""roibank: memories of normal patches inside the ROI, a defect head, and a head that learns where the ROI is.

Frozen pretrained features, as PatchCore and PaDiM use them, are computed once. Every feature level has a
memory of normal patches, and a small head learns to tell synthetic defects from normal patches; their fused,
calibrated strangeness, gated by the predicted ROI, is the anomaly map. Only the heads have gradients:
training takes seconds.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import Subset

from roinspect.data.dataset import DecodedCache
from roinspect.data.loader import Batch, InspectionDataset
from roinspect.errors import UserError
from roinspect.inspection.bundle import Threshold
from roinspect.inspection.calibration import LeftOut
from roinspect.methods.course import Course
from roinspect.methods.method import Method
from roinspect.methods.roibank_cells import AT_ONCE, grid, looked_at
from roinspect.methods.roibank_defects import folds_of, learn_defects, synthetic_patches
from roinspect.methods.roibank_fit import GoodParts, Shown
from roinspect.methods.roibank_graph import DEFECT_LEVELS, ROI_LEVELS, RoiBankGraph, place_level
from roinspect.methods.roibank_known import known_patches
from roinspect.methods.roibank_scaling import known_scores, left_out_scores, scale, weigh, weigh_border
from roinspect.methods.roibank_settings import RoiBankSettings
from roinspect.nn.backbone import Backbone, choose, load_pretrained
from roinspect.nn.defect_head import FOLDS, DefectHead
from roinspect.nn.distributed import here, share_values
from roinspect.nn.iou import region_iou
from roinspect.nn.patches import PatchFeatures, stacked
from roinspect.nn.places import PlaceDistance, PlaceSums
from roinspect.nn.roi_head import RoiHead, roi_head_loss, swap_patches
from roinspect.nn.transformer import patch_side

log = logging.getLogger(__name__)

_HEAD_STRIDE = 8
"""Pixels per cell of the ROI head's coarse grid, at least."""
POOR_IOU = 0.5
"""Of predicted and drawn ROIs of held-out parts: below it defects escape in the places that are not seen."""
LOST_IOU = 0.1
"""Of one part: its ROI was as good as not found."""
_HELD_OUT = 200
"""Held-out parts that scale the map, evenly spread: more say nothing new, and their maps are kept."""


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
    starts_from_bundle = False
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
        # As are the sums from which the places' means are.
        places = self.graph.places
        self.place_sums = (
            None if places is None else PlaceSums(FOLDS, places.mean.shape[1], places.stride, size_hw)
        )
        self.to(memory_format=torch.channels_last)
        self._seen = Shown(torch.empty(0), torch.empty(0))
        self.known = torch.zeros(0, dtype=torch.bool)
        """(N,), training images whose known defects have trained the defect head."""
        self.course = Course(epochs, epochs, good_enough=POOR_IOU)
        self.train()

    @classmethod
    def learns_from(cls, settings: RoiBankSettings) -> Literal["good", "all"]:
        """Good images only, unless known defects can be used."""
        return "all" if settings.known_defects and settings.defect_head else "good"

    @classmethod
    def prepared(cls, settings: RoiBankSettings) -> RoiBankSettings:
        """The settings with the backbone that "auto" stands for here and now, and with levels that it has.

        A vision transformer has one level, that of its patches: it takes the place of the default strides.

        Raises:
            UserError: no pretrained weights are available.
        """
        if settings.backbone == "auto":
            return dataclasses.replace(settings, backbone=choose())
        if settings.strides == RoiBankSettings().strides and (side := patch_side(settings.backbone)):
            log.info(f"backbone {settings.backbone}: one level, its patches of {side} pixels")
            return dataclasses.replace(settings, strides=(side,))
        return settings

    @classmethod
    def build_graph(cls, settings: RoiBankSettings, size_hw: tuple[int, int]) -> RoiBankGraph:
        """The inspection graph with an empty memory; nothing is read or downloaded.

        Raises:
            UserError: the backbone is unknown or has no features of these strides.
        """
        features = PatchFeatures(Backbone(settings.backbone, settings.strides, size_hw))
        defect_head = DefectHead(sum(features.channels[:DEFECT_LEVELS])) if settings.defect_head else None
        level = place_level(len(settings.strides))
        channels, stride = features.channels[level], settings.strides[level]
        places = PlaceDistance(channels, stride, size_hw) if settings.places else None
        roi_head = None
        if settings.roi_head:
            pooling = max(1, _HEAD_STRIDE // settings.strides[0])
            roi_head = RoiHead(sum(features.channels[:ROI_LEVELS]), pooling=pooling)
        return RoiBankGraph(
            features,
            settings.memory_size,
            defect_head,
            places,
            roi_head,
            settings.smoothing,
            settings.border,
            settings.relative,
        )

    @classmethod
    def for_tiles(cls, settings: RoiBankSettings) -> RoiBankSettings:
        """Without `relative`: where a tile lies must not change what is in it."""
        return dataclasses.replace(settings, relative=False)

    @classmethod
    def without_region(cls, settings: RoiBankSettings) -> RoiBankSettings:
        """Without the ROI head: it would learn to answer 1 everywhere, and pictures of anything would too."""
        return dataclasses.replace(settings, roi_head=False)

    def inspection_graph(self) -> RoiBankGraph:
        """The graph that is shipped."""
        return self.graph

    def begin(self, labels: NDArray[np.int64]) -> Mapping[str, str]:
        """Load the backbone's weights.

        Raises:
            UserError: they are not available, or there is no good image.
        """
        if not (labels == 0).any():
            raise UserError(
                "none of the training photographs is good", where="roibank", remedy="see `roinspect check`"
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
        self.fit(self._fitted(), is_new=self.global_step == 0)
        if self.graph.roi_head is None:
            # All is learned.
            self.trainer.should_stop = True
        self._look_ahead(self.current_epoch)

    def _fitted(self) -> InspectionDataset:
        data = getattr(self.trainer.train_dataloader, "dataset", None)
        if not isinstance(data, InspectionDataset):
            raise TypeError("roibank is trained on an InspectionDataset")
        return data

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
        data, fitted = chosen.dataset, self._fitted()
        self.graph.eval()
        good = np.flatnonzero(data.cache.labels == 0)
        spread = np.linspace(0, len(good) - 1, min(len(good), _HELD_OUT)).round().astype(int)
        self.scale_by(data, good[spread].tolist(), fitted)

    def scale_by(
        self, data: InspectionDataset, good: Sequence[int], fitted: InspectionDataset | None = None
    ) -> None:
        """Scale and weigh the map's parts and its border by held-out good images, see `roibank_scaling`.

        Args:
            data: held-out images; all processes see all of them.
            good: rows of good ones, at least one.
            fitted: the training images, with known defects that have trained the defect head.
        """
        random, known = torch.Generator().manual_seed(self.seed), None
        scale(self.graph, data, good)
        if fitted is not None and self.known.any():
            known = known_scores(self.graph, fitted, np.flatnonzero(self.known.numpy()).tolist())
        weigh(self.graph, data, good, self.settings.strictness, random, known)
        weigh_border(self.graph, data, good, random)
        shares = ", ".join(f"{float(weight):.2f}" for weight in self.graph.weight)
        parts = ["stride " + str(stride) for stride in self.settings.strides]
        parts += ["the places"] * (self.graph.places is not None)
        parts += ["the defect head"] * (self.graph.defect_head is not None)
        log.info(f"weights of {', '.join(parts)}: {shares}")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep how far the course has come, and which known defects are used."""
        checkpoint["course"] = self.course.state()
        checkpoint["known"] = self.known

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with it."""
        self.course = Course(**checkpoint["course"])
        self.known = checkpoint.get("known", self.known)

    @torch.no_grad()
    def fit(self, data: InspectionDataset, *, is_new: bool = True) -> None:
        """All that needs passes of the backbone.

        Of several processes the first one learns whitenings, memories and the defect head from all images,
        and the others receive them. For the ROI head each has a share of the images.

        Args:
            data: the training images.
            is_new: False only computes what the ROI head learns from; the rest is there.

        Raises:
            UserError: no patch lies inside an ROI.
        """
        s, graph = self.settings, self.graph
        if is_new:
            self.known = torch.zeros(len(data), dtype=torch.bool)
        good = GoodParts(graph, s, data)
        rank, count = here()
        share = slice(rank % len(good.rows), None, count)
        rows = good.rows[share]
        makes_memory = is_new and rank == 0
        raw = good.gathered(good.rows if makes_memory else rows)
        if makes_memory:
            generator = torch.Generator().manual_seed(self.seed)
            normal = good.learn(raw, self.sources, self.place_sums, generator)
            if graph.defect_head is not None:
                self._learn_defects(graph.defect_head, good, normal, generator)
            raw = [level[share] for level in raw]
        # The defect head's weights too, which no step changes.
        share_values([*graph.state_dict().values(), self.known])
        if graph.roi_head is None:
            return
        if is_new:
            # Of all images, so that all processes begin alike.
            graph.roi_head.begin_at(good.roi_share())
        seen = [good.shown(rows, raw)]
        del raw
        if s.pasted:
            spread = np.linspace(0, len(rows) - 1, max(1, round(s.pasted * len(rows)))).round().astype(int)
            seen.append(good.pasted([rows[place] for place in spread], self.seed))
        self._seen = Shown(*(torch.cat(parts) for parts in zip(*seen, strict=True)))

    def _learn_defects(
        self, head: DefectHead, good: GoodParts, normal: Tensor, generator: torch.Generator
    ) -> None:
        graph, data, s = self.graph, good.data, self.settings
        images = [*good.rows, *good.others]
        synthetic = synthetic_patches(graph, data, images, s.synthetic, generator)
        known = synthetic[:0]
        if s.known_defects and (data.cache.labels == 1).any():
            random = torch.Generator().manual_seed(self.seed + 2)
            known = known_patches(graph, data, self.sources, random, labels_alone=s.labels_alone)
        if learn_defects(head, normal, synthetic, known, folds_of(data), generator):
            self.known[known[:, -1].long().cpu()] = True

    def left_out_scores(self, fitted: DecodedCache, groups: Sequence[str]) -> LeftOut | None:
        """Good images scored as if not trained on, see `roibank_scaling.left_out_scores`."""
        return left_out_scores(self.graph.eval(), self.sources, self.place_sums, fitted, groups)

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
        roi_head = self.graph.roi_head
        if roi_head is None:
            return
        levels = self.graph.features(looked_at(self.graph, batch))
        cells = grid(batch.roi_mask, levels[0])
        loss = roi_head_loss(roi_head(stacked(levels[:ROI_LEVELS])), cells)
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
        for first in range(0, len(kept), AT_ONCE):
            rows = slice(first, first + AT_ONCE)
            images = torch.from_numpy(kept.images[rows]).to(self.device).permute(0, 3, 1, 2).float().div_(255)
            roi = graph.predict_roi(images)
            assert roi is not None
            # One mask for all is held once, and is not to be written to.
            ious.append(region_iou(roi.cpu() >= 0.5, torch.from_numpy(kept.roi_masks[rows].copy())[:, None]))
        return torch.cat(ious).double().numpy()


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
