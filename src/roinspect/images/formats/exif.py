"""The orientation tag of an EXIF block, which is a small TIFF file."""

from __future__ import annotations

import struct

EXIF_PREFIX = b"Exif\0\0"
_ORIENTATION_TAG = 0x0112


def orientation(exif: bytes) -> int:
    """Orientation in an EXIF block; 1 if it is missing or the block is broken."""
    value = _short_tag(exif.removeprefix(EXIF_PREFIX), _ORIENTATION_TAG)
    return value if value is not None and 1 <= value <= 8 else 1


def _short_tag(block: bytes, number: int) -> int | None:
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None:
        return None
    try:
        (directory,) = struct.unpack_from(f"{order}I", block, 4)
        (entries,) = struct.unpack_from(f"{order}H", block, directory)
        for entry in range(directory + 2, directory + 2 + 12 * entries, 12):
            tag, value = struct.unpack_from(f"{order}H6xH", block, entry)
            if tag == number:
                return int(value)
    except struct.error:
        pass
    return None
