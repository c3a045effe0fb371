"""The public data sets: their products, and where those lie in the folder that a user has unpacked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from roinspect.data.names import SPLITS
from roinspect.data.paths import Listing, kind
from roinspect.data.reading import Data, read_data
from roinspect.errors import UserError, nearest

DataSetName: TypeAlias = Literal["mvtec", "visa", "mvtec2"]


@dataclass(frozen=True, slots=True)
class DataSet:
    """A public data set.

    Attributes:
        title: its name.
        categories: its products, as their folders are called.
        layout: of one product, in words.
        inner: folders of a product, one of which is always there.
    """

    title: str
    categories: tuple[str, ...]
    layout: str
    inner: tuple[str, ...]


DATA_SETS: dict[DataSetName, DataSet] = {
    "mvtec": DataSet(
        "MVTec AD",
        (
            *("bottle", "cable", "capsule", "carpet", "grid", "hazelnut", "leather", "metal_nut", "pill"),
            *("screw", "tile", "toothbrush", "transistor", "wood", "zipper"),
        ),
        "train/good, test/good, test/DEFECT and ground_truth/DEFECT",
        ("train", "test"),
    ),
    "visa": DataSet(
        "VisA",
        (
            *("candle", "capsules", "cashew", "chewinggum", "fryum", "macaroni1", "macaroni2"),
            *("pcb1", "pcb2", "pcb3", "pcb4", "pipe_fryum"),
        ),
        "Data/Images/Normal, Data/Images/Anomaly and Data/Masks/Anomaly with split_csv/1cls.csv beside the "
        "products, or train/good, test/good, test/bad and ground_truth/bad",
        ("Data", "train", "test"),
    ),
    "mvtec2": DataSet(
        "MVTec AD 2",
        ("can", "fabric", "fruit_jelly", "rice", "sheet_metal", "vial", "wallplugs", "walnuts"),
        "train/good, validation/good, test_public/good, test_public/bad and test_public/ground_truth/bad",
        ("train", "test_public"),
    ),
}


def refuse_unknown_categories(name: DataSetName, categories: Sequence[str]) -> None:
    """Raise a UserError if the data set has no such product."""
    known = DATA_SETS[name].categories
    for category in categories:
        if category not in known:
            raise UserError(
                f"{DATA_SETS[name].title} has no product {category!r}{nearest(category, known)}",
                where="--categories",
                remedy=f"it has {', '.join(known)}",
            )


def find_categories(root: Path, name: DataSetName, categories: Sequence[str]) -> dict[str, Data]:
    """The photographs of each product, as read from its folder; no photograph is opened.

    Args:
        root: the folder that holds the products.
        name: of the data set.
        categories: the products.

    Raises:
        UserError: the folder does not exist, is that of one product, lacks a product, or a product has
            another layout.
    """
    data_set, listing = DATA_SETS[name], Listing()
    if kind(root) != "folder":
        raise UserError(
            "no such folder", where=f"--data {root}", remedy=f"name the folder that holds {data_set.title}"
        )
    folders = {folder.name: folder for folder in listing.folders(root)}
    missing = [category for category in categories if category not in folders]
    if missing:
        if any(folder.lower() in SPLITS for folder in folders) or "Data" in folders:
            raise UserError(
                "is the folder of one product",
                where=f"--data {root}",
                remedy=f"name the folder that holds all of {data_set.title}: {root.resolve().parent}",
            )
        present = [category for category in data_set.categories if category in folders]
        raise UserError(
            f"lacks {', '.join(missing)} of {data_set.title}",
            where=f"--data {root}",
            remedy=f"it has {', '.join(present)}; add the others, or choose with --categories"
            if present
            else f"name the folder that holds {data_set.title}, with a folder for each product",
        )
    return {category: _read(folders[category], data_set) for category in categories}


def _read(folder: Path, data_set: DataSet) -> Data:
    layout = f"{data_set.title}'s products hold {data_set.layout}"
    try:
        data = read_data(folder, "none")
    except UserError as error:
        # What is wrong within the layout is told by its own message.
        if any((folder / inner).is_dir() for inner in data_set.inner):
            raise
        raise UserError(f"has another layout ({error.what})", where=folder, remedy=layout) from None
    lacking = [
        what
        for what, is_there in {
            "good photographs to train on": any(r.label == 0 for r in data.split("train")),
            "good photographs to test on": any(r.label == 0 for r in data.split("test")),
            "defective photographs to test on": any(r.label == 1 for r in data.split("test")),
        }.items()
        if not is_there
    ]
    if lacking:
        raise UserError(f"has no {' and no '.join(lacking)}", where=folder, remedy=layout)
    return data
