"""CEOD: a CNN classifier whose loss pulls its Grad-CAM heatmap into the region of interest.

Fraccaroli, Bizzarri, Casellati, Lamma: *Exploiting CNN's visual explanations to drive anomaly detection*,
2024, and *Cross Entropy Overlap Distance*, 2022.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from roinspect.data.augment import random_light, random_rotation
from roinspect.data.loader import Batch, InspectionDataset
from roinspect.errors import UserError
from roinspect.methods.ceod_losses import explained_input, steered
from roinspect.methods.ceod_settings import CeodSettings
from roinspect.methods.method import InspectionGraph, Look, Method
from roinspect.nn.backbone import Backbone, choose, load_pretrained
from roinspect.nn.classifier import DEFECT, Classifier, Evidence
from roinspect.nn.customnet import WIDTHS, CustomNet
from roinspect.nn.distributed import share_values
from roinspect.nn.roi_head import roi_head_loss

log = logging.getLogger(__name__)

CUSTOMNET = "customnet"
_AT_ONCE = 8
_STANDARD = 64
"""Number of images for the scale of each channel."""


class CeodGraph(InspectionGraph):
    """An image to the probability of a defect and its heatmap.

    The heatmap has a maximum of 1; it is multiplied by the probability to make images comparable.
    """

    in_int8 = "classifier.trunk"

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier

    def look(self, image: Tensor) -> Look:
        """(N, 3, H, W) in [0, 1] to the score (N,) and the map (N, 1, H, W), both in [0, 1], and the ROI."""
        evidence = self.classifier(image)
        explained = self.explain(evidence, (image.shape[2], image.shape[3]))
        return Look(*explained, evidence.roi_logits.float().sigmoid())

    def explain(self, evidence: Evidence, size_hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Score (N,) and map (N, 1, H, W) from the output of the classifier."""
        pred_score = evidence.logits.float().softmax(1)[:, DEFECT]
        heat = self.classifier.heatmap(evidence.features) * pred_score.view(-1, 1, 1, 1)
        return pred_score, F.interpolate(heat, size_hw, mode="bilinear", align_corners=False)


class Ceod(Method):
    """CEOD in training (2024, Algorithm 1).

    Args:
        settings: see `CeodSettings`; the backbone must be chosen, see `prepared`.
        size_hw: image height and width.
        seed: all randomness of a step is drawn from (seed, epoch, step), so a resumed run repeats it.
        epochs: length of the training, for the cosine schedule.

    Raises:
        UserError: the backbone is unknown, has no such features, or does not fit these settings.
    """

    name: ClassVar[str] = "ceod"
    trains_on: ClassVar[Literal["good", "all"]] = "all"
    settings_class: ClassVar[type] = CeodSettings
    map_share: ClassVar[float | None] = 0.5
    class_weight: Tensor

    def __init__(
        self, settings: CeodSettings, size_hw: tuple[int, int], *, seed: int = 0, epochs: int = 1
    ) -> None:
        super().__init__(settings, size_hw, seed=seed, epochs=epochs)
        self.classifier = self.build_graph(settings, size_hw).classifier
        if settings.cam == "autograd" and settings.omega > 0 and self.classifier.norm is not None:
            raise UserError(
                "a batch norm in the head has no gradient of the batch's sum while it trains",
                where="method.cam",
                remedy="use closed with this backbone",
            )
        if settings.loss == "rrr" and settings.omega > 0 and self.classifier.norm is not None:
            raise UserError(
                "a batch norm that trains mixes the gradients of the images in a batch",
                where="method.loss",
                remedy="use isnet with this backbone, or rrr with a pretrained one",
            )
        self.is_frozen = _freeze(self.classifier.trunk, settings)
        self.explains_input = settings.loss in ("rrr", "isnet") and settings.omega > 0
        self.explains_image = self.explains_input and not self.is_frozen
        self.to(memory_format=torch.channels_last)
        self.register_buffer("class_weight", torch.ones(2), persistent=False)
        self._kept: Tensor | None = None
        # New modules are in training mode, and Lightning keeps the mode.
        self.train()

    @classmethod
    def prepared(cls, settings: CeodSettings) -> CeodSettings:
        """The settings with the backbone that "auto" selects on this machine.

        Raises:
            UserError: no pretrained weights are available.
        """
        return dataclasses.replace(settings, backbone=choose()) if settings.backbone == "auto" else settings

    @classmethod
    def build_graph(cls, settings: CeodSettings, size_hw: tuple[int, int]) -> CeodGraph:
        """The inspection graph with initial weights; nothing is read or downloaded.

        Raises:
            UserError: the backbone is unknown or has no convolutional features at that stride.
        """
        head: dict[str, Any] = {
            "block": settings.block,
            "coordinates": settings.coordinates,
            "pooling": settings.pooling,
            "roi_head": settings.roi_head,
            "margin": settings.margin,
        }
        if settings.backbone == CUSTOMNET:
            net = CustomNet()
            head |= {"block": 0, "norm": net.norm, "linear": net.classifier}
            return CeodGraph(Classifier(net.features, WIDTHS[-1], **head))
        backbone = Backbone(settings.backbone, settings.stride)
        return CeodGraph(Classifier(backbone, backbone.channels, **head))

    def inspection_graph(self) -> CeodGraph:
        """The graph to ship; it shares its weights with this module."""
        return CeodGraph(self.classifier)

    def begin(self, labels: NDArray[np.int64]) -> Mapping[str, str]:
        """Load the backbone's weights and weigh the classes.

        Raises:
            UserError: labels are missing or all alike, or the weights are not available.
        """
        unknown = int((labels < 0).sum())
        counts = np.bincount(labels[labels >= 0], minlength=2)
        if unknown:
            raise UserError(
                f"{unknown} of {len(labels)} training photographs have no label",
                where="ceod",
                remedy="label them good or defective, or take them out; see `roinspect check`",
            )
        if not counts.all():
            kind = ("defective inside the region", "good")[int(counts[0] == 0)]
            raise UserError(
                f"none of {len(labels)} training photographs is {kind}, and a classifier needs both",
                where="ceod",
                remedy="add some to the train split, or train grdnet, which needs good ones only",
            )
        shares = torch.tensor(counts / counts.sum(), dtype=torch.float32)
        if self.settings.balanced:
            self.class_weight = 1 / (2 * shares)
        else:
            # Start at the class frequencies, so that no steps are spent on learning that defects are rare.
            self.classifier.linear.bias.data.copy_(shares.log())
        if not isinstance(self.classifier.trunk, Backbone) or self.settings.weights == "none":
            log.info(f"backbone {self.settings.backbone}: random weights")
            return {}
        return {"backbone": load_pretrained(self.classifier.trunk, self.settings.weights)}

    def train(self, mode: bool = True) -> Ceod:
        """Training mode for all but a pretrained backbone, whose batch norms keep their statistics."""
        super().train(mode)
        if isinstance(self.classifier.trunk, Backbone):
            self.classifier.trunk.eval()
        return self

    def configure_optimizers(self) -> Any:
        """Adamax, with a cosine schedule down to 1 %."""
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimizer = torch.optim.Adamax(trained, lr=self.settings.learning_rate)
        if self.settings.schedule == "constant":
            return optimizer
        epochs = self.epochs
        schedule = LambdaLR(optimizer, lambda epoch: 0.505 + 0.495 * math.cos(math.pi * epoch / epochs))
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def on_train_start(self) -> None:
        """Standardise the pretrained features; cache those of a frozen trunk."""
        data = getattr(self.trainer.train_dataloader, "dataset", None)
        if not isinstance(data, InspectionDataset) or not isinstance(self.classifier.trunk, Backbone):
            return
        if self._kept is not None:
            self._kept = self._kept.to(self.device)
        if self.global_step == 0:
            rows = np.linspace(0, len(data) - 1, min(len(data), _STANDARD)).astype(int).tolist()
            known = self._kept
            self.classifier.standardise(self.features(data, rows) if known is None else known[rows])
            # Devices of another kind round differently.
            share_values(self.classifier.buffers())
        s = self.settings
        if self._kept is not None or not self.is_frozen or s.rotation or s.light:
            return
        size = 4 * len(data) * self.features(data, [0]).numel() / 2**30
        if size > s.feature_memory_gb:
            log.info(f"the features would take {size:.1f} GB and are computed again in every step")
            return
        self._kept = self.features(data, range(len(data)))

    def keep(self, features: Tensor) -> None:
        """Set the cached features (N, C, h, w) of a frozen trunk for all training images."""
        self._kept = features

    @torch.no_grad()
    def features(self, data: InspectionDataset, rows: Sequence[int]) -> Tensor:
        """The trunk's features of some training images, (N, C, h, w), in float32."""
        kept: Tensor | None = None
        for first in range(0, len(rows), _AT_ONCE):
            batch = data.__getitems__(list(rows[first : first + _AT_ONCE]))
            features = self.classifier.trunk(batch.image.to(self.device).float().div_(255))
            if kept is None:
                kept = features.new_empty((len(rows), *features.shape[1:]))
            kept[first : first + len(features)] = features
        assert kept is not None, "no rows"
        return kept

    # -- a step (Algorithm 1) ------------------------------------------------------------------------------

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Classify, explain, compare the explanation with the ROI."""
        if self.classifier.norm is not None and len(batch.label) == 1:
            raise UserError(
                "a batch norm in the head cannot be trained on one image at a time",
                where="training.batch_size",
                remedy="use at least 2 with this backbone",
            )
        seen, batch = self._seen(batch, batch_index)
        if self.settings.cam == "autograd" and not seen.requires_grad:
            # The trunk is frozen, but autograd needs the gradient by the features.
            seen.requires_grad_()
        loss, noted = self.losses(*self.explained(seen, batch))
        self.note("train", noted, len(batch.label))
        return loss

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """The same on held-out parts."""
        batch = batch.to_float()
        if self.explains_input:
            # Their loss is a gradient, which inference mode has not; its tensors must be copied to have one.
            with torch.inference_mode(False), torch.enable_grad():
                batch = Batch(*(each.clone() for each in batch))
                seen = batch.image if self.explains_image else self.classifier.trunk(batch.image)
                _, noted = self.losses(*self.explained(seen, batch))
        else:
            _, noted = self.losses(self.classifier(batch.image), batch)
        self.note("held-out", noted, len(batch.label))

    def losses(
        self, evidence: Evidence, batch: Batch, explained: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, and its terms for logging.

        Args:
            evidence: of the classifier.
            batch: with float masks.
            explained: see `explained`.
        """
        label = batch.label
        grid_hw = (evidence.features.shape[2], evidence.features.shape[3])
        terms = steered(self.settings, self.classifier, evidence, batch, explained, self.class_weight)
        noted = {
            "loss": terms.loss,
            "cross_entropy": terms.cross_entropy,
            "distance": terms.distance,
            "accuracy": (evidence.logits.argmax(1) == label).float().mean(),
            "empty_heatmaps": terms.empty,
        }
        cells = F.adaptive_avg_pool2d(batch.roi_mask, grid_hw)
        noted["roi_head"] = roi_head_loss(evidence.roi_logits, cells)
        # Without a gate it trains only the head itself.
        weight = self.settings.roi_head_weight if self.classifier.is_gated else 1.0
        return terms.loss + weight * noted["roi_head"], noted

    def explained(self, seen: Tensor, batch: Batch) -> tuple[Evidence, Batch, Tensor | None]:
        """What `losses` takes, from the trunk's features of a batch; if `explains_image`, from its images."""
        if not self.explains_input:
            return self.classifier.head(seen), batch, None
        evidence, found = explained_input(self.settings, self.classifier, seen, is_frozen=self.is_frozen)
        return evidence, batch, found

    # -- parts ---------------------------------------------------------------------------------------------

    def _seen(self, batch: Batch, batch_index: int) -> tuple[Tensor, Batch]:
        """The trunk's features of a batch, and the batch with its masks transformed alike.

        In place of the features it is the image if the loss explains it through the trunk.
        """
        s = self.settings
        if self._kept is not None:
            batch = batch._replace(roi_mask=batch.roi_mask.float(), gt_mask=batch.gt_mask.float())
            return self._kept[batch.index], batch
        batch = batch.to_float()
        random = self.random(self.current_epoch, batch_index)
        masks = torch.cat((batch.roi_mask, batch.gt_mask), dim=1)
        image, masks = random_rotation(batch.image, masks, degrees=s.rotation, generator=random)
        batch = batch._replace(roi_mask=masks[:, :1], gt_mask=masks[:, 1:])
        image = random_light(image, amount=s.light, generator=random)
        return image if self.explains_image else self.classifier.trunk(image), batch


def _freeze(trunk: nn.Module, settings: CeodSettings) -> bool:
    """Freeze a pretrained trunk except its last convolutions; returns whether all of it is frozen."""
    if not isinstance(trunk, Backbone):
        return False
    convolutions = [module for module in trunk.modules() if isinstance(module, nn.Conv2d)]
    trunk.requires_grad_(False)
    for module in convolutions[-settings.finetune :] if settings.finetune else ():
        module.requires_grad_(True)
    return settings.finetune == 0
