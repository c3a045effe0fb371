"""Regions of interest for all commands: drawn ones from `data.roi`, or predicted by a segmenter.

Predicted masks are cached on disk under the digests of the segmenter and the photograph:

    CACHE/roi/SEGMENTER/PHOTOGRAPH.png
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from platformdirs import user_cache_path

from roinspect.data.reading import Data
from roinspect.data.records import Record
from roinspect.data.roi import attach_roi, find_roi
from roinspect.errors import UserError
from roinspect.images.pixels import write_image
from roinspect.inspection.bundle import photograph_digest
from roinspect.inspection.threads import in_threads

log = logging.getLogger(__name__)

PREFIX = "segmenter:"
FEWEST_DRAWN = 3


def with_roi(data: Data, records: Sequence[Record] | None = None) -> list[Record]:
    """Set the path of the ROI mask in every record.

    Args:
        data: the data set. Masks are predicted if its `roi` is "segmenter:BUNDLE"; otherwise see
            `attach_roi`. Unreadable photographs get no mask; the error is raised when they are read.
        records: the records that need a mask; None for all.

    Raises:
        UserError: see `attach_roi`; or the bundle is not of a segmenter, no region is found in a photograph,
            or a mask cannot be written.
    """
    if not data.roi.startswith(PREFIX):
        return attach_roi(data, records)
    records = data.records if records is None else records
    masks = _predicted([record.image_path for record in records], Path(data.roi.removeprefix(PREFIX)))
    return [replace(record, roi_path=masks.get(record.image_path)) for record in records]


def with_drawn_roi(data: Data, records: Sequence[Record] | None = None) -> list[Record]:
    """The records with an ROI mask, with its path: the training data of a segmenter.

    Labels are ignored: all records count as good, and defect masks are dropped.

    Args:
        data: the data set.
        records: the records that may be used for training; None for all.

    Raises:
        UserError: fewer than three have a mask, or no source of masks is found.
    """
    attached, source = find_roi(data, records)
    drawn = [replace(record, label=0, mask_path=None) for record in attached if record.roi_path is not None]
    if len(drawn) < FEWEST_DRAWN:
        raise UserError(
            f"{len(drawn)} of {len(attached):,} photographs have an ROI mask in {source}, and a segmenter "
            f"learns from at least {FEWEST_DRAWN}",
            where=data.path,
            remedy="draw some more, in the train split, and name their folder with --roi",
        )
    log.info(f"{len(drawn):,} of {len(attached):,} photographs have an ROI, in {source}")
    return drawn


def absolute_roi(roi: str) -> str:
    """The ROI source with absolute paths, for a process with another working directory."""
    if roi in ("auto", "none") or roi.startswith("column:"):
        return roi
    prefix = PREFIX if roi.startswith(PREFIX) else ""
    return f"{prefix}{Path(roi.removeprefix(prefix)).resolve()}"


def cache_folder() -> Path:
    """Cache of predicted masks: ROINSPECT_CACHE, or `roinspect` in the user's cache folder."""
    if folder := os.environ.get("ROINSPECT_CACHE"):
        return Path(folder)
    return user_cache_path("roinspect", appauthor=False)


def _predicted(images: Sequence[Path], bundle: Path) -> dict[Path, Path]:
    """Predicted mask of each readable photograph."""
    from roinspect.segmenter.finder import RegionFinder
    from roinspect.segmenter.segmenter_bundle import segmenter_digest

    folder = cache_folder() / "roi" / segmenter_digest(bundle)
    digests = zip(images, in_threads(_digest, images, workers=2, ahead=64), strict=True)
    masks = {image: folder / f"{digest}.png" for image, digest in digests if digest}
    missing = [image for image, mask in masks.items() if not mask.is_file()]
    if not missing:
        return masks
    log.info(f"{bundle} predicts the regions of {len(missing):,} of {len(images):,} photographs")
    finder, unsure, empty = RegionFinder(bundle), 0, list[Path]()
    for region in finder.find(missing):
        if region.mask is not None:
            write_image(masks[region.image_path], region.mask * 255)
            unsure += region.confidence < finder.least_confidence
        elif region.image is None:
            del masks[region.image_path]
        else:
            empty.append(region.image_path)
    remedy = f"look at them: roinspect roi predict {bundle} DATA --out ROI_FOLDER"
    if empty:
        raise UserError(
            f"{bundle} finds no region in {len(empty)} photographs", where=empty[0], remedy=remedy
        )
    if unsure:
        log.warning(
            f"{unsure:,} of {len(missing):,} predicted regions have a confidence below "
            f"{finder.least_confidence:.3f}; {remedy}"
        )
    return masks


def _digest(image: Path) -> str:
    try:
        return photograph_digest(image)
    except OSError:
        return ""
