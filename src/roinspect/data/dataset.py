"""Decoded samples: one record's pixels and masks, a cache of all records, or a bounded stream."""

from __future__ import annotations

import shutil
import tempfile
import threading
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from roinspect.data.annotations.drawn import DrawnMask, MaskSource, read_source
from roinspect.data.likeness import time_taken
from roinspect.data.records import Record
from roinspect.data.roi import ReadMask, defect_place, label_in_roi, load_roi, refuse_other_size
from roinspect.errors import UserError
from roinspect.files import read_file, sha256
from roinspect.images.pixels import read_image, read_mask, resize_image, resize_mask
from roinspect.inspection.threads import in_threads

UNKNOWN_LABEL = -1
SamplePlace: TypeAlias = Literal["none", "inside", "outside", "both", "unknown"]


@dataclass(frozen=True, slots=True)
class Sample:
    """A decoded record.

    Attributes:
        image: (H, W, 3), uint8, RGB.
        roi_mask: (H, W), uint8 in {0, 1}, 1 = inspect.
        gt_mask: (H, W), uint8 in {0, 1}, 1 = defect; zeros where the record has no mask.
        label: the effective label: 0 good, 1 defective, -1 unknown.
        place: location of the defect, "unknown" for a defective or unlabelled record without a mask.
        digest: SHA-256 of the photograph's file, in hexadecimal digits.
        taken: when the photograph was taken, from `time_taken`.
    """

    image: NDArray[np.uint8]
    roi_mask: NDArray[np.uint8]
    gt_mask: NDArray[np.uint8]
    label: int
    place: SamplePlace
    digest: str
    taken: float | None


@dataclass(frozen=True, slots=True)
class LoadResult:
    """The result of loading a record: its sample, or the error."""

    record: Record
    sample: Sample | None
    error: UserError | None


def load_sample(
    record: Record,
    size_hw: tuple[int, int] | None,
    *,
    min_pixels: int = 1,
    bits: int = 16,
    read: ReadMask = read_source,
    content: bytes | None = None,
) -> Sample:
    """Decode a record and resize it; the photograph's file is opened once.

    The effective label follows the ROI rule, applied to the masks at their stored size: a record labelled
    good is good; a defective or unlabelled one is defective if its mask marks at least `min_pixels` inside
    the ROI; without a mask the record's own label applies.

    Args:
        record: the record.
        size_hw: height and width of the sample; None keeps the image's own.
        min_pixels: defective pixels inside the ROI, at the stored size, that make a defect.
        bits: same as for `read_image`.
        read: reads a mask.
        content: content of the photograph's file if it has already been read.

    Raises:
        UserError: a file cannot be read, a mask differs in size from its image, or the ROI is empty.
    """
    content = read_file(record.image_path) if content is None else content
    image = read_image(content, bits, name=record.image_path)
    native_hw = (image.shape[0], image.shape[1])
    roi_mask = load_roi(record, native_hw, read=read)
    if record.mask_path is None:
        gt_mask = np.zeros(native_hw, np.uint8)
        label = UNKNOWN_LABEL if record.label is None else record.label
        place: SamplePlace = "unknown" if label else "none"
    else:
        gt_mask = read(record.mask_path, native_hw)
        refuse_other_size(record, record.mask_path, gt_mask.shape, native_hw)
        label = 0 if record.label == 0 else label_in_roi(gt_mask, roi_mask, min_pixels=min_pixels)
        place = defect_place(gt_mask, roi_mask)
    target_hw = size_hw or native_hw
    return Sample(
        resize_image(image, target_hw),
        resize_mask(roi_mask, target_hw),
        resize_mask(gt_mask, target_hw),
        label,
        place,
        sha256(content),
        time_taken(content),
    )


EMPTY_REMEDY = "mark the defect, label it good, or remove the mask: then the label stands"


def is_empty_defect(record: Record, place: str) -> bool:
    """Whether a photograph is labelled defective although its mask is empty.

    Args:
        record: the photograph.
        place: location of its defect, from `Sample.place`.
    """
    return record.label == 1 and record.mask_path is not None and place == "none"


def refuse_empty_defects(records: Sequence[Record], places: Sequence[str]) -> None:
    """Raise a UserError if a training record is labelled defective but its mask is empty."""
    empty = [record for record, place in zip(records, places, strict=True) if is_empty_defect(record, place)]
    if empty:
        others = f" ({len(empty)} such photographs)" if len(empty) > 1 else ""
        raise UserError(
            f"its mask {empty[0].mask_path} is empty, but it is labelled defective{others}",
            where=empty[0].key or empty[0].image_path,
            remedy=EMPTY_REMEDY,
        )


class SharedMasks:
    """Thread-safe mask reader; masks shared by several records are decoded once and cached.

    Attributes:
        digests: SHA-256 of each mask file read so far.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        uses = Counter(source for r in records for source in (r.mask_path, r.roi_path) if source is not None)
        self._locks = {source: threading.Lock() for source, count in uses.items() if count > 1}
        self.digests: dict[Path, str] = {}
        self._cached: dict[tuple[MaskSource, tuple[int, int] | None], NDArray[np.uint8] | UserError] = {}

    def __call__(self, source: MaskSource, size_hw: tuple[int, int]) -> NDArray[np.uint8]:
        """The mask, (H, W) uint8 in {0, 1}, read-only by convention; raises the errors of `read_source`."""
        if source not in self._locks:
            return self._read(source, size_hw)
        # A file has one size; a drawing is rasterised at the size of each image.
        key = source, size_hw if isinstance(source, DrawnMask) else None
        with self._locks[source]:
            if key not in self._cached:
                try:
                    self._cached[key] = self._read(source, size_hw)
                except UserError as error:
                    self._cached[key] = error
        cached = self._cached[key]
        if isinstance(cached, UserError):
            raise cached
        return cached

    def _read(self, source: MaskSource, size_hw: tuple[int, int]) -> NDArray[np.uint8]:
        if not isinstance(source, Path):
            return read_source(source, size_hw)
        content = read_file(source)
        self.digests[source] = sha256(content)
        return read_mask(content, source)


class DecodedCache:
    """Decoded samples of some records, held in memory, or on disk if they would not fit.

    Files on disk are memory-mapped and removed by `close` or when the cache is garbage-collected.

    Attributes:
        records: the records, in the order of every array.
        images: (N, H, W, 3), uint8, RGB.
        roi_masks: (N, H, W), uint8 in {0, 1}. A mask shared by all records is stored once.
        gt_masks: (N, H, W), uint8 in {0, 1}. If no record has a mask, one row of zeros is stored.
        labels: (N,), int64: effective labels, 0 good, 1 defective, -1 unknown.
        places: `Sample.place` of each record.
        digests: `Sample.digest` of each record.
        taken: `Sample.taken` of each record.
        mask_digests: SHA-256 of the mask files, ROI and ground truth.
        on_disk: whether the arrays are memory-mapped files.

    Args:
        records: what to decode, at least one.
        size_hw: height and width of every sample.
        memory_bytes: maximum size of the arrays in memory.
        folder: where larger arrays are stored; None is the system's temporary folder.
        min_pixels: same as for `load_sample`.
        bits: same as for `read_image`.
        workers: decoding threads.

    Raises:
        UserError: there are no records, some cannot be loaded (names the first and the count), or the disk is
            full.
    """

    def __init__(
        self,
        records: Sequence[Record],
        size_hw: tuple[int, int],
        *,
        memory_bytes: int = 4 << 30,
        folder: Path | None = None,
        min_pixels: int = 1,
        bits: int = 16,
        workers: int = 2,
    ) -> None:
        if not records:
            raise UserError(
                "no photographs to load", remedy="check the splits and labels with `roinspect check`"
            )
        self.records = list(records)
        count = len(self.records)
        roi_rows = count if len({record.roi_path for record in records}) > 1 else 1
        gt_rows = count if any(record.mask_path for record in records) else 1
        shapes = {
            "images": (count, *size_hw, 3),
            "roi_masks": (roi_rows, *size_hw),
            "gt_masks": (gt_rows, *size_hw),
        }
        needed = sum(int(np.prod(shape)) for shape in shapes.values())
        self.on_disk = needed > memory_bytes
        files = temporary_folder(folder, needed) if self.on_disk else None
        self._finalizer = weakref.finalize(self, shutil.rmtree, files, ignore_errors=True) if files else None
        arrays = {name: _allocate(shape, files and files / name) for name, shape in shapes.items()}
        self.labels = np.zeros(count, np.int64)
        self.places: list[SamplePlace] = ["none"] * count
        self.digests = [""] * count
        self.taken: list[float | None] = [None] * count
        errors: list[UserError] = []
        read = SharedMasks(self.records)
        self.mask_digests = read.digests
        for row, loaded in enumerate(load(self.records, size_hw, min_pixels, bits, workers, read)):
            if loaded.sample is None:
                errors += [loaded.error] if loaded.error else []
                continue
            arrays["images"][row] = loaded.sample.image
            if row < roi_rows:
                arrays["roi_masks"][row] = loaded.sample.roi_mask
            if row < gt_rows:
                arrays["gt_masks"][row] = loaded.sample.gt_mask
            self.labels[row] = loaded.sample.label
            self.places[row] = loaded.sample.place
            self.digests[row] = loaded.sample.digest
            self.taken[row] = loaded.sample.taken
        if errors:
            self.close()
            raise summary(errors, count)
        self.images = arrays["images"]
        self.roi_masks = np.broadcast_to(arrays["roi_masks"], (count, *size_hw))
        self.gt_masks = np.broadcast_to(arrays["gt_masks"], (count, *size_hw))

    @classmethod
    def of_rows(
        cls,
        records: Sequence[Record],
        arrays: Mapping[str, NDArray[np.uint8]],
        labels: Sequence[int],
        places: Sequence[SamplePlace],
        digests: Sequence[str],
        taken: Sequence[float | None],
        mask_digests: Mapping[Path, str],
        files: Path,
    ) -> DecodedCache:
        """A cache of rows that are decoded already, in `files`, a folder that goes with the cache.

        Args:
            records: of each row; for the others see the attributes.
            arrays: `images`, `roi_masks` and `gt_masks`.
            labels: of each row.
            places: of each row.
            digests: of each row.
            taken: of each row.
            mask_digests: of the mask files.
            files: removed by `close`.
        """
        cache = cls.__new__(cls)
        cache.records, cache.on_disk = list(records), True
        cache.images, cache.roi_masks, cache.gt_masks = (
            arrays[name] for name in ("images", "roi_masks", "gt_masks")
        )
        cache.labels = np.array(labels, np.int64)
        cache.places, cache.digests, cache.taken = list(places), list(digests), list(taken)
        cache.mask_digests = dict(mask_digests)
        cache._finalizer = weakref.finalize(cache, shutil.rmtree, files, ignore_errors=True)
        return cache

    def __len__(self) -> int:
        return len(self.records)

    def __enter__(self) -> DecodedCache:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the files of a cache on disk; does nothing for a cache in memory."""
        if self._finalizer is not None:
            self._finalizer()


def stream(
    records: Iterable[Record],
    size_hw: tuple[int, int] | None,
    batch_size: int,
    *,
    min_pixels: int = 1,
    bits: int = 16,
    workers: int = 2,
) -> Iterator[list[LoadResult]]:
    """Load records in order, in lists of `batch_size` (the last may be shorter), while the caller computes.

    At most two batches are decoded ahead, so memory stays bounded. If a record cannot be loaded, its result
    holds the error and loading continues.

    Args:
        records: what to load.
        size_hw: height and width of every sample; None keeps each image's own.
        batch_size: records per list.
        min_pixels: same as for `load_sample`.
        bits: same as for `read_image`.
        workers: decoding threads.
    """
    records = list(records)
    loaded = load(records, size_hw, min_pixels, bits, workers, SharedMasks(records), ahead=2 * batch_size)
    while batch := list(islice(loaded, batch_size)):
        yield batch


def load(
    records: Sequence[Record],
    size_hw: tuple[int, int] | None,
    min_pixels: int,
    bits: int,
    workers: int,
    read: ReadMask,
    ahead: int = 16,
) -> Iterator[LoadResult]:
    """Load records in order, at most `ahead` of them before they are asked for; see `load_sample`."""

    def load_one(record: Record) -> LoadResult:
        try:
            sample = load_sample(record, size_hw, min_pixels=min_pixels, bits=bits, read=read)
            return LoadResult(record, sample, None)
        except UserError as error:
            return LoadResult(record, None, error)

    return in_threads(load_one, records, workers=workers, ahead=ahead)


def temporary_folder(folder: Path | None, needed_bytes: int) -> Path:
    """A new folder for decoded photographs, where there is enough space."""
    # Check the free space first: writing a mapped page to a full disk would kill the process.
    try:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        cache_folder = Path(tempfile.mkdtemp(prefix="roinspect-cache-", dir=folder))
        free_bytes = shutil.disk_usage(cache_folder).free
    except OSError as error:
        where = folder or tempfile.gettempdir()
        raise UserError(
            f"no cache can be made there ({error.strerror})", where=where, remedy="choose another folder"
        ) from None
    if free_bytes < needed_bytes:
        cache_folder.rmdir()
        raise UserError(
            f"the image cache takes {needed_bytes / 1e9:.1f} GB but {free_bytes / 1e9:.1f} GB are free",
            where=cache_folder.parent,
            remedy="free space, choose another folder or a smaller --size",
        )
    return cache_folder


def _allocate(shape: tuple[int, ...], path: Path | None) -> NDArray[np.uint8]:
    return np.zeros(shape, np.uint8) if path is None else np.memmap(path, np.uint8, "w+", shape=shape)


def summary(errors: Sequence[UserError], count: int) -> UserError:
    """One error for those of several photographs out of `count`."""
    first = errors[0]
    if len(errors) == 1:
        return first
    others = "; ".join(str(error) for error in errors[1:3])
    return UserError(
        f"{first.what} ({len(errors)} of {count} photographs cannot be loaded; next: {others})",
        where=first.where,
        remedy=first.remedy,
    )
