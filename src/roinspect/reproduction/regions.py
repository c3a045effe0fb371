"""Which photographs of a product lack an ROI mask, and the recipe to get them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from roinspect.data.paths import kind
from roinspect.data.reading import Data
from roinspect.data.records import Record
from roinspect.data.roi import ONE_FOR_ALL, attach_roi, find_roi
from roinspect.errors import UserError
from roinspect.files import write_whole

TO_DRAW = 20
"""Regions drawn by hand; a segmenter predicts the others."""


def to_draw(data: Data) -> list[str]:
    """Keys of the photographs whose regions are drawn: `TO_DRAW` good training photographs, evenly spread.

    They are in the train split, as a segmenter does not learn from others.
    """
    keys = [record.key for record in data.split("train") if record.label == 0]
    rows = np.linspace(0, len(keys), TO_DRAW, endpoint=False).astype(int)
    return list(dict.fromkeys(keys[row] for row in rows))


def with_regions(data: Data, out: Path) -> Data:
    """The data set with ROI masks from its own folder, where every photograph must have one.

    Args:
        data: of one product, read without regions.
        out: where the list of the photographs to draw is written if masks are missing: PRODUCT-to-draw.txt.

    Raises:
        UserError: photographs have no mask; names them by folder, and the commands that make the masks.
    """
    data = replace(data, roi="auto")
    lacking = _lacking(data)
    if not lacking:
        # Checks the masks' source once more, and logs it.
        attach_roi(data)
        return data
    product, masks = data.path.name, data.path / "roi"
    counts = Counter(PurePosixPath(record.key).parent.as_posix() for record in lacking)
    folders = ", ".join(f"{folder} {count}" for folder, count in counts.items())
    segmenter = out / f"{product}-regions"
    commands = (
        f"roinspect train segmenter {data.path} --roi {masks} --out {segmenter} && "
        f"roinspect roi predict {segmenter} {data.path} --out {masks}"
    )
    drawn = len(data.split("train")) - sum(record.split == "train" for record in lacking)
    if drawn < TO_DRAW:
        listed = out / f"{product}-to-draw.txt"
        write_whole(listed, "".join(f"{key}\n" for key in to_draw(data)))
        commands = f"draw those of {listed} into {masks}, then {commands}"
    raise UserError(
        f"{len(lacking)} of {len(data.records)} photographs have no ROI mask ({folders})",
        where=data.path,
        remedy=f"{commands}; see the recipe in docs/reproduce.md",
    )


def _lacking(data: Data) -> list[Record]:
    if kind(data.path / "roi") != "folder" and kind(data.path / ONE_FOR_ALL) != "file":
        return list(data.records)
    return [record for record in find_roi(data)[0] if record.roi_path is None]
