"""Estimate the cost of decoding an image file: a few kilobytes may expand to gigabytes or take minutes."""

from __future__ import annotations

import re
import struct

from roinspect.errors import UserError
from roinspect.images.containers import MOST_SCANS, identify
from roinspect.images.formats import tiff_directory as tags
from roinspect.images.formats.tiff_directory import photograph_page

# In JPEG's compressed data, 0xFF before 0x00 is a plain byte, before D0-D7 a restart, before 0xFF padding.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def check_pixels(data: bytes, limit: int) -> int:
    """Reject an image that claims too many pixels or scans, or whose size cannot be read. Decodes nothing.

    Returns:
        The pixels it claims; 0 for data that is not an image, which the decoder rejects.

    Raises:
        UserError: too many pixels or scans, or an unknown number of pixels.
    """
    container = identify(data)
    if container is not None and container.scans > MOST_SCANS:
        raise UserError(
            f"the {container.kind} file draws its picture in more than {MOST_SCANS} scans",
            where="image bytes",
            remedy="save it again",
        )
    if container is None or not container.whole:
        return 0
    claimed = claimed_pixels(data, container.kind)
    if claimed is None:
        raise UserError(f"the {container.kind} file does not tell its size", where="image bytes")
    if claimed > limit:
        raise UserError(
            f"{claimed / 1e6:.0f} megapixels, more than the {limit / 1e6:.0f} allowed",
            where="image bytes",
            remedy="send a smaller image, or raise the server's --max-megapixels",
        )
    return claimed


def claimed_pixels(data: bytes, kind: str) -> int | None:
    """Maximum number of pixels claimed by any header in the file; None if none can be read."""
    try:
        return _READERS[kind](data)
    except (struct.error, OverflowError):  # An offset beyond the end of the file or the address range.
        return None


def _png(data: bytes) -> int:
    width, height = struct.unpack_from(">II", data, 16)
    return int(width * height)


def _jpeg(data: bytes) -> int | None:
    # All frames count: decoders take the first, but a malicious file may contain more. Walk the segments, so
    # that bytes that only look like a frame, in a comment, a thumbnail or after the end, do not count.
    maximum, position = 0, 2
    while match := _JPEG_MARKER.search(data, position):
        marker, position = data[match.end() - 1], match.end()
        if marker == 0xD9:
            break
        if marker in (0x01, 0xD8):
            continue
        (length,) = struct.unpack_from(">H", data, position)
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, position + 3)
            maximum = max(maximum, height * width)
        position += length
    return maximum or None


def _bmp(data: bytes) -> int:
    (header,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if header == 12 else "<ii", data, 18)
    return abs(int(width) * int(height))


def _webp(data: bytes) -> int | None:
    end = 8 + struct.unpack_from("<I", data, 4)[0]
    maximum, position = 0, 12
    while position + 8 <= min(end, len(data)):
        kind, length = struct.unpack_from("<4sI", data, position)
        start = position + 8
        if kind == b"VP8X":
            low = struct.unpack_from("<HBHB", data, start + 4)
            sides = low[0] + (low[1] << 16) + 1, low[2] + (low[3] << 16) + 1
        elif kind == b"VP8L":
            (bits,) = struct.unpack_from("<I", data, start + 1)
            sides = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        elif kind == b"VP8 ":
            width, height = struct.unpack_from("<HH", data, start + 6)
            sides = width & 0x3FFF, height & 0x3FFF
        else:
            sides = (0, 0)
        if kind.startswith(b"VP8"):
            maximum = max(maximum, sides[0] * sides[1])
        position = start + length + length % 2
    return maximum or None


def _tiff(data: bytes) -> int | None:
    # Memory is needed for the decoded page and one of its tiles.
    page = photograph_page(data)
    if tags.WIDTH not in page.entries or tags.HEIGHT not in page.entries:
        return None
    sides = ((tags.WIDTH, tags.TILE_WIDTH), (tags.HEIGHT, tags.TILE_HEIGHT))
    across, down = (max(max(page.values(tag), default=0) for tag in pair) for pair in sides)
    return across * down or None


_READERS = {"PNG": _png, "JPEG": _jpeg, "BMP": _bmp, "WebP": _webp, "TIFF": _tiff}
