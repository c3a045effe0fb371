"""The choices on the training page as commands."""

from __future__ import annotations

import math
import shlex
from typing import NamedTuple

from roinspect.data.reading import read_data
from roinspect.data.roi import attach_roi
from roinspect.errors import UserError
from roinspect.images.pixels import image_size
from roinspect.methods.registry import OTHERS
from roinspect.studio.state.jobs import Job, start
from roinspect.studio.state.project import Project
from roinspect.studio.state.trained_models import evaluation_path, new_path, run_path


class Choice(NamedTuple):
    """A method in plain words."""

    title: str
    needs: str
    costs: str
    take: str


METHODS = {
    "roibank": Choice(
        "Memory of good parts (roibank)",
        "photographs of good parts, twenty or more; no defects",
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
"""Pixels of a square as large as the size that photographs are reduced to."""

_OPEN_OPTIONS = ("--method.", "--training.")
_CLOSED_OPTIONS = ("--method.weights",)


class Wish(NamedTuple):
    """A training that somebody asks for."""

    method: str
    name: str
    """Of the model."""
    detail: str = "normal"
    uses_region: bool = True
    false_reject: float = 1.0
    """Share of good parts that may be rejected, in percent."""
    more: str = ""
    """Further options, as on the command line."""


def begin_training(project: Project, wish: Wish) -> Job:
    """Start to train, then to judge the test photographs.

    Raises:
        UserError: the wish or the data does not allow it, or something is at work already.
    """
    out = new_path(project, wish.name)
    if out.exists() or run_path(out).exists():
        raise UserError("there is a model of that name", where=wish.name, remedy="choose another name")
    fitted = [record for record in project.records().values() if record.split != "test"]
    if not fitted:
        remedy = "put good ones into train/good"
        raise UserError("no photographs to train on", where=project.folder, remedy=remedy)
    roi = project.roi() if wish.uses_region else "none"
    if wish.uses_region:
        if roi == "none":
            remedy = 'draw it on page 2 and save it, or choose "the whole photograph"'
            raise UserError("no region is drawn yet", where="the region", remedy=remedy)
        attach_roi(read_data(project.folder, roi), fitted)
    size = "x".join(map(str, size_for(image_size(fitted[0].image_path), DETAILS.get(wish.detail, 256))))
    given = ["--out", str(out), "--roi", roi, "--size", size]
    given += ["--training.false_reject", repr(wish.false_reject / 100), *further(wish.more)]
    train = ("train", wish.method, str(project.folder), *given)
    return start(project, "train", out.name, [train, judge_command(project, out.name, roi)])


def resume_training(project: Project, job: Job) -> Job:
    """Go on with a training that was stopped or broken off, from its last checkpoint.

    Raises:
        UserError: something is at work already.
    """
    train, *rest = job.commands
    is_trained = (new_path(project, job.subject) / "bundle.json").is_file()
    again = [] if is_trained else [(*(word for word in train if word != "--resume"), "--resume")]
    return start(project, "train", job.subject, [*again, *rest])


def judge_command(project: Project, name: str, roi: str) -> tuple[str, ...]:
    """The command that judges labelled photographs: the test ones, or else those of training."""
    records = list(project.records().values())
    splits = {record.split for record in records if record.label is not None}
    split = next((one for one in ("test", "val", "train") if one in splits), "test")
    judged = [record for record in records if record.split == split]
    try:
        attach_roi(read_data(project.folder, roi), judged)
    except UserError:
        roi = "none"
    out = new_path(project, name)
    options = ("--roi", roi, "--split", split, "--out", str(evaluation_path(out)))
    return ("evaluate", str(out), str(project.folder), *options)


def size_for(photograph_hw: tuple[int, int], side: int) -> tuple[int, int]:
    """The size to train at: the photograph's proportions, the area of a square, no more than is there.

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


def further(text: str) -> list[str]:
    """Options that an expert typed; none that names a file.

    Raises:
        UserError: it is no option of the method or of training.
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
