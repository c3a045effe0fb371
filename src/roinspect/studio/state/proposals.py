"""Regions proposed by a segmenter trained on the drawn ones."""

from __future__ import annotations

import csv
from contextlib import suppress
from pathlib import Path
from typing import Any

from roinspect.data.manifests import write_manifest
from roinspect.errors import UserError
from roinspect.images.pixels import image_size
from roinspect.production.journal import Journal
from roinspect.segmenter.segmenter_bundle import read_segmenter
from roinspect.segmenter.tree import JOURNAL, TABLE
from roinspect.studio.state.jobs import Job, latest, start
from roinspect.studio.state.project import Project
from roinspect.studio.state.regions import mask_file, mask_path, own_file, write_masks, written_note
from roinspect.studio.state.store import write_csv
from roinspect.studio.state.training import DETAILS, size_for

LEAST = 3
NAME = "region-finder"


def propose(project: Project, more: list[str] | None = None) -> Job:
    """Start a job that trains on the drawn regions, then proposes the missing ones.

    Args:
        project: the folder.
        more: extra options for training.

    Raises:
        UserError: too few regions are drawn, a conflicting job is running, or a file cannot be written.
    """
    for _ in write_masks(project):
        pass
    drawn = project.state / f"{NAME}.csv"
    count = _list_drawn(project, drawn)
    if count < LEAST:
        raise UserError(
            f"{count} photographs have a region of their own",
            where="the network",
            remedy=f"draw on at least {LEAST}, better on ten, that differ from each other",
        )
    segmenter, roi = project.state / NAME, project.folder / "roi"
    first = next(iter(project.records().values()))
    size = "x".join(map(str, size_for(image_size(first.image_path), DETAILS["normal"])))
    train = ["train", "segmenter", str(drawn), "--out", str(segmenter), "--size", size, "--overwrite"]
    train += more or []
    predict = ["roi", "predict", str(segmenter), str(project.folder), "--out", str(roi), "--overwrite"]
    return start(project, "propose", NAME, [train, predict])


def _list_drawn(project: Project, manifest: Path) -> int:
    """Write a manifest of all photographs whose region was drawn; returns their number.

    Test photographs are included: a region says nothing about defects.
    """
    confidences = project.confidences()
    rows = []
    for record in project.records().values():
        mask = own_file(mask_file(project, record))
        is_drawn = written_note(project, record.key, mask_path(project, record)) is not None
        is_proposed = record.key in confidences and not is_drawn
        if mask is not None and not is_proposed:
            rows.append(
                {"image_path": str(record.image_path), "split": "train", "label": "", "roi_path": str(mask)}
            )
    write_manifest(manifest, rows)
    return len(rows)


def least_confidence(project: Project) -> float:
    """Confidence below which a proposal should be looked at closely; 0 without a network."""
    with suppress(UserError):
        return read_segmenter(project.state / NAME).least_confidence
    return 0.0


def carry_proposal(project: Project, key: str, new: str) -> None:
    """Keep the region of a renamed photograph marked as proposed.

    Raises:
        UserError: proposals are being made right now, or a file cannot be written.
    """
    if key not in project.confidences():
        return
    job = latest(project, "propose")
    if job and job.state() == "running":
        raise UserError(
            "its region is a proposal, and proposals are being made right now",
            where=key,
            remedy="wait for it",
        )
    roi, made = project.folder / "roi", list[dict[str, Any]]()
    with Journal(roi / JOURNAL, lambda _, row: made.append(row)) as journal:
        for row in made:
            if row.get("key") == key:
                journal.add({**row, "key": new})
        with (roi / TABLE).open(encoding="utf-8", newline="") as file:
            table = csv.DictReader(file)
            rows = [{**row, "key": new} if row["key"] == key else row for row in table]
        write_csv(roi / TABLE, table.fieldnames or (), rows)
