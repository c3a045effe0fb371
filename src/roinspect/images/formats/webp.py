"""WebP, decoded by OpenCV; a second check detects files with a missing end, which decode without an error."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import cv2
import numpy as np

from roinspect.images.formats.container import Container, DamagedError, Decoded, most_parts
from roinspect.images.formats.exif import orientation as exif_orientation

_SPARE = 8
"""Number of trailing bytes tested: an encoder may write two unneeded bytes, but never eight."""


@dataclass(frozen=True, slots=True)
class WebpContainer(Container):
    """The header of a WebP.

    Attributes:
        is_lossy: the image, or the first frame of an animation, uses lossy coding.
        picture: (start, end) offsets of its chunk.
    """

    is_lossy: bool = False
    picture: tuple[int, int] = (0, 0)


def account(data: bytes) -> WebpContainer:
    """Read the header by walking the chunks.

    Raises:
        struct.error: the file ends within the header.
    """
    end = 8 + struct.unpack_from("<I", data, 4)[0]
    orientation, position = 1, 12
    size_hw: tuple[int, int] | None = None
    picture, is_lossy = (0, 0), False
    for _ in range(most_parts(data)):
        if position + 8 > min(end, len(data)):
            whole = len(data) >= end and picture != (0, 0)
            return WebpContainer("WebP", size_hw, orientation, 8, 0, whole, is_lossy, picture)
        kind, length = struct.unpack_from("<4sI", data, position)
        start = position + 8
        if kind == b"EXIF":
            orientation = exif_orientation(data[start : start + length])
        elif kind == b"VP8X":
            low = struct.unpack_from("<HBHB", data, start + 4)
            size_hw = low[2] + (low[3] << 16) + 1, low[0] + (low[1] << 16) + 1
        elif kind == b"ANMF" and picture == (0, 0):
            position = start + 16
            continue
        elif kind in (b"VP8 ", b"VP8L") and picture == (0, 0):
            picture, is_lossy = (position, start + length), kind == b"VP8 "
            size_hw = size_hw or _size_hw(data, start, is_lossy=is_lossy)
        position = start + length + length % 2
    return WebpContainer("WebP", whole=False)


def _size_hw(data: bytes, start: int, *, is_lossy: bool) -> tuple[int, int]:
    if is_lossy:
        width, height = struct.unpack_from("<HH", data, start + 6)
        return height & 0x3FFF, width & 0x3FFF
    (bits,) = struct.unpack_from("<I", data, start + 1)
    return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1


def decode(data: bytes, container: WebpContainer) -> Decoded:
    """Decode the image, or the first frame of an animation.

    Raises:
        DamagedError: it does not match the header, or its end was never written.
    """
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint8 or pixels.shape[:2] != container.size_hw:
        raise DamagedError
    if pixels.ndim != 3 or pixels.shape[2] not in (3, 4):
        raise DamagedError
    if _ends_in_zeros(data, container):
        raise DamagedError("its end is all zeros")
    code = cv2.COLOR_BGRA2RGBA if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB
    return Decoded(cv2.cvtColor(pixels, code), container.is_lossy)


def _ends_in_zeros(data: bytes, container: WebpContainer) -> bool:
    """Whether the image ends in zeros that the decoder does not need.

    A file whose end was reserved but never written still decodes, because zeros are valid codes and fewer are
    needed than are present. An intact image may end in zeros too, but needs all of them.
    """
    first, end = container.picture
    if end - first < 8 + 2 * _SPARE or any(data[end - _SPARE : end]):
        return False
    part = data[first : first + 4], data[first + 8 : end - _SPARE]
    size = len(part[1]) + len(part[1]) % 2
    chunk = part[0] + struct.pack("<I", len(part[1])) + part[1].ljust(size, b"\0")
    shorter = b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk
    return cv2.imdecode(np.frombuffer(shorter, np.uint8), cv2.IMREAD_UNCHANGED) is not None
