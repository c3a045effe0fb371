"""Train a method and write its bundle."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.loggers import Logger

from roinspect.data.loader import Augment
from roinspect.data.reading import Data, read_data
from roinspect.data.records import Record, refuse_without_good
from roinspect.data.roi import find_roi
from roinspect.data.splits import hold_out
from roinspect.inspection.bundle import Bundle, refuse_existing
from roinspect.methods.loading import start_from as start_from_bundle
from roinspect.methods.method import InspectionGraph, Method, method_class, predict
from roinspect.segmenter.roi import PREFIX, with_roi
from roinspect.training.fitting import held_out_scores
from roinspect.training.judging import judged, takes_left_out
from roinspect.training.learning import Preparation, Trained, learn, prepare_learner
from roinspect.training.processes import Processes, joined
from roinspect.training.references import with_references
from roinspect.training.settings import TrainingSettings
from roinspect.training.surveying import survey, usual
from roinspect.training.tiled import train_on_tiles

log = logging.getLogger(__name__)


def prepare(
    method: str,
    data: Data,
    method_settings: Any,
    training: TrainingSettings,
    *,
    processes: Processes | None = None,
) -> Preparation[Method]:
    """Choose the records of a training and build the model, without decoding an image.

    Sets the random seed.

    Args:
        method: the method's name.
        data: the data set.
        method_settings: an instance of the method's settings class.
        training: training settings.
        processes: of the training; None for a single process.

    Raises:
        UserError: the data or a setting is invalid.
    """
    cls = method_class(method)
    records = data.not_test()
    refuse_without_good(records, data.path)
    if data.roi == "none":
        method_settings = cls.without_region(method_settings)
    kind = cls.learns_from(method_settings)
    if cls.trains_on == "good" and kind == "all":
        records = _without_useless(data, records)
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


def _without_useless(data: Data, records: Sequence[Record]) -> list[Record]:
    """All but the training photographs that cannot help a method to which defective ones are optional.

    These are photographs without label and mask, and defective ones without an ROI.
    """
    kept = [r for r in records if r.split != "train" or r.label is not None or r.mask_path is not None]
    optional = {record.image_path for record in kept if record.split == "train" and record.label != 0}
    if not optional or data.roi == "none" or data.roi.startswith(PREFIX):
        return kept
    lacking = {record.image_path for record in find_roi(data, kept)[0] if record.roi_path is None} & optional
    if lacking:
        log.warning(
            f"{len(lacking)} of {len(optional)} defective training photographs have no ROI mask and are not "
            "used"
        )
    return [record for record in kept if record.image_path not in lacking]


def train(
    method: str,
    data: Data | Path | str,
    out: Path | str,
    *,
    method_settings: Any = None,
    training: TrainingSettings | None = None,
    roi: str = "auto",
    columns: Mapping[str, str] | None = None,
    good: Sequence[str] | None = None,
    start_from: Path | str | None = None,
    loggers: Sequence[Logger] = (),
    callbacks: Sequence[lightning.Callback] = (),
    augment: Augment | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> Bundle:
    """Train a method and write its bundle.

    Checkpoints and TensorBoard logs are written to ``OUT.run``.

    Args:
        method: the method's name.
        data: a folder or a manifest, see `read_records`, or what `read_data` has read of one, perhaps with
            fewer records; then `roi`, `columns` and `good` are its own.
        out: the bundle to write.
        method_settings: an instance of the method's settings class; None for the default preset.
        training: training settings; None for `TrainingSettings()`.
        roi: source of the ROI masks, see `with_roi`.
        columns: the manifest's column names.
        good: folder names or labels of good parts, see `read_records`; stored in the bundle.
        start_from: bundle of the same method and settings whose weights are the initial ones. Not for
            roibank, which computes its memory from all photographs.
        loggers: of Lightning, such as its `MLFlowLogger` or `WandbLogger`, beside the TensorBoard log.
        callbacks: of Lightning.
        augment: changes the training batches, uint8 and on the CPU, before the method's own augmentation.
            With random numbers from torch's default generator a training repeats itself, but not after a
            resume. roibank looks at each photograph once for its memory, so it keeps one variant of each.
        resume: continue from the last checkpoint of a run with the same settings.
        overwrite: replace an existing bundle.

    Returns:
        The bundle's manifest.

    Raises:
        UserError: the data or a setting is invalid, or a file cannot be written.
    """
    out, training = Path(out), training or TrainingSettings()
    if method_settings is None:
        method_settings = method_class(method).settings_class()
    with joined(training.accelerator, training.devices, training.strategy) as processes:
        # Only the first process checks, as the others could find files that it has just written.
        processes.first(lambda: refuse_existing(out, overwrite=overwrite))
        source = data if isinstance(data, Data) else read_data(data, roi, columns, good)
        start = None if start_from is None else Path(start_from)
        ready = replace(
            prepare(method, source, method_settings, training, processes=processes),
            start_from=start,
            loggers=loggers,
            callbacks=callbacks,
            augment=augment,
        )
        if start is not None:
            # Errors come before any photograph is decoded.
            start_from_bundle(ready.model, start)
        if training.tile is not None:
            return train_on_tiles(ready, source, out, resume=resume, overwrite=overwrite)
        finish = partial(_finished, ready, out)
        return learn(ready, source, out, finish, resume=resume, overwrite=overwrite)


def _finished(
    ready: Preparation[Method], out: Path, trained: Trained
) -> tuple[Bundle, InspectionGraph, dict[str, bytes]]:
    """Manifest, with threshold, limits of the scene and references, graph, and the references' files."""
    model, fitted, held_out = ready.model, trained.fitted, trained.held_out
    scores = held_out_scores(model, held_out, ready.batch_size, out)
    left_out = None
    if takes_left_out(ready):
        left_out = model.left_out_scores(fitted, [record.group for record in ready.fitted])
    threshold, metrics = judged(model.judge, ready, scores, fitted, held_out, left_out)
    graph = model.inspection_graph().eval()
    limits, scenes = survey(graph, fitted, [record.group for record in ready.fitted], held_out)
    bundle = Bundle(
        method=model.name,
        threshold=threshold,
        metrics=metrics,
        map_share=model.map_share,
        scene=limits,
        usual=usual(scores, scenes, held_out),
        **trained.about,
    )
    bundle, photographs = with_references(
        bundle,
        ready.held_out,
        held_out.labels,
        scores,
        ready.training.references,
        whole=partial(predict, graph),
    )
    return bundle, graph, photographs
