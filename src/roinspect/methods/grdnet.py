"""GRD-Net: a generator repairs synthetic defects, a U-Net compares before and after, the ROI steers its loss.

Ferrari, Fraccaroli, Lamma: *GRD-Net: Generative-Reconstructive-Discriminative Anomaly Detection with Region
of Interest Attention Module*, 2023. Equations and tables below are this paper's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from roinspect.data.augment import random_light, random_rotation
from roinspect.data.loader import Batch
from roinspect.data.records import find_images
from roinspect.errors import UserError
from roinspect.images.pixels import read_image, resize_image
from roinspect.methods.grdnet_settings import GrdNetSettings
from roinspect.methods.method import InspectionGraph, Look, Method
from roinspect.nn.autoencoder import HALVINGS, Autoencoder, Discriminator, Encoder
from roinspect.nn.compiled import refuse_no_compiler
from roinspect.nn.difference import Difference, noise_loss
from roinspect.nn.focal import focal_loss
from roinspect.nn.perlin import Blobs, perturb
from roinspect.nn.roi_head import roi_head_loss
from roinspect.nn.ssim import ssim
from roinspect.nn.steering import segmentation_loss
from roinspect.nn.unet import Heads, UNet


class GrdNetGraph(InspectionGraph):
    """Inference (Fig. 4): repair, compare, smooth by a mean filter, take the maximum.

    Args:
        autoencoder: repairs the image.
        segmenter: compares the image with the repaired one.
        kernel: side of the mean filter, odd.
    """

    def __init__(self, autoencoder: Autoencoder, segmenter: UNet | Difference, kernel: int) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self.segmenter = segmenter
        self.kernel = kernel

    def look(self, image: Tensor) -> Look:
        """(N, 3, H, W) in [0, 1] to the score (N,) and the map (N, 1, H, W), both in [0, 1], and the ROI."""
        reconstruction, _ = self.autoencoder(image)
        logits, heads = self.segmenter.with_heads(torch.cat((image, reconstruction), dim=1))
        anomaly_map = logits.sigmoid()
        margin = self.kernel // 2
        # A mean filter is separable; at the border, average only over pixels inside the image.
        for kernel, padding in (((self.kernel, 1), (margin, 0)), ((1, self.kernel), (0, margin))):
            anomaly_map = F.avg_pool2d(
                anomaly_map, kernel, stride=1, padding=padding, count_include_pad=False
            )
        # A quarter of the resolution is enough to describe the scene.
        roi_map = F.avg_pool2d(heads.roi.float().sigmoid(), 4)
        return Look(anomaly_map.amax((1, 2, 3)), anomaly_map, roi_map)

    def reconstruct(self, image: Tensor) -> Tensor:
        """The repaired image (N, 3, H, W) in [0, 1]."""
        return cast(Tensor, self.autoencoder(image)[0])


class Calls(NamedTuple):
    """The networks as a step calls them."""

    repair: Callable[[Tensor], tuple[Tensor, Tensor]]
    encode: Callable[[Tensor], Tensor]
    judge: Callable[[Tensor], tuple[Tensor, Tensor]]
    compare: Callable[[Tensor], tuple[Tensor, Heads]]


class GrdNet(Method):
    """GRD-Net in training: three networks, three optimisers, one step (Fig. 3).

    Args:
        settings: see `GrdNetSettings`.
        size_hw: image height and width, multiples of 32.
        seed: all randomness of a step is drawn from (seed, epoch, step), so a resumed run repeats it.
        epochs: length of the training, for the cosine schedule.
    """

    name: ClassVar[str] = "grdnet"
    trains_on: ClassVar[Literal["good", "all"]] = "good"
    settings_class: ClassVar[type] = GrdNetSettings
    mixes: ClassVar[bool] = True
    textures: Tensor | None

    def __init__(
        self, settings: GrdNetSettings, size_hw: tuple[int, int], *, seed: int = 0, epochs: int = 1
    ) -> None:
        super().__init__(settings, size_hw, seed=seed, epochs=epochs)
        self.automatic_optimization = False
        graph = self.build_graph(settings, size_hw)
        self.autoencoder, self.segmenter, self.kernel = graph.autoencoder, graph.segmenter, graph.kernel
        self.second_encoder = Encoder(
            settings.width,
            settings.latent,
            stem=settings.stem,
            blocks=settings.blocks,
            is_residual=settings.residual,
        )
        self.discriminator = Discriminator(settings.width, stem=settings.stem)
        self._compiled: Calls | None = None
        self.to(memory_format=torch.channels_last)
        # A buffer moves to the device with the networks.
        self.register_buffer("textures", _read_textures(settings, size_hw), persistent=False)

    @classmethod
    def build_graph(cls, settings: GrdNetSettings, size_hw: tuple[int, int]) -> GrdNetGraph:
        """The inspection graph with initial weights.

        Raises:
            UserError: a side of the image is not a multiple of 32.
        """
        if any(side % 2**HALVINGS or side < 2 ** (HALVINGS + 1) for side in size_hw):
            raise UserError(
                f"{size_hw[0]}x{size_hw[1]} cannot be halved five times",
                where="--size",
                remedy="use multiples of 32, at least 64",
            )
        autoencoder = Autoencoder(
            size_hw,
            width=settings.width,
            latent=settings.latent,
            stem=settings.stem,
            blocks=settings.blocks,
            is_residual=settings.residual,
            dense=settings.dense,
        )
        is_gated = settings.roi_head and settings.roi == "target"
        segmenter: UNet | Difference
        if settings.segmenter == "none":
            segmenter = Difference(coordinates=settings.coordinates, roi_head=is_gated)
        else:
            segmenter = UNet(
                6,
                settings.segmenter_width,
                depth=HALVINGS - settings.stem + 1,
                stem=settings.stem,
                coordinates=settings.coordinates,
                roi_head=is_gated,
            )
        kernel = 2 * round((settings.smoothing * min(size_hw) / 256 - 1) / 2) + 1
        return GrdNetGraph(autoencoder, segmenter, max(kernel, 1))

    def inspection_graph(self) -> GrdNetGraph:
        """The graph to ship; it shares its weights with this module."""
        return GrdNetGraph(self.autoencoder, self.segmenter, self.kernel)

    def configure_optimizers(self) -> Any:
        """Adam and a schedule for each network."""
        groups = (
            [*self.autoencoder.parameters(), *self.second_encoder.parameters()],
            self.discriminator.parameters(),
            self.segmenter.parameters(),
        )
        rate, is_fused = self.settings.learning_rate, fuses(self.device.type)
        optimizers = [
            torch.optim.Adam(group, lr=rate, betas=(0.5, 0.999), fused=is_fused) for group in groups
        ]
        return optimizers, [self._scheduler(optimizer) for optimizer in optimizers]

    def _scheduler(self, optimizer: torch.optim.Adam) -> LambdaLR | ReduceLROnPlateau:
        s = self.settings
        if s.schedule == "cosine":
            epochs = self.epochs
            return LambdaLR(optimizer, lambda epoch: 0.505 + 0.495 * math.cos(math.pi * epoch / epochs))
        # Epochs may lie between two held-out losses, and torch counts those before the one that acts:
        # patience 2 acts on the third.
        losses = math.ceil(s.plateau_epochs / (self.trainer.check_val_every_n_epoch or 1))
        return ReduceLROnPlateau(optimizer, factor=math.exp(-s.plateau_decay), patience=losses - 1)

    def on_fit_start(self) -> None:
        """Compile the networks, if that is set.

        Raises:
            UserError: they cannot be compiled on this machine.
        """
        if self.settings.compile:
            refuse_no_compiler(self.device, "method.compile")
            repair, encode, judge, compare = self._plain()
            self._compiled = Calls(
                torch.compile(repair), torch.compile(encode), torch.compile(judge), torch.compile(compare)
            )

    def on_fit_end(self) -> None:
        """The trained networks are used as they are."""
        self._compiled = None

    def _calls(self) -> Calls:
        # Compiled in training alone: validation is short, in another mode, and of other batch sizes.
        return self._compiled if self._compiled is not None and self.training else self._plain()

    def _plain(self) -> Calls:
        return Calls(self.autoencoder, self.second_encoder, self.discriminator, self.segmenter.with_heads)

    # -- a training step (Fig. 3) --------------------------------------------------------------------------

    def training_step(self, batch: Batch, batch_index: int) -> None:
        """Perturb, repair, judge, compare; one step of each of the three optimisers."""
        generator_steps, discriminator_steps, segmenter_steps = cast(
            list[LightningOptimizer], self.optimizers()
        )
        random = self.random(self.current_epoch, batch_index)
        image, roi_mask = self._augmented(batch.to_float(), random)
        noisy, noise_mask = self._perturbed(image, random)

        self.toggle_optimizer(generator_steps)
        reconstruction, losses = self._generator_losses(noisy, image, noise_mask)
        self._step(generator_steps, losses["generator"])
        self.untoggle_optimizer(generator_steps)

        repaired = reconstruction.detach()
        if self.settings.adversarial:
            self.toggle_optimizer(discriminator_steps)
            losses["discriminator"] = self._discriminator_loss(image, repaired)
            self._step(discriminator_steps, losses["discriminator"])
            self.untoggle_optimizer(discriminator_steps)

        self.toggle_optimizer(segmenter_steps)
        losses |= self._segmenter_losses(noisy, repaired, noise_mask, roi_mask)
        self._step(segmenter_steps, losses["segmenter"])
        self.untoggle_optimizer(segmenter_steps)
        self.note("train", losses, len(batch.label))

    def _step(self, optimizer: LightningOptimizer, loss: Tensor) -> None:
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()

    def _generator_losses(
        self, noisy: Tensor, image: Tensor, noise_mask: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The reconstruction, and L_gan with its parts (Eq. 1 to 3; the noise loss of 2026)."""
        s = self.settings
        calls = self._calls()
        reconstruction, latent = calls.repair(noisy)
        if s.context == "l1":
            pixels = F.l1_loss(reconstruction, image)
        else:
            # Over delta, it is L1's for large distances.
            pixels = F.huber_loss(reconstruction, image, delta=s.huber_delta) / s.huber_delta
        structure = 1 - ssim(reconstruction.float(), image)
        contextual = s.l1_weight * pixels + s.ssim_weight * structure
        distance = F.mse_loss if s.encoder_loss == "l2" else F.l1_loss
        encoder = distance(calls.encode(reconstruction), latent)
        total = s.contextual_weight * contextual + s.encoder_weight * encoder
        losses = {"contextual": contextual, "ssim": structure, "encoder": encoder}
        if s.noise_loss:
            losses["noise"] = noise_loss(noisy, reconstruction, image, noise_mask)
            total = total + s.noise_loss * losses["noise"]
        if s.adversarial:
            # Feature matching: only the generated side has a gradient.
            with torch.no_grad():
                real_features, _ = calls.judge(image)
            fake_features, _ = calls.judge(reconstruction)
            losses["adversarial"] = F.mse_loss(fake_features, real_features)
            total = total + s.adversarial_weight * losses["adversarial"]
        return reconstruction, {"generator": total, **losses}

    def _segmenter_losses(
        self, noisy: Tensor, repaired: Tensor, noise_mask: Tensor, roi_mask: Tensor
    ) -> dict[str, Tensor]:
        """The loss, with the terms of the ROI head; without a U-Net that of the region alone."""
        s = self.settings
        if isinstance(self.segmenter, Difference):
            loss = roi_head_loss(self.segmenter.region(noisy), roi_mask)
            return {"segmenter": loss, "roi_head": loss}
        logits, heads = self._calls().compare(torch.cat((noisy, repaired), dim=1))
        loss = segmentation_loss(
            logits,
            noise_mask,
            roi_mask,
            roi=s.roi,
            overlap_weight=s.overlap_weight,
            gamma=s.focal_gamma,
            alpha=s.focal_alpha,
        )
        roi_head = roi_head_loss(heads.roi, roi_mask)
        if not self.segmenter.is_gated:
            # It trains only the head itself.
            loss = loss + roi_head
        else:
            loss = loss + s.roi_head_weight * roi_head
            # The defect head learns from all synthetic defects, also those outside the ROI.
            loss = loss + focal_loss(heads.defect, noise_mask, gamma=s.focal_gamma, alpha=s.focal_alpha)
        return {"segmenter": loss, "roi_head": roi_head}

    def _discriminator_loss(self, image: Tensor, repaired: Tensor) -> Tensor:
        judge = self._calls().judge
        _, real = judge(image)
        _, fake = judge(repaired)
        return 0.5 * (
            F.binary_cross_entropy_with_logits(real, torch.ones_like(real))
            + F.binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))
        )

    # -- validation: the same losses on held-out good parts, with the same noise in every epoch -------------

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Measure the losses on held-out parts."""
        batch = batch.to_float()
        noisy, noise_mask = self._perturbed(batch.image, self.random(-1, batch_index))
        reconstruction, losses = self._generator_losses(noisy, batch.image, noise_mask)
        if self.settings.adversarial:
            losses["discriminator"] = self._discriminator_loss(batch.image, reconstruction)
        losses |= self._segmenter_losses(noisy, reconstruction, noise_mask, batch.roi_mask)
        self.note("held-out", losses, len(batch.label))

    def on_validation_epoch_end(self) -> None:
        """Detect plateaus of the held-out loss of each network (Eq. 7)."""
        if self.trainer.sanity_checking:
            return
        metrics = self.trainer.callback_metrics
        watched = ("held-out/generator", "held-out/discriminator", "held-out/segmenter")
        for scheduler, name in zip(self._schedulers(), watched, strict=True):
            # Without an adversarial term the discriminator has no loss.
            if isinstance(scheduler, ReduceLROnPlateau) and name in metrics:
                scheduler.step(float(metrics[name]))

    def on_train_epoch_end(self) -> None:
        """Check the losses, then step the cosine schedules."""
        super().on_train_epoch_end()
        takes_part = (True, self.settings.adversarial, True)
        for scheduler, is_used in zip(self._schedulers(), takes_part, strict=True):
            if is_used and isinstance(scheduler, LambdaLR):
                scheduler.step()

    def _schedulers(self) -> list[LambdaLR | ReduceLROnPlateau]:
        return cast(list[LambdaLR | ReduceLROnPlateau], self.lr_schedulers())

    # -- parts ------------------------------------------------------------------------------------------

    def _augmented(self, batch: Batch, random: torch.Generator) -> tuple[Tensor, Tensor]:
        image, roi_mask = random_rotation(
            batch.image, batch.roi_mask, degrees=self.settings.rotation, generator=random
        )
        return random_light(image, amount=self.settings.light, generator=random), roi_mask

    def _perturbed(self, image: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        s = self.settings
        return perturb(
            image,
            generator=random,
            blobs=Blobs(min_scale=s.min_scale, max_scale=s.max_scale, local_share=s.local_share),
            sources=s.sources,
            textures=self.textures,
            clean_share=s.clean_share,
            beta=s.beta,
            visible=s.visible,
        )


def fuses(device: str) -> bool | None:
    """Whether Adam updates all weights of a network in one kernel: on a GPU; torch decides elsewhere."""
    return True if device == "cuda" else None


def _read_textures(settings: GrdNetSettings, size_hw: tuple[int, int]) -> Tensor | None:
    if settings.texture <= 0 or settings.texture_folder is None:
        return None
    paths = find_images(Path(settings.texture_folder))
    if not paths:
        raise UserError(
            "contains no images",
            where=settings.texture_folder,
            remedy="set method.texture_folder, or texture to 0",
        )
    pictures = np.stack([resize_image(read_image(path), size_hw) for path in paths])
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
