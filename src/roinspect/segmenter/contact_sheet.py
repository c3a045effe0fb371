"""Contact sheet of the masks with the lowest confidence, for a quick review."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from roinspect.errors import UserError
from roinspect.images.overlay import ROI_COLOUR, outline
from roinspect.images.pixels import read_image, read_mask, resize_image, write_image

SHOWN = 24
"""Maximum number of tiles on a sheet."""

_COLUMNS = 4
_TILE = 320
"""Longer side of a tile, in pixels."""
_CAPTION, _GAP = 26, 12
_LETTERS = 38
_PAPER, _INK = (250, 250, 250), (30, 30, 30)
_DIMMED = 0.45


class Tile(NamedTuple):
    """One photograph on the sheet."""

    key: str
    confidence: float
    image: Path
    mask: Path


def write_contact_sheet(file: Path, tiles: Sequence[Tile], *, bits: int = 16) -> None:
    """Write a sheet of photographs with outlined masks, dimmed outside, and their confidences.

    Args:
        file: the image to write.
        tiles: in order, row by row; the first 24 readable ones are shown. No sheet is written if there are
            none.
        bits: see `read_image`.

    Raises:
        UserError: the file cannot be written.
    """
    pictures = list[tuple[str, NDArray[np.uint8]]]()
    for tile in tiles:
        with contextlib.suppress(UserError):
            pictures.append((f"{tile.confidence:.3f}  {tile.key}", _drawn(tile, bits)))
        if len(pictures) == SHOWN:
            break
    if pictures:
        write_image(file, contact_sheet(pictures))


def contact_sheet(tiles: Sequence[tuple[str, NDArray[np.uint8]]]) -> NDArray[np.uint8]:
    """Arrange captioned pictures (h, w, 3) uint8 RGB, at least one, in rows of four; returns (H, W, 3)."""
    height = max(picture.shape[0] for _, picture in tiles)
    width = max(picture.shape[1] for _, picture in tiles)
    columns = min(_COLUMNS, len(tiles))
    step_y, step_x = height + _CAPTION + _GAP, width + _GAP
    rows = -(-len(tiles) // columns)
    sheet = np.full((rows * step_y + _GAP, columns * step_x + _GAP, 3), _PAPER, np.uint8)
    for index, (caption, picture) in enumerate(tiles):
        row, column = divmod(index, columns)
        top, left = _GAP + row * step_y, _GAP + column * step_x
        sheet[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
        # Keep the end of a long path, which identifies the file.
        letters = max(8, _LETTERS * width // _TILE)
        text = caption if len(caption) <= letters else f"{caption[:7]}...{caption[10 - letters :]}"
        baseline = (left, top + picture.shape[0] + _CAPTION - 9)
        cv2.putText(sheet, text, baseline, cv2.FONT_HERSHEY_SIMPLEX, 0.45, _INK, 1, cv2.LINE_AA)
    return sheet


def _drawn(tile: Tile, bits: int) -> NDArray[np.uint8]:
    image, mask = read_image(tile.image, bits), read_mask(tile.mask)
    factor = _TILE / max(image.shape[:2])
    size_hw = (max(1, round(image.shape[0] * factor)), max(1, round(image.shape[1] * factor)))
    small = resize_image(image, size_hw)
    inside = resize_image(mask.astype(np.float32), size_hw)[..., None]
    dimmed = small * (_DIMMED + (1 - _DIMMED) * inside)
    return outline(dimmed.round().astype(np.uint8), mask, ROI_COLOUR)
