"""Decompress a TIFF strip or tile to exactly the expected number of bytes, or raise an error."""

from __future__ import annotations

import lzma
import struct
import zlib
from collections.abc import Callable

import cv2
import numpy as np

from roinspect.images.formats.container import DamagedError, UnsupportedError

NONE, LZW, JPEG, DEFLATE, PACKBITS, OLD_DEFLATE, LZMA = 1, 5, 7, 8, 32773, 32946, 34925
_NAMES = {
    2: "fax",
    3: "fax",
    4: "fax",
    6: "old-style JPEG",
    9: "JBIG",
    10: "JBIG",
    32766: "NeXT",
    32809: "ThunderScan",
    33003: "JPEG 2000",
    33004: "JPEG 2000",
    33005: "JPEG 2000",
    34676: "SGILog",
    34677: "SGILog",
    34712: "JPEG 2000",
    34887: "LERC",
    34892: "lossy DNG",
    34933: "PNG",
    34934: "PNG",
    50000: "ZSTD",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
}
REMEDY = "save it as PNG, or as TIFF with LZW or no compression"
_MOST_SIDE = 1 << 20
"""Maximum width and height that OpenCV can read."""
_LAST_ZEROS = 4
"""Trailing zero bytes after which a strip with an end code counts as incompletely written."""


def refuse_unknown(compression: int) -> None:
    """Raise an UnsupportedError for an unsupported compression."""
    if compression not in _CODECS and compression not in (NONE, JPEG):
        name = _NAMES.get(compression, f"TIFF's number {compression} as")
        raise UnsupportedError(f"{name} compression", REMEDY)


def unpacked(packed: bytes, compression: int, rows: int, row_bytes: int) -> bytes:
    """Decompress a strip or tile to rows * row_bytes bytes.

    Raises:
        DamagedError: it is truncated or damaged.
    """
    size = rows * row_bytes
    content = _CODECS[compression](packed, rows, row_bytes)
    if len(content) < size:
        raise DamagedError("a strip is cut off")
    return content[:size]


def _inflated(packed: bytes, rows: int, row_bytes: int) -> bytes:
    stream = zlib.decompressobj()
    try:
        content = stream.decompress(packed, _most(rows, row_bytes))
    except zlib.error:
        raise DamagedError("a strip is damaged") from None
    # The checksum is only verified at the end of the stream.
    if not stream.eof:
        raise DamagedError("a strip is cut off")
    return content


def _unpacked_lzma(packed: bytes, rows: int, row_bytes: int) -> bytes:
    stream = lzma.LZMADecompressor()
    try:
        content = stream.decompress(packed, _most(rows, row_bytes))
    except (lzma.LZMAError, EOFError):
        raise DamagedError("a strip is damaged") from None
    if not stream.eof:
        raise DamagedError("a strip is cut off")
    return content


def _most(rows: int, row_bytes: int) -> int:
    """Maximum bytes to decompress: more than expected, as writers may pad the last strip."""
    return 2 * rows * row_bytes + 65536


def _unpacked_lzw(packed: bytes, rows: int, row_bytes: int) -> bytes:
    if packed[:1] == b"\0" and packed[1:2] and packed[1] & 1:
        raise UnsupportedError("old-style LZW compression", REMEDY)
    if packed[:1] != b"\x80":
        raise DamagedError("a strip does not begin with a clear code")
    if len(packed) >= _LAST_ZEROS and not any(packed[-_LAST_ZEROS:]):
        raise DamagedError("a strip ends in zeros")
    if rows * row_bytes % 2:
        return _by_libtiff(_with_a_byte_more(packed), LZW, rows * row_bytes + 1)
    return _by_libtiff(packed, LZW, rows * row_bytes)


def _with_a_byte_more(packed: bytes) -> bytes:
    """The stream with its end code, 257, replaced by the code 1, which adds one byte."""
    bits = int.from_bytes(packed[-4:], "big")
    last = bits & -bits
    if bits & (last << 9) - 1 != last << 8 | last:
        raise DamagedError("a strip has no end code")
    return packed[:-4] + (bits ^ last << 8).to_bytes(min(len(packed), 4), "big")


def _unpacked_bits(packed: bytes, rows: int, row_bytes: int) -> bytes:
    size = rows * row_bytes
    return _by_libtiff(packed + b"\0\0" * (size % 2), PACKBITS, size + size % 2)


_CODECS: dict[int, Callable[[bytes, int, int], bytes]] = {
    DEFLATE: _inflated,
    OLD_DEFLATE: _inflated,
    LZMA: _unpacked_lzma,
    LZW: _unpacked_lzw,
    PACKBITS: _unpacked_bits,
}


def _by_libtiff(packed: bytes, compression: int, size: int) -> bytes:
    """Decompress via a TIFF with one 16-bit grey strip, which OpenCV reads strictly and without messages.

    Args:
        packed: the strip.
        compression: TIFF compression number.
        size: number of decompressed bytes, even.
    """
    width = next((side for side in range(min(size // 2, _MOST_SIDE), 0, -1) if size // 2 % side == 0), 1)
    height = size // 2 // width
    if height > _MOST_SIDE:
        raise UnsupportedError("a strip of so many bytes", "save it in smaller strips, or as PNG")
    tags = {256: width, 257: height, 258: 16, 259: compression, 262: 1, 273: 0, 277: 1, 278: height}
    tags |= {273: 8 + 2 + 12 * (len(tags) + 1) + 4, 279: len(packed)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, tags[tag]) for tag in sorted(tags))
    file = struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4) + packed
    pixels = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16 or pixels.size * 2 != size:
        raise DamagedError("a strip is damaged")
    return pixels.astype("<u2", copy=False).tobytes()
