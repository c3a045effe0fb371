"""Preview images during training: the network's output on held-out parts with synthetic damage."""

from __future__ import annotations

from typing import Any, cast

import lightning
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from roinspect.data.loader import Batch
from roinspect.methods.learner import Learner
from roinspect.nn.perlin import perturb

PARTS = 4
VISIBLE = 0.1
"""Smallest change of a pixel, in [0, 1], that can be seen in a small preview."""


class Preview(lightning.Callback):
    """Shows a few held-out parts in TensorBoard whenever the held-out losses are computed.

    Side by side: the part; with synthetic defects; as repaired by the network, if it repairs; the mask of the
    defects; the network's map, scaled to the maximum of these parts; the region of interest. Parts and
    defects are always the same, so the pictures show the progress of the training.
    """

    def on_validation_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Show the first parts of the first batch."""
        if batch_idx or not isinstance(trainer.logger, TensorBoardLogger) or not trainer.is_global_zero:
            return
        learner = cast(Learner, pl_module)
        floats = batch.to_float()
        image, roi_mask = (field[:PARTS].to(learner.device) for field in (floats.image, floats.roi_mask))
        damaged, mark = perturb(image, generator=learner.random(-1, 0), clean_share=0.0, visible=VISIBLE)
        with torch.no_grad(), trainer.precision_plugin.forward_context():
            prediction, repaired = learner.preview(damaged)
        columns: dict[str, Tensor] = {"part": image, "damaged": damaged}
        if repaired is not None:
            columns["repaired"] = repaired.float()
        columns |= {
            "damage": mark,
            "found": prediction.float() / prediction.amax().clamp_min(1e-6),
            "region": roi_mask,
        }
        wide = torch.cat([column.expand_as(image) for column in columns.values()], dim=3)
        # One row per part.
        picture = torch.cat(list(wide.clamp(0, 1)), dim=1)
        trainer.logger.experiment.add_image(", ".join(columns), picture, learner.current_epoch)
