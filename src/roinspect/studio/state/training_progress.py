"""Training progress: curves and images from the run's TensorBoard files."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import NamedTuple

from roinspect.studio.state.store import read_json


class TrainingProgress(NamedTuple):
    """What a run has logged so far."""

    epoch: int
    epochs: int
    """0 where the run has not begun."""
    curves: dict[str, list[tuple[float, float]]]
    """Name to (epoch, value) pairs, epochs from 1."""
    pictures: list[tuple[str, bytes]]
    """Name and PNG of the latest picture of each name."""
    left_s: float | None = None
    """How long the other epochs take at the pace so far; None where no pace is known."""


def read_progress(run: Path) -> TrainingProgress:
    """Read a run folder, as far as it is there."""
    settings = read_json(run / "settings.json")
    epochs = 0
    if isinstance(settings, dict):
        epochs = int(settings.get("training", {}).get("epochs_trained", 0))
    try:
        files = sorted((file.name, file.stat().st_size) for file in (run / "tensorboard").glob("events.*"))
    except OSError:
        files = []
    if not files:
        return TrainingProgress(0, epochs, {}, [])
    return _read(run, epochs, tuple(files))


@lru_cache(maxsize=4)
def _read(run: Path, epochs: int, files: tuple[tuple[str, int], ...]) -> TrainingProgress:
    """Read once for as long as no file grows."""
    from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped,unused-ignore]
        EventAccumulator,
    )

    events = EventAccumulator(str(run / "tensorboard"), {"scalars": 2000, "images": 1})
    events.Reload()
    scalars = {name: events.Scalars(name) for name in events.Tags()["scalars"]}
    # Lightning counts steps; people count epochs.
    ends = scalars.pop("epoch", [])
    epoch_of = {event.step: int(event.value) + 1 for event in ends}
    # A run that went on from a checkpoint repeats the epochs after it: the later value counts.
    curves = {
        name: sorted(
            {float(epoch_of.get(event.step, event.step + 1)): float(event.value) for event in logged}.items()
        )
        for name, logged in scalars.items()
    }
    pictures = [(name, events.Images(name)[-1].encoded_image_string) for name in events.Tags()["images"]]
    epoch = max(epoch_of.values(), default=0)
    # The median leaves out the night between a stop and going on.
    paces = [
        (after.wall_time - before.wall_time) / (after.value - before.value)
        for before, after in pairwise(ends)
        if after.value > before.value
    ]
    left_s = (epochs - epoch) * median(paces) if paces else None
    return TrainingProgress(epoch, epochs, curves, pictures, left_s)
