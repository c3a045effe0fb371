"""Data sets with a chosen number of defective training photographs, for `roibank.py labels`."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np

from roinspect.data.dataset import load_sample
from roinspect.data.reading import read_data
from roinspect.data.records import Record
from roinspect.data.roi import attach_roi
from roinspect.images.pixels import read_mask, write_image

ROUGH = 0.02
COLUMNS = ("image_path", "split", "label", "mask_path", "roi_path", "group")


def defective_in_train(records: list[Record]) -> list[Record]:
    """Those of the training photographs whose mask marks a defect inside the ROI."""
    marked = [record for record in records if record.split == "train" and record.mask_path is not None]
    return [record for record in marked if load_sample(record, (32, 32)).label == 1]


def _rough(mask: Path, out: Path) -> Path:
    """Write the hull of all that a mask marks, larger by `ROUGH` of the image's longer side all around."""
    marked = read_mask(mask)
    reach = round(ROUGH * max(marked.shape))
    corners = cv2.convexHull(cv2.findNonZero(marked))
    hull = np.asarray(cv2.fillConvexPoly(np.zeros_like(marked), corners, 255), np.uint8)
    write_image(out, np.asarray(cv2.dilate(hull, np.ones((2 * reach + 1,) * 2, np.uint8)), np.uint8))
    return out


def write_with_defects(data: Path, roi: str, out: Path, *, count: int, marks: str, seed: int) -> Path:
    """Write a manifest with all good training photographs, some defective ones, and all test photographs.

    The defective ones with a larger count and the same seed contain those with a smaller one.

    Args:
        data: the data set, with defective photographs with masks in its train split.
        roi: see `read_data`.
        out: an existing folder.
        count: defective training photographs whose defect lies inside the ROI.
        marks: "masks" keeps their masks, "polygons" makes rough polygons of them, with "labels" they are only
            labelled.
        seed: of the choice.

    Returns:
        The manifest's path.
    """
    source = read_data(data, roi)
    records = attach_roi(source, source.records)
    defective = defective_in_train(records)
    if len(defective) < count:
        raise ValueError(f"{data} has {len(defective)} defective training photographs, not {count}")
    order = np.random.default_rng(seed).permutation(len(defective))
    chosen = {defective[place].key for place in order[:count]}
    with (out / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for record in records:
            if record.split == "train" and record.label != 0 and record.key not in chosen:
                continue
            mask = record.mask_path
            if record.split == "train" and marks == "labels":
                mask = None
            elif record.split == "train" and marks == "polygons" and isinstance(mask, Path):
                mask = _rough(mask, out / f"{record.key.replace('/', '_')}_rough.png")
            label = {0: "good", 1: record.category or "defect", None: ""}[record.label]
            files = (record.image_path, mask, record.roi_path)
            paths = ["" if path is None else str(Path(str(path)).absolute()) for path in files]
            writer.writerow([paths[0], record.split, label, *paths[1:], record.group])
    return out / "manifest.csv"
