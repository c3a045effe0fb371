"""What an image file says of itself before it is decoded: kind, size, orientation, and whether it is whole.

Decoders are lenient: a photograph cut off in transfer may come back half grey. So the file's own structure is
walked to its end marker first.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass

_ORIENTATION_TAG = 0x0112
_PHOTOMETRIC_TAG, _WHITE_IS_ZERO = 0x0106, 0
_EXTRA_SAMPLES_TAG = 0x0152
_STRAIGHT_ALPHA = 2
_EXIF_PREFIX = b"Exif\0\0"
# In JPEG's compressed data, 0xFF before 0x00 is a plain byte, before D0-D7 a restart, before 0xFF padding.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
MOST_SCANS = 100
"""Of a JPEG. A decoder goes over the whole picture for each, and one may take 70 bytes: a thousand of them
hold a processor for a minute. A sequential file has up to 4, a progressive one about 10."""


@dataclass(frozen=True, slots=True)
class Container:
    """A file's own account of itself.

    Attributes:
        kind: "PNG", "JPEG", "TIFF", "BMP" or "WebP".
        size_hw: stored height and width before any turn; None where only decoding tells.
        orientation: EXIF orientation, 1 to 8, that is left to apply after decoding.
        has_straight_alpha: a fourth channel is alpha that the stored colours are not multiplied by; any other
            fourth channel is padding, or alpha that the colours hold already.
        is_white_zero: of a TIFF, grey values count from white.
        scans: of a JPEG, no further than to one more than `MOST_SCANS`.
        whole: False where the file ends early, a checksum fails, or it is cut up as no encoder does.
    """

    kind: str
    size_hw: tuple[int, int] | None = None
    orientation: int = 1
    has_straight_alpha: bool = False
    is_white_zero: bool = False
    scans: int = 0
    whole: bool = True


def identify(data: bytes) -> Container | None:
    """Walk the structure of an encoded image; None where it is of no supported kind. Never raises."""
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            return _png(data)
        if data.startswith(b"\xff\xd8"):
            return _jpeg(data)
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            return _webp(data)
    except struct.error:
        kind = {b"\x89": "PNG", b"\xff": "JPEG"}.get(data[:1], "WebP")
        return Container(kind, whole=False)
    if data.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        # OpenCV turns TIFF files itself, and refuses those that are cut off.
        return Container(
            "TIFF",
            has_straight_alpha=_short_tag(data, _EXTRA_SAMPLES_TAG) == _STRAIGHT_ALPHA,
            is_white_zero=_short_tag(data, _PHOTOMETRIC_TAG) == _WHITE_IS_ZERO,
        )
    return Container("BMP") if data.startswith(b"BM") else None


def _most_parts(data: bytes) -> int:
    """With more chunks or segments a file is damaged: no encoder cuts so small, and each costs time."""
    return 4096 + len(data) // 256


def _png(data: bytes) -> Container:
    size_hw, orientation, position = None, 1, 8
    for _ in range(_most_parts(data)):
        length, kind = struct.unpack_from(">I4s", data, position)
        (checksum,) = struct.unpack_from(">I", data, position + 8 + length)
        content = memoryview(data)[position + 8 : position + 8 + length]
        if zlib.crc32(content, zlib.crc32(kind)) != checksum:
            return Container("PNG", whole=False)
        if kind == b"IHDR":
            width, height = struct.unpack_from(">II", content)
            size_hw = (height, width)
        elif kind == b"eXIf":
            orientation = _orientation(bytes(content))
        elif kind == b"IEND":
            return Container("PNG", size_hw, orientation, True, whole=size_hw is not None)
        position += 12 + length
    return Container("PNG", whole=False)


def _jpeg(data: bytes) -> Container:
    size_hw, orientation, scans, position = None, 1, 0, 2
    for _ in range(_most_parts(data)):
        match = _JPEG_MARKER.search(data, position)
        if match is None:
            break
        marker, position = data[match.end() - 1], match.end()
        if marker == 0xD9:
            return Container("JPEG", size_hw, orientation, scans=scans, whole=size_hw is not None)
        if marker == 0x01:
            continue
        if marker == 0xDA:
            scans += 1
            if scans > MOST_SCANS:
                break
        (length,) = struct.unpack_from(">H", data, position)
        segment = data[position + 2 : position + length]
        if marker in _JPEG_FRAMES:
            size_hw = struct.unpack_from(">HH", segment, 1)
        elif marker == 0xE1 and segment.startswith(_EXIF_PREFIX):
            orientation = _orientation(segment)
        position += length
    return Container("JPEG", size_hw, orientation, scans=scans, whole=False)


def _webp(data: bytes) -> Container:
    end = 8 + struct.unpack_from("<I", data, 4)[0]
    orientation, position = 1, 12
    for _ in range(_most_parts(data)):
        if position + 8 > min(end, len(data)):
            return Container("WebP", None, orientation, True, whole=len(data) >= end)
        kind, length = struct.unpack_from("<4sI", data, position)
        if kind == b"EXIF":
            orientation = _orientation(data[position + 8 : position + 8 + length])
        position += 8 + length + length % 2
    return Container("WebP", whole=False)


def _orientation(exif: bytes) -> int:
    """Orientation that an EXIF block gives; 1 where there is none or the block is broken."""
    value = _short_tag(exif.removeprefix(_EXIF_PREFIX), _ORIENTATION_TAG)
    return value if value is not None and 1 <= value <= 8 else 1


def _short_tag(block: bytes, wanted: int) -> int | None:
    """A 16-bit value in the first directory of a TIFF or EXIF block."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None:
        return None
    try:
        (directory,) = struct.unpack_from(f"{order}I", block, 4)
        (entries,) = struct.unpack_from(f"{order}H", block, directory)
        for entry in range(directory + 2, directory + 2 + 12 * entries, 12):
            tag, value = struct.unpack_from(f"{order}H6xH", block, entry)
            if tag == wanted:
                return int(value)
    except struct.error:
        pass
    return None
