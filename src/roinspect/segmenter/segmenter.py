"""The segmenter: learns to predict the region of interest of an image from a few drawn masks.

CEOD (2024, abstract and section 4.2) uses "masks determined at run time through a trained segmentation
network" if none were drawn. A small decoder on a pretrained backbone is trained on about five to twenty
masks. Augmentation: images and masks are rotated, shifted, scaled and mirrored together if the position of
the region varies; the light changes; synthetic defects and gaps are added without changing the mask.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from roinspect.data.augment import random_light, random_rotation, random_tint
from roinspect.data.dataset import DecodedCache
from roinspect.data.loader import Batch, InspectionDataset
from roinspect.errors import UserError
from roinspect.inspection.bundle import SEGMENTER, read_weights
from roinspect.methods.learner import Learner
from roinspect.methods.loading import settings_of, with_weights
from roinspect.nn.backbone import Backbone, choose, load_pretrained
from roinspect.nn.dice import dice_loss
from roinspect.nn.iou import region_iou
from roinspect.nn.perlin import perturb
from roinspect.segmenter.decoder import RegionDecoder
from roinspect.segmenter.finder import confidence
from roinspect.segmenter.segmenter_bundle import SegmenterBundle, read_segmenter
from roinspect.segmenter.settings import SegmenterSettings

log = logging.getLogger(__name__)

_STILL_CERTAIN = 0.9
"""Masks below this share of the lowest confidence on held-out images should be reviewed."""
_FIXED_IOU = 0.9
"""Smallest mean IoU of two masks at which the region counts as fixed."""
_COMPARED = 32
"""Maximum number of masks in this comparison."""
_VISIBLE = 0.05
"""Smallest change of a pixel, in [0, 1], that counts as a visible synthetic defect."""
_BATCH = 8


class SegmenterGraph(nn.Module):
    """An image to the probability of the region."""

    def __init__(self, backbone: Backbone, decoder: RegionDecoder) -> None:
        super().__init__()
        self.backbone, self.decoder = backbone, decoder

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] to the probability of the region (N, 1, H, W)."""
        return self.logits(image).float().sigmoid()

    def logits(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] to logits of the region (N, 1, H, W)."""
        cells = self.decoder(self.backbone.levels(image))
        # Upsample logits, not probabilities: the border is then as steep as the decoder is certain.
        return F.interpolate(cells, image.shape[2:], mode="bilinear", align_corners=False)


class Segmenter(Learner):
    """The segmenter in training.

    Args:
        settings: see `SegmenterSettings`; the backbone must not be "auto", see `prepared`.
        size_hw: image height and width.
        seed: the randomness of a step depends on (seed, epoch, step), so a resumed run is reproducible.
        epochs: length of the training, for the schedule.

    Raises:
        UserError: the backbone is unknown or has no features of these strides.
    """

    name: ClassVar[str] = SEGMENTER
    settings_class: ClassVar[type] = SegmenterSettings
    default_steps: ClassVar[int] = 100

    def __init__(
        self, settings: SegmenterSettings, size_hw: tuple[int, int], *, seed: int = 0, epochs: int = 1
    ) -> None:
        super().__init__(settings, size_hw, seed=seed, epochs=epochs)
        self.graph = self.build_graph(settings)
        self.graph.backbone.requires_grad_(settings.backbone_learning_rate > 0)
        self.to(memory_format=torch.channels_last)
        self.moves = settings.moves == "yes"
        self.train()

    @classmethod
    def prepared(cls, settings: SegmenterSettings) -> SegmenterSettings:
        """The settings with "auto" replaced by an available backbone.

        Raises:
            UserError: no pretrained weights are available.
        """
        return dataclasses.replace(settings, backbone=choose()) if settings.backbone == "auto" else settings

    @classmethod
    def build_graph(cls, settings: SegmenterSettings) -> SegmenterGraph:
        """The graph with random weights; nothing is read or downloaded.

        Raises:
            UserError: the backbone is unknown or has no features of these strides.
        """
        backbone = Backbone(settings.backbone, settings.strides)
        decoder = RegionDecoder(backbone.level_channels, settings.width, coordinates=settings.coordinates)
        return SegmenterGraph(backbone, decoder)

    def preview(self, image: Tensor) -> tuple[Tensor, None]:
        """The probability of the region; there is no repaired image."""
        return self.graph(image), None

    def begin(self, labels: NDArray[np.int64]) -> Mapping[str, str]:
        """Load the backbone's weights; labels are ignored.

        Raises:
            UserError: the weights are not available.
        """
        if self.settings.weights == "none":
            log.info(f"backbone {self.settings.backbone}: random weights")
            return {}
        return {"backbone": load_pretrained(self.graph.backbone, self.settings.weights)}

    def train(self, mode: bool = True) -> Segmenter:
        """Set the mode of the decoder; the backbone's batch norms always keep their statistics."""
        super().train(mode)
        self.graph.backbone.eval()
        return self

    def configure_optimizers(self) -> Any:
        """AdamW with a one-cycle schedule."""
        s = self.settings
        groups: list[dict[str, Any]] = [{"params": list(self.graph.decoder.parameters())}]
        peak_rates = [s.learning_rate]
        if s.backbone_learning_rate:
            groups.append({"params": list(self.graph.backbone.parameters())})
            peak_rates.append(s.backbone_learning_rate)
        optimizer = torch.optim.AdamW(groups, lr=s.learning_rate, weight_decay=1e-3)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = OneCycleLR(optimizer, peak_rates, total_steps=max(steps, 2))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_start(self) -> None:
        """Determine from the masks whether the region moves, if `moves` is "auto"."""
        data = getattr(self.trainer.train_dataloader, "dataset", None)
        if self.settings.moves != "auto" or not isinstance(data, InspectionDataset):
            return
        overlap = mutual_iou(data.cache.roi_masks)
        self.moves = overlap < _FIXED_IOU
        what = "moves: images and masks are moved with it" if self.moves else "is a place"
        log.info(f"the region {what} (two masks overlap by {overlap:.0%} on average)")

    # -- a step ----------------------------------------------------------------------------------------------

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Predict the region of augmented images."""
        random = self.random(self.current_epoch, batch_index)
        image, mask = self.changed(batch.to_float(), random)
        loss, values = self.losses(image, mask)
        self.note("train", values, len(mask))
        return loss

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Predict the region of held-out images, without augmentation."""
        batch = batch.to_float()
        _, values = self.losses(batch.image, batch.roi_mask)
        self.note("held-out", values, len(batch.label))

    def changed(self, batch: Batch, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """Augmented images (N, 3, H, W) and masks (N, 1, H, W); synthetic defects do not change the masks."""
        s, image, mask = self.settings, batch.image, batch.roi_mask
        if self.moves:
            image, mask = random_rotation(
                image,
                mask,
                degrees=s.rotation,
                shift=s.shift,
                zoom=s.zoom,
                mirror=s.mirror,
                generator=random,
            )
        image = random_tint(
            random_light(image, amount=s.light, generator=random), amount=s.tint, generator=random
        )
        image = self._with_gaps(image, mask, random)
        image, _ = perturb(image, generator=random, clean_share=1 - s.pasted, visible=_VISIBLE)
        return image, mask

    def _with_gaps(self, image: Tensor, mask: Tensor, random: torch.Generator) -> Tensor:
        """Images in which parts of the region are covered by its surroundings, as if a tooth were missing."""
        _, spots = perturb(image, generator=random, clean_share=1 - self.settings.gaps)
        height, width = image.shape[2:]
        # Drawn on the CPU, as reading a number from the device would block the step.
        rng = np.random.default_rng(random.initial_seed())
        shift = int(rng.integers(height // 8, height - height // 8)), int(rng.integers(width))
        around, is_region = image.roll(shift, (2, 3)), mask.roll(shift, (2, 3))
        return torch.where((spots * mask * (1 - is_region)) > 0, around, image)

    def losses(self, image: Tensor, mask: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy plus Dice loss of images and masks as floats, and the values to log.

        Reference:
            The sum is nnU-Net's (Isensee et al., 2021).
        """
        logits = self.graph.logits(image).float()
        cross_entropy = F.binary_cross_entropy_with_logits(logits, mask)
        dice = dice_loss(logits, mask)
        loss = cross_entropy + dice
        iou = region_iou(logits.detach() >= 0, mask).mean()
        return loss, {"loss": loss, "cross_entropy": cross_entropy, "dice": dice, "iou": iou}

    # -- held-out images -------------------------------------------------------------------------------------

    def judge(self, held_out: DecodedCache) -> tuple[float, dict[str, Any]]:
        """Measure the IoU of predicted and drawn regions, and the confidence, on held-out images.

        Confidence depends on the product and on the length of training, so the limit below which a mask
        should be reviewed is set slightly below the lowest confidence here.

        Returns:
            That limit, and measures for the bundle.

        Raises:
            UserError: the network's output is not finite.
        """
        ious, confidences = list[Tensor](), list[float]()
        for first in range(0, len(held_out), _BATCH):
            rows = slice(first, first + _BATCH)
            probability = probabilities(self.graph, held_out.images[rows])
            # Copied, as a mask shared by all images is stored once, read-only.
            drawn = torch.from_numpy(held_out.roi_masks[rows].copy())
            ious.append(region_iou(torch.from_numpy(probability)[:, None] >= 0.5, drawn[:, None]))
            confidences += [confidence(p, (p >= 0.5).astype(np.uint8)) for p in probability]
        iou = torch.cat(ious)
        return _STILL_CERTAIN * min(confidences), {
            "held_out_images": len(held_out),
            "held_out_iou": round(float(iou.mean()), 4),
            "held_out_lowest_iou": round(float(iou.min()), 4),
            "held_out_confidence": round(float(np.mean(confidences)), 4),
        }


def probabilities(graph: SegmenterGraph, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Decoded images (N, H, W, 3), uint8 RGB of the trained size, to the probability of the region (N, H, W).

    Raises:
        UserError: the network's output is not finite.
    """
    device = next(graph.parameters()).device
    batch = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float().div_(255)
    with torch.inference_mode():
        values = graph(batch)[:, 0].cpu().numpy()
    if not np.isfinite(values).all():
        raise UserError(
            "the segmenter answered NaN or infinity",
            where="segmenter",
            remedy="train again, in float32, with a lower method.learning_rate",
        )
    return np.asarray(values, np.float32)


def load_segmenter(path: Path) -> tuple[SegmenterBundle, SegmenterGraph]:
    """A segmenter's manifest and its graph, in evaluation mode.

    Raises:
        UserError: the bundle is missing, damaged or not of a segmenter, or its tensors and settings differ.
    """
    bundle = read_segmenter(path)
    settings = settings_of(Segmenter, bundle.method_settings, path)
    return bundle, with_weights(Segmenter.build_graph(settings), read_weights(path), path)


def mutual_iou(masks: NDArray[np.uint8]) -> float:
    """Mean IoU over all pairs of up to 32 of the masks (N, H, W) in {0, 1}; 1 for a single mask.

    Example:
        >>> mutual_iou(np.array([[[1, 1, 0]], [[0, 1, 1]]], np.uint8)).__round__(3)
        0.333
    """
    rows = np.linspace(0, len(masks) - 1, min(len(masks), _COMPARED)).round().astype(int)
    flat = masks[rows].reshape(len(rows), -1).astype(np.float32)
    intersections = flat @ flat.T
    areas = flat.sum(1)
    iou = intersections / np.maximum(areas[:, None] + areas[None] - intersections, 1)
    pairs = iou[np.triu_indices(len(rows), 1)]
    return float(pairs.mean()) if len(pairs) else 1.0
