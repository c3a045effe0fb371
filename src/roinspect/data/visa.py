"""The layout of VisA as its authors publish it; the splits of all products are in one file beside them.

PRODUCT/Data/Images/Normal/0000.JPG
PRODUCT/Data/Images/Anomaly/000.JPG
PRODUCT/Data/Masks/Anomaly/000.png        non-zero where defective
split_csv/1cls.csv                        object, split, label, image, mask; paths from this folder's parent
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from pathlib import Path

from roinspect.data.names import SPLITS
from roinspect.data.paths import Listing, kind
from roinspect.errors import UserError
from roinspect.files import read_regular
from roinspect.images.pixels import IMAGE_SUFFIXES

DATA, IMAGES, MASKS = "Data", "Images", "Masks"
SPLIT_FILE = Path("split_csv", "1cls.csv")
_COLUMNS = ("object", "split", "image")


def is_visa(root: Path, listing: Listing) -> bool:
    """Whether a folder is one of VisA's products."""
    inner = root / DATA / IMAGES
    return (
        any(folder.name == DATA for folder in listing.folders(root))
        and kind(inner) == "folder"
        and bool(listing.folders(inner))
    )


def read_visa(root: Path, listing: Listing) -> Iterator[tuple[Path, str, Path | None]]:
    """Every photograph of a product with its split and its mask, if it has one.

    Without the split file all photographs are in the train split. With it, those that it does not name are
    left out.

    Raises:
        UserError: the split file cannot be read, names no photograph of this product, or an unknown split; or
            two masks fit one photograph.
    """
    images, masks = root / DATA / IMAGES, root / DATA / MASKS
    by_stem: dict[Path, Path] = {}
    for mask in listing.files(masks, IMAGE_SUFFIXES) if kind(masks) == "folder" else ():
        stem = mask.relative_to(masks).with_suffix("")
        if stem in by_stem:
            raise UserError(f"fits the same image as {by_stem[stem]}", where=mask, remedy="keep one of them")
        by_stem[stem] = mask
    splits = _splits(root)
    for path in listing.files(images, IMAGE_SUFFIXES):
        below = path.relative_to(images)
        split = "train" if splits is None else splits.get(below.as_posix())
        if split is not None:
            yield path, split, by_stem.get(below.with_suffix(""))


def _splits(root: Path) -> dict[str, str] | None:
    """Splits by the path below the product's images; None without a split file."""
    # Not resolved: a link to a product lies beside the splits, its target perhaps not.
    product = Path(os.path.abspath(root))  # noqa: PTH100
    file = product.parent / SPLIT_FILE
    if kind(file) == "none":
        return None
    try:
        rows = list(csv.DictReader(io.StringIO(read_regular(file).decode("utf-8-sig"), newline="")))
    except (OSError, UnicodeDecodeError, csv.Error):
        raise UserError("cannot be read as CSV", where=file, remedy="unpack VisA again") from None
    prefix = f"{product.name}/{DATA}/{IMAGES}/"
    found: dict[str, str] = {}
    for number, row in enumerate(rows, 2):
        if any(row.get(column) is None for column in _COLUMNS):
            raise UserError(
                f"the line has not all of {', '.join(_COLUMNS)}",
                where=f"{file}, line {number}",
                remedy="unpack VisA again",
            )
        if row["object"] != product.name or not row["image"].startswith(prefix):
            continue
        if row["split"].lower() not in SPLITS:
            raise UserError(
                f"unknown split {row['split']!r}", where=f"{file}, line {number}", remedy="use train or test"
            )
        found[row["image"].removeprefix(prefix)] = SPLITS[row["split"].lower()]
    if not found:
        raise UserError(
            f"names no photograph of {product.name}",
            where=file,
            remedy="unpack VisA again, and keep its folders' names",
        )
    return found
