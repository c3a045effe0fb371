"""The whole of a training, top to bottom, whatever learns: records and settings to a bundle."""

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
from torch import nn
from torch.utils.data import DataLoader, Subset

from roinspect.data.account import missed_line
from roinspect.data.dataset import DecodedCache, refuse_empty_defects
from roinspect.data.loader import Batch, InspectionDataset, train_loader
from roinspect.data.reading import Data
from roinspect.data.records import Record
from roinspect.data.splits import refuse_one_kind
from roinspect.errors import UserError
from roinspect.images.pixels import parse_size
from roinspect.inspection.bundle import Bundle, save_bundle
from roinspect.methods.learner import Learner
from roinspect.segmenter.segmenter_bundle import SegmenterBundle
from roinspect.training.fitting import fit
from roinspect.training.history import History
from roinspect.training.processes import Processes
from roinspect.training.runs import fingerprints_of, prepare_run, refuse_differences
from roinspect.version import __version__

if TYPE_CHECKING:
    from roinspect.training.settings import TrainingSettings

log = logging.getLogger(__name__)

AnyLearner = TypeVar("AnyLearner", bound=Learner)
AnyBundle = TypeVar("AnyBundle", Bundle, SegmenterBundle)


@dataclass(frozen=True, slots=True)
class Preparation(Generic[AnyLearner]):
    """What is ready before the first step of a training.

    Attributes:
        fitted: records to train on, with their ROI.
        held_out: records that the threshold comes from, likewise.
        model: the learner with fresh weights, its settings and its number of epochs.
        training: how to train; `steps` or `epochs` is given.
        batch_size: images per step and process, no more than there are.
        steps_per_epoch: of whole batches.
        processes: that share the images.
        good_only: whether the held-out losses are those of good parts alone.
    """

    fitted: list[Record]
    held_out: list[Record]
    model: AnyLearner
    training: TrainingSettings
    batch_size: int
    steps_per_epoch: int
    processes: Processes
    good_only: bool

    def decode(self, records: Sequence[Record]) -> DecodedCache:
        """The records' pixels; to be closed."""
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
        """This process's training batches, in an order that depends on the seed and the epoch alone."""
        share = (self.processes.rank, self.processes.count)
        return train_loader(InspectionDataset(fitted), self.batch_size, self.training.seed, share=share)

    def checks(self, held_out: DecodedCache) -> DataLoader[Batch]:
        """This process's batches for the held-out losses: of parts that the method learns from."""
        labels = held_out.labels
        fitting = labels == 0 if self.good_only else labels >= 0
        checked = Subset(InspectionDataset(held_out), np.flatnonzero(fitting).tolist())
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
    """As `prepare`, of any learner whose records are chosen and have their ROI.

    Raises:
        UserError: a setting does not allow it.
    """
    processes = processes or Processes()
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
    epochs = training.epochs or math.ceil(steps / steps_per_epoch)
    is_asked = training.steps is not None or training.epochs is not None
    if not training.epochs:
        training = dataclasses.replace(training, steps=steps)
    # Built before anything is decoded: a setting that is not possible is said at once.
    model = cls(cls.prepared(settings), size_hw, seed=training.seed, epochs=epochs)
    if cls.most_steps and not is_asked:
        model.most_epochs = max(epochs, math.ceil(cls.most_steps / steps_per_epoch))
    # Last: what goes wrong before is told alone.
    if processes.rank == 0 and (unused := missed_line(data)):
        log.warning(unused)
    return Preparation(fitted, held_out, model, training, batch_size, steps_per_epoch, processes, good_only)


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training leaves in the first process.

    Attributes:
        fitted: the decoded photographs that were trained on.
        held_out: likewise of those that were held out.
        about: what every manifest says of a training: settings, curves and fingerprints, by field.
    """

    fitted: DecodedCache
    held_out: DecodedCache
    about: dict[str, Any]


def learn(
    ready: Preparation[Any],
    data: Data,
    out: Path,
    finish: Callable[[Trained], tuple[AnyBundle, nn.Module]],
    *,
    resume: bool,
    overwrite: bool,
) -> AnyBundle:
    """Decode, train, and write the bundle that `finish` makes of it.

    Args:
        ready: the learner and its photographs.
        data: where they come from.
        out: the bundle to write.
        finish: takes what the training leaves; returns the manifest and the graph to write.
        resume: go on from the last checkpoint of a run with the same settings.
        overwrite: replace a bundle that is there.

    Returns:
        The manifest; other processes than the first return none, and leave.

    Raises:
        UserError: the photographs, a setting or the disk does not allow it.
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
    run = out.with_name(out.name + ".run")
    bundle: Any = None
    with ready.decode(ready.fitted) as fitted, ready.decode(ready.held_out) as held_out:
        fingerprints = fingerprints_of(fitted, held_out)
        note = {"name": model.name, **settings, **fingerprints}
        refuse_differences(processes.first(lambda: note), note, rank=processes.rank)
        checkpoint = processes.first(lambda: prepare_run(run, note, resume=resume))
        history = History(model.epochs)
        processes.farewell(history.stop)
        if ready.training.threshold == "best-f1":
            refuse_one_kind(held_out.labels, data.path)
        loaded = model.begin(fitted.labels)
        batches, checks = ready.batches(fitted), ready.checks(held_out)
        # Small data has short epochs: held-out losses and checkpoints come every forty steps or so.
        every = min(model.epochs, max(1, round(40 / ready.steps_per_epoch)))
        fit(
            model,
            batches,
            checks,
            processes,
            run,
            precision=ready.training.precision,
            every=every,
            history=history,
            checkpoint=checkpoint,
        )
        if processes.rank == 0:
            # A graphics card would take convolutions in TF32, a thousandth off what the line computes.
            torch.backends.cudnn.allow_tf32 = False
            about = {
                "method_settings": settings["method"],
                "size_hw": model.size_hw,
                "bits": ready.training.bits,
                "training": settings["training"] | {"epochs_trained": model.current_epoch},
                "history": history.curves,
                "fingerprints": {**fingerprints, **loaded},
                "roinspect_version": __version__,
            }
            bundle, graph = finish(Trained(fitted, held_out, about))
            save_bundle(out, bundle, graph.state_dict(), trained_on=fitted.digests, overwrite=overwrite)
            (run / "last.ckpt").unlink(missing_ok=True)
    return bundle  # type: ignore[no-any-return]
