"""Account for every file in a data set's folder: what it is used as, or why it is not used."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Literal

from roinspect.data.annotations import ANNOTATION_SUFFIXES
from roinspect.data.annotations.drawn import DrawnMask, files_of, split_labels
from roinspect.data.names import MASK_FOLDERS, MASKS_BESIDE_IMAGES, SPLITS
from roinspect.data.paths import kind
from roinspect.data.reading import Data
from roinspect.data.records import Record
from roinspect.data.roi import ONE_FOR_ALL
from roinspect.images.pixels import IMAGE_SUFFIXES

UNREAD_PICTURES = frozenset(
    (
        *(".gif", ".heic", ".heif", ".hif", ".avif", ".jp2", ".j2k", ".jpf", ".jxl", ".jxr", ".wdp"),
        *(".pbm", ".pgm", ".pnm", ".ppm", ".exr", ".hdr", ".dcm", ".ico", ".psd", ".svg", ".tga", ".npy"),
        *(".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf", ".raw", ".rw2"),
        *(".avi", ".mkv", ".mov", ".mp4"),
    )
)
"""Suffixes of image and video formats that are not supported."""

Standing = Literal["used", "missed", "aside"]
_EXAMPLES = 3
_ROI = "roi"


@dataclass(frozen=True, slots=True)
class FileUse:
    """Files that are used, or not used, in the same way.

    Attributes:
        what: what the files are and, if they are not used, why not.
        standing: "used"; "missed": not used, but perhaps meant to be; "aside": not used because they are not
            part of the data.
        count: number of files.
        examples: the first few, relative to the data.
        remedy: what to do about missed files, else "".
    """

    what: str
    standing: Standing
    count: int
    examples: tuple[str, ...]
    remedy: str = ""

    def __str__(self) -> str:
        """One line for a warning."""
        names = ", ".join(self.examples) + (", ..." if self.count > len(self.examples) else "")
        return f"not used: {self.count:,} {self.what}: {names}; {self.remedy}"


_Reason = tuple[Standing, str, str]
_ORDER: tuple[Standing, ...] = ("used", "missed", "aside")


def account(data: Data, records: Sequence[Record] | None = None) -> tuple[FileUse, ...]:
    """How every file below a data set's folder is used; each is counted once.

    No file is opened. Files outside the folder, such as a mask given by `--roi`, are not counted.

    Args:
        data: the data set.
        records: all of its records with their ROI; None if no ROI is attached yet.
    """
    records = data.records if records is None else records
    root = data.path if kind(data.path) == "folder" else data.path.parent
    manifest = data.path / "manifest.csv" if kind(data.path) == "folder" else data.path
    is_listed = kind(manifest) == "file"
    uses = _uses(records)
    uses[_plain(Path(split_labels(data.roi)[0]))] = "regions of interest"
    if is_listed:
        uses[_plain(manifest)] = "the manifest"
    has_splits = any(folder.name.lower() in SPLITS for folder in data.listing.folders(root))
    judge = _Judge(records, data.roi, is_listed=is_listed, has_splits=has_splits)
    by_reason: dict[_Reason, list[str]] = defaultdict(list)
    for path in data.listing.walk(root, hidden=True):
        use = uses.get(_plain(path))
        below = path.relative_to(root)
        by_reason[("used", use, "") if use else judge(path, below)].append(below.as_posix())
    return tuple(
        FileUse(what, standing, len(files), tuple(sorted(files)[:_EXAMPLES]), remedy)
        for (standing, what, remedy), files in sorted(
            by_reason.items(), key=lambda item: (_ORDER.index(item[0][0]), -len(item[1]), item[0][1])
        )
    )


def missed(files: Iterable[FileUse]) -> str | None:
    """One line about the missed files, without the name of the data; None if there are none."""
    kinds = [file for file in files if file.standing == "missed"]
    if not kinds:
        return None
    count = sum(file.count for file in kinds)
    kinds_text = "; ".join(f"{file.count:,} {file.what}" for file in kinds[:_EXAMPLES])
    return f"{count:,} file{'s are' if count > 1 else ' is'} not used: {kinds_text}"


def missed_line(data: Data) -> str | None:
    """Warning about missed files that points to `roinspect check`; None if there are none."""
    what = missed(account(data))
    return what and f"{data.path}: {what}; see `roinspect check {data.path}`"


def _plain(path: Path) -> str:
    return os.path.normpath(path)


def _uses(records: Sequence[Record]) -> dict[str, str]:
    uses: dict[str, str] = {}
    for record in records:
        for source, use in ((record.roi_path, "regions of interest"), (record.mask_path, "masks of defects")):
            for file in files_of(source) if source is not None else ():
                uses[_plain(file)] = use
    uses.update((_plain(record.image_path), "photographs") for record in records)
    return uses


class _Judge:
    """Explains why a file is not used."""

    def __init__(self, records: Sequence[Record], roi: str, *, is_listed: bool, has_splits: bool) -> None:
        self._records = records
        self._good = {record.category.lower() for record in records if record.label == 0}
        self._knows_roi = any(record.roi_path is not None for record in records)
        self._roi, self._is_listed, self._has_splits = roi, is_listed, has_splits
        self._is_yolo = any(
            isinstance(source, DrawnMask) and source.path.suffix.lower() == ".txt"
            for record in records
            for source in (record.roi_path, record.mask_path)
        )

    # Computed on demand: most data sets have no file that needs them.
    @cached_property
    def _stems(self) -> set[Path]:
        return {record.image_path.with_suffix("") for record in self._records}

    @cached_property
    def _keys(self) -> set[PurePosixPath]:
        return {PurePosixPath(record.key).with_suffix("") for record in self._records}

    def __call__(self, path: Path, below: Path) -> _Reason:
        suffix, folders = path.suffix.lower(), [folder.lower() for folder in below.parts[:-1]]
        if any(part.startswith(".") for part in below.parts):
            return "aside", "hidden files", ""
        if self._is_yolo and path.name in ("classes.txt", "data.yaml"):
            return "used", "names of YOLO's classes", ""
        if suffix in UNREAD_PICTURES:
            return "missed", f"pictures in a format that is not read ({suffix})", "save them as PNG or JPEG"
        if suffix not in IMAGE_SUFFIXES | ANNOTATION_SUFFIXES:
            return "aside", "other files", ""
        if folders[:1] == [_ROI]:
            return self._region(below)
        if below == Path(ONE_FOR_ALL):
            if self._roi == "auto" and not self._knows_roi:
                return "used", "regions of interest", ""
            return "aside", f"the region in {ONE_FOR_ALL}, as others are used", ""
        if suffix not in IMAGE_SUFFIXES and suffix != ".json":
            return self._drawing(path)
        if self._is_listed:
            return self._not_listed(path, folders, suffix)
        if not MASKS_BESIDE_IMAGES.isdisjoint(folders):
            if not self._good.isdisjoint(folders):
                return "aside", "masks of good photographs, which need none", ""
            return (
                "missed",
                "masks that fit no photograph",
                "name each like its photograph, with or without _mask, in a folder like the photograph's",
            )
        return self._drawing(path) if suffix == ".json" else self._picture(below, folders)

    def _region(self, below: Path) -> _Reason:
        if self._roi == "none":
            return "aside", "regions in roi/, as --roi none leaves them aside", ""
        if self._roi != "auto" or self._is_listed:
            return "aside", "regions in roi/, as others are named", ""
        # Until the regions are attached to their photographs, a mask is recognised by its path.
        is_known = PurePosixPath(*below.parts[1:]).with_suffix("") in self._keys
        if not self._knows_roi and (is_known or below.suffix.lower() in ANNOTATION_SUFFIXES):
            return "used", "regions of interest", ""
        return (
            "missed",
            "regions that fit no photograph",
            "name each like its photograph, below folders like the photograph's",
        )

    def _drawing(self, path: Path) -> _Reason:
        if path.with_suffix("") in self._stems:
            return (
                "missed",
                "annotations beside their photographs",
                "pass them as --roi, or move those of defects to ground_truth/",
            )
        return "aside", "text, JSON or XML files", ""

    def _not_listed(self, path: Path, folders: list[str], suffix: str) -> _Reason:
        if suffix == ".json":
            return self._drawing(path)
        if any(folder in MASK_FOLDERS for folder in folders):
            return "aside", "masks that the manifest does not name", ""
        return "missed", "pictures that the manifest does not name", "list them, or move them elsewhere"

    def _picture(self, below: Path, folders: list[str]) -> _Reason:
        if not folders and below.stem.lower().startswith(("roi", "mask")):
            return "aside", "masks that --roi does not name", ""
        if not folders:
            return (
                "missed",
                "pictures outside any folder",
                "move them to a folder that says what they are, such as good/",
            )
        if self._has_splits and folders[0] not in SPLITS:
            return (
                "missed",
                f"pictures in {folders[0]}/ beside the splits",
                f"move them below {', '.join(dict.fromkeys(SPLITS.values()))}, or elsewhere",
            )
        return (
            "missed",
            "pictures that are neither photograph nor mask",
            "rename them, or move them elsewhere",
        )
