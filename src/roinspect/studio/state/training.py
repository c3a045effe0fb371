"""Training: the choices on the page as commands, and the progress of a run."""

from __future__ import annotations

import math
import shlex
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import NamedTuple

from roinspect.data.roi import attach_roi
from roinspect.data.width import WIDE_ENOUGH
from roinspect.errors import UserError
from roinspect.images.pixels import image_size
from roinspect.methods.registry import OTHERS
from roinspect.studio.state.jobs import Job, start
from roinspect.studio.state.project import Project
from roinspect.studio.state.store import read_json
from roinspect.studio.state.trained_models import evaluation_path, new_path, run_path


class Choice(NamedTuple):
    """A method as the page describes it."""

    title: str
    needs: str
    costs: str
    take: str


METHODS = {
    "roibank": Choice(
        "Memory of good parts (roibank)",
        "photographs of good parts, twenty or more; defective ones in train help, but are not needed",
        "one to three minutes on an office PC",
        "you begin. It is the fastest of the three, and the best where no defects are at hand",
    ),
    "ceod": Choice(
        "Learn from examples (CEOD)",
        "good and defective parts in train, dozens of each, sorted into folders",
        "a few minutes",
        "you know your defects and have photographs of them",
    ),
    "grdnet": Choice(
        "Repair and compare (GRD-Net)",
        "photographs of good parts, a hundred or more",
        "half an hour and more; better with a graphics card",
        "no pretrained network may be used, or you have the time",
    ),
}
METHODS |= {
    name: Choice(name, point.dist.metadata["Summary"] if point.dist else "", "", "")
    for name, point in OTHERS.items()
}
DETAILS = {"quick": 128, "normal": 256, "fine": 384}
"""Side, in pixels, of a square with the area that photographs are reduced to."""

_OPEN_OPTIONS = ("--method.", "--training.")
_CLOSED_OPTIONS = ("--method.weights",)


class Wish(NamedTuple):
    """A requested training."""

    method: str
    name: str
    """Of the model."""
    detail: str = "normal"
    uses_region: bool = True
    false_reject: float = 1.0
    """Largest share of good parts that may be rejected, in percent."""
    more: str = ""
    """More options, as on the command line."""


def begin_training(project: Project, wish: Wish) -> Job:
    """Start a job that trains, then judges the test photographs.

    Raises:
        UserError: the request or the data is invalid, or a conflicting job is running.
    """
    out = new_path(project, wish.name)
    if out.exists() or run_path(out).exists():
        raise UserError("there is a model of that name", where=wish.name, remedy="choose another name")
    trained_on = [record for record in project.records().values() if record.split != "test"]
    if not trained_on:
        remedy = "put good ones into train/good"
        raise UserError("no photographs to train on", where=project.folder, remedy=remedy)
    roi = project.roi() if wish.uses_region else "none"
    if wish.uses_region:
        if roi == "none":
            remedy = 'draw it on page 2 and save it, or choose "the whole photograph"'
            raise UserError("no region is drawn yet", where="the region", remedy=remedy)
        attach_roi(project.data(roi), trained_on)
    size = "x".join(map(str, size_for(image_size(trained_on[0].image_path), DETAILS.get(wish.detail, 256))))
    options = ["--out", str(out), "--roi", roi, "--size", size]
    options += [word for name in project.good() or () for word in ("--good", name)]
    options += ["--training.false_reject", repr(wish.false_reject / 100), *further(wish.more)]
    train = ("train", wish.method, str(project.folder), *options)
    return start(project, "train", out.name, [train, judge_command(project, out.name, roi)])


def resume_training(project: Project, job: Job) -> Job:
    """Resume an interrupted training from its last checkpoint.

    Raises:
        UserError: a conflicting job is running.
    """
    train, *rest = job.commands
    is_trained = (new_path(project, job.subject) / "bundle.json").is_file()
    resumed = [] if is_trained else [(*(word for word in train if word != "--resume"), "--resume")]
    return start(project, "train", job.subject, [*resumed, *rest])


def judge_command(project: Project, name: str, roi: str) -> tuple[str, ...]:
    """The command that judges labelled photographs: those of test, else val, else train."""
    records = list(project.records().values())
    splits = {record.split for record in records if record.label is not None}
    split = next((one for one in ("test", "val", "train") if one in splits), "test")
    judged = [record for record in records if record.split == split]
    try:
        attach_roi(project.data(roi), judged)
    except UserError:
        roi = "none"
    out = new_path(project, name)
    options = ("--roi", roi, "--split", split, "--out", str(evaluation_path(out)))
    return ("evaluate", str(out), str(project.folder), *options)


def size_for(photograph_hw: tuple[int, int], side: int) -> tuple[int, int]:
    """The training size: the photograph's aspect ratio, the area of a square, never enlarged.

    Args:
        photograph_hw: height and width.
        side: of the square, in pixels.

    Returns:
        Height and width, multiples of 32 and at least 64.

    Example:
        >>> size_for((1080, 1920), 256), size_for((96, 96), 256)
        ((192, 352), (96, 96))
    """
    height, width = photograph_hw
    factor = min(1.0, side / math.sqrt(height * width))
    low, high = (max(64, 32 * round(factor * length / 32)) for length in (height, width))
    return low, high


def smallest_defects(photograph_hw: tuple[int, int]) -> dict[str, float]:
    """Width in the photograph's pixels of the smallest defects that are found, by detail.

    They span `WIDE_ENOUGH` pixels of what the network sees. Tiles show the photograph's own pixels.
    """
    sizes = {name: size_for(photograph_hw, side) for name, side in DETAILS.items()} | {"tiles": photograph_hw}
    factors = {
        name: max(a / b for a, b in zip(photograph_hw, size, strict=True)) for name, size in sizes.items()
    }
    return {name: max(1.0, factor) * WIDE_ENOUGH for name, factor in factors.items()}


def further(text: str) -> list[str]:
    """Split options that a user typed; options that name files are not allowed.

    Raises:
        UserError: an option belongs to neither the method nor training.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UserError(str(error), where="the further options", remedy="close the quotation") from None
    for word in words:
        is_option = word.startswith("-") and not word.lstrip("-").replace(".", "", 1).isdigit()
        if is_option and (not word.startswith(_OPEN_OPTIONS) or word.startswith(_CLOSED_OPTIONS)):
            remedy = "use --method.KEY VALUE or --training.KEY VALUE"
            raise UserError("cannot be set here", where=word, remedy=remedy)
    return words


class TrainingProgress(NamedTuple):
    """Curves and pictures from the TensorBoard files of a run."""

    epoch: int
    epochs: int
    """0 if the run has not started."""
    curves: dict[str, list[tuple[float, float]]]
    """Name to (epoch, value) pairs, epochs from 1."""
    pictures: list[tuple[str, bytes]]
    """Name and latest PNG of each picture."""
    left_s: float | None = None
    """Estimated time for the remaining epochs; None until one is complete."""


def read_progress(run: Path) -> TrainingProgress:
    """Read a run folder, which may be incomplete or missing."""
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
    """Cached until a file grows."""
    from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped,unused-ignore]
        EventAccumulator,
    )

    events = EventAccumulator(str(run / "tensorboard"), {"scalars": 2000, "images": 1})
    events.Reload()
    scalars = {name: events.Scalars(name) for name in events.Tags()["scalars"]}
    # Lightning logs by step; the page shows epochs.
    ends = scalars.pop("epoch", [])
    epoch_of = {event.step: int(event.value) + 1 for event in ends}
    # A resumed run repeats the epochs after its checkpoint: the later value counts.
    curves = {
        name: sorted(
            {float(epoch_of.get(event.step, event.step + 1)): float(event.value) for event in logged}.items()
        )
        for name, logged in scalars.items()
    }
    pictures = [(name, events.Images(name)[-1].encoded_image_string) for name in events.Tags()["images"]]
    epoch = max(epoch_of.values(), default=0)
    # The median ignores the pause between a stop and a resume.
    paces = [
        (after.wall_time - before.wall_time) / (after.value - before.value)
        for before, after in pairwise(ends)
        if after.value > before.value
    ]
    left_s = (epochs - epoch) * median(paces) if paces else None
    return TrainingProgress(epoch, epochs, curves, pictures, left_s)
