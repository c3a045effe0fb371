"""Read an image data set into records: MVTec layout, plain folders or a CSV manifest."""

from __future__ import annotations

import csv
import io
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from roinspect.data.annotations.drawn import (
    DrawnMask,
    MaskSource,
    drawn_in_file,
    files_of,
    is_annotation,
    split_labels,
)
from roinspect.data.folders import read_folders
from roinspect.data.names import SPLITS, is_good
from roinspect.data.paths import Listing, find_files, kind
from roinspect.errors import UserError
from roinspect.files import read_regular
from roinspect.images.pixels import IMAGE_SUFFIXES

COLUMNS = ("image_path", "split", "label", "mask_path", "roi_path", "group")
PATHS = ("image_path", "mask_path", "roi_path")


@dataclass(frozen=True, slots=True)
class Record:
    """One photograph and what is known of it.

    Attributes:
        image_path: the photograph.
        split: "train", "val" or "test".
        label: 0 good, 1 defective, None unknown, as the folder or the manifest says (before the ROI rule).
        category: folder name or label text, "" where there is none.
        mask_path: ground truth mask of the defect, a file or drawn in one; None where there is none.
        roi_path: mask of the region of interest likewise, None where all of the image is inspected.
        group: what near-duplicates share (a position, a part), "" where not given.
        key: unique name: image path relative to the data root, with forward slashes.
    """

    image_path: Path
    split: str
    label: int | None
    category: str
    mask_path: MaskSource | None = None
    roi_path: MaskSource | None = None
    group: str = ""
    key: str = ""


def read_records(
    data: Path | str,
    *,
    columns: Mapping[str, str] | None = None,
    good: Sequence[str] | None = None,
    listing: Listing | None = None,
) -> list[Record]:
    """Read every photograph below `data`, sorted by key.

    The layout is found by itself, in this order:

    1. a CSV file, or a folder with `manifest.csv`: columns image_path, split, label, mask_path, roi_path,
       group, of which only the first must be there; paths are absolute or relative to the CSV's folder. A
       mask may be an annotation file, with the labels that count: defects.json#scratch,dent;
    2. an MVTec tree: `train/CATEGORY/`, `test/CATEGORY/`, `val/CATEGORY/` (or `validation`, `valid`);
    3. plain folders: `CATEGORY/`, all of them in the train split, but for a good one that says another:
       `normal_test`.

    In 2 and 3 a defect's mask lies in `ground_truth/`, `masks/` or `mask/`, under `CATEGORY/` or
    `SPLIT/CATEGORY/`, or beside its photograph, and is named like the image with or without `_mask`: an image
    file, or a LabelMe file (.json). `folders` tells all the places.

    Args:
        data: folder or CSV file.
        columns: the manifest's own name for a column above, such as {"group": "position"}.
        good: category or label names that mean good, as `is_good` takes them; None takes the usual ones.
        listing: of the folder, where others ask for it too.

    Raises:
        UserError: nothing there, no image found, a file or column missing, a mask that fits two images, or an
            annotation file that cannot be read or leaves an image out.
    """
    data = Path(data)
    place = kind(data)
    if place == "none":
        raise UserError("no such folder or manifest", where=data, remedy="check the path")
    manifest = data / "manifest.csv" if place == "folder" else data
    if kind(manifest) == "file":
        records = _from_manifest(manifest, columns or {}, good)
    elif columns:
        raise UserError(
            "columns are mapped but there is no manifest.csv", where=data, remedy="drop the columns"
        )
    else:
        records = _from_folders(data, good, listing or Listing())
    if not records:
        raise UserError(
            "no photographs found",
            where=data,
            remedy="sort them into folders such as good/ and bad/, or train/good/ and test/CATEGORY/",
        )
    return sorted(records, key=lambda record: record.key)


def find_images(folder: Path) -> list[Path]:
    """Every image below a folder, sorted; hidden files and folders are passed over."""
    return find_files(folder, IMAGE_SUFFIXES)


def _from_folders(root: Path, good: Sequence[str] | None, listing: Listing) -> list[Record]:
    return [
        Record(
            photograph.path,
            photograph.split,
            photograph.label,
            photograph.category,
            photograph.mask,
            key=photograph.path.relative_to(root).as_posix(),
        )
        for photograph in read_folders(root, good, listing)
    ]


def refuse_unknown_good(records: Sequence[Record], good: Sequence[str] | None) -> None:
    """Raise the UserError for a name of good parts that no folder or label of the data has."""
    categories = sorted({record.category for record in records})
    for name in good or ():
        if not any(is_good(category, [name]) for category in categories):
            raise UserError(
                f"no folder or label is called {name!r}",
                where="--good",
                remedy=f"there are {', '.join(categories)}",
            )


def refuse_without_good(records: Sequence[Record], data: Path) -> None:
    """Raise the UserError for photographs to learn from of which some are labelled but none is good."""
    if not any(record.label == 0 for record in records) and any(record.category for record in records):
        called = ", ".join(sorted({record.category for record in records if record.category}))
        raise UserError(
            f"none of {len(records)} photographs to train on is labelled good, only {called}",
            where=data,
            remedy="label some good, or say which folders are: --good NAME",
        )


def _from_manifest(manifest: Path, columns: Mapping[str, str], good: Sequence[str] | None) -> list[Record]:
    root = manifest.parent
    records: list[Record] = []
    seen: dict[str, int] = {}
    for line, row in manifest_rows(manifest, columns):
        where = f"{manifest}, line {line}"
        if not row["image_path"]:
            raise UserError("no image path", where=where, remedy="fill it in or remove the line")
        split = row.get("split", "train").lower()
        if split not in SPLITS:
            raise UserError(f"unknown split {split!r}", where=where, remedy="use train, val or test")
        label = row.get("label", "")
        image = manifest_path(root, row["image_path"])
        key = _key(root, image)
        if key in seen:
            raise UserError(
                f"{key} stands on line {seen[key]} already", where=where, remedy="remove one of the lines"
            )
        seen[key] = line
        records.append(
            Record(
                image_path=image,
                split=SPLITS[split],
                label=None if not label else int(not is_good(label, good)),
                category=label,
                mask_path=_mask_source(root, row["mask_path"]) if row.get("mask_path") else None,
                roi_path=_mask_source(root, row["roi_path"]) if row.get("roi_path") else None,
                group=row.get("group", ""),
                key=key,
            )
        )
    _refuse_missing_files(manifest, records)
    return _with_drawings(records)


def _mask_source(root: Path, text: str) -> MaskSource:
    """What a manifest names as a mask; which image of an annotation file is meant is left open."""
    path, labels = split_labels(str(manifest_path(root, text)))
    return DrawnMask(Path(path), None, labels) if is_annotation(Path(path)) else manifest_path(root, text)


def _with_drawings(records: list[Record]) -> list[Record]:
    """Settle which image of its annotation file each record means.

    Raises:
        UserError: a file cannot be read, or does not annotate a record that names it.
    """
    keys = [record.key for record in records]
    named: dict[DrawnMask, list[str]] = defaultdict(list)
    for record in records:
        for source in dict.fromkeys((record.mask_path, record.roi_path)):
            if isinstance(source, DrawnMask):
                named[source].append(record.key)
    drawn = {
        source: drawn_in_file(source.path, source.labels, asked, lambda: keys, empty=True)
        for source, asked in named.items()
    }

    def settle(record: Record, source: MaskSource | None) -> MaskSource | None:
        if not isinstance(source, DrawnMask):
            return source
        if record.key not in drawn[source]:
            raise UserError(
                f"does not annotate {record.key}",
                where=source.path,
                remedy="annotate it, or empty its field in the manifest",
            )
        return drawn[source][record.key]

    return [replace(r, mask_path=settle(r, r.mask_path), roi_path=settle(r, r.roi_path)) for r in records]


def manifest_rows(manifest: Path, columns: Mapping[str, str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and the known columns, by our names, of every row of the manifest.

    Raises:
        UserError: it cannot be read, is no CSV, lacks a column, or a quote is not closed.
    """
    if unknown := sorted(set(columns) - set(COLUMNS)):
        raise UserError(
            f"unknown column {unknown[0]!r}", where="--columns", remedy=f"use {', '.join(COLUMNS)}"
        )
    try:
        text = read_regular(manifest).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        raise UserError(
            "cannot be read as UTF-8 text", where=manifest, remedy="save it as UTF-8 CSV"
        ) from None
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    # Not strict, a quote that is not closed would swallow all rows after it without a word.
    reader = csv.DictReader(
        io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True
    )
    begins = 1
    try:
        header = [name.strip() for name in reader.fieldnames or ()]
        reader.fieldnames = header
        names = {name: columns.get(name, name) for name in COLUMNS}
        missing = [
            names[name] for name in COLUMNS if name in (*columns, "image_path") and names[name] not in header
        ]
        if missing:
            raise UserError(
                f"has no column {missing[0]!r}",
                where=manifest,
                remedy=f"it has {', '.join(header) or 'no header'}",
            )
        if len(set(header)) < len(header):
            raise UserError("has two columns of one name", where=manifest, remedy="rename one of them")
        begins = reader.line_num + 1
        for row in reader:
            paths = [(row.get(names[name]) or "").strip() for name in PATHS]
            if any("\n" in path or "\r" in path for path in paths):
                raise _open_quote(manifest, begins)
            begins = reader.line_num + 1
            if None in row or None in row.values():
                raise UserError(
                    f"the line has not {len(header)} fields like the header",
                    where=f"{manifest}, line {reader.line_num}",
                    remedy="mend the line",
                )
            yield (
                reader.line_num,
                {ours: row[theirs].strip() for ours, theirs in names.items() if theirs in row},
            )
    except csv.Error as error:
        raise _open_quote(manifest, begins, f" ({error})") from None


def _open_quote(manifest: Path, line: int, detail: str = "") -> UserError:
    return UserError(
        f"a quote is not closed{detail}",
        where=f"{manifest}, line {line}",
        remedy="close it; a quote within a cell is written twice",
    )


def manifest_path(root: Path, text: str) -> Path:
    """The path that a manifest names, whichever way its slashes lean, from the folder it counts from."""
    return Path(os.path.normpath(root / text.replace("\\", "/")))


def _key(root: Path, image: Path) -> str:
    """Path below the root; of an image elsewhere the whole path less the anchor, so no key holds `..`."""
    home = Path(os.path.normpath(root))
    if image.is_relative_to(home) and ".." not in image.relative_to(home).parts:
        return image.relative_to(home).as_posix()
    whole = Path(os.path.normpath(Path.cwd() / image))
    return whole.relative_to(whole.anchor).as_posix()


def _refuse_missing_files(manifest: Path, records: Sequence[Record]) -> None:
    named = (path for r in records for path in (r.image_path, r.mask_path, r.roi_path) if path is not None)
    files = dict.fromkeys(file for path in named for file in files_of(path))
    lying = {path: kind(path) for path in files}
    if special := [path for path, found in lying.items() if found == "other"]:
        raise UserError(
            "is not a regular file", where=special[0], remedy=f"put a file in its place, or mend {manifest}"
        )
    missing = [path for path, found in lying.items() if found != "file"]
    if missing:
        raise UserError(
            f"names {len(missing)} files that are not there: {', '.join(map(str, missing[:3]))}",
            where=manifest,
            remedy="mend the paths, which are relative to the manifest's folder",
        )
