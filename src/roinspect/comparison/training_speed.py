"""Measure a method's training speed on this machine and convert a time budget into epochs."""

from __future__ import annotations

import math
import statistics
import time
from typing import Any, NamedTuple

import lightning
from lightning.pytorch.callbacks import Callback

from roinspect.data.reading import Data
from roinspect.training.settings import TrainingSettings
from roinspect.training.train import prepare

WARM_UP, TIMED = 2, 6
"""Steps before timing, and steps that are timed."""

SHARE = 0.9
"""Share of the time for steps; the rest is for held-out losses, checkpoints and the threshold."""


class TrainingSpeed(NamedTuple):
    """The speed of a training."""

    start_seconds: float
    """Before the first step, for instance for a frozen backbone's features."""
    step_seconds: float
    steps: int
    """Per epoch."""

    def epochs(self, seconds: float) -> int:
        """Whole epochs that fit, at least one.

        Example:
            >>> TrainingSpeed(start_seconds=10, step_seconds=0.5, steps=16).epochs(100)
            10
        """
        left = SHARE * seconds - self.start_seconds
        return max(1, int(left / (self.step_seconds * self.steps)))


def measure_speed(method: str, settings: Any, data: Data, training: TrainingSettings) -> TrainingSpeed:
    """Time a few training steps; their result is discarded.

    Args:
        method: the method's name.
        settings: of the method's settings class.
        data: to learn from.
        training: how to train.

    Raises:
        UserError: see `train`.
    """
    ready = prepare(method, data, settings, training)
    with ready.decode(ready.fitted) as cache:
        batches = ready.batches(cache)
        ready.model.begin(cache.labels)
        clock = _Clock()
        trainer = lightning.Trainer(
            max_epochs=math.ceil((WARM_UP + TIMED) / ready.steps_per_epoch),
            limit_train_batches=min(WARM_UP + TIMED, ready.steps_per_epoch),
            accelerator=training.accelerator,
            # As in `compare`; with the default, each process would run the whole command again.
            devices=1,
            precision=ready.training.precision,  # type: ignore[arg-type]  # as `training.make_trainer`
            callbacks=[clock],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        started = time.perf_counter()
        trainer.fit(ready.model, batches)
    return TrainingSpeed(
        clock.begun[0] - started, statistics.median(clock.taken[WARM_UP:]), ready.steps_per_epoch
    )


class _Clock(Callback):
    """Start time and duration of each step."""

    def __init__(self) -> None:
        self.begun: list[float] = []
        self.taken: list[float] = []

    def on_train_batch_start(self, *_: Any) -> None:
        self.begun.append(time.perf_counter())

    def on_train_batch_end(self, *_: Any) -> None:
        self.taken.append(time.perf_counter() - self.begun[-1])
