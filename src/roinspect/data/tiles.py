"""Decode each photograph once, into a small whole and into tiles at its own resolution."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from roinspect.data.dataset import (
    DecodedCache,
    Sample,
    SamplePlace,
    SharedMasks,
    load,
    refuse_empty_defects,
    summary,
    temporary_folder,
)
from roinspect.data.records import Record
from roinspect.data.roi import defect_place, label_in_roi
from roinspect.errors import UserError
from roinspect.images.pixels import resize_image, resize_mask
from roinspect.inspection.tiles import cover, cut, fullest, scaled_hw, widened

_CELL = 4
"""Pixels per cell of the grid on which the coarse look predicts the region."""
_LEAST_ROI = 64
"""Pixels of the region that a tile must show to be trained on."""
_AHEAD = 3
"""Photographs decoded ahead: large ones must not fill the memory."""


class TiledPhotographs(NamedTuple):
    """Decoded photographs, small and in tiles."""

    whole: DecodedCache
    """N photographs, resized."""
    tiles: DecodedCache
    """T tiles over their regions; a tile's group is its photograph's, or its photograph."""
    photograph: NDArray[np.int64]
    """(T,), the row of each tile's photograph in `whole`."""
    is_complete: NDArray[np.bool_]
    """(N,), whether all that the close look needs of a photograph is among the tiles."""
    sizes_hw: list[tuple[int, int]]
    """Height and width of each photograph."""

    def close(self) -> None:
        """Remove the files."""
        self.whole.close()
        self.tiles.close()


class _Rows:
    """Rows of a cache, appended to files."""

    def __init__(self, folder: Path | None, stack: ExitStack, side_hw: tuple[int, int]) -> None:
        self._folder, self._side_hw = temporary_folder(folder, 0), side_hw
        # Until a cache has taken the files over.
        self._removal = stack.enter_context(ExitStack())
        self._removal.callback(shutil.rmtree, self._folder, ignore_errors=True)
        self._files: dict[str, BinaryIO] = {
            name: stack.enter_context((self._folder / name).open("wb"))
            for name in ("images", "roi_masks", "gt_masks")
        }
        self.records, self.labels, self.places = list[Record](), list[int](), list[SamplePlace]()
        self.digests, self.taken = list[str](), list[float | None]()

    def add(
        self,
        record: Record,
        sample: Sample,
        arrays: Sequence[NDArray[np.uint8]],
        label: int,
        place: SamplePlace,
    ) -> None:
        for file, array in zip(self._files.values(), arrays, strict=True):
            file.write(np.ascontiguousarray(array).data)
        self.records.append(record)
        self.labels.append(label)
        self.places.append(place)
        self.digests.append(sample.digest)
        self.taken.append(sample.taken)

    def cache(self, read: SharedMasks) -> DecodedCache:
        count, arrays = len(self.records), dict[str, NDArray[np.uint8]]()
        for name, file in self._files.items():
            file.flush()
            shape = (count, *self._side_hw, 3) if name == "images" else (count, *self._side_hw)
            arrays[name] = np.memmap(self._folder / name, np.uint8, "r+", shape=shape)
        cache = DecodedCache.of_rows(
            self.records,
            arrays,
            self.labels,
            self.places,
            self.digests,
            self.taken,
            read.digests,
            self._folder,
        )
        self._removal.pop_all()
        return cache


def decode_with_tiles(
    records: Sequence[Record],
    size_hw: tuple[int, int],
    side: int,
    scale: float,
    *,
    clean_of_defective: bool,
    folder: Path | None = None,
    min_pixels: int = 1,
    bits: int = 16,
    workers: int = 2,
) -> TiledPhotographs:
    """Decode photographs; memory does not grow with their number or size, as the rows are written to disk.

    The tiles are those that the close look would inspect if it found the region as drawn, without those that
    hardly show any of it. A tile is defective by the ROI rule; of a photograph that is labelled defective and
    has no mask, nobody knows which tile is, and none is kept.

    Args:
        records: at least one, with their ROI.
        size_hw: height and width of the small wholes.
        side: of a tile, in pixels.
        scale: factor by which a photograph is reduced before it is cut.
        clean_of_defective: keep tiles of defective photographs that show no defect.
        folder: where the files are stored; None is the system's temporary folder.
        min_pixels: as of `load_sample`, for tiles in scaled pixels.
        bits: as of `read_image`.
        workers: decoding threads.

    Raises:
        UserError: a photograph cannot be loaded, is smaller than a tile, or is labelled defective with an
            empty mask; the disk is full, or there is no tile.
    """
    records = list(records)
    read, errors = SharedMasks(records), list[UserError]()
    of, complete, sizes = list[int](), list[bool](), list[tuple[int, int]]()
    try:
        with ExitStack() as stack:
            whole, tiles = _Rows(folder, stack, size_hw), _Rows(folder, stack, (side, side))
            for loaded in load(records, None, min_pixels, bits, workers, read, ahead=_AHEAD):
                record, sample = loaded.record, loaded.sample
                if sample is None:
                    errors += [loaded.error] if loaded.error else []
                    continue
                native_hw = (sample.image.shape[0], sample.image.shape[1])
                scaled = scaled_hw(native_hw, scale)
                if side > min(scaled):
                    errors.append(_too_small(record, native_hw, scale, side))
                    continue
                small = (
                    resize_image(sample.image, size_hw),
                    resize_mask(sample.roi_mask, size_hw),
                    resize_mask(sample.gt_mask, size_hw),
                )
                whole.add(record, sample, small, sample.label, sample.place)
                sizes.append(native_hw)
                region = _region(sample.roi_mask, size_hw)
                needed = cover(region > 0, scaled, side)
                positions = fullest(needed, region, scaled, side)
                complete.append(len(positions) == len(needed))
                large = (
                    resize_image(sample.image, scaled),
                    resize_mask(sample.roi_mask, scaled),
                    resize_mask(sample.gt_mask, scaled),
                )
                rows = list(zip(*(cut(array, positions, side) for array in large), strict=True))
                kept = _add(tiles, record, sample, rows, positions, min_pixels, clean_of_defective)
                of += [len(whole.records) - 1] * kept
            if errors:
                raise summary(errors, len(records))
            refuse_empty_defects(whole.records, whole.places)
            if not tiles.records:
                raise UserError(
                    "no tile shows a region of interest",
                    where=records[0].image_path,
                    remedy="see `roinspect check`",
                )
            return TiledPhotographs(
                whole.cache(read), tiles.cache(read), np.array(of, np.int64), np.array(complete), sizes
            )
    except OSError as error:
        raise UserError(
            f"the tiles cannot be stored ({error.strerror or error})",
            where=folder or tempfile.gettempdir(),
            remedy="free space, or choose a smaller --scale",
        ) from error


def _add(
    tiles: _Rows,
    record: Record,
    sample: Sample,
    rows: Sequence[tuple[NDArray[np.uint8], ...]],
    positions: NDArray[np.int64],
    min_pixels: int,
    clean_of_defective: bool,
) -> int:
    """Append those tiles of a photograph that are of use; returns how many."""
    if sample.place == "unknown":
        return 0
    before = len(tiles.records)
    for (image, roi, gt), (top, left) in zip(rows, positions.tolist(), strict=True):
        if int(roi.sum()) < _LEAST_ROI:
            continue
        label = 0 if record.label == 0 else label_in_roi(gt, roi, min_pixels=min_pixels)
        if label == 0 and sample.label != 0 and not clean_of_defective:
            continue
        named = dataclasses.replace(
            record,
            key=f"{record.key} at {left}, {top}",
            group=record.group or f"\0{record.key or record.image_path}",
            label=label,
        )
        tiles.add(named, sample, (image, roi, gt), label, defect_place(gt, roi))
    return len(tiles.records) - before


def _region(roi_mask: NDArray[np.uint8], size_hw: tuple[int, int]) -> NDArray[np.float32]:
    """A drawn region as the coarse look would predict it, with its margin: (h, w) in {0, 1}."""
    grid = (-(-size_hw[1] // _CELL), -(-size_hw[0] // _CELL))
    shares = cv2.resize(roi_mask.astype(np.float32), grid, interpolation=cv2.INTER_AREA)
    region = shares >= 0.5
    if not region.any():
        region = shares == shares.max()
    return widened(region.astype(np.float32))


def _too_small(record: Record, size_hw: tuple[int, int], scale: float, side: int) -> UserError:
    at_scale = "" if scale == 1 else f" at scale {scale:g}"
    return UserError(
        f"is {size_hw[0]}x{size_hw[1]} pixels (height x width), smaller than a tile of {side}{at_scale}",
        where=record.key or record.image_path,
        remedy="choose a smaller --tile, or a larger --scale, or train without --tile",
    )
