"""The photographs of the ROI Benchmark, from the folders that their authors publish.

No photograph is in this repository. `roi_sets.json` has what is ours: which photographs belong to a set and
to which split, and the regions of interest, as polygons. `build` turns a download into a set: photographs at
their size in the benchmark, masks of the defects and of the regions.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from roinspect.data.annotations.drawn import DrawnMask
from roinspect.data.annotations.polygons import ImageShapes, Polygon, rasterise
from roinspect.errors import UserError
from roinspect.files import whole_folder
from roinspect.images.pixels import read_image, resize_image, resize_mask, write_image

RECIPES: Mapping[str, Any] = json.loads(Path(__file__).with_name("roi_sets.json").read_text(encoding="utf-8"))
Mask = NDArray[np.uint8]


class Source(NamedTuple):
    """Where a set's photographs come from.

    Attributes:
        title: of the data set.
        address: where it is published.
        licence: its own.
        layout: files by which a download is recognised.
    """

    title: str
    address: str
    licence: str
    layout: str


SOURCES = {
    "ballscrew": Source(
        "BSData (Schlagenhauf, Landwehr and Fleischer, arXiv 2103.13003)",
        "https://github.com/2Obe/BSData",
        "CC BY-SA 4.0",
        "data/NAME.jpg and label/NAME.json",
    ),
    "hazelnut_toy": Source(
        "anomalib's hazelnut toy set",
        "https://github.com/open-edge-platform/anomalib",
        "CC BY 4.0",
        "good/NAME.jpg, colour/NAME.jpg and mask/colour/NAME.jpg",
    ),
    "magnetic_tile": Source(
        "Magnetic-tile-defect data (Huang, Qiu and Yuan, 2020)",
        "https://github.com/abin24/Magnetic-tile-defect-datasets.",
        "none stated; its authors welcome its use and ask to be cited",
        "MT_Free/Imgs/NAME.jpg, MT_Crack/Imgs/NAME.jpg and NAME.png",
    ),
}
"""By the name of the set's folder."""


def build(name: str, source: Path, out: Path) -> int:
    """Write a set from a download.

    Args:
        name: one of `SOURCES`.
        source: the download's folder.
        out: the folder to write; it must not exist, and is written whole or not at all.

    Returns:
        How many photographs it has.

    Raises:
        UserError: a photograph or an annotation is missing or cannot be read, or `out` exists.
    """
    if out.exists():
        raise UserError("exists already", where=out, remedy="name another folder, or remove it")
    out.parent.mkdir(parents=True, exist_ok=True)
    with whole_folder(out) as folder:
        return _ballscrew(source, folder) if name == "ballscrew" else _tree(name, source, folder)


def _listed(name: str) -> Iterator[tuple[str, str]]:
    """The photographs of a set: the folder, such as "train/good", and the name without suffix."""
    images: Mapping[str, Sequence[str]] = RECIPES[name]["images"]
    for folder, names in images.items():
        for one in names:
            yield folder, one


def _found(path: Path, name: str) -> Path:
    if not path.is_file():
        raise UserError(
            "is missing",
            where=path,
            remedy=f"name the folder of {SOURCES[name].title} that has {SOURCES[name].layout}",
        )
    return path


def region(rings: Sequence[Sequence[Sequence[float]]], size_hw: tuple[int, int]) -> Mask:
    """The mask (H, W) in {0, 1} of polygons, each a list of (x, y) in pixels of an image of this size."""
    shapes = tuple(Polygon("roi", (tuple((float(x), float(y)) for x, y in ring),)) for ring in rings)
    return rasterise(ImageShapes("", size_hw, shapes), size_hw)


def ballscrew_region(crop: str, *, right: bool) -> Mask:
    """The raceway, or its right half, in photographs named CROP: "crop_1" or "crop_2"."""
    recipe = RECIPES["ballscrew"]
    one, (height, width) = recipe["crops"][crop], recipe["size_hw"]
    mask = resize_mask(region([one["raceway"]], tuple(one["source_hw"])), (height, width)).copy()
    if right:
        mask[:, : recipe["right_from"]] = 0
    return mask


def tile_region(size_hw: tuple[int, int]) -> Mask:
    """The middle of a tile: without a quarter of each side at either end."""
    mask, share = np.zeros(size_hw, np.uint8), RECIPES["magnetic_tile"]["border"]
    top, left = (int(side * share) for side in size_hw)
    mask[top : size_hw[0] - top, left : size_hw[1] - left] = 1
    return mask


def hazelnut_region(key: str, size_hw: tuple[int, int]) -> Mask:
    """The nut with its cast shadow, of the photograph "train/good/00"."""
    return region(RECIPES["hazelnut_toy"]["polygons"][key], size_hw)


def _ballscrew(source: Path, out: Path) -> int:
    size_hw = tuple(RECIPES["ballscrew"]["size_hw"])
    table = io.StringIO()
    columns = ["image_path", "split", "label", "position", "mask_path", "roi_path", "roi_right_path"]
    rows = csv.writer(table)
    rows.writerow(columns)
    count = 0
    for folder, name in _listed("ballscrew"):
        split, label = folder.split("/")
        image = read_image(_found(source / "data" / f"{name}.jpg", "ballscrew"))
        crop = f"crop_{name.rsplit('_crop_', 1)[1]}"
        if image.shape[:2] != tuple(RECIPES["ballscrew"]["crops"][crop]["source_hw"]):
            raise UserError(
                f"is {image.shape[0]}x{image.shape[1]}, and the polygons are of another size",
                where=source / "data" / f"{name}.jpg",
                remedy="use the photographs as they are published",
            )
        image_path, mask_path = f"{folder}/{name}.png", ""
        _write(out / image_path, resize_image(image, size_hw))
        if label != "good":
            drawn = DrawnMask(_found(source / "label" / f"{name}.json", "ballscrew"))
            mask_path = f"ground_truth/{folder}/{name}_mask.png"
            _write(out / mask_path, resize_mask(drawn.pixels(image.shape[:2]), size_hw) * 255)
        regions = []
        for part in ("raceway", "raceway_right"):
            regions.append(f"roi/{part}/{folder}/{name}.png")
            _write(out / regions[-1], ballscrew_region(crop, right=part == "raceway_right") * 255)
        position = "_".join(name.split("_")[2:4])
        rows.writerow([image_path, split, label, position, mask_path, *regions])
        count += 1
    (out / "manifest.csv").write_text(table.getvalue(), encoding="utf-8")
    return count


def _tree(name: str, source: Path, out: Path) -> int:
    """A set in MVTec's layout."""
    count = 0
    for folder, stem in _listed(name):
        kind = folder.split("/")[1]
        if name == "hazelnut_toy":
            images, masks = source / kind, source / "mask" / kind
        else:
            images = masks = source / ("MT_Free" if kind == "good" else f"MT_{kind.capitalize()}") / "Imgs"
        image = read_image(_found(images / f"{stem}.jpg", name))
        size_hw = (image.shape[0], image.shape[1])
        is_tile = name == "magnetic_tile"
        roi = tile_region(size_hw) if is_tile else hazelnut_region(f"{folder}/{stem}", size_hw)
        _write(out / folder / f"{stem}.png", image)
        _write(out / "roi" / folder / f"{stem}.png", roi * 255)
        if kind != "good":
            suffixes = (".png",) if is_tile else (".png", ".jpg")
            files = [masks / f"{stem}{suffix}" for suffix in suffixes]
            drawn = next((file for file in files if file.is_file()), files[0])
            # A mask that was stored as JPEG has values between.
            mask = read_image(_found(drawn, name)).max(2) > 127
            _write(out / "ground_truth" / kind / f"{stem}.png", mask.astype(np.uint8) * 255)
        count += 1
    return count


def _write(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, pixels)
