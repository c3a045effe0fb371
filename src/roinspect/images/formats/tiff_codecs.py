"""Decompress a TIFF strip or tile to exactly the expected number of bytes, or fail."""

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
"""OpenCV reads no image that is wider or taller."""
_LAST_ZEROS = 4
"""Zero bytes at the end of a strip whose compression has an end code: it was reserved and never written."""


def refuse_unknown(compression: int) -> None:
    """Raise the UnsupportedError for a compression that is not read."""
    if compression not in _CODECS and compression not in (NONE, JPEG):
        name = _NAMES.get(compression, f"TIFF's number {compression} as")
        raise UnsupportedError(f"{name} compression", REMEDY)


def unpacked(packed: bytes, compression: int, rows: int, row_bytes: int) -> bytes:
    """The rows * row_bytes bytes that a strip or tile of several bits a pixel holds.

    Raises:
        DamagedError: it holds fewer, or breaks off.
    """
    size = rows * row_bytes
    found = _CODECS[compression](packed, rows, row_bytes)
    if len(found) < size:
        raise DamagedError("a strip is cut off")
    return found[:size]


def _inflated(packed: bytes, rows: int, row_bytes: int) -> bytes:
    stream = zlib.decompressobj()
    try:
        found = stream.decompress(packed, _most(rows, row_bytes))
    except zlib.error:
        raise DamagedError("a strip is damaged") from None
    # Only at its end is the checksum looked at.
    if not stream.eof:
        raise DamagedError("a strip is cut off")
    return found


def _unpacked_lzma(packed: bytes, rows: int, row_bytes: int) -> bytes:
    stream = lzma.LZMADecompressor()
    try:
        found = stream.decompress(packed, _most(rows, row_bytes))
    except (lzma.LZMAError, EOFError):
        raise DamagedError("a strip is damaged") from None
    if not stream.eof:
        raise DamagedError("a strip is cut off")
    return found


def _most(rows: int, row_bytes: int) -> int:
    """Bytes that are unpacked: some writers fill the last strip up, and to see the end takes one more."""
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
    """The stream with its end code, 257, made into that of one byte, 1: a bit less."""
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
    """Unpack by way of a TIFF of one strip of 16-bit grey, which OpenCV reads strictly and without a word.

    Args:
        packed: the strip.
        compression: its number.
        size: bytes that it holds, an even number.
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
