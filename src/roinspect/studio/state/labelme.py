"""Regions as LabelMe files, for people who go on drawing there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from roinspect.data.annotations.labelme import write
from roinspect.data.annotations.polygons import Drawing, trace
from roinspect.data.roi import mask_stems
from roinspect.studio.state.project import Project
from roinspect.studio.state.regions import Tally, mask_of
from roinspect.studio.state.store import write_bytes


def write_labelme(project: Project, out: Path) -> Iterator[Tally]:
    """Write every region as a LabelMe file, in folders that mirror the photographs.

    Yields:
        After every photograph.

    Raises:
        UserError: the disk refuses, or two photographs would share a file.
    """
    mask_stems(project.records())
    tally = Tally(0, len(project.records()))
    for record in list(project.records().values()):
        mask, remark = mask_of(project, record)
        if mask is not None:
            height, width = mask.shape
            text = write(Drawing(record.key, (height, width), trace(mask, "roi")))
            write_bytes((out / record.key).with_suffix(".json"), text.encode())
        tally = tally.next(mask is not None, remark)
        yield tally
