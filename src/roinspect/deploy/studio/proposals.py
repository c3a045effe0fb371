"""Regions that a network proposes where nobody drew one, learned from those that somebody drew."""

from __future__ import annotations

import csv
from functools import lru_cache
from pathlib import Path

from roinspect.deploy.studio.jobs import Job, start
from roinspect.deploy.studio.project import Project
from roinspect.deploy.studio.regions import write_masks
from roinspect.deploy.studio.training import DETAILS, size_for
from roinspect.errors import UserError
from roinspect.pixels import image_size

LEAST = 3
NAME = "region-finder"


def propose(project: Project, more: list[str] | None = None) -> Job:
    """Learn from the regions that are drawn, then propose the others, in a process of its own.

    Args:
        project: the folder.
        more: further options of the training.

    Raises:
        UserError: too few regions are drawn, something is at work already, or the disk refuses.
    """
    for tally in write_masks(project):
        have = tally.total - tally.missing
    if have < LEAST:
        raise UserError(
            f"{have} photographs have a region of their own",
            where="the network",
            remedy=f"draw on at least {LEAST}, better on ten, that differ from each other",
        )
    segmenter, roi = project.state / NAME, project.folder / "roi"
    first = next(iter(project.records().values()))
    size = "x".join(map(str, size_for(image_size(first.image_path), DETAILS["normal"])))
    train = ["train", "segmenter", str(project.folder), "--roi", str(roi), "--out", str(segmenter)]
    train += ["--size", size, "--overwrite", *(more or [])]
    predict = ["roi", "predict", str(segmenter), str(project.folder), "--out", str(roi), "--overwrite"]
    return start(project, "propose", NAME, [train, predict])


def confidences(project: Project) -> dict[str, float]:
    """How sure the network is of each region that it proposed, in [0, 1], by the photograph's key."""
    file = project.folder / "roi" / "confidence.csv"
    try:
        return _read(file, file.stat().st_mtime_ns)
    except OSError:
        return {}


@lru_cache(maxsize=4)
def _read(file: Path, changed: int) -> dict[str, float]:
    with file.open(encoding="utf-8", newline="") as opened:
        rows = csv.DictReader(opened)
        return {row["key"]: float(row["confidence"]) for row in rows if row.get("confidence")}
