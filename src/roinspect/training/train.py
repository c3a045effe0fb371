"""Records and a method's settings to a bundle: the whole of a training run, top to bottom."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import lightning
import numpy as np
import torch
from torch.utils.data import DataLoader, Subset

from roinspect.data.account import missed_line
from roinspect.data.dataset import DecodedCache, refuse_empty_defects
from roinspect.data.likeness import warning_of
from roinspect.data.loader import Batch, InspectionDataset, train_loader
from roinspect.data.reading import Data, read_data
from roinspect.data.records import Record, refuse_without_good
from roinspect.data.splits import hold_out, refuse_one_kind
from roinspect.errors import UserError
from roinspect.images.pixels import parse_size
from roinspect.inspection.bundle import SEGMENTER, Bundle, refuse_existing, save_bundle
from roinspect.methods.method import Method, method_class
from roinspect.segmenter.roi import with_drawn_roi, with_roi
from roinspect.training.fitting import fit, held_out_scores
from roinspect.training.history import History
from roinspect.training.processes import Processes, joined
from roinspect.training.runs import fingerprints_of, prepare_run, refuse_differences
from roinspect.training.surveying import survey
from roinspect.version import __version__

log = logging.getLogger(__name__)

Aim: TypeAlias = Literal["false-reject", "best-f1"]
"""What a threshold is chosen for."""


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How to train, whatever the method.

    As `--preset paper` trains: ``TrainingSettings(**settings.training("paper"))`` of the method's `settings`.

    Attributes:
        size: height x width that images are resized to, such as "256x640", or one number for both.
        steps: training steps, rounded up to whole epochs; None is the method's own default, and lets a method
            that looks at held-out parts go on for as long as they get better.
        epochs: epochs, instead of `steps`.
        batch_size: images per step and device.
        seed: fixes everything on one machine.
        held_out: share of the good training images kept for the threshold, where there is no val split.
        threshold: "false-reject" rejects no more good parts than asked, "best-f1" has the best F1 on held-out
            parts of both kinds, however many good ones that rejects.
        false_reject: share of all good parts that may be rejected.
        min_defect_pixels: defective pixels inside the ROI that make a part defective.
        memory_gb: decoded images are kept in memory up to this much, else in a file; for each device.
        accelerator: "auto", "cpu", "gpu": as Lightning takes it.
        devices: how many of each machine, as Lightning takes it; "auto" is as many as torchrun or SLURM has
            started processes for, else one.
        strategy: "ddp" trains on several devices, each with its share of the images; "auto" likewise where
            there are several.
        precision: "32-true", "bf16-mixed", "16-mixed": as Lightning takes it.
        threads: CPU threads of each device; None is all cores, shared out.
    """

    size: str = "256"
    steps: int | None = None
    epochs: int | None = None
    batch_size: int = 8
    seed: int = 0
    held_out: float = 0.15
    threshold: Aim = "false-reject"
    false_reject: float = 0.01
    min_defect_pixels: int = 1
    memory_gb: float = 4.0
    accelerator: str = "auto"
    devices: int | str = "auto"
    strategy: str = "auto"
    precision: str = "32-true"
    threads: int | None = None

    def __post_init__(self) -> None:
        """Validate the settings."""
        for name in ("steps", "epochs", "batch_size", "min_defect_pixels", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"must be at least 1, not {value}", where=f"training.{name}")
        for name in ("held_out", "false_reject"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"must lie in [0, 1), not {getattr(self, name)}", where=f"training.{name}")
        if not 0 <= self.seed < 2**32:
            raise UserError(f"must lie in [0, 2**32), not {self.seed}", where="training.seed")
        if self.threshold not in get_args(Aim):
            raise UserError(
                f"{self.threshold!r} is not known",
                where="training.threshold",
                remedy=f"use {' or '.join(get_args(Aim))}",
            )
        if self.strategy not in ("auto", "ddp"):
            raise UserError(
                f"{self.strategy!r} is not known", where="training.strategy", remedy="use auto or ddp"
            )


@dataclass(frozen=True, slots=True)
class Preparation:
    """What is ready before the first step of a training.

    Attributes:
        fitted: records to train on, with their ROI.
        held_out: records that the threshold comes from, likewise.
        model: the method with fresh weights, its settings and its number of epochs.
        training: how to train; `steps` or `epochs` is given.
        batch_size: images per step and process, no more than there are.
        steps_per_epoch: of whole batches.
        processes: that share the images.
    """

    fitted: list[Record]
    held_out: list[Record]
    model: Method
    training: TrainingSettings
    batch_size: int
    steps_per_epoch: int
    processes: Processes

    def decode(self, records: Sequence[Record]) -> DecodedCache:
        """The records' pixels; to be closed."""
        cache = DecodedCache(
            records,
            self.model.size_hw,
            memory_bytes=int(self.training.memory_gb * 2**30),
            min_pixels=self.training.min_defect_pixels,
        )
        self.processes.farewell(cache.close)
        refuse_empty_defects(cache.records, cache.places)
        return cache

    def batches(self, fitted: DecodedCache) -> DataLoader[Batch]:
        """This process's training batches, in an order that depends on the seed and the epoch alone."""
        share = (self.processes.rank, self.processes.count)
        return train_loader(InspectionDataset(fitted), self.batch_size, self.training.seed, share=share)

    def checks(self, held_out: DecodedCache) -> DataLoader[Batch]:
        """This process's batches for the held-out losses: of parts that the method learns from."""
        labels = held_out.labels
        fitting = labels == 0 if self.model.trains_on == "good" else labels >= 0
        checked = Subset(InspectionDataset(held_out), np.flatnonzero(fitting).tolist())
        share = (self.processes.rank, self.processes.count)
        return train_loader(checked, self.batch_size, self.training.seed, share=share, shuffle=False)


def prepare(
    method: str,
    data: Data,
    method_settings: Any,
    training: TrainingSettings,
    *,
    processes: Processes | None = None,
) -> Preparation:
    """Settle what a training is of, and build the model; no image is decoded yet.

    Everything random after it follows from the seed.

    Args:
        method: the method's name.
        data: what to learn from.
        method_settings: of the method's settings class.
        training: how to train.
        processes: that train together; None is this one alone.

    Raises:
        UserError: the data or a setting does not allow it.
    """
    processes = processes or Processes()
    size_hw = parse_size(training.size)
    if training.threads:
        torch.set_num_threads(training.threads)
    lightning.seed_everything(training.seed, verbose=False)
    cls = method_class(method)
    records = data.not_test()
    kind = cls.learns_from(method_settings)
    if kind != "roi":
        refuse_without_good(records, data.path)
    if kind == "roi":
        records = with_drawn_roi(data, records)
        fitted, held_out = hold_out(records, "all", training.held_out, training.seed, data.path)
    else:
        fitted, held_out = hold_out(records, kind, training.held_out, training.seed, data.path)
        used = with_roi(data, [*fitted, *held_out])
        fitted, held_out = used[: len(fitted)], used[len(fitted) :]

    share = len(fitted) // processes.count
    if not share:
        raise UserError(
            f"{len(fitted)} training images cannot be shared among {processes.count} processes",
            where="training.devices",
            remedy="use fewer",
        )
    batch_size = min(training.batch_size, share)
    steps_per_epoch = share // batch_size
    steps = training.steps or cls.default_steps
    epochs = training.epochs or math.ceil(steps / steps_per_epoch)
    is_asked = training.steps is not None or training.epochs is not None
    if not training.epochs:
        training = dataclasses.replace(training, steps=steps)
    # Built before anything is decoded: a setting that cannot be is said at once.
    model = cls(cls.prepared(method_settings), size_hw, seed=training.seed, epochs=epochs)
    if cls.most_steps and not is_asked:
        model.most_epochs = max(epochs, math.ceil(cls.most_steps / steps_per_epoch))
    # Last: what goes wrong before is told alone.
    if processes.rank == 0 and (unused := missed_line(data)):
        log.warning(unused)
    return Preparation(fitted, held_out, model, training, batch_size, steps_per_epoch, processes)


def train(
    method: str,
    data: Path,
    out: Path,
    *,
    method_settings: Any,
    training: TrainingSettings,
    roi: str = "auto",
    columns: Mapping[str, str] | None = None,
    good: Sequence[str] | None = None,
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
        roi: where the ROI masks are, as `with_roi` takes it.
        columns: the manifest's column names.
        good: names of good parts' folders or labels, as `read_records` takes them; kept in the bundle.
        resume: go on from the last checkpoint of a run with the same settings.
        overwrite: replace a bundle that is there.

    Returns:
        The bundle's manifest.

    Raises:
        UserError: the data, a setting or the disk does not allow it.
    """
    with joined(training.accelerator, training.devices, training.strategy) as processes:
        # Only the first process writes, so only it may look: another one could find what it has written.
        processes.first(lambda: refuse_existing(out, overwrite=overwrite))
        source = read_data(data, roi, columns, good)
        ready = prepare(method, source, method_settings, training, processes=processes)
        model = ready.model
        settings = {
            "method": dataclasses.asdict(model.settings),
            "training": dataclasses.asdict(ready.training)
            | {
                "roi": roi,
                **({"good": [*good]} if good else {}),
                "epochs_trained": model.epochs,
                "images": len(ready.fitted),
                "held_out_images": len(ready.held_out),
                "processes": processes.count,
            },
        }
        run = out.with_name(out.name + ".run")
        with ready.decode(ready.fitted) as cache, ready.decode(ready.held_out) as kept:
            fingerprints = fingerprints_of(cache, kept)
            note = {"name": method, **settings, **fingerprints}
            refuse_differences(processes.first(lambda: note), note, rank=processes.rank)
            checkpoint = processes.first(lambda: prepare_run(run, note, resume=resume))
            history = History(model.epochs)
            processes.farewell(history.stop)
            if training.threshold == "best-f1":
                refuse_one_kind(kept.labels, data)
            loaded = model.begin(cache.labels)
            batches, checks = ready.batches(cache), ready.checks(kept)
            # Small data has short epochs: held-out losses and checkpoints come every forty steps or so.
            every = min(model.epochs, max(1, round(40 / ready.steps_per_epoch)))
            fit(
                model,
                batches,
                checks,
                processes,
                run,
                precision=training.precision,
                every=every,
                history=history,
                checkpoint=checkpoint,
            )
            if processes.rank == 0:
                scores = held_out_scores(model, kept, ready.batch_size, out)
                groups = [record.group for record in ready.held_out]
                rate = training.false_reject if training.threshold == "false-reject" else None
                left_out = None
                # A val split is there to set the threshold, alone.
                if rate is not None and not any(record.split == "val" for record in ready.held_out):
                    left_out = model.left_out_scores(cache, [record.group for record in ready.fitted])
                threshold, metrics = model.judge(scores, kept, groups, rate, left_out)
                good_parts = [
                    (record, taken)
                    for decoded in (cache, kept)
                    for record, taken in zip(decoded.records, decoded.taken, strict=True)
                    if record.label == 0
                ]
                records, taken = [record for record, _ in good_parts], [taken for _, taken in good_parts]
                for warning in (threshold.warning, warning_of(records, taken)):
                    if warning:
                        log.warning(warning)
                graph = model.inspection_graph().eval()
                scene = None
                # A segmenter gives no verdicts.
                if method != SEGMENTER:
                    scene = survey(graph, cache, [record.group for record in ready.fitted], kept)
                bundle = Bundle(
                    method=method,
                    method_settings=settings["method"],
                    size_hw=model.size_hw,
                    threshold=threshold,
                    training=settings["training"] | {"epochs_trained": model.current_epoch},
                    history=history.curves,
                    metrics=metrics,
                    fingerprints={**fingerprints, **loaded},
                    roinspect_version=__version__,
                    map_share=model.map_share,
                    scene=scene,
                )
                save_bundle(out, bundle, graph.state_dict(), trained_on=cache.digests, overwrite=overwrite)
                (run / "last.ckpt").unlink(missing_ok=True)
    return bundle
