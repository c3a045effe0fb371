"""Records and a method's settings to a bundle: the whole of a training run, top to bottom."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.data import DataLoader, Subset

from roinspect import __version__
from roinspect.bundle import Bundle, photograph_digest, refuse_existing, save_bundle
from roinspect.calibration import choose_threshold
from roinspect.checkpoint import WholeCheckpoints
from roinspect.data.dataset import DecodedCache
from roinspect.data.loader import Batch, InspectionDataset, train_loader
from roinspect.data.records import Record, read_records
from roinspect.data.roi import attach_roi
from roinspect.data.splits import hold_out
from roinspect.errors import UserError
from roinspect.history import History
from roinspect.methods.method import Method, method_class, predict
from roinspect.pixels import parse_size
from roinspect.remarks import without_remarks
from roinspect.runs import fingerprint, prepare_run

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How to train, whatever the method.

    Attributes:
        size: height x width that images are resized to, such as "256x640", or one number for both.
        steps: training steps, rounded up to whole epochs; None is the method's own default.
        epochs: epochs, instead of `steps`.
        batch_size: images per step and device.
        seed: fixes everything on one machine.
        held_out: share of the good training images kept for the threshold, where there is no val split.
        false_reject: share of good parts that may be rejected, which sets the threshold.
        min_defect_pixels: defective pixels inside the ROI that make a part defective.
        memory_gb: decoded images are kept in memory up to this much, else in a file.
        accelerator: "auto", "cpu", "gpu": as Lightning takes it.
        devices: how many, or "auto".
        strategy: "auto", "ddp": as Lightning takes it.
        precision: "32-true", "bf16-mixed", "16-mixed": as Lightning takes it.
        threads: CPU threads; None is all cores.
    """

    size: str = "256"
    steps: int | None = None
    epochs: int | None = None
    batch_size: int = 8
    seed: int = 0
    held_out: float = 0.15
    false_reject: float = 0.01
    min_defect_pixels: int = 1
    memory_gb: float = 4.0
    accelerator: str = "auto"
    devices: int | str = "auto"
    strategy: str = "auto"
    precision: str = "32-true"
    threads: int | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        for name in ("steps", "epochs", "batch_size", "min_defect_pixels", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"must be at least 1, not {value}", where=f"training.{name}")
        for name in ("held_out", "false_reject"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"must lie in [0, 1), not {getattr(self, name)}", where=f"training.{name}")
        if not 0 <= self.seed < 2**32:
            raise UserError(f"must lie in [0, 2**32), not {self.seed}", where="training.seed")


@dataclass(frozen=True, slots=True)
class Preparation:
    """What stands ready before the first step of a training.

    Attributes:
        fitted: records to train on, with their ROI.
        held_out: records that the threshold comes from, likewise.
        model: the method with fresh weights, its settings and its number of epochs.
        training: how to train; `steps` or `epochs` is given.
        batch_size: images per step, no more than there are.
        steps_per_epoch: of whole batches.
    """

    fitted: list[Record]
    held_out: list[Record]
    model: Method
    training: TrainingSettings
    batch_size: int
    steps_per_epoch: int

    def decode(self, records: Sequence[Record]) -> DecodedCache:
        """The records' pixels; to be closed."""
        return DecodedCache(
            records,
            self.model.size_hw,
            memory_bytes=int(self.training.memory_gb * 2**30),
            min_pixels=self.training.min_defect_pixels,
        )

    def batches(self, fitted: DecodedCache) -> DataLoader[Batch]:
        """Training batches, in an order that depends on the seed and the epoch alone."""
        return train_loader(InspectionDataset(fitted), self.batch_size, self.training.seed)


def prepare(
    method: str,
    data: Path,
    method_settings: Any,
    training: TrainingSettings,
    *,
    roi: str = "auto",
    columns: Mapping[str, str] | None = None,
) -> Preparation:
    """Settle what a training is of, and build the model; no image is decoded yet.

    Everything random after it follows from the seed.

    Args:
        method: as `train`, like all others.
        data: a folder or a manifest.
        method_settings: of the method's settings class.
        training: how to train.
        roi: where the ROI masks are.
        columns: the manifest's column names.

    Raises:
        UserError: the data or a setting does not allow it.
    """
    size_hw = parse_size(training.size)
    if training.threads:
        torch.set_num_threads(training.threads)
    lightning.seed_everything(training.seed, verbose=False)
    cls = method_class(method)
    records = [record for record in read_records(data, columns=columns) if record.split != "test"]
    fitted, held_out = hold_out(
        records, cls.learns_from(method_settings), training.held_out, training.seed, data
    )
    fitted = attach_roi(fitted, roi, data, columns=columns)
    held_out = attach_roi(held_out, roi, data, columns=columns)

    batch_size = min(training.batch_size, len(fitted))
    steps_per_epoch = len(fitted) // batch_size
    steps = training.steps or cls.default_steps
    epochs = training.epochs or math.ceil(steps / steps_per_epoch)
    if not training.epochs:
        training = dataclasses.replace(training, steps=steps)
    # Built before anything is decoded: a setting that cannot be is said at once.
    model = cls(cls.prepared(method_settings), size_hw, seed=training.seed, epochs=epochs)
    return Preparation(fitted, held_out, model, training, batch_size, steps_per_epoch)


def train(
    method: str,
    data: Path,
    out: Path,
    *,
    method_settings: Any,
    training: TrainingSettings,
    roi: str = "auto",
    columns: Mapping[str, str] | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> Bundle:
    """Train a method and write its bundle.

    Checkpoints and TensorBoard logs lie in ``OUT.run`` beside the bundle.

    Args:
        method: the method's name.
        data: a folder or a manifest, as `read_records` takes it.
        out: the bundle to write.
        method_settings: of the method's settings class.
        training: how to train.
        roi: where the ROI masks are, as `attach_roi` takes it.
        columns: the manifest's column names.
        resume: go on from the last checkpoint of a run with the same settings.
        overwrite: replace a bundle that is there.

    Returns:
        The bundle's manifest.

    Raises:
        UserError: the data, a setting or the disk does not allow it.
    """
    refuse_existing(out, overwrite=overwrite)
    ready = prepare(method, data, method_settings, training, roi=roi, columns=columns)
    fitted, held_out, batch_size = ready.fitted, ready.held_out, ready.batch_size
    model, training = ready.model, ready.training
    settings = {
        "method": dataclasses.asdict(model.settings),
        "training": dataclasses.asdict(training)
        | {
            "roi": roi,
            "epochs_trained": model.epochs,
            "images": len(fitted),
            "held_out_images": len(held_out),
        },
    }
    # In an order of their own: another seed holds out other images, but the data are the same.
    used = sorted((*fitted, *held_out), key=lambda record: record.key)
    fingerprints = {
        "data": fingerprint(record.image_path for record in used),
        "roi": fingerprint(record.roi_path for record in used),
    }
    trained_on = [photograph_digest(record.image_path) for record in fitted]
    run = out.with_name(out.name + ".run")
    checkpoint = prepare_run(run, {"name": method, **settings, **fingerprints}, resume=resume)

    with ready.decode(fitted) as cache, ready.decode(held_out) as kept:
        batches = ready.batches(cache)
        loaded = model.begin(cache.labels)
        # Held-out losses are those of the parts that the method learns from.
        fitting = kept.labels == 0 if model.trains_on == "good" else kept.labels >= 0
        checked = Subset(InspectionDataset(kept), np.flatnonzero(fitting).tolist())
        checks = train_loader(checked, batch_size, training.seed, shuffle=False)
        # Small data has short epochs: held-out losses and checkpoints come every forty steps or so.
        every = min(model.epochs, max(1, round(40 / ready.steps_per_epoch)))
        history = History(model.epochs)
        try:
            with without_remarks():
                trainer = make_trainer(training, run, model.epochs, every, history)
                trainer.fit(model, batches, checks, ckpt_path=checkpoint, weights_only=True)
        except SystemExit:
            # Lightning takes a Ctrl-C and leaves with a code of its own.
            raise KeyboardInterrupt(f"{run}: interrupted; continue with --resume") from None
        except OSError as error:
            raise UserError(
                f"the run cannot be saved ({error.strerror or error})",
                where=run,
                remedy="free space, then continue with --resume",
            ) from error
        graph = model.inspection_graph().eval()
        rows = range(0, len(kept), batch_size)
        scores = np.concatenate([predict(graph, kept.images[i : i + batch_size]).pred_score for i in rows])
        if not np.isfinite(scores).all():
            raise UserError(
                "the trained network's scores are no finite numbers",
                where=out,
                remedy="train anew with a lower method.learning_rate",
            )
        groups = [record.group for record in held_out]
        threshold = choose_threshold(scores, kept.labels, groups, training.false_reject)

    if threshold.warning:
        log.warning(threshold.warning)
    bundle = Bundle(
        method=method,
        method_settings=settings["method"],
        size_hw=model.size_hw,
        threshold=threshold,
        training=settings["training"],
        history=history.curves,
        fingerprints={**fingerprints, **loaded},
        roinspect_version=__version__,
        map_share=model.map_share,
    )
    save_bundle(out, bundle, graph.state_dict(), trained_on=trained_on, overwrite=overwrite)
    (run / "last.ckpt").unlink(missing_ok=True)
    return bundle


def make_trainer(
    training: TrainingSettings, run: Path, epochs: int, every: int, history: History
) -> lightning.Trainer:
    """Lightning's trainer, with a checkpoint and held-out losses every `every` epochs."""
    saver = ModelCheckpoint(
        run, filename="last", every_n_epochs=every, save_on_train_epoch_end=True, enable_version_counter=False
    )
    try:
        return lightning.Trainer(
            max_epochs=epochs,
            accelerator=training.accelerator,
            devices=training.devices,
            strategy=training.strategy,
            precision=training.precision,  # type: ignore[arg-type]  # Lightning refuses what it does not know
            callbacks=[history, saver],
            plugins=[WholeCheckpoints()],
            logger=TensorBoardLogger(run, name="", version="tensorboard"),
            check_val_every_n_epoch=every,
            log_every_n_steps=10,
            num_sanity_val_steps=0,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
    except (ValueError, MisconfigurationException) as error:
        raise UserError(
            str(error).rstrip("."),
            where="training.accelerator, devices, strategy or precision",
            remedy="leave them at their defaults, or see Lightning's Trainer",
        ) from None
