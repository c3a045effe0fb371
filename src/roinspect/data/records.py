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
FEW_GOOD = 10
"""Fewer good photographs to train on are warned of."""


@dataclass(frozen=True, slots=True)
class Record:
    """One photograph with its label and masks.

    Attributes:
        image_path: the photograph.
        split: "train", "val" or "test".
        label: 0 good, 1 defective, None unknown, from the folder or manifest (before the ROI rule).
        category: folder name or label text, "" if none.
        mask_path: ground-truth mask of the defect: a mask file or a drawing in an annotation file, or None.
        roi_path: mask of the region of interest, likewise; None if the whole image is inspected.
        group: shared by near-duplicates (a position, a part), "" if not given.
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

    The layout is detected, in this order:

    1. a CSV file, or a folder with `manifest.csv`: columns image_path, split, label, mask_path, roi_path,
       group; only the first is required. Paths are absolute or relative to the CSV's folder. A mask may be an
       annotation file, optionally with the labels to use: defects.json#scratch,dent;
    2. an MVTec tree: `train/CATEGORY/`, `test/CATEGORY/`, `val/CATEGORY/` (or `validation`, `valid`);
    3. plain folders: `CATEGORY/`, all in the train split, except good ones that name another: `normal_test`.

    In 2 and 3 the mask of a defect is in `ground_truth/`, `masks/` or `mask/`, under `CATEGORY/` or
    `SPLIT/CATEGORY/`, or beside its photograph. It is an image file or a LabelMe file (.json), named like the
    photograph with or without `_mask`. The module `folders` lists all layouts.

    Args:
        data: folder or CSV file.
        columns: the manifest's own name for a column above, such as {"group": "position"}.
        good: category or label names that mean good, as for `is_good`; None takes the default names.
        listing: listing of the folder, to be shared with other callers.

    Raises:
        UserError: the path does not exist, no image is found, a file or column is missing, a mask matches two
            images, or an annotation file cannot be read or lacks an image.
    """
    data = Path(data)
    path_kind = kind(data)
    if path_kind == "none":
        raise UserError("no such folder or manifest", where=data, remedy="check the path")
    manifest = data / "manifest.csv" if path_kind == "folder" else data
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
    """Every image below a folder, sorted; hidden files and folders are skipped."""
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
    """Raise a UserError if a name in `good` matches no folder or label."""
    categories = sorted({record.category for record in records})
    for name in good or ():
        if not any(is_good(category, [name]) for category in categories):
            raise UserError(
                f"no folder or label is called {name!r}",
                where="--good",
                remedy=f"there are {', '.join(categories)}",
            )


def refuse_without_good(records: Sequence[Record], data: Path) -> None:
    """Raise a UserError if training photographs are labelled but none of them is good."""
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
    """The mask named by a manifest; the image within an annotation file is chosen later."""
    path, labels = split_labels(str(manifest_path(root, text)))
    return DrawnMask(Path(path), None, labels) if is_annotation(Path(path)) else manifest_path(root, text)


def _with_drawings(records: list[Record]) -> list[Record]:
    """Choose the image within its annotation file for each record.

    Raises:
        UserError: a file cannot be read, or does not annotate a record that refers to it.
    """
    keys = [record.key for record in records]
    keys_of: dict[DrawnMask, list[str]] = defaultdict(list)
    for record in records:
        for source in dict.fromkeys((record.mask_path, record.roi_path)):
            if isinstance(source, DrawnMask):
                keys_of[source].append(record.key)
    drawn = {
        source: drawn_in_file(source.path, source.labels, source_keys, lambda: keys, empty=True)
        for source, source_keys in keys_of.items()
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
    """Line number and known columns, by their standard names, of every row of the manifest.

    Raises:
        UserError: it cannot be read, is not CSV, lacks a column, or a quote is not closed.
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
    # Without `strict`, an unclosed quote would silently swallow all following rows.
    reader = csv.DictReader(
        io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True
    )
    row_start = 1
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
        row_start = reader.line_num + 1
        for row in reader:
            paths = [(row.get(names[name]) or "").strip() for name in PATHS]
            if any("\n" in path or "\r" in path for path in paths):
                raise _open_quote(manifest, row_start)
            row_start = reader.line_num + 1
            if None in row or None in row.values():
                raise UserError(
                    f"the line has not {len(header)} fields like the header",
                    where=f"{manifest}, line {reader.line_num}",
                    remedy="mend the line",
                )
            yield (
                reader.line_num,
                {
                    column: row[header_name].strip()
                    for column, header_name in names.items()
                    if header_name in row
                },
            )
    except csv.Error as error:
        raise _open_quote(manifest, row_start, f" ({error})") from None


def _open_quote(manifest: Path, line: int, detail: str = "") -> UserError:
    return UserError(
        f"a quote is not closed{detail}",
        where=f"{manifest}, line {line}",
        remedy="close it; a quote within a cell is written twice",
    )


def manifest_path(root: Path, text: str) -> Path:
    """Resolve a path from a manifest, with forward or backward slashes, against its root folder."""
    return Path(os.path.normpath(root / text.replace("\\", "/")))


def _key(root: Path, image: Path) -> str:
    """Path below the root; for an image elsewhere, the absolute path without anchor, so no key holds `..`."""
    home = Path(os.path.normpath(root))
    if image.is_relative_to(home) and ".." not in image.relative_to(home).parts:
        return image.relative_to(home).as_posix()
    whole = Path(os.path.normpath(Path.cwd() / image))
    return whole.relative_to(whole.anchor).as_posix()


def _refuse_missing_files(manifest: Path, records: Sequence[Record]) -> None:
    sources = (path for r in records for path in (r.image_path, r.mask_path, r.roi_path) if path is not None)
    files = dict.fromkeys(file for path in sources for file in files_of(path))
    kinds = {path: kind(path) for path in files}
    if special := [path for path, file_kind in kinds.items() if file_kind == "other"]:
        raise UserError(
            "is not a regular file", where=special[0], remedy=f"put a file in its place, or mend {manifest}"
        )
    missing = [path for path, file_kind in kinds.items() if file_kind != "file"]
    if missing:
        raise UserError(
            f"names {len(missing)} files that are not there: {', '.join(map(str, missing[:3]))}",
            where=manifest,
            remedy="mend the paths, which are relative to the manifest's folder",
        )
