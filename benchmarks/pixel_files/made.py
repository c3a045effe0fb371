"""A file with its expected pixels, and the images that are written."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

TURNS = {2: (0,), 3: (3,), 4: (1,), 5: (5,), 6: (4,), 7: (6,), 8: (2,)}
"""Pillow's transpositions that undo an EXIF orientation."""


@dataclass(frozen=True)
class Made:
    """A file.

    Attributes:
        format: "PNG", "JPEG", "WebP", "BMP" or "TIFF".
        name: how it was written, in words.
        data: the file.
        truth: (H, W, 3), uint8, the expected pixels; None for depths that no image has.
        tolerance: of a value.
    """

    format: str
    name: str
    data: bytes
    truth: NDArray[np.uint8] | None
    tolerance: int = 0


def picture(dtype: Any, *shape: int, seed: int = 0) -> NDArray[Any]:
    """Gradients with noise over the whole range of an unsigned type; rows, columns and channels differ."""
    height, width = shape[:2]
    y, x = np.mgrid[:height, :width]
    most = np.iinfo(dtype).max
    slope = (x / width + y / height)[..., None] / 2 if len(shape) == 3 else (x / width + y / height) / 2
    channel = np.linspace(0.2, 0.5, shape[2]) if len(shape) == 3 else 0.3
    noise = np.random.default_rng(seed).random(shape) * 0.2
    return np.clip((slope * 0.6 + channel + noise) * most, 0, most).astype(dtype)


def shown(pixels: NDArray[Any], alpha: NDArray[Any] | None = None, orientation: int = 1) -> NDArray[np.uint8]:
    """The expected pixels of grey or RGB of 8 or 16 bits."""
    pixels = np.asarray(pixels)
    most = np.iinfo(pixels.dtype).max
    wide = pixels.astype(np.float64)
    if alpha is not None:
        share = alpha if pixels.ndim == 2 else alpha[..., None]
        wide = np.floor(wide * share / most + 0.5)
    if most == 65535:
        wide = np.floor(wide / 257 + 0.5)
    eight = wide.astype(np.uint8)
    rgb = np.repeat(eight[..., None], 3, axis=2) if eight.ndim == 2 else eight
    turned = Image.fromarray(rgb)
    for turn in TURNS.get(orientation, ()):
        turned = turned.transpose(Image.Transpose(turn))
    return np.asarray(turned)


def encoded(image: Image.Image, kind: str, **how: Any) -> bytes:
    """A file written by Pillow."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **how)
    return buffer.getvalue()


def exif(orientation: int) -> Image.Exif:
    """An EXIF block with this orientation."""
    block = Image.Exif()
    block[0x0112] = orientation
    return block


def pillows(data: bytes, orientation: int = 1) -> NDArray[np.uint8]:
    """The pixels that Pillow reads, upright and on black."""
    image = Image.open(io.BytesIO(data))
    if image.mode in ("RGBA", "LA", "PA"):
        wide = np.asarray(image.convert("RGBA"))
        return shown(np.ascontiguousarray(wide[..., :3]), wide[..., 3], orientation)
    return shown(np.asarray(image.convert("RGB")), None, orientation)
