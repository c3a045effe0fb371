"""One job of a comparison: one method, one seed, one data set, here or on another machine."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from roinspect.comparison.contender import Scored, run_contender
from roinspect.comparison.peers import run_peer
from roinspect.data.reading import Data, read_data
from roinspect.data.records import Record
from roinspect.data.splits import hold_out
from roinspect.errors import UserError
from roinspect.inspection.plain import from_plain
from roinspect.methods.registry import METHODS, settings_class
from roinspect.segmenter.roi import absolute_roi, with_roi

Preset: TypeAlias = Literal["compact", "paper"]
Accelerator: TypeAlias = Literal["auto", "cpu", "gpu"]

HELD_OUT = 0.15
"""Share of the good training images that no method trains on; ours set their thresholds with them."""


@dataclass(frozen=True, slots=True)
class ComparisonJob:
    """A training and test to run.

    Attributes:
        method: one of ours or of anomalib's.
        seed: for weights, order, noise and the choice of held-out images.
        data: a folder or a manifest, as in `read_records`.
        size_hw: height and width that images are resized to.
        batch_size: images per training step.
        budget_seconds: time for training; infinite if nothing but the epochs limits it.
        threads: CPU threads.
        log: file for its output.
        roi: where the ROI masks are, as in `with_roi`.
        columns: the manifest's column names.
        good: names of good parts' folders or labels.
        textures: see `run_peer`.
        limit_seconds: after which a training that exceeds its budget is killed.
        settings: of the method, where they differ from its preset or anomalib's defaults.
        bits: see `read_image`.
        preset: of our method's settings.
        epochs: length of the training; None: as long as the budget allows, or the method's default.
        accelerator: "auto", "cpu" or "gpu".
        title: names the job's files if a method has several jobs.
    """

    method: str
    seed: int
    data: Path
    size_hw: tuple[int, int]
    batch_size: int
    budget_seconds: float
    threads: int
    log: Path
    roi: str = "auto"
    columns: Mapping[str, str] = field(default_factory=dict, hash=False)
    good: tuple[str, ...] | None = None
    textures: Path | None = None
    limit_seconds: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)
    bits: int = 16
    preset: Preset = "compact"
    epochs: int | None = None
    accelerator: Accelerator = "auto"
    title: str = ""

    @property
    def name(self) -> str:
        """For its files, which have no colon on Windows."""
        return f"{(self.title or self.method).replace(':', '-')}-seed{self.seed}"

    @property
    def is_ours(self) -> bool:
        """Whether the method is one of this project's."""
        return self.method in METHODS


def records_to_test(data: Data) -> list[Record]:
    """The test records of every method, with their ROI masks.

    Raises:
        UserError: the test split is empty.
    """
    records = data.split("test")
    if not records:
        raise UserError(
            "no photographs in the test split", where=data.path, remedy="add some; see `roinspect check`"
        )
    return with_roi(data, records)


def method_settings(method: str, preset: Preset, changes: Mapping[str, Any]) -> Any:
    """The settings of one of our methods: those of a preset, with changes.

    Raises:
        UserError: the method has no such setting, or a value is invalid.
    """
    cls: Any = settings_class(method)
    values = dataclasses.asdict(cls.preset(preset))
    if unknown := sorted(set(changes) - set(values)):
        raise UserError(
            f"{method} has no such setting", where=", ".join(unknown), remedy=f"it has {', '.join(values)}"
        )
    try:
        return from_plain(cls, values | dict(changes))
    except ValueError as error:
        raise UserError(str(error), where=f"the settings of {method}") from None


def run(job: ComparisonJob, stop: threading.Event | None = None) -> Scored:
    """Train and score in a subprocess that is killed if it takes too long.

    Raises:
        UserError: the method cannot be trained on these data, failed, or took too long.
        CancelledError: `stop` was set.
    """
    data = read_data(job.data, job.roi, job.columns, job.good)
    test = data.split("test")
    limits: dict[str, Any] = {
        "budget_seconds": job.budget_seconds,
        "limit_seconds": job.limit_seconds,
        "log": job.log,
        "environment": {"OMP_NUM_THREADS": str(job.threads)},
        "stop": stop,
    }
    if not job.is_ours:
        fitted, _ = hold_out(data.not_test(), "good", HELD_OUT, job.seed, job.data)
        return run_peer(
            job.method,
            fitted,
            test,
            job.size_hw,
            seed=job.seed,
            batch_size=job.batch_size,
            settings=job.settings,
            textures=job.textures,
            bits=job.bits,
            epochs=job.epochs,
            accelerator=job.accelerator,
            **limits,
        )
    request = {
        "method": job.method,
        "data": str(job.data.resolve()),
        # Relative to here; the process has another working folder.
        "roi": absolute_roi(job.roi),
        "columns": dict(job.columns),
        "good": job.good,
        "seed": job.seed,
        "batch_size": job.batch_size,
        "settings": dict(job.settings),
        "held_out": HELD_OUT,
        "bits": job.bits,
        "preset": job.preset,
        "epochs": job.epochs,
        "accelerator": job.accelerator,
    }
    return run_contender(
        "roinspect.comparison.method_process",
        request,
        [record.image_path for record in test],
        job.size_hw,
        name=job.method,
        **limits,
    )


def attempt(job: ComparisonJob, stop: threading.Event | None = None) -> Scored | str:
    """The result of `run`, or the error as one line."""
    try:
        return run(job, stop)
    except UserError as error:
        return str(error)
