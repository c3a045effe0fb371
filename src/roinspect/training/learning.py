"""A complete training of any learner: from records and settings to a bundle."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import lightning
import numpy as np
import torch
from lightning.pytorch.loggers import Logger
from torch import nn
from torch.utils.data import DataLoader, Subset

from roinspect.data.account import missed_line
from roinspect.data.dataset import DecodedCache, refuse_empty_defects
from roinspect.data.loader import Augment, Batch, InspectionDataset, train_loader
from roinspect.data.reading import Data
from roinspect.data.records import Record
from roinspect.data.splits import refuse_one_kind
from roinspect.errors import UserError
from roinspect.images.pixels import parse_size
from roinspect.inspection.bundle import Bundle, bundle_version, save_bundle
from roinspect.methods.learner import Learner
from roinspect.methods.loading import start_from
from roinspect.segmenter.segmenter_bundle import SegmenterBundle
from roinspect.training.fitting import fit
from roinspect.training.history import History
from roinspect.training.memory_need import refuse_too_little_memory
from roinspect.training.precision import precision_of
from roinspect.training.processes import Processes
from roinspect.training.runs import fingerprints_of, prepare_run, refuse_differences
from roinspect.version import __version__

if TYPE_CHECKING:
    from roinspect.training.settings import TrainingSettings

log = logging.getLogger(__name__)

CHECKPOINT = "last.ckpt"
MOST_CHECKED = 2000
"""Held-out photographs, evenly spread, of which the losses are computed."""

AnyLearner = TypeVar("AnyLearner", bound=Learner)
AnyBundle = TypeVar("AnyBundle", Bundle, SegmenterBundle)


@dataclass(frozen=True, slots=True)
class Preparation(Generic[AnyLearner]):
    """A training before its first step.

    Attributes:
        fitted: records to train on, with their ROI.
        held_out: records for the threshold, with their ROI.
        model: the learner with initial weights, its settings and its number of epochs.
        training: training settings; `steps` or `epochs` is set.
        batch_size: images per step and process, at most the process's share.
        steps_per_epoch: number of full batches, or of steps if they are fewer.
        processes: that share the images.
        good_only: compute the held-out losses on good parts only.
        start_from: bundle whose weights are the initial ones; None for the method's own.
        loggers: of Lightning, beside the TensorBoard log.
        callbacks: of Lightning.
        augment: applied to the training batches.
    """

    fitted: list[Record]
    held_out: list[Record]
    model: AnyLearner
    training: TrainingSettings
    batch_size: int
    steps_per_epoch: int
    processes: Processes
    good_only: bool
    start_from: Path | None = None
    loggers: Sequence[Logger] = ()
    callbacks: Sequence[lightning.Callback] = ()
    augment: Augment | None = None

    def decode(self, records: Sequence[Record]) -> DecodedCache:
        """The pixels of the records; the caller closes the cache."""
        cache = DecodedCache(
            records,
            self.model.size_hw,
            memory_bytes=int(self.training.memory_gb * 2**30),
            min_pixels=self.training.min_defect_pixels,
            bits=self.training.bits,
        )
        self.processes.farewell(cache.close)
        refuse_empty_defects(cache.records, cache.places)
        return cache

    def batches(self, fitted: DecodedCache) -> DataLoader[Batch]:
        """This process's training batches; their order depends only on the seed and the epoch."""
        share = (self.processes.rank, self.processes.count)
        dataset = InspectionDataset(fitted, self.augment)
        return train_loader(dataset, self.batch_size, self.training.seed, share=share)

    def checks(self, held_out: DecodedCache) -> DataLoader[Batch]:
        """This process's batches for the held-out losses, of parts that the method learns from."""
        labels = held_out.labels
        fitting = labels == 0 if self.good_only else labels >= 0
        rows = np.flatnonzero(fitting)
        rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), MOST_CHECKED)).round().astype(int)]
        checked = Subset(InspectionDataset(held_out), rows.tolist())
        share = (self.processes.rank, self.processes.count)
        return train_loader(checked, self.batch_size, self.training.seed, share=share, shuffle=False)


def prepare_learner(
    cls: type[AnyLearner],
    fitted: list[Record],
    held_out: list[Record],
    data: Data,
    settings: Any,
    training: TrainingSettings,
    *,
    processes: Processes | None = None,
    good_only: bool = False,
) -> Preparation[AnyLearner]:
    """Prepare any learner, given its records with their ROI; see `prepare`.

    Raises:
        UserError: a setting is invalid, or a step takes more memory than is free.
    """
    processes = processes or Processes()
    precision = precision_of(training.precision, training.accelerator, mixes=cls.mixes)
    training = dataclasses.replace(training, precision=precision)
    size_hw = parse_size(training.size)
    if training.threads:
        torch.set_num_threads(training.threads)
    lightning.seed_everything(training.seed, verbose=False)
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
    if not training.epochs:
        # Of many photographs an epoch takes a random part, as nothing is learned for longer than asked for.
        steps_per_epoch = min(steps_per_epoch, steps)
    epochs = training.epochs or math.ceil(steps / steps_per_epoch)
    is_length_set = training.steps is not None or training.epochs is not None
    if not training.epochs:
        training = dataclasses.replace(training, steps=steps)
    # Built before any image is decoded, so that invalid settings fail at once.
    model = cls(cls.prepared(settings), size_hw, seed=training.seed, epochs=epochs)
    if cls.most_steps and not is_length_set:
        model.most_epochs = max(epochs, math.ceil(cls.most_steps / steps_per_epoch))
    refuse_too_little_memory(model, batch_size, training.accelerator, training.precision)
    # Last, so that an error above is not preceded by this warning.
    if processes.rank == 0 and (unused := missed_line(data)):
        log.warning(unused)
    return Preparation(fitted, held_out, model, training, batch_size, steps_per_epoch, processes, good_only)


@dataclass(frozen=True, slots=True)
class Trained:
    """The result of a training, in the first process.

    Attributes:
        fitted: the decoded training photographs.
        held_out: the decoded held-out photographs.
        about: manifest fields common to all learners: settings, curves and fingerprints.
    """

    fitted: DecodedCache
    held_out: DecodedCache
    about: dict[str, Any]


def learn(
    ready: Preparation[Any],
    data: Data,
    out: Path,
    finish: Callable[[Trained], tuple[AnyBundle, nn.Module, dict[str, bytes]]],
    *,
    resume: bool,
    overwrite: bool,
) -> AnyBundle:
    """Decode, train, and write the bundle returned by `finish`.

    Args:
        ready: the learner and its photographs.
        data: the source of the photographs.
        out: the bundle to write.
        finish: turns the result of the training into the manifest and the graph to write, and the files of
            the manifest's references by name.
        resume: continue from the last checkpoint of a run with the same settings.
        overwrite: replace an existing bundle.

    Returns:
        The manifest; None in other processes than the first, which then exit.

    Raises:
        UserError: a photograph or a setting is invalid, or the bundle cannot be written.
    """
    with ready.decode(ready.fitted) as fitted, ready.decode(ready.held_out) as held_out:
        trained = teach(ready, data, run_folder(out), fitted, held_out, resume=resume)
        if ready.processes.rank:
            return None  # type: ignore[return-value]
        bundle, graph, photographs = finish(trained)
        save_bundle(
            out,
            bundle,
            graph.state_dict(),
            trained_on=fitted.digests,
            held_out=held_out.digests,
            photographs=photographs,
            overwrite=overwrite,
        )
        (run_folder(out) / CHECKPOINT).unlink(missing_ok=True)
        return bundle


def run_folder(out: Path) -> Path:
    """The folder of the training whose bundle is `out`."""
    return out.with_name(out.name + ".run")


def teach(
    ready: Preparation[Any],
    data: Data,
    run: Path,
    fitted: DecodedCache,
    held_out: DecodedCache,
    *,
    resume: bool,
) -> Trained:
    """Train on decoded photographs or tiles.

    Args:
        ready: the learner.
        data: the source of the photographs.
        run: the folder for checkpoints and logs.
        fitted: to train on.
        held_out: for the held-out losses.
        resume: continue from the last checkpoint of a run with the same settings.

    Raises:
        UserError: a setting is invalid.
    """
    model, processes = ready.model, ready.processes
    settings: dict[str, Any] = {
        "method": dataclasses.asdict(model.settings),
        "training": dataclasses.asdict(ready.training)
        | {
            "roi": data.roi,
            **({"good": list(data.good)} if data.good else {}),
            "epochs_trained": model.epochs,
            "images": len(ready.fitted),
            "held_out_images": len(ready.held_out),
            "processes": processes.count,
        },
    }
    fingerprints = fingerprints_of(fitted, held_out)
    if ready.start_from is not None:
        settings["training"]["started_from"] = bundle_version(ready.start_from)
    if ready.augment is not None:
        name = getattr(ready.augment, "__qualname__", type(ready.augment).__qualname__)
        settings["training"]["augmented_by"] = f"{ready.augment.__module__}.{name}"
    identity = {"name": model.name, **settings, **fingerprints}
    refuse_differences(processes.first(lambda: identity), identity, rank=processes.rank)
    checkpoint = processes.first(lambda: prepare_run(run, identity, resume=resume))
    history = History(model.epochs)
    processes.farewell(history.stop)
    if ready.training.threshold == "best-f1":
        refuse_one_kind(held_out.labels, data.path)
    weights = model.begin(fitted.labels)
    if ready.start_from is not None:
        start_from(model, ready.start_from)
    batches, checks = ready.batches(fitted), ready.checks(held_out)
    # With little data epochs are short: compute held-out losses and save about every 40 steps.
    every = min(model.epochs, max(1, round(40 / ready.steps_per_epoch)))
    fit(
        model,
        batches,
        checks,
        processes,
        run,
        precision=ready.training.precision,
        every=every,
        steps_per_epoch=ready.steps_per_epoch,
        history=history,
        checkpoint=checkpoint,
        loggers=ready.loggers,
        callbacks=ready.callbacks,
    )
    # On a GPU, TF32 convolutions would differ by about 0.1 % from inference in production.
    torch.backends.cudnn.allow_tf32 = False
    about = {
        "method_settings": settings["method"],
        "size_hw": model.size_hw,
        "bits": ready.training.bits,
        "training": settings["training"] | {"epochs_trained": model.current_epoch},
        "history": history.curves,
        "fingerprints": {**fingerprints, **weights},
        "roinspect_version": __version__,
    }
    return Trained(fitted, held_out, about)
