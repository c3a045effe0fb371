"""The 400 images of the CEOD paper (section 5.1), made again from a product with regions of interest.

    FOLDER/images/, masks/, roi/     the altered copies; other parts are the photographs themselves
    FOLDER/parts.csv                 every part, with its group: the photograph that it is a copy of
    FOLDER/SPLIT-SEED.csv            a manifest with the splits

The paper augmented MVTec AD's zipper "to change its shape and proportions", to 216 images without and 184
with a defect, counted by the rule for labels, and split them 70 / 20 / 10.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from roinspect.data.dataset import load_sample
from roinspect.data.reading import Data
from roinspect.data.records import Record
from roinspect.data.roi import attach_roi, label_in_roi
from roinspect.errors import UserError
from roinspect.files import read_file, whole_folder, write_whole, writing
from roinspect.images.pixels import resize_image, resize_mask, write_image
from roinspect.training.runs import fingerprint

Split: TypeAlias = Literal["grouped", "paper"]

COUNTS = {0: 216, 1: 184}
"""Good and defective parts."""

SHARES = (("test", 0.1), ("val", 0.2))
"""The rest is for training."""

WINDOW = (0.7, 1.0)
"""Range of a copy's window, as shares of the sides of its photograph; each side is drawn by itself."""

_ATTEMPTS = 50
_COLUMNS = ("image_path", "label", "mask_path", "roi_path", "group")


@dataclass(frozen=True, slots=True)
class SplitCopies:
    """A manifest, and how many of its test parts are copies of a photograph that is trained on."""

    manifest: Path
    test_parts: int
    leaked: int


def make_copies(data: Data, folder: Path) -> Path:
    """Make the parts, unless they are there already; returns the table of parts.

    Args:
        data: the product, with its ROI masks.
        folder: to write to.

    Raises:
        UserError: no photograph is good, none is defective inside the region, or a file cannot be used.
    """
    records = attach_roi(data)
    sources = zip(*((r.image_path, r.mask_path, r.roi_path) for r in records), strict=True)
    identity = [str(data.path.resolve()), *map(fingerprint, sources)]
    stamp = folder / "source.json"
    if stamp.is_file() and json.loads(read_file(stamp)) == identity:
        return folder / "parts.csv"
    rng = np.random.default_rng(0)
    # One after the other, as 391 photographs of a megapixel would not fit everywhere.
    by_label: dict[int, list[Record]] = {0: [], 1: []}
    outside: list[Record] = []
    for record in records:
        sample = load_sample(record, None)
        if sample.label in by_label:
            (outside if sample.place == "outside" else by_label[sample.label]).append(record)
    for label, what in ((0, "good"), (1, "defective inside the region")):
        if not by_label[label]:
            raise UserError(
                f"no photograph is {what}",
                where=data.path,
                remedy="check the photographs and their ROI masks",
            )
    with writing(folder), whole_folder(folder) as unfinished:
        rows: list[dict[str, str]] = []
        for label, count in COUNTS.items():
            others = [by_label[label][row] for row in rng.permutation(len(by_label[label]))]
            # Good for the rule's sake alone, and what the paper is about: none is left out.
            chosen = [*(outside if label == 0 else []), *others]
            for number in range(count):
                record = chosen[number % len(chosen)]
                name = f"{label}-{number:03d}.png"
                if number < len(chosen):
                    rows.append(_original(record, unfinished, name))
                else:
                    rows.append(_copy(record, label, rng, unfinished, name))
        write_whole(unfinished / "parts.csv", _as_csv(rows, _COLUMNS))
        write_whole(unfinished / "source.json", json.dumps(identity))
    return folder / "parts.csv"


def split_copies(parts: Path, split: Split, seed: int) -> SplitCopies:
    """Write a manifest that divides the parts 70 / 20 / 10, good and defective ones alike.

    Args:
        parts: from `make_copies`.
        split: "grouped" keeps the copies of a photograph in one split; "paper" draws every part by itself.
        seed: of the draw.
    """
    with parts.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    rng = np.random.default_rng((seed, len(rows)))
    # A group has one label: copies keep theirs.
    first = COUNTS[0]
    for own in (rows[:first], rows[first:]):
        keys = [row["group"] if split == "grouped" else str(number) for number, row in enumerate(own)]
        sizes = Counter(keys)
        drawn = [list(sizes)[row] for row in rng.permutation(len(sizes))]
        of_key = dict.fromkeys(drawn, "train")
        place = 0
        for name, share in SHARES:
            taken = 0
            while taken < round(share * len(own)) and place < len(drawn) - 1:
                of_key[drawn[place]] = name
                taken += sizes[drawn[place]]
                place += 1
        for key, row in zip(keys, own, strict=True):
            row["split"] = of_key[key]
    manifest = parts.with_name(f"{split}-{seed}.csv")
    write_whole(manifest, _as_csv(rows, (*_COLUMNS, "split")))
    trained = {row["group"] for row in rows if row["split"] != "test"}
    test = [row for row in rows if row["split"] == "test"]
    return SplitCopies(manifest, len(test), sum(row["group"] in trained for row in test))


def _original(record: Record, folder: Path, name: str) -> dict[str, str]:
    """The photograph itself; masks that are drawings in another file become files."""
    paths: dict[str, object] = {"image_path": record.image_path.resolve()}
    for column, tree, source in (
        ("mask_path", "masks", record.mask_path),
        ("roi_path", "roi", record.roi_path),
    ):
        if isinstance(source, Path):
            paths[column] = source.resolve()
        elif source is not None:
            sample = load_sample(record, None)
            pixels = sample.gt_mask if tree == "masks" else sample.roi_mask
            write_image(folder / tree / name, pixels * np.uint8(255))
            paths[column] = Path(tree, name)
    return _row(record, paths)


def _row(record: Record, paths: Mapping[str, object]) -> dict[str, str]:
    known = {column: str(path) for column, path in paths.items()}
    return dict.fromkeys(_COLUMNS, "") | known | {"label": record.category, "group": record.key}


def _copy(record: Record, label: int, rng: np.random.Generator, folder: Path, name: str) -> dict[str, str]:
    """Write a stretched window of a photograph and its masks; its effective label is that of the whole."""
    sample = load_sample(record, None)
    size_hw = sample.roi_mask.shape
    for _ in range(_ATTEMPTS):
        sides = [max(1, round(side * rng.uniform(*WINDOW))) for side in size_hw]
        top, left = (
            int(rng.integers(0, side - inner + 1)) for side, inner in zip(size_hw, sides, strict=True)
        )
        window = (slice(top, top + sides[0]), slice(left, left + sides[1]))
        gt_mask, roi_mask = (resize_mask(mask[window], size_hw) for mask in (sample.gt_mask, sample.roi_mask))
        # A defect outside the region is what the copy is about, so it must not be cut off either.
        shows_all = roi_mask.any() and bool(gt_mask.any()) == bool(sample.gt_mask.any())
        if shows_all and (record.mask_path is None or label_in_roi(gt_mask, roi_mask) == label):
            break
    else:
        raise UserError(
            "no window of it shows the region and its defect, and keeps its label",
            where=record.key,
            remedy="check its masks",
        )
    # Relative to the manifests, which lie in the same folder.
    paths: dict[str, object] = {}
    for column, tree, pixels in (
        ("image_path", "images", resize_image(sample.image[window], size_hw)),
        ("mask_path", "masks", gt_mask * np.uint8(255)),
        ("roi_path", "roi", roi_mask * np.uint8(255)),
    ):
        if column != "mask_path" or record.mask_path is not None:
            write_image(folder / tree / name, pixels)
            paths[column] = Path(tree, name)
    return _row(record, paths)


def _as_csv(rows: list[dict[str, str]], columns: tuple[str, ...]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
