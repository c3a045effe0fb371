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
"""A mark that changes a pixel by less would be looked for in vain in a small picture."""


class Preview(lightning.Callback):
    """Shows, in TensorBoard, a few held-out parts whenever the held-out losses are measured.

    Side by side: the part, the same with synthetic defects, as the network repairs it (where it does), where
    the defects are, what the network finds (white is the most of these parts), and the region of
    interest. Parts and defects are the same every time, so the pictures show how the network comes on.
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
        seen = batch.to_float()
        image, roi_mask = (of[:PARTS].to(learner.device) for of in (seen.image, seen.roi_mask))
        damaged, mark = perturb(image, generator=learner.random(-1, 0), clean_share=0.0, visible=VISIBLE)
        with torch.no_grad(), trainer.precision_plugin.forward_context():
            found, repaired = learner.preview(damaged)
        columns: dict[str, Tensor] = {"part": image, "damaged": damaged}
        if repaired is not None:
            columns["repaired"] = repaired.float()
        columns |= {"damage": mark, "found": found.float() / found.amax().clamp_min(1e-6), "region": roi_mask}
        wide = torch.cat([column.expand_as(image) for column in columns.values()], dim=3)
        # A row for each part.
        picture = torch.cat(list(wide.clamp(0, 1)), dim=1)
        trainer.logger.experiment.add_image(", ".join(columns), picture, learner.current_epoch)
