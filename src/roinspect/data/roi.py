"""Attach a region of interest to every record, and derive effective labels from it.

The region says where a defect matters; it is not ground truth. Non-zero means inspect, zero means ignore.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from roinspect.data.annotations.drawn import (
    MaskSource,
    drawn_in_file,
    drawn_in_folder,
    is_annotation,
    read_source,
    split_labels,
)
from roinspect.data.paths import kind
from roinspect.data.reading import Data
from roinspect.data.records import Record, read_records
from roinspect.errors import UserError
from roinspect.images.pixels import IMAGE_SUFFIXES

log = logging.getLogger(__name__)

ONE_FOR_ALL = "roi.png"
"""The mask of all photographs in a data set's folder, where `roi/` holds none."""

STUDIO = ".roinspect"
"""The folder of the studio's state in a data set's folder."""

Place = Literal["none", "inside", "outside", "both"]
ReadMask = Callable[[MaskSource, tuple[int, int]], NDArray[np.uint8]]


def label_in_roi(gt_mask: NDArray[np.uint8], roi_mask: NDArray[np.uint8], *, min_pixels: int = 1) -> int:
    """The effective label: 1 if at least `min_pixels` of the defect lie inside the ROI, else 0.

    An image whose defect lies entirely outside the ROI is good.

    Args:
        gt_mask: (H, W) in {0, 1}, 1 = defect.
        roi_mask: (H, W) in {0, 1}, 1 = inspect.
        min_pixels: number of defective pixels inside the ROI that make a defect, at least 1.

    Raises:
        ValueError: the masks differ in shape, or `min_pixels` is below 1.

    Example:
        >>> defect, roi = np.eye(4, dtype=np.uint8), np.zeros((4, 4), np.uint8)
        >>> roi[:2] = 1
        >>> label_in_roi(defect, roi), label_in_roi(defect, roi, min_pixels=3)
        (1, 0)
    """
    if gt_mask.shape != roi_mask.shape:
        raise ValueError(f"masks differ in shape: {gt_mask.shape} and {roi_mask.shape}")
    if min_pixels < 1:
        raise ValueError(f"min_pixels must be at least 1, not {min_pixels}")
    return int(np.count_nonzero((gt_mask != 0) & (roi_mask != 0)) >= min_pixels)


def defect_place(gt_mask: NDArray[np.uint8], roi_mask: NDArray[np.uint8]) -> Place:
    """Location of the defect: "none" without one, "inside" or "outside" the ROI, or "both".

    Args:
        gt_mask: (H, W) in {0, 1}, 1 = defect.
        roi_mask: (H, W) in {0, 1}, 1 = inspect.

    Raises:
        ValueError: the masks differ in shape.
    """
    inside = label_in_roi(gt_mask, roi_mask)
    outside = bool(np.any((gt_mask != 0) & (roi_mask == 0)))
    if inside:
        return "both" if outside else "inside"
    return "outside" if outside else "none"


def is_outside_only(label: int, place: str) -> bool:
    """Whether a part is good despite a defect, because too little of it lies inside the ROI.

    Args:
        label: the effective label, from `label_in_roi`.
        place: location of the defect, from `defect_place`.

    Example:
        >>> is_outside_only(0, "outside"), is_outside_only(1, "both"), is_outside_only(0, "none")
        (True, False, False)
    """
    return label == 0 and place in ("outside", "both")


def attach_roi(data: Data, records: Sequence[Record] | None = None) -> list[Record]:
    """Give every record its ROI mask's path, and log where "auto" found what the studio may have saved.

    `data.roi` is one of:

    - "none": the whole of each image is inspected;
    - "auto": the manifest's roi_path, else the folder DATA/roi, else DATA/roi.png as one mask for all images;
    - "column:NAME": that column of the manifest;
    - a folder: masks in a tree that mirrors the images' keys, with any image suffix, or annotation files, or
      both;
    - an image file: one mask for all images;
    - an annotation file (LabelMe, COCO, CVAT, Label Studio, YOLO): the drawing of each image, matched by key
      or by a unique file name; a file that annotates a single image applies to all;
    - FILE#LABEL,LABEL or FOLDER#LABEL,LABEL: only the shapes with these labels.

    Args:
        data: the data set.
        records: the records that need a mask; None takes all.

    Raises:
        UserError: no ROI is found although `data.roi` is not "none", an image has no mask, or two images in a
            folder would share one.
    """
    attached, source = find_roi(data, records)
    missing = [record for record in attached if record.roi_path is None]
    if missing and data.roi != "none":
        raise UserError(
            f"no ROI mask in {source} ({len(missing)} of {len(attached)} images have none)",
            where=missing[0].key or missing[0].image_path,
            remedy="add the masks, or pass --roi none to inspect all of every image",
        )
    home = _home(data)
    if data.roi == "auto" and (kind(home / STUDIO) == "folder" or kind(home / ONE_FOR_ALL) == "file"):
        log.info(f"regions of interest: {source}")
    return attached


def find_roi(data: Data, records: Sequence[Record] | None = None) -> tuple[list[Record], str]:
    """Like `attach_roi`, but images may remain without a mask.

    Returns:
        The records, and a description of where the masks were searched.

    Raises:
        UserError: no source of ROI masks is found although `data.roi` is not "none", or two images in a
            folder would share a mask.
    """
    records = data.records if records is None else records
    roi = data.roi
    if roi == "none":
        return [replace(record, roi_path=None) for record in records], roi
    if roi == "auto":
        if any(record.roi_path for record in records):
            return list(records), "the manifest's roi_path"
        return _beside(data, records)
    if roi.startswith("column:"):
        name = roi.removeprefix("column:")
        reread = read_records(data.path, columns={**data.columns, "roi_path": name})
        roi_paths = {record.key: record.roi_path for record in reread}
        return [replace(r, roi_path=roi_paths.get(r.key)) for r in records], f"column {name}"
    name, labels = split_labels(roi)
    path = Path(name)
    path_kind = kind(path)
    if path_kind == "folder":
        return _mirrored(data, records, path, labels), roi
    if path_kind == "file" and is_annotation(path):
        keys = [record.key for record in records]
        drawn = drawn_in_file(path, labels, keys, lambda: _keys(data), empty=False)
        return [replace(record, roi_path=drawn.get(record.key)) for record in records], roi
    if path_kind == "file" and path.suffix.lower() in IMAGE_SUFFIXES:
        return [replace(record, roi_path=path) for record in records], str(path)
    raise UserError(
        "no such folder or mask",
        where=f"--roi {roi}",
        remedy="give a folder, a mask file, an annotation file, column:NAME, auto or none",
    )


def _home(data: Data) -> Path:
    return data.path if kind(data.path) == "folder" else data.path.parent


def _beside(data: Data, records: Sequence[Record]) -> tuple[list[Record], str]:
    """The masks in the data set's own folder, as the studio saves them."""
    home = _home(data)
    tree, one = home / "roi", home / ONE_FOR_ALL
    has_one = kind(one) == "file"
    if kind(tree) == "folder" and not (has_one and next(data.listing.walk(tree), None) is None):
        return _mirrored(data, records, tree, None), f"{tree}{f', not {one}' if has_one else ''}"
    if has_one:
        return [replace(record, roi_path=one) for record in records], f"{one}, one mask for all photographs"
    remedy = "pass --roi FOLDER or --roi none"
    if kind(home / STUDIO / "drawings") == "folder" or kind(home / STUDIO / "shared.json") == "file":
        remedy = f'press "Save the regions for training" in roinspect studio {home}, or {remedy}'
    raise UserError("no region of interest given", where=data.path, remedy=remedy)


def load_roi(record: Record, size_hw: tuple[int, int], *, read: ReadMask = read_source) -> NDArray[np.uint8]:
    """The ROI mask of a record; all ones without `roi_path`.

    Args:
        record: the record.
        size_hw: height and width of its image.
        read: reads a mask.

    Returns:
        (H, W), uint8 in {0, 1}, of the image's size.

    Raises:
        UserError: the mask cannot be read, differs in size from the image, or is empty.
    """
    if record.roi_path is None:
        return np.ones(size_hw, np.uint8)
    roi_mask = read(record.roi_path, size_hw)
    refuse_other_size(record, record.roi_path, roi_mask.shape, size_hw)
    if not roi_mask.any():
        raise UserError("the ROI marks nothing", where=record.roi_path, remedy="draw it, or pass --roi none")
    return roi_mask


def refuse_other_size(
    record: Record, mask: MaskSource, mask_hw: tuple[int, ...], size_hw: tuple[int, int]
) -> None:
    """Raise a UserError if a mask differs in size from its image."""
    if mask_hw != size_hw:
        raise UserError(
            f"is {mask_hw[0]}x{mask_hw[1]} pixels (height x width) but its image "
            f"{record.key or record.image_path} is {size_hw[0]}x{size_hw[1]}",
            where=mask,
            remedy="make the mask at the image's size",
        )


def mask_stems(keys: Iterable[str]) -> dict[str, str]:
    """Path of each image's mask, without suffix, in a tree that mirrors the images.

    Args:
        keys: unique image keys.

    Returns:
        Mask path by image key.

    Raises:
        UserError: two images differ only in their suffix and would share a mask.

    Example:
        >>> mask_stems(["good/a.v1.jpg"])
        {'good/a.v1.jpg': 'good/a.v1'}
    """
    stems: dict[str, str] = {}
    owners: dict[str, str] = {}
    for key in keys:
        stems[key] = PurePosixPath(key).with_suffix("").as_posix()
        owner = owners.setdefault(stems[key], key)
        if owner != key:
            raise UserError(
                f"would share its mask with {owner}", where=key, remedy="give them names of their own"
            )
    return stems


def _keys(data: Data) -> list[str]:
    return [record.key for record in data.records]


def _mirrored(
    data: Data, records: Sequence[Record], tree: Path, labels: frozenset[str] | None
) -> list[Record]:
    keys = [record.key for record in records]
    # Check all images of the data set: training and evaluation each attach masks to only some of them.
    all_keys = list(dict.fromkeys((*keys, *_keys(data))))
    stems = mask_stems(all_keys)
    drawn = drawn_in_folder(tree, labels, keys, lambda: all_keys, data.listing)
    masks: dict[str, list[MaskSource]] = defaultdict(list)
    for mask in data.listing.files(tree, IMAGE_SUFFIXES):
        masks[mask.relative_to(tree).with_suffix("").as_posix()].append(mask)
    attached: list[Record] = []
    for record in records:
        # If annotation files lie beside the photographs, the photographs themselves are not masks.
        candidates = [mask for mask in masks.get(stems[record.key], ()) if mask != record.image_path]
        candidates += [drawn[record.key]] if record.key in drawn else []
        if len(candidates) > 1:
            raise UserError(
                f"fits {record.key} as well as {candidates[1]} does",
                where=candidates[0],
                remedy="keep one of them",
            )
        attached.append(replace(record, roi_path=candidates[0] if candidates else None))
    return attached
