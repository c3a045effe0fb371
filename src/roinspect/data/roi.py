"""Attach a region of interest to every record, and the rule that turns it into an effective label.

The region says where a defect matters; it is not ground truth. Non-zero means inspect, zero means ignore.
"""

from __future__ import annotations

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

Place = Literal["none", "inside", "outside", "both"]
ReadMask = Callable[[MaskSource, tuple[int, int]], NDArray[np.uint8]]


def label_in_roi(gt_mask: NDArray[np.uint8], roi_mask: NDArray[np.uint8], *, min_pixels: int = 1) -> int:
    """The label in use: 1 where at least `min_pixels` of the defect lie inside the ROI, else 0.

    A defect wholly outside the ROI makes a good image.

    Args:
        gt_mask: (H, W) in {0, 1}, 1 = defect.
        roi_mask: (H, W) in {0, 1}, 1 = inspect.
        min_pixels: how many defective pixels inside the ROI make a defect, at least 1.

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
    """Where the defect lies: "none" without one, "inside" or "outside" the ROI, or "both".

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
    """Whether a part counts as good although it has a defect: what of it lies inside is too small to count.

    Args:
        label: the label in use, as `label_in_roi`.
        place: where the defect lies, as `defect_place`.

    Example:
        >>> is_outside_only(0, "outside"), is_outside_only(1, "both"), is_outside_only(0, "none")
        (True, False, False)
    """
    return label == 0 and place in ("outside", "both")


def attach_roi(data: Data, records: Sequence[Record] | None = None) -> list[Record]:
    """Give every record its ROI mask's path.

    `data.roi` says where it is:

    - "none": all of each image is inspected;
    - "auto": the manifest's roi_path, else the tree DATA/roi;
    - "column:NAME": that column of the manifest;
    - a folder: a tree that mirrors the images' keys, with any image suffix, or annotation files of the
      images, or both;
    - an image file: one mask for all;
    - an annotation file (LabelMe, COCO, CVAT, Label Studio, YOLO): what is drawn on each image, found by the
      image's key or a file name that only one has; a file that annotates one image serves all;
    - FILE#LABEL,LABEL or FOLDER#LABEL,LABEL: of what is drawn, only these labels.

    Args:
        data: the data set.
        records: those of its records that need a mask; None takes all.

    Raises:
        UserError: no ROI is found and none was not asked for, some image has none, or in a folder two would
            share one.
    """
    attached, source = find_roi(data, records)
    missing = [record for record in attached if record.roi_path is None]
    if missing and data.roi != "none":
        raise UserError(
            f"no ROI mask in {source} ({len(missing)} of {len(attached)} images have none)",
            where=missing[0].key or missing[0].image_path,
            remedy="add the masks, or pass --roi none to inspect all of every image",
        )
    return attached


def find_roi(data: Data, records: Sequence[Record] | None = None) -> tuple[list[Record], str]:
    """As `attach_roi`, but an image without a mask is left without.

    Returns:
        The records, and where the masks were looked for, in words.

    Raises:
        UserError: no source of ROIs is found and none was not asked for, or in a folder two images would
            share one.
    """
    records = data.records if records is None else records
    roi = data.roi
    if roi == "none":
        return [replace(record, roi_path=None) for record in records], roi
    if roi == "auto":
        if any(record.roi_path for record in records):
            return list(records), "the manifest's roi_path"
        tree = (data.path if kind(data.path) == "folder" else data.path.parent) / "roi"
        if kind(tree) != "folder":
            raise UserError(
                "no region of interest given", where=data.path, remedy="pass --roi FOLDER or --roi none"
            )
        return _mirrored(data, records, tree, None), str(tree)
    if roi.startswith("column:"):
        name = roi.removeprefix("column:")
        reread = read_records(data.path, columns={**data.columns, "roi_path": name})
        roi_paths = {record.key: record.roi_path for record in reread}
        return [replace(r, roi_path=roi_paths.get(r.key)) for r in records], f"column {name}"
    name, labels = split_labels(roi)
    path = Path(name)
    lies_there = kind(path)
    if lies_there == "folder":
        return _mirrored(data, records, path, labels), roi
    if lies_there == "file" and is_annotation(path):
        keys = [record.key for record in records]
        drawn = drawn_in_file(path, labels, keys, lambda: _keys(data), empty=False)
        return [replace(record, roi_path=drawn.get(record.key)) for record in records], roi
    if lies_there == "file" and path.suffix.lower() in IMAGE_SUFFIXES:
        return [replace(record, roi_path=path) for record in records], str(path)
    raise UserError(
        "no such folder or mask",
        where=f"--roi {roi}",
        remedy="give a folder, a mask file, an annotation file, column:NAME, auto or none",
    )


def load_roi(record: Record, size_hw: tuple[int, int], *, read: ReadMask = read_source) -> NDArray[np.uint8]:
    """The ROI mask of a record, all ones where it has no `roi_path`.

    Args:
        record: the record.
        size_hw: height and width of its image.
        read: reads a mask.

    Returns:
        (H, W), uint8 in {0, 1}, of the image's size.

    Raises:
        UserError: the mask cannot be read, is of another size than the image, or marks nothing.
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
    """Raise the UserError for a mask that is not of its image's size."""
    if mask_hw != size_hw:
        raise UserError(
            f"is {mask_hw[0]}x{mask_hw[1]} pixels (height x width) but its image "
            f"{record.key or record.image_path} is {size_hw[0]}x{size_hw[1]}",
            where=mask,
            remedy="make the mask at the image's size",
        )


def mask_stems(keys: Iterable[str]) -> dict[str, str]:
    """Where the mask of each image lies in a tree that mirrors them, less the mask's suffix.

    Args:
        keys: the images', each once.

    Returns:
        By key.

    Raises:
        UserError: two images differ in their suffixes alone, and would share a mask.

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
    # The images that are not asked for now count, too: training and measuring each ask for some of them.
    every = list(dict.fromkeys((*keys, *_keys(data))))
    stems = mask_stems(every)
    drawn = drawn_in_folder(tree, labels, keys, lambda: every, data.listing)
    masks: dict[str, list[MaskSource]] = defaultdict(list)
    for mask in data.listing.files(tree, IMAGE_SUFFIXES):
        masks[mask.relative_to(tree).with_suffix("").as_posix()].append(mask)
    attached: list[Record] = []
    for record in records:
        # Where the drawings lie beside the photographs, those are no masks.
        own = [mask for mask in masks.get(stems[record.key], ()) if mask != record.image_path]
        own += [drawn[record.key]] if record.key in drawn else []
        if len(own) > 1:
            raise UserError(
                f"fits {record.key} as well as {own[1]} does", where=own[0], remedy="keep one of them"
            )
        attached.append(replace(record, roi_path=own[0] if own else None))
    return attached
