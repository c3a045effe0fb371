"""Train a method and write its bundle: a whole training run, top to bottom."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from annotated_types import Ge, Lt

from roinspect.data.likeness import warning_of
from roinspect.data.reading import Data, read_data
from roinspect.data.records import refuse_without_good
from roinspect.data.splits import hold_out
from roinspect.images.pixels import refuse_unknown_bits
from roinspect.inspection.bundle import Bundle, refuse_existing
from roinspect.methods.method import InspectionGraph, Method, method_class
from roinspect.segmenter.roi import with_roi
from roinspect.settings import Count, Rate, check
from roinspect.training.fitting import held_out_scores
from roinspect.training.learning import Preparation, Trained, learn, prepare_learner
from roinspect.training.processes import Processes, joined
from roinspect.training.surveying import survey

log = logging.getLogger(__name__)

Aim: TypeAlias = Literal["false-reject", "best-f1"]
"""What a threshold is chosen for."""


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How to train, whatever the method.

    As `--preset paper` trains: ``TrainingSettings(**settings.training("paper"))`` of the method's `settings`.

    Attributes:
        size: height x width that images are resized to, such as "256x640", or one number for both.
        bits: that the values of 16-bit photographs fill: 10, 12, 14 or 16; kept in the bundle, for the line.
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
    bits: int = 16
    steps: Count | None = None
    epochs: Count | None = None
    batch_size: Count = 8
    seed: Annotated[int, Ge(0), Lt(2**32)] = 0
    held_out: Rate = 0.15
    threshold: Aim = "false-reject"
    false_reject: Rate = 0.01
    min_defect_pixels: Count = 1
    memory_gb: float = 4.0
    accelerator: str = "auto"
    devices: int | str = "auto"
    strategy: Literal["auto", "ddp"] = "auto"
    precision: str = "32-true"
    threads: Count | None = None

    def __post_init__(self) -> None:
        """Validate the settings."""
        check(self, "training.")
        refuse_unknown_bits(self.bits, "training.bits")


def prepare(
    method: str,
    data: Data,
    method_settings: Any,
    training: TrainingSettings,
    *,
    processes: Processes | None = None,
) -> Preparation[Method]:
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
    cls = method_class(method)
    records = data.not_test()
    refuse_without_good(records, data.path)
    kind = cls.learns_from(method_settings)
    fitted, held_out = hold_out(records, kind, training.held_out, training.seed, data.path)
    used = with_roi(data, [*fitted, *held_out])
    return prepare_learner(
        cls,
        used[: len(fitted)],
        used[len(fitted) :],
        data,
        method_settings,
        training,
        processes=processes,
        good_only=cls.trains_on == "good",
    )


def train(
    method: str,
    data: Path | str,
    out: Path | str,
    *,
    method_settings: Any = None,
    training: TrainingSettings | None = None,
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
        method_settings: of the method's settings class; None is its default preset.
        training: how to train; None is `TrainingSettings()`.
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
    data, out, training = Path(data), Path(out), training or TrainingSettings()
    if method_settings is None:
        method_settings = method_class(method).settings_class()
    with joined(training.accelerator, training.devices, training.strategy) as processes:
        # Only the first process writes, so only it may look: another one could find what it has written.
        processes.first(lambda: refuse_existing(out, overwrite=overwrite))
        source = read_data(data, roi, columns, good)
        ready = prepare(method, source, method_settings, training, processes=processes)
        finish = partial(_finished, ready, out)
        return learn(ready, source, out, finish, resume=resume, overwrite=overwrite)


def _finished(ready: Preparation[Method], out: Path, trained: Trained) -> tuple[Bundle, InspectionGraph]:
    """A trained method's manifest, with its threshold and the limits of the scene, and its graph."""
    model, training, fitted, held_out = ready.model, ready.training, trained.fitted, trained.held_out
    scores = held_out_scores(model, held_out, ready.batch_size, out)
    rate = training.false_reject if training.threshold == "false-reject" else None
    fitted_groups = [record.group for record in ready.fitted]
    left_out = None
    # A val split is there to set the threshold, alone.
    if rate is not None and not any(record.split == "val" for record in ready.held_out):
        left_out = model.left_out_scores(fitted, fitted_groups)
    groups = [record.group for record in ready.held_out]
    threshold, metrics = model.judge(scores, held_out, groups, rate, left_out)
    good_parts = [
        (record, taken)
        for decoded in (fitted, held_out)
        for record, taken in zip(decoded.records, decoded.taken, strict=True)
        if record.label == 0
    ]
    undeclared = warning_of([record for record, _ in good_parts], [taken for _, taken in good_parts])
    for warning in (threshold.warning, undeclared):
        if warning:
            log.warning(warning)
    graph = model.inspection_graph().eval()
    bundle = Bundle(
        method=model.name,
        threshold=threshold,
        metrics=metrics,
        map_share=model.map_share,
        scene=survey(graph, fitted, fitted_groups, held_out),
        **trained.about,
    )
    return bundle, graph
